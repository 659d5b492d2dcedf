"""Starts: nothing overlaps, shapes and counts are those asked for, numbers come from seed and replica alone."""

import math

import numpy as np
import pytest

from dropsim.errors import BuildError
from dropsim.initial import CELLS_FROM, compact_droplet, insert_random, layered_film
from dropsim.system import LI, MO, N_RING, S6, TFSI

#                  Li   S6    TFSI Li2S  Li2S2 vacant Mo  N, whose core is in the wall
SIGMA = np.array([0.4, 0.6, 0.65, 0.5, 0.55, 0.0, 0.4, 0.0])
CHARGE = np.array([1.0, -2.0, -1.0, -2.0, -2.0, 0.0, 7.37, -1.8425])
GAP = 0.45 * (SIGMA + 0.34)
MO_SITES = np.array([[x, y, 0.15] for x in (2.0, 4.75) for y in (2.0, 4.75)])
SITES = np.concatenate([MO_SITES, MO_SITES + [0.3, 0.0, -0.15]])
SITE_SPECIES = np.repeat([MO, N_RING], 4)


def beads(n_s6: int, n_tfsi: int = 0) -> np.ndarray:
    return np.repeat([S6, LI, TFSI], [n_s6, 2 * n_s6 + n_tfsi, n_tfsi]).astype(np.int32)


def between_walls(box: np.ndarray) -> np.ndarray:
    return np.column_stack([GAP, box[2] - GAP])


def arguments(species, box, *, z_range=None, periodic_z=False, seed=3, replica=0, sites=True):
    z_range = between_walls(box) if z_range is None else z_range
    if not sites:
        return species, SIGMA, box, z_range, np.empty((0, 3)), np.empty(0, int), periodic_z, seed, replica
    return species, SIGMA, box, z_range, SITES, SITE_SPECIES, periodic_z, seed, replica


def closest(position, species, box, periodic_z=False, sites=True) -> float:
    """Smallest distance in units of the mixed sigma, every pair looked at; pairs of sites are left out."""
    n = len(position)
    points = np.concatenate([position, SITES]) if sites else position
    sigma = SIGMA[np.concatenate([species, SITE_SPECIES]) if sites else species]
    period = np.array([box[0], box[1], box[2] if periodic_z else 1e9])
    smallest = math.inf
    for i in range(n):
        apart = points[i + 1 :] - points[i]
        apart -= period * np.round(apart / period)
        reduced = np.sqrt(np.sum(apart**2, axis=1)) / (0.5 * (sigma[i] + sigma[i + 1 :]))
        smallest = min(smallest, reduced.min(initial=math.inf))
    return smallest


BOX = np.array([11.0, 9.0, 8.0])


@pytest.mark.parametrize(("n_s6", "n_tfsi"), [(150, 40), (700, 200)], ids=["in order", "by cells"])
@pytest.mark.parametrize("periodic_z", [False, True])
def test_random_beads_do_not_overlap_and_stay_between_the_walls(n_s6, n_tfsi, periodic_z):
    species = beads(n_s6, n_tfsi)
    assert (len(species) >= CELLS_FROM) == (n_s6 == 700)
    z_range = np.tile([0.0, BOX[2]], (len(SIGMA), 1)) if periodic_z else between_walls(BOX)
    position = insert_random(*arguments(species, BOX, z_range=z_range, periodic_z=periodic_z))
    assert closest(position, species, BOX, periodic_z) > 0.85
    assert np.all((position[:, :2] >= 0) & (position[:, :2] < BOX[:2]))
    assert np.all((position[:, 2] >= z_range[species, 0]) & (position[:, 2] <= z_range[species, 1]))


def test_a_crowded_box_is_filled_without_overlaps():
    """6.3 beads per nm^3: most trials fail here."""
    species, box = beads(700), np.array([7.0, 7.0, 7.6])
    position = insert_random(*arguments(species, box))
    assert closest(position, species, box) > 0.85


