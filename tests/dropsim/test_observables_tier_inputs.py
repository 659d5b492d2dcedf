"""What the droplet tier takes from particle runs, on synthetic runs with known answers."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from dropsim.errors import AnalysisError
from dropsim.observables import droplets as dr
from dropsim.observables import tier_inputs as ti
from dropsim.units import concentration_mM, number_density_per_nm3

BOX = np.array([12.0, 11.0, 9.0])
DENSITY = 2.1


def ball(rng, n, radius):
    x = rng.normal(size=(n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * radius * rng.uniform(size=(n, 1)) ** (1 / 3)


def ideal_droplets(seed, frames, radius, *, cap=False, gas=0.0, soft=0.0):
    """A Poisson ball (or hemisphere on z = 0) of DENSITY, across the corner of the box, in a Poisson gas."""
    rng = np.random.default_rng(seed)
    everything = []
    for _ in range(frames):
        points = ball(rng, rng.poisson(DENSITY * 4 / 3 * math.pi * radius**3), radius)
        points = points + rng.normal(size=points.shape) * soft
        points = points[points[:, 2] > 0] if cap else points + np.array([0.0, 0.0, BOX[2] / 2])
        vapour = rng.uniform(size=(rng.poisson(gas * np.prod(BOX)), 3)) * BOX
        centre = np.array([0.0, 0.0, 0.0 if cap else BOX[2] / 2])
        reach = vapour - centre
        reach[:, :2] -= BOX[:2] * np.round(reach[:, :2] / BOX[:2])
        vapour = vapour[np.linalg.norm(reach, axis=1) > radius]
        everything.append(np.concatenate([points, vapour]))
    most = max(p.shape[0] for p in everything)
    position, species = np.full((frames, most, 3), 0.5), np.full((frames, most), dr.TFSI)
    for t, p in enumerate(everything):
        position[t, : p.shape[0]], species[t, : p.shape[0]] = p, dr.S6
    position[..., :2] %= BOX[:2]
    return position, species


def tracks_of(position, species, minimum_size=30, dt=1.0):
    return dr.track_droplets(
        position,
        species,
        BOX,
        np.arange(position.shape[0]) * dt,
        minimum_size,
        criterion="s6-contact",
        grid_spacing_nm=0.3,
    )


@pytest.mark.parametrize("cap", [False, True])
def test_core_density_of_a_uniform_ball_and_of_a_hemisphere_on_the_wall(cap):
    position, species = ideal_droplets(1, 60, 3.0 if cap else 2.5, cap=cap)
    tracks = tracks_of(position, species)
    got = ti.dense_density(tracks)
    assert got.unit == "nm^-3"
    assert abs(got.value - DENSITY) < 4 * got.standard_error
    assert got.standard_error < 0.03 * DENSITY
    # A ball with the radius that the radius of gyration gives is cut by the wall: the core is not.
    if cap:
        rg = np.concatenate([t.radius_of_gyration for t in tracks])
        size = np.concatenate([t.size for t in tracks])
        naive = np.mean(size / (4 / 3 * math.pi * (5 / 3) ** 1.5 * rg**3))
        assert abs(naive - DENSITY) > 4 * got.standard_error


def test_core_density_is_free_of_a_diffuse_interface():
    position, species = ideal_droplets(2, 60, 2.6, soft=0.35)
    got = ti.dense_density(tracks_of(position, species))
    assert abs(got.value - DENSITY) < 4 * got.standard_error
    shallow = ti.dense_density(tracks_of(position, species), depth_nm=0.0)
    assert shallow.value < DENSITY - 4 * shallow.standard_error


def test_a_bent_droplet_is_not_taken_for_its_hull():
    rng = np.random.default_rng(3)
    angle = rng.uniform(0, 1.5 * math.pi, 700)
    points = np.stack([3 * np.cos(angle) + 6, 3 * np.sin(angle) + 5.5, np.full(700, 4.0)], axis=1)
    points = points + rng.uniform(-1.0, 1.0, size=(700, 3))
    position, species = np.tile(points, (3, 1, 1)), np.ones((3, 700), int)
    with pytest.raises(AnalysisError, match="3 had voids"):
        ti.dense_density(tracks_of(position, species))
    with pytest.raises(AnalysisError, match="no droplet"):
        ti.dense_density([])


def test_vapour_concentration_around_a_droplet():
    density = number_density_per_nm3(20.0)
    position, species = ideal_droplets(4, 120, 2.3, gas=density)
    labels = dr.cluster_labels_series(position, species, BOX)
    got = ti.vapour_concentration_mM(
        position, species, BOX, labels, minimum_size=30, z_range=(0.0, BOX[2]), grid_nm=0.5
    )
    assert got.unit == "mM"
    assert abs(got.value - 20.0) < 4 * got.standard_error
    # Poisson gas in the free volume V: the error is c / sqrt(c V), and 120 frames tell it to 6 %.
    volume = np.prod(BOX) - 4 / 3 * math.pi * 3.8**3
    expected = concentration_mM(math.sqrt(density / volume / 120))
    assert 0.6 < got.standard_error / expected < 1.6
    slab = ti.vapour_concentration_mM(position, species, BOX, labels, minimum_size=30, z_range=(1.0, 3.0), grid_nm=0.5)
    assert abs(slab.value - 20.0) < 4 * slab.standard_error


def test_vapour_without_beads_or_without_droplets():
    position, species = ideal_droplets(5, 5, 2.3)
    labels = dr.cluster_labels_series(position, species, BOX)
    got = ti.vapour_concentration_mM(position, species, BOX, labels, minimum_size=30, z_range=(0.0, BOX[2]))
    assert got.value == 0.0
    assert math.isnan(got.standard_error)
    volume = np.prod(BOX) - 4 / 3 * math.pi * 3.8**3
    assert got.interval_95[1] == pytest.approx(concentration_mM(3 / volume), rel=0.1)
    with pytest.raises(AnalysisError, match="no frame has a droplet"):
        ti.vapour_concentration_mM(position, species, BOX, labels, minimum_size=3000, z_range=(0.0, BOX[2]))
    with pytest.raises(AnalysisError, match="no volume"):
        ti.vapour_concentration_mM(
            position, species, BOX, labels, minimum_size=30, z_range=(4.0, 5.0), exclusion_nm=9.0
        )


def made_track(points, time, members=None):
    """A track of given bead positions (K, N, 3), all of them members unless told."""
    k, n = points.shape[:2]
    members = [np.arange(n)] * k if members is None else members
    held = [points[i][m] for i, m in enumerate(members)]
    relative = tuple(h - h.mean(axis=0) for h in held)
    return dr.DropletTrack(
        identity=0,
        frame=np.arange(k),
        time=time,
        members=tuple(members),
        relative_position=relative,
        size=np.array([len(m) for m in members]),
        centroid=np.stack([h.mean(axis=0) for h in held]),
        projected_area=np.ones(k),
        radius_of_gyration=np.array([math.sqrt(np.mean(np.sum(r**2, axis=1))) for r in relative]),
        z_min=np.zeros(k),
        n_converted=np.zeros(k, int),
        percolating=np.zeros(k, bool),
        onset_window=None,
        split_from=None,
        absorbed=(),
        merged_into=None,
    )


def free_motion(seed, diffusivity, frames=240, beads=50, dt=2.0):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(frames, beads, 3)) * math.sqrt(2 * diffusivity * dt)
    return ball(rng, beads, 6.0) + np.cumsum(steps, axis=0), np.arange(frames) * dt


def test_relative_diffusivity_of_free_beads_whatever_their_centre_does():
    diffusivity = 3.0e-5
    z = []
    for seed in range(12):
        points, time = free_motion(seed, diffusivity)
        rng = np.random.default_rng(100 + seed)
        drift = np.cumsum(rng.normal(size=(240, 1, 3)) * 0.1, axis=0)
        # Members come and go, so that the centroid jumps: this must not be taken for motion.
        members = [np.sort(rng.choice(50, 45, replace=False)) if k % 30 == 0 else None for k in range(240)]
        for k in range(240):
            members[k] = members[k - 1] if members[k] is None else members[k]
        got = ti.dense_diffusivity([made_track(points + drift, time, members)], lag_window_ps=(2.0, 10.0))
        assert got.unit == "nm^2/s"
        z.append((got.value - diffusivity * 1e12) / got.standard_error)
        low, high = got.interval_95
        assert low < got.value < high
    # Student's t with four degrees of freedom has variance 2: the mean of 12 has sd sqrt(2 / 12).
    assert abs(np.mean(z)) < 4 * math.sqrt(2 / 12)
    assert binomtest(int(np.sum(np.abs(z) < 2.776)), 12, 0.95).pvalue > 1e-3


def test_rotation_is_included_and_makes_it_an_upper_bound():
    points, time = free_motion(1, 1.0e-6)
    still = ti.dense_diffusivity([made_track(points, time)], lag_window_ps=(2.0, 10.0)).value
    angle = 0.02 * np.cumsum(np.random.default_rng(2).normal(size=240))
    turn = np.zeros((240, 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 1, 0], turn[:, 0, 1], turn[:, 2, 2] = np.sin(angle), -np.sin(angle), 1.0
    turned = np.einsum("tij,tnj->tni", turn, points)
    assert ti.dense_diffusivity([made_track(turned, time)], lag_window_ps=(2.0, 10.0)).value > 5 * still


def test_the_surface_lowers_the_relative_displacement_as_mitra_says():
    """Reflecting ball: <r^2>/(6 D t) = 1 - (4 / 9 sqrt(pi)) (3 / R) sqrt(D t) + O(D t / R^2)."""
    rng = np.random.default_rng(6)
    radius, n, steps, s = 1.0, 20000, 400, 0.0025
    start = ball(rng, n, radius)
    x = start.copy()
    for _ in range(steps):
        x = x + rng.normal(size=x.shape) * s
        r = np.linalg.norm(x, axis=1, keepdims=True)
        x = np.where(r > radius, x * (2 * radius - r) / r, x)
    dt_total = steps * s**2 / 2
    position = np.stack([start, x])
    got, freedom = ti._relative_msd(position, np.ones((2, n), bool), 1)
    assert freedom == n - 1
    first = 1 - 4 / (9 * math.sqrt(math.pi)) * 3 * math.sqrt(dt_total) / radius
    error = math.sqrt(2 / (3 * n))
    # D t / R^2 = 1.25e-3: the next order of the expansion is of this size.
    assert abs(got / (6 * dt_total) - first) < 4 * error + dt_total
    assert 1 - first > 4 * error


def test_diffusivity_refuses_what_it_cannot_answer():
    points, time = free_motion(1, 3.0e-5)
    track = made_track(points, time)
    with pytest.raises(AnalysisError, match="fewer than two lags"):
        ti.dense_diffusivity([track], lag_window_ps=(2.0, 3.0))
    with pytest.raises(AnalysisError, match="fewer than two blocks"):
        ti.dense_diffusivity([track], lag_window_ps=(2.0, 300.0))
    with pytest.raises(AnalysisError, match="two frames in a row"):
        ti.dense_diffusivity([], lag_window_ps=(2.0, 10.0))
    with pytest.raises(AnalysisError, match="evenly"):
        ti.dense_diffusivity([made_track(points, time**1.1)], lag_window_ps=(2.0, 10.0))
    anywhere = np.random.default_rng(3).normal(size=points.shape)
    with pytest.raises(AnalysisError, match="gyration radius"):
        ti.dense_diffusivity([made_track(anywhere, time)], lag_window_ps=(2.0, 10.0))


def test_contact_law_covers_at_the_nominal_rate():
    rng = np.random.default_rng(7)
    a, m, groups, per_group = 1.3, 1.5, 40, 6
    inside_m = inside_a = inside_m_68 = 0
    for _ in range(250):
        radius = np.repeat(rng.uniform(1.0, 6.0, size=groups), per_group) * rng.uniform(
            0.95, 1.05, size=groups * per_group
        )
        # The samples of a group share a factor of mean one: over-dispersed and correlated.
        factor = np.repeat(rng.gamma(20.0, 1 / 20.0, size=groups), per_group)
        contacts = rng.poisson(a * radius**m * factor)
        law = ti.contacts_power_law(radius, contacts, np.repeat(np.arange(groups), per_group))
        low, high = law.power.interval_95
        inside_m += low < m < high
        # 1.0139: the 68.27 % quantile of Student's t with 38 degrees of freedom.
        inside_m_68 += abs(law.power.value - m) < law.power.standard_error * 1.0139
        low, high = law.prefactor.interval_95
        inside_a += low < a < high
    assert binomtest(inside_m, 250, 0.95).pvalue > 0.01
    assert binomtest(inside_a, 250, 0.95).pvalue > 0.01
    assert binomtest(inside_m_68, 250, 0.6827).pvalue > 0.01


def test_contact_law_without_noise_is_exact_and_bad_samples_are_refused():
    radius = np.linspace(0.8, 5.0, 9)
    law = ti.contacts_power_law(radius, 0.7 * radius**1.8)
    assert law.power.value == pytest.approx(1.8, rel=1e-9)
    assert law.prefactor.value == pytest.approx(0.7, rel=1e-9)
    with pytest.raises(AnalysisError, match="radii are equal"):
        ti.contacts_power_law(np.ones(9), radius)
    with pytest.raises(AnalysisError, match="touches a centre"):
        ti.contacts_power_law(radius, np.zeros(9))
    with pytest.raises(AnalysisError, match="four"):
        ti.contacts_power_law(radius, radius, np.zeros(9))
    with pytest.raises(AnalysisError, match="positive"):
        ti.contacts_power_law(-radius, radius)


def test_contact_samples_pair_footprint_and_members():
    position, species = ideal_droplets(8, 6, 2.0)
    tracks = tracks_of(position, species)
    contacts = np.random.default_rng(9).integers(0, 3, size=species.shape)
    radius, number, group = ti.contact_samples(tracks, contacts, block_frames=2)
    k = 0
    for track in tracks:
        for row, frame in enumerate(track.frame):
            assert number[k] == contacts[frame][track.members[row]].sum()
            assert math.pi * radius[k] ** 2 == pytest.approx(track.projected_area[row])
            k += 1
    assert k == number.size == group.size
    if len(tracks) == 1:
        np.testing.assert_array_equal(group, [0, 0, 1, 1, 2, 2])


def test_distance_to_droplets_leaves_the_bead_itself_out():
    position = np.array([[[0.2, 1, 1], [11.7, 1, 1], [1.0, 1, 1], [3.0, 1, 1], [6.0, 6, 6]]])
    species = np.array([[1, 1, 3, 1, 0]])
    labels = np.array([[0, 0, 0, 1, -1]])
    got = ti.distance_to_droplets(position, species, BOX, labels, 3)
    np.testing.assert_allclose(got[0, :4], [0.5, 0.5, 0.8, 2.0])
    assert np.isnan(got[0, 4])
    assert np.all(np.isinf(ti.distance_to_droplets(position, species, BOX, labels, 4)[0, :4]))


def capture(columns, **options):
    d = np.array(columns).T
    settings = {"contact_nm": 1.0, "escape_nm": 2.0, "residence_time": 3.0} | options
    return ti.capture_probability(d, np.arange(d.shape[0]) * 1.0, **settings)


def test_encounters_are_counted_by_the_rule():
    stays = [3.0] + [0.5] * 11  # one encounter, however long
    rattles = [3.0, 0.5, 1.5, 0.5, 1.5] + [3.0] * 7  # out 4 after contact: captured at 3
    leaves = [3.0, 0.5, 3.0, 0.5, 3.0] + [1.5] * 7  # two escapes
    was_in = [0.5, 1.5] * 6  # never free
    late = [3.0] * 9 + [0.5, 3.0, 0.5]  # not decidable, nor is its escape
    ion = [math.nan] * 12
    got = capture([stays, rattles, leaves, was_in, late, ion])
    assert got.n_effective == 4
    assert got.value == pytest.approx(0.5)
    with pytest.raises(AnalysisError, match="run longer"):
        capture([was_in, late])
    with pytest.raises(AnalysisError, match="escape_nm"):
        capture([stays], escape_nm=0.5)


def test_capture_probability_of_a_random_detachment_covers():
    """Detachment with probability e in each frame: p = (1 - e)^k for a residence of k frames."""
    rng = np.random.default_rng(10)
    e, frames, beads = 0.15, 60, 120
    truth, inside, z = (1 - e) ** 3, 0, []
    for _ in range(200):
        bound = np.zeros((frames, beads), bool)
        for t in range(1, frames):
            leave, come = rng.uniform(size=beads) < e, rng.uniform(size=beads) < 0.02
            bound[t] = np.where(bound[t - 1], ~leave, come)
        distance = np.where(bound, rng.uniform(0.4, 0.9, size=bound.shape), rng.uniform(2.1, 5.0, size=bound.shape))
        got = ti.capture_probability(
            distance, np.arange(frames) * 0.1, contact_nm=1.0, escape_nm=2.0, residence_time=0.3
        )
        low, high = got.interval_95
        inside += low < truth < high
        z.append((got.value - truth) / got.standard_error)
    assert binomtest(inside, 200, 0.95).pvalue > 0.01
    assert abs(np.mean(z)) < 4 / math.sqrt(200)
    assert abs(np.std(z) - 1) < 4 / math.sqrt(400)
