"""Clusters, droplet identities and projected areas against constructions with known answers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from dropsim.errors import AnalysisError
from dropsim.observables import droplets as dr

BOX = np.array([8.0, 7.0, 6.0])


def brute_force_labels(position, species, lengths, bridge, contact):
    """Naive components: flood fill over explicitly tested pairs."""
    sulfur = [i for i in range(len(species)) if species[i] in (dr.S6, dr.LI2S)]
    lithium = [i for i in range(len(species)) if species[i] == dr.LI]

    def distance(i, j):
        d = position[i] - position[j]
        d[:2] -= lengths[:2] * np.round(d[:2] / lengths[:2])
        return np.sqrt(d @ d)

    def joined(i, j):
        if contact and distance(i, j) < contact:
            return True
        return bool(bridge) and any(distance(i, k) < bridge and distance(j, k) < bridge for k in lithium)

    groups, left = [], set(sulfur)
    while left:
        stack, group = [left.pop()], set()
        while stack:
            i = stack.pop()
            group.add(i)
            near = {j for j in left if joined(i, j)}
            left -= near
            stack += list(near)
        groups.append(frozenset(group))
    return set(groups)


@pytest.mark.parametrize(
    ("criterion", "bridge", "contact"),
    [("both", 0.63, 1.05), ("li-bridge", 0.63, 0), ("s6-contact", 0, 1.05)],
)
def test_labels_are_the_components_of_the_contact_graph(criterion, bridge, contact):
    rng = np.random.default_rng(1)
    for _ in range(4):
        position = rng.uniform(size=(110, 3)) * BOX
        species = rng.choice([0, 0, 1, 2, 3], size=110)
        labels = dr.cluster_labels(position, species, BOX, criterion=criterion)
        groups = {frozenset(np.flatnonzero(labels == c)) for c in range(labels.max() + 1)}
        assert groups == brute_force_labels(position, species, BOX, bridge, contact)
        np.testing.assert_array_equal(labels < 0, ~dr.is_sulfur(species))
        sizes = np.bincount(labels[labels >= 0])
        assert np.all(np.diff(sizes) <= 0)
        np.testing.assert_array_equal(dr.largest_clusters(labels, 3), sizes[:3])


def test_the_analysis_and_the_reaction_rule_see_the_same_droplets():
    from dropsim_kernels import box as kernel_box
    from dropsim_kernels import clusters, contacts

    rng = np.random.default_rng(11)
    position, species = rng.uniform(size=(150, 3)) * BOX, rng.choice([0, 0, 1, 3], size=150)
    sulfur = dr.is_sulfur(species)
    box = kernel_box.Box(jnp.asarray(BOX), (True, True, False))
    beads = [jnp.asarray(p) for p in (position[sulfur], position[species == dr.LI], np.zeros((0, 3)))]
    settings = contacts.allocate_contacts(*beads, box, 1.05, 0.63, 0.8)
    distances = [jnp.asarray(d) for d in (1.05, 0.63, 0.8)]
    present = jnp.ones(len(beads[1]), bool)
    tables = contacts.find_contacts(beads[0], beads[1], present, beads[2], box, *distances, settings)
    kernel = np.asarray(clusters.connected_components(tables.direct, tables.bridges, jnp.ones(len(beads[0]), bool)))
    here = dr.cluster_labels(position, species, BOX)[sulfur]
    assert len(set(here)) < sulfur.sum()
    assert len(set(zip(kernel, here, strict=True))) == len(set(kernel)) == len(set(here))


def test_a_lithium_bridge_reaches_across_the_boundary_and_z_is_not_periodic():
    species = np.array([1, 0, 3, 1, 1])
    position = np.array([[7.6, 3.0, 1.0], [0.1, 3.0, 1.0], [0.6, 3.0, 1.0], [4.0, 3.0, 0.01], [4.0, 3.0, 5.99]])
    labels = dr.cluster_labels(position, species, BOX, criterion="li-bridge")
    assert labels[0] == labels[2] == 0
    assert labels[1] == -1
    assert labels[3] != labels[4]


def test_five_largest_mean_counts_six_atoms_per_bead():
    labels = np.array([[0, 0, 0, 1, 1, 2, 3, 4, 5, -1], [0, 0, 0, 0, 0, 0, 0, 0, 0, -1]])
    np.testing.assert_allclose(dr.five_largest_mean(labels), [6 * (3 + 2 + 1 + 1 + 1) / 5, 54.0])
    np.testing.assert_array_equal(dr.in_droplet(labels, 3)[0], [True] * 3 + [False] * 7)
    np.testing.assert_array_equal(dr.in_droplet(labels[0], 2), [True] * 5 + [False] * 5)


def two_disc_union(radius, separation):
    lens = 2 * radius**2 * math.acos(separation / (2 * radius)) - separation / 2 * math.sqrt(
        4 * radius**2 - separation**2
    )
    return 2 * math.pi * radius**2 - lens


def test_projected_area_of_one_and_two_discs_also_across_the_boundary():
    rng = np.random.default_rng(2)
    radius, h = 0.45, 0.05
    one, two, tolerance = [], [], 0.7 * h**2 * math.sqrt(radius / h)
    for _ in range(200):
        centre = rng.uniform(size=2) * BOX[:2]
        angle = rng.uniform(0, 2 * math.pi)
        other = centre + 0.6 * np.array([math.cos(angle), math.sin(angle)])
        one.append(dr.projected_area(centre[None], BOX, radius, grid_spacing_nm=h))
        two.append(dr.projected_area(np.stack([centre, other]) % BOX[:2], BOX, radius, grid_spacing_nm=h))
    # The docstring's error, and no bias: uniform centres make the grid count unbiased.
    assert np.std(one) < tolerance
    assert abs(np.mean(one) - math.pi * radius**2) < 4 * np.std(one) / math.sqrt(200)
    assert abs(np.mean(two) - two_disc_union(radius, 0.6)) < 4 * np.std(two) / math.sqrt(200)


def test_projected_area_is_the_same_wherever_the_grid_is_hit_equally():
    blob = np.random.default_rng(3).normal(size=(40, 2)) * 0.8
    h = BOX[:2] / np.ceil(BOX[:2] / 0.05)
    middle = dr.projected_area(blob + 3.5, BOX, 0.45)
    edge = dr.projected_area((blob + 3.5 + h * np.array([90, 70])) % BOX[:2], BOX, 0.45)
    assert middle == pytest.approx(edge, rel=1e-12)


def test_small_holes_are_filled_and_large_ones_are_not():
    def ring(big, n):
        angle = 2 * math.pi * np.arange(n) / n
        return np.stack([big * np.cos(angle), big * np.sin(angle)], axis=1) + np.array([0.1, 0.2])

    small, large = ring(0.7, 12) % BOX[:2], ring(2.0, 40) % BOX[:2]
    filled = dr.projected_area(small, BOX, 0.45)
    disc = dr.projected_area(np.concatenate([small, [[0.1, 0.2]]]), BOX, 0.45)
    assert filled == pytest.approx(disc, rel=1e-12)
    # A hole larger than a disc stays open, also where the corner of the box cuts it into small pieces.
    corner = ring(1.05, 24) - np.array([0.1, 0.2])
    shift = BOX[:2] / np.ceil(BOX[:2] / 0.05) * np.array([80, 70])
    inside = dr.projected_area(corner + shift, BOX, 0.45)
    assert dr.projected_area(corner % BOX[:2], BOX, 0.45) == pytest.approx(inside, rel=1e-12)
    assert inside < dr.projected_area(np.concatenate([corner, corner * 0]) + shift, BOX, 0.45) - 0.4
    # The hole of the large ring, radius about 1.55, stays open.
    assert dr.projected_area(large, BOX, 0.45) == pytest.approx(math.pi * (2.45**2 - 1.55**2), rel=0.03)


def ball(rng, n, radius):
    x = rng.normal(size=(n, 3))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * radius * rng.uniform(size=(n, 1)) ** (1 / 3)


def test_unwrapping_gives_back_a_ball_that_was_cut_by_the_boundary():
    rng = np.random.default_rng(4)
    points = ball(rng, 200, 1.5) + np.array([7.9, 0.1, 3.0])
    wrapped = points.copy()
    wrapped[:, :2] %= BOX[:2]
    edges = dr.contact_edges(wrapped, np.ones(200, int), BOX, criterion="s6-contact")
    whole, percolating = dr.unwrap_cluster(wrapped, edges, BOX)
    assert not percolating
    np.testing.assert_allclose(whole - whole.mean(0), points - points.mean(0), atol=1e-9)


def test_a_cluster_that_touches_its_image_is_flagged():
    line = np.stack([np.arange(0, 8, 0.5), np.full(16, 3.0), np.full(16, 2.0)], axis=1)
    edges = dr.contact_edges(line, np.ones(16, int), BOX, criterion="s6-contact")
    assert dr.unwrap_cluster(line, edges, BOX)[1]
    edges = dr.contact_edges(line[:-3], np.ones(13, int), BOX, criterion="s6-contact")
    assert not dr.unwrap_cluster(line[:-3], edges, BOX)[1]


def test_a_droplet_that_crosses_the_boundary_keeps_identity_and_moves_continuously():
    rng = np.random.default_rng(5)
    shape = ball(rng, 60, 1.0)
    frames = 40
    path = np.array([1.0, 1.0, 2.0]) + np.arange(frames)[:, None] * np.array([0.5, -0.3, 0.02])
    position = shape[None] + path[:, None]
    position[..., :2] %= BOX[:2]
    species = np.ones((frames, 60), int)
    species[20:, :7] = dr.LI2S
    (track,) = dr.track_droplets(position, species, BOX, np.arange(frames) * 2.0, 10)
    assert track.onset_window is None
    moved = track.centroid - track.centroid[0]
    np.testing.assert_allclose(moved, path - path[0], atol=1e-9)
    np.testing.assert_allclose(track.radius_of_gyration, np.sqrt(np.sum((shape - shape.mean(0)) ** 2) / 60), rtol=1e-9)
    np.testing.assert_array_equal(track.size, 60)
    np.testing.assert_array_equal(track.n_converted, [0] * 20 + [7] * 20)
    np.testing.assert_allclose(track.z_min, (shape[:, 2].min() + path[:, 2]), atol=1e-12)
    np.testing.assert_allclose(track.z_com, track.centroid[:, 2])
    before = track.projected_area[:20]
    assert np.std(before) / np.mean(before) < 0.01  # grid noise only


def scene():
    """Two compact droplets A (beads 0-29) and B (30-49), and ten spare beads far from each other."""
    rng = np.random.default_rng(6)
    a, b = ball(rng, 30, 0.9), ball(rng, 20, 0.8)
    spare = np.stack(
        [np.repeat([1.0, 3.0, 5.0, 7.0], 3)[:10], np.tile([1.0, 3.5, 6.0], 4)[:10], np.full(10, 5.8)], axis=1
    )
    return a, b, spare


def frame_of(a_at, b_at):
    a, b, spare = scene()
    out = np.concatenate([a + np.array(a_at), b + np.array(b_at), spare])
    out[:, :2] %= BOX[:2]
    return out


def scattered():
    """No droplet: all beads on a grid wider than the contact distance."""
    grid = np.stack(np.meshgrid(np.arange(6) * 1.3 + 0.1, np.arange(5) * 1.3 + 0.1, np.arange(2) * 1.5 + 0.3), axis=-1)
    return grid.reshape(-1, 3)[:60]


def test_onset_gap_merger_and_split_are_recorded():
    apart, touching = frame_of([2, 2, 1.5], [6, 5, 1.5]), frame_of([2, 2, 1.5], [3.2, 2, 1.5])
    only_a = frame_of([2, 2, 1.5], [6, 5, 1.5])
    only_a[30:50] = scattered()[:20] * np.array([1, 1, 0]) + np.array([0, 0, 4.0])
    frames = [scattered(), apart, only_a, apart, touching, touching, apart]
    position, species = np.stack(frames), np.ones((7, 60), int)
    time = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    tracks = dr.track_droplets(position, species, BOX, time, 15)
    assert [t.identity for t in tracks] == [0, 1, 2]
    a, b, again = tracks
    np.testing.assert_array_equal(a.frame, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(a.size, [30, 30, 30, 50, 50, 30])
    assert a.onset_window == (0.0, 1.0)
    np.testing.assert_array_equal(b.frame, [1, 3])
    assert b.merged_into == (4.0, 0)
    assert a.absorbed == ((4.0, 1),)
    assert again.split_from == 0
    np.testing.assert_array_equal(again.frame, [6])
    assert again.onset_window == (5.0, 6.0)
    # With no gap allowed the second droplet is a new one when it comes back.
    assert len(dr.track_droplets(position[:4], species[:4], BOX, time[:4], 15, maximum_gap=0)) == 3


def test_bad_input_is_refused():
    good, species = scattered()[None], np.ones((1, 60), int)
    with pytest.raises(AnalysisError, match="frames, beads, 3"):
        dr.track_droplets(good[0], species, BOX, [0.0], 5)
    with pytest.raises(AnalysisError, match="species has shape"):
        dr.cluster_labels_series(good, species[:, :5], BOX)
    with pytest.raises(AnalysisError, match="not finite in frame 0"):
        dr.cluster_labels_series(good * np.nan, species, BOX)
    with pytest.raises(AnalysisError, match="increasing"):
        dr.track_droplets(np.repeat(good, 2, 0), np.repeat(species, 2, 0), BOX, [1.0, 1.0], 5)
    with pytest.raises(AnalysisError, match="contact reach"):
        dr.cluster_labels(good[0], species[0], [2.0, 8.0, 8.0])
    with pytest.raises(AnalysisError, match="unknown"):
        dr.cluster_labels(good[0], species[0], BOX, criterion="any")  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="positive"):
        dr.projected_area(good[0][:, :2], BOX, 0.0)


def test_species_codes_are_those_of_the_program():
    from dropsim import system

    assert (dr.LI, dr.S6, dr.TFSI, dr.LI2S) == (system.LI, system.S6, system.TFSI, system.LI2S)