def test_cells_fewer_than_three_across():
    """In a box this narrow a cell is its own neighbour."""
    species, box = beads(700), np.array([1.3, 1.3, 400.0])
    position = insert_random(*arguments(species, box, sites=False))
    assert closest(position, species, box, sites=False) > 0.85


def test_random_beads_are_uniform():
    """Counts in slabs of a dilute box, each within five standard errors of a binomial."""
    species = beads(2000)
    box = np.array([30.0, 30.0, 30.0])
    position = insert_random(*arguments(species, box, z_range=np.tile([0.0, 30.0], (len(SIGMA), 1)), sites=False))
    for axis in range(3):
        counts, _ = np.histogram(position[:, axis], bins=10, range=(0, 30))
        assert np.all(np.abs(counts - 600) < 5 * math.sqrt(6000 * 0.1 * 0.9))


def test_few_beads_take_one_trial_after_the_other():
    """Three numbers of the Philox stream a trial; the first that overlaps with nothing is taken."""
    species, box = beads(12, 2), np.array([3.0, 3.2, 3.5])
    z_range = between_walls(box)
    position = insert_random(*arguments(species, box, sites=False, seed=7, replica=2))
    stream = np.random.Generator(np.random.Philox(key=[7, 2]))
    expected: list[np.ndarray] = []
    n_trials = 0
    for bead, kind in enumerate(species):
        while True:
            n_trials += 1
            low, high = z_range[kind]
            trial = stream.random(3) * np.array([box[0], box[1], high - low]) + np.array([0, 0, low])
            apart = [trial - other for other in expected]
            apart = [d - np.array([3.0, 3.2, 1e9]) * np.round(d / np.array([3.0, 3.2, 1e9])) for d in apart]
            if all(np.linalg.norm(d) > 0.425 * (SIGMA[kind] + SIGMA[species[j]]) for j, d in enumerate(apart)):
                break
        expected.append(trial)
        assert len(expected) == bead + 1
    assert n_trials > len(species)
    assert np.array_equal(position, np.array(expected))


def test_the_start_of_a_seed_is_remembered():
    """Values of an earlier version, so that a run keeps its start."""
    position = insert_random(*arguments(beads(20, 5), np.array([5.5, 5.5, 6.0]), seed=5, replica=1))
    remembered = [
        [3.9472703775443385, 2.2667440937979926, 4.3492146604337485],
        [2.023477895896709, 2.917110804951748, 4.294927848495048],
    ]
    np.testing.assert_allclose(position[[0, 31]], remembered, rtol=1e-14)


@pytest.mark.parametrize(
    "make",
    [insert_random, layered_film, compact_droplet],
    ids=lambda make: make.__name__,
)
def test_seed_and_replica_alone_decide(make):
    box = np.array([14.0, 14.0, 12.0])
    species = beads(700)
    first = make(*arguments(species, box, seed=4, replica=1))
    assert np.array_equal(first, make(*arguments(species, box, seed=4, replica=1)))
    assert not np.array_equal(first, make(*arguments(species, box, seed=4, replica=2)))
    assert not np.array_equal(first, make(*arguments(species, box, seed=5, replica=1)))


@pytest.mark.parametrize("n", [30, 700], ids=["in order", "by cells"])
def test_no_room(n):
    box = np.array([1.5, 1.5, 2.0]) if n == 30 else np.array([6.0, 6.0, 4.0])
    with pytest.raises(BuildError, match=r"no room for S6 number \d+ of .*electrolyte\.li2s6_mM.*box\.height_nm"):
        insert_random(*arguments(beads(n), box, sites=False))
    with pytest.raises(BuildError, match=r"box\.height_nm = 0\.8 leaves no room for S6"):
        insert_random(*arguments(beads(n), np.array([9.0, 9.0, 0.8]), sites=False))


FILM_BOX = np.array([11.0, 9.0, 25.0])


@pytest.mark.parametrize("n_tfsi", [0, 150])
def test_film_has_the_density_asked_for_and_nothing_above(n_tfsi):
    species = beads(500, n_tfsi)
    position = layered_film(*arguments(species, FILM_BOX))
    volume = 500 / 2.1 + n_tfsi * (0.65**3 + 0.4**3) / (0.6**3 + 2 * 0.4**3) / 2.1
    height = GAP[S6] + volume / 99.0
    assert position[:, 2].max() <= height
    assert position[species == S6, 2].max() > height - 0.1
    assert np.all(position[:, 2] >= GAP[species])
    assert closest(position, species, FILM_BOX) > 0.85


def test_film_of_a_given_height_is_mixed():
    """Half of the S6 and half of the Li in the lower half of the film, within five standard errors."""
    species = beads(800)
    position = layered_film(*arguments(species, FILM_BOX), film_height_nm=7.0)
    assert 6.9 < position[:, 2].max() <= 7.0
    for kind in (S6, LI):
        z = position[species == kind, 2]
        middle = 0.5 * (GAP[kind] + 7.0)
        assert abs(np.sum(z < middle) - len(z) / 2) < 5 * math.sqrt(len(z)) / 2


def test_films_that_cannot_be():
    species = beads(500)
    with pytest.raises(BuildError, match=r"does not fit under z = 24\.6.*box\.height_nm"):
        layered_film(*arguments(species, FILM_BOX), film_height_nm=30.0)
    with pytest.raises(BuildError, match=r"film_height_nm = 0\.3 is below 0\.333 nm, where Li begins"):
        layered_film(*arguments(species, FILM_BOX), film_height_nm=0.3)
    with pytest.raises(BuildError, match=r"no room for .*raise film_height_nm or lower density_per_nm3"):
        layered_film(*arguments(species, FILM_BOX), film_height_nm=1.4)
    with pytest.raises(BuildError, match=r"density_per_nm3 = -1"):
        layered_film(*arguments(species, FILM_BOX), density_per_nm3=-1.0)


DROPLET_BOX = np.array([22.0, 20.0, 18.0])


def droplet_of(position, species, n, centre, periodic_z=False):
    """Displacements from the centre of the first n S6 and 2n Li, and their charges."""
    members = np.concatenate([np.flatnonzero(species == S6)[:n], np.flatnonzero(species == LI)[: 2 * n]])
    period = np.array([*DROPLET_BOX[:2], DROPLET_BOX[2] if periodic_z else 1e9])
    apart = position[members] - centre
    return members, apart - period * np.round(apart / period), CHARGE[species[members]]


@pytest.mark.parametrize("angle", [40.0, 90.0, 140.0])
@pytest.mark.parametrize("xy", [None, (1.0, 19.0), (3.4, 3.4)], ids=["middle", "across the border", "on centres"])
def test_cap_on_the_electrode(angle, xy):
    n, species = 250, beads(300, 60)
    position = compact_droplet(*arguments(species, DROPLET_BOX), n_units=n, contact_angle_deg=angle, centre_xy_nm=xy)
    x, y = xy or (11.0, 10.0)
    members, apart, charge = droplet_of(position, species, n, np.array([x, y, GAP[LI]]))
    assert charge.sum() == 0
    assert np.all(position[:, :2] >= 0)
    assert np.all(position[:, :2] < DROPLET_BOX[:2])
    assert np.all(position[:, 2] >= GAP[species])
    # Volume of the cap pi R^3 (1 - cos)^2 (2 + cos) / 3; lattice and surface blur the edge by a part of a spacing.
    cosine = math.cos(math.radians(angle))
    radius = (3 * n / 2.1 / (math.pi * (1 - cosine) ** 2 * (2 + cosine))) ** (1 / 3)
    from_sphere = np.linalg.norm(apart + [0.0, 0.0, radius * cosine], axis=1)
    assert np.all(from_sphere < radius + 0.6)
    # Outside means outside: no other bead is deeper in the cap than that blur.
    others = np.delete(position, members, axis=0) - [x, y, GAP[LI] - radius * cosine]
    others[:, :2] -= DROPLET_BOX[:2] * np.round(others[:, :2] / DROPLET_BOX[:2])
    assert np.all(np.linalg.norm(others, axis=1) > radius - 0.6)
    assert closest(position, species, DROPLET_BOX) > 0.7
    # No bead of it was put on a centre.
    from_site = position[:, None, :] - MO_SITES
    from_site[..., :2] -= DROPLET_BOX[:2] * np.round(from_site[..., :2] / DROPLET_BOX[:2])
    assert np.all(np.linalg.norm(from_site, axis=2) > 0.425 * (SIGMA[species] + SIGMA[MO])[:, None])


@pytest.mark.parametrize("periodic_z", [False, True])
def test_sphere_in_the_bulk(periodic_z):
    n, species = 300, beads(300, 50)
    z_range = np.tile([0.0, DROPLET_BOX[2]], (len(SIGMA), 1)) if periodic_z else None
    height = 1.0 if periodic_z else 7.0
    inputs = arguments(species, DROPLET_BOX, periodic_z=periodic_z, z_range=z_range)
    position = compact_droplet(*inputs, centre_height_nm=height)
    _, apart, charge = droplet_of(position, species, n, np.array([11.0, 10.0, height]), periodic_z)
    radius = (3 * n / (4 * math.pi * 2.1)) ** (1 / 3)
    distance = np.linalg.norm(apart, axis=1)
    assert charge.sum() == 0
    assert distance.max() < radius + 0.35
    assert np.all((position >= 0) & (position <= DROPLET_BOX))
    assert closest(position, species, DROPLET_BOX, periodic_z) > 0.7
    # The middle of the droplet is at the density asked for and neutral on average.
    core = distance < radius - 1.0
    assert np.sum(core & (charge < 0)) / (4 / 3 * math.pi * (radius - 1.0) ** 3) == pytest.approx(2.1, rel=0.15)
    assert abs(charge[core].sum()) < 0.15 * np.sum(charge[core] > 0)


def test_every_ion_of_a_droplet_touches_the_other_kind():
    """Charges alternate: the nearest bead of each S6 is a Li, and the other way round."""
    species = beads(300)
    position = compact_droplet(*arguments(species, DROPLET_BOX, sites=False), contact_angle_deg=None)
    apart = position[:, None, :] - position[None, :, :]
    distance = np.sqrt(np.sum(apart**2, axis=-1)) + 1e9 * np.eye(len(position))
    assert np.mean(species[distance.argmin(axis=1)] != species) > 0.98


def test_droplets_that_cannot_be():
    species = beads(300, 60)
    inputs = arguments(species, DROPLET_BOX)
    with pytest.raises(BuildError, match=r"n_units = 400 needs 400 S6 and 800 Li.*there are 300 S6 and 660 Li"):
        compact_droplet(*inputs, n_units=400)
    with pytest.raises(BuildError, match=r"n_units = 0 "):
        compact_droplet(*inputs, n_units=0)
    with pytest.raises(BuildError, match=r"contact_angle_deg = 200"):
        compact_droplet(*inputs, contact_angle_deg=200.0)
    with pytest.raises(BuildError, match=r"centre_height_nm"):
        compact_droplet(*inputs, centre_height_nm=2.0)
    with pytest.raises(BuildError, match=r"density_per_nm3 = nan"):
        compact_droplet(*inputs, density_per_nm3=math.nan)
    with pytest.raises(BuildError, match=r"closer than 0\.7 sigma: give at most 3\.\d+"):
        compact_droplet(*inputs, density_per_nm3=9.0)
    with pytest.raises(BuildError, match=r"meet its periodic image: raise box\.lateral_nm"):
        compact_droplet(*arguments(beads(300), np.array([8.0, 8.0, 18.0])))
    with pytest.raises(BuildError, match=r"raise box\.height_nm"):
        compact_droplet(*arguments(beads(300), np.array([20.0, 20.0, 3.5])))
