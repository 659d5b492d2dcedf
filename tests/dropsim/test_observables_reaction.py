"""What is read off a reacting droplet: charge in thirds, spectral gap, conversion, grains, currents; each against
a naive calculation or a closed form."""

import math

import numpy as np
import pytest
from scipy.linalg import expm

from dropsim.errors import AnalysisError
from dropsim.observables import charge_distribution as cd
from dropsim.observables import collectivity as co
from dropsim.observables import conversion as cv
from dropsim.observables import electrochemistry as ec
from dropsim.observables import grains as gr
from dropsim.observables.droplets import LI, LI2S, LI2S2, S6, TFSI, VACANT
from dropsim.observables.statistics import proportion_estimate

BOX = np.array([8.0, 7.0, 6.0])


def nearest_image(d):
    d = d.copy()
    d[..., :2] -= BOX[:2] * np.round(d[..., :2] / BOX[:2])
    return d


# --- charge in thirds ----------------------------------------------------------------------------------------


def test_distance_to_centres_is_that_over_all_images():
    rng = np.random.default_rng(0)
    points, centres = rng.uniform(size=(60, 3)) * BOX, rng.uniform(size=(7, 3)) * BOX
    naive = np.linalg.norm(nearest_image(points[:, None] - centres[None]), axis=-1).min(axis=1)
    np.testing.assert_allclose(cd.distance_to_centres(points, centres, BOX), naive, rtol=1e-12)
    with pytest.raises(AnalysisError, match="no wired centre"):
        cd.distance_to_centres(points, np.zeros((0, 3)), BOX)


def test_thirds_by_count():
    distance = np.array([0.3, 0.1, 0.9, 0.5, 0.5, 0.7, 0.2])
    electrons = np.array([4, 9, 1, 2, 8, 0, 6])
    # Ranked 1, 6, 0 | 3, 4 (a tie, by index) | 5, 2: seven units, the first third has the one that is left over.
    np.testing.assert_allclose(cd.thirds(electrons, distance), [19 / 3, 5.0, 0.5])
    with pytest.raises(AnalysisError, match="at least three"):
        cd.thirds([1, 2], [0.1, 0.2])


def hypergeometric_deal(rng, pool, n):
    return np.bincount(rng.permutation(np.repeat(np.arange(n), 10))[:pool], minlength=n)


def test_a_well_mixed_droplet_has_no_difference_and_its_interval_says_so():
    """Pools dealt over all slots: 300 droplets, each 40 frames of 23 units whose pool grows. The mean difference over
    all is zero within its error, and 95 % of the intervals hold zero (binomial error 1.3 %)."""
    rng = np.random.default_rng(1)
    hits, differences = 0, []
    for _ in range(300):
        frames = np.array(
            [cd.thirds(hypergeometric_deal(rng, 20 + 2 * t, 23), rng.uniform(size=23)) for t in range(40)]
        )
        found = cd.charge_thirds(np.arange(40.0), frames, np.full(40, 23))
        low, high = found.difference.interval_95
        hits += low <= 0.0 <= high
        differences.append(found.difference.value)
    assert abs(np.mean(differences)) < 4 * np.std(differences) / math.sqrt(300)
    assert abs(hits / 300 - 0.95) < 4 * 0.0126


def test_slow_hopping_shows_as_a_positive_difference():
    """Exact means of the hopping process on a path of 30 units with a contact at one end: the difference of the thirds
    is recovered within its error from Poisson-like draws, and is far from zero."""
    n, k_in, hop = 30, 0.02, 0.01
    laplacian = np.diag([1.0] + [2.0] * (n - 2) + [1.0]) - np.eye(n, k=1) - np.eye(n, k=-1)
    generator = -10 * hop * laplacian
    generator[0, 0] -= k_in
    source = np.zeros(n)
    source[0] = 10 * k_in
    mean = np.linalg.solve(generator, (expm(generator * 300.0) - np.eye(n)) @ source)
    rng = np.random.default_rng(2)
    frames = np.array([cd.thirds(rng.binomial(10, mean / 10), np.arange(n)) for _ in range(60)])
    found = cd.charge_thirds(np.arange(60.0), frames, np.full(60, n))
    expected = mean[:10].mean() - mean[20:].mean()
    assert expected > 1.0
    assert abs(found.difference.value - expected) < 4 * found.difference.standard_error
    for estimate, part in zip(found.mean, (mean[:10], mean[10:20], mean[20:]), strict=True):
        assert abs(estimate.value - part.mean()) < 4.5 * estimate.standard_error
    assert "stay near the centres" in cd.sharing_verdict(found.difference, mean.mean())


def test_verdicts_on_sharing_and_too_few_frames():
    rng = np.random.default_rng(3)
    frames = np.array([cd.thirds(hypergeometric_deal(rng, 60, 30), np.arange(30)) for _ in range(200)])
    found = cd.charge_thirds(np.arange(200.0), frames, np.full(200, 30))
    assert "shared by the whole droplet" in cd.sharing_verdict(found.difference, 2.0)
    assert "too few data" in cd.sharing_verdict(found.difference, 0.05)
    draining = cd.charge_thirds(np.arange(200.0), frames + np.array([-1.0, 0.0, 0.0]), np.full(200, 30))
    assert "lacking near the centres" in cd.sharing_verdict(draining.difference, 2.0)
    with pytest.raises(AnalysisError, match="record more often"):
        cd.charge_thirds(np.arange(5.0), frames[:5], np.full(5, 30))


def test_radial_charge_of_a_known_profile():
    rng = np.random.default_rng(4)
    positions = [rng.normal(size=(200, 3)) for _ in range(50)]
    electrons = [rng.binomial(10, np.exp(-np.linalg.norm(p, axis=1))) for p in positions]
    found = cd.radial_charge(positions, electrons, n_shells=5)
    radius, held = np.linalg.norm(np.concatenate(positions), axis=1), np.concatenate(electrons)
    edges = np.quantile(radius, np.linspace(0, 1, 6))
    for k in range(5):
        inside = (radius >= edges[k]) & (radius <= edges[k + 1])
        assert found.electrons[k] == pytest.approx(held[inside].mean(), rel=1e-3)
        exact = np.mean(10 * np.exp(-radius[inside]))
        assert abs(found.electrons[k] - exact) < 5 * found.standard_error[k]
    np.testing.assert_allclose(found.units.sum(), 200.0)
    with pytest.raises(AnalysisError, match="cannot fill"):
        cd.radial_charge([np.zeros((2, 3))], [np.zeros(2)], n_shells=5)


# --- collectivity --------------------------------------------------------------------------------------------


def path(n):
    return np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)


def complete(n):
    return np.stack(np.triu_indices(n, 1), axis=1)


@pytest.mark.parametrize(
    ("edges", "n", "expected"),
    [
        (path(7), 7, 2 - 2 * math.cos(math.pi / 7)),
        (np.vstack([path(9), [[0, 8]]]), 9, 2 - 2 * math.cos(2 * math.pi / 9)),
        (complete(6), 6, 6.0),
        (np.array([[0, k] for k in range(1, 8)]), 8, 1.0),
        (np.array([[0, 1], [2, 3]]), 4, 0.0),
        (np.zeros((0, 2), int), 3, 0.0),
        (np.zeros((0, 2), int), 1, math.inf),
        (path(1200), 1200, 2 - 2 * math.cos(math.pi / 1200)),  # by shift and invert
    ],
)
def test_spectral_gap_of_known_graphs(edges, n, expected):
    assert co.spectral_gap(edges, n) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_sparse_and_dense_gaps_agree():
    rng = np.random.default_rng(5)
    points = rng.uniform(size=(900, 3)) * 6.0
    near = np.argwhere(np.triu(np.linalg.norm(points[:, None] - points[None], axis=-1) < 1.2, 1))
    sparse = co.spectral_gap(near, 900)
    adjacency = np.zeros((900, 900))
    adjacency[near[:, 0], near[:, 1]] = adjacency[near[:, 1], near[:, 0]] = 1.0
    values = np.linalg.eigvalsh(np.diag(adjacency.sum(axis=1)) - adjacency)
    assert sparse == pytest.approx(values[1], rel=1e-7)
    assert sparse > 0.01


def test_the_gap_is_the_slowest_rate_at_which_electrons_level_out():
    """Late decay of d<n>/dt = -M k_h L <n> from any uneven start is M k_h lambda_2."""
    n, hop = 12, 0.03
    laplacian = np.diag([1.0] + [2.0] * (n - 2) + [1.0]) - np.eye(n, k=1) - np.eye(n, k=-1)
    start = np.zeros(n)
    start[0] = 10.0
    uneven = [np.linalg.norm(expm(-10 * hop * laplacian * t) @ start - start.mean()) for t in (200.0, 201.0)]
    assert math.log(uneven[0] / uneven[1]) == pytest.approx(10 * hop * co.spectral_gap(path(n), n), rel=1e-4)


def test_the_liquid_graph_is_that_of_a_naive_search():
    """Random beads: S6 joined below 1.05 nm or by one Li within 0.63 nm of both; solid and dissolved units, vacant
    Li slots and TFSI join nothing."""
    rng = np.random.default_rng(6)
    species = np.repeat([S6, LI2S, LI2S2, LI, VACANT, TFSI], [60, 15, 10, 90, 40, 10])
    sizes = set()
    for _ in range(6):
        position = rng.uniform(size=(species.size, 3)) * BOX
        s = np.flatnonzero(species == S6)
        li = np.flatnonzero(species == LI)
        between = np.linalg.norm(nearest_image(position[s][:, None] - position[s][None]), axis=-1) < 1.05
        touch = np.linalg.norm(nearest_image(position[s][:, None] - position[li][None]), axis=-1) < 0.63
        joined = (between | ((touch.astype(int) @ touch.T.astype(int)) > 0)) & ~np.eye(60, dtype=bool)
        reach = np.linalg.matrix_power(np.eye(60) + joined, 60) > 0
        best = int(np.argmax(reach.sum(axis=1)))
        graph = co.largest_liquid_graph(position, species, BOX)
        np.testing.assert_array_equal(graph.members, s[reach[best]])
        inside = joined[np.ix_(reach[best], reach[best])]
        assert {tuple(sorted(e)) for e in graph.edges} == {tuple(e) for e in np.argwhere(np.triu(inside))}
        sizes.add(graph.members.size)
        hard = np.flatnonzero(species == LI2S)
        near = np.linalg.norm(nearest_image(position[s][:, None] - position[hard][None]), axis=-1) < 1.05
        shared_li = np.linalg.norm(nearest_image(position[hard][:, None] - position[li][None]), axis=-1) < 0.63
        near |= (touch.astype(int) @ shared_li.T.astype(int)) > 0
        assert graph.touches_solid == near[reach[best]].any()
        low = position[:, 2] < 2.0
        adsorbed = co.largest_liquid_graph(position, species, BOX, exclude=low)
        assert not np.isin(adsorbed.members, np.flatnonzero(low)).any()
    assert len(sizes) > 1
    with pytest.raises(AnalysisError, match="no liquid"):
        co.largest_liquid_graph(position, np.full(species.size, LI2S), BOX)


def test_charging_time_and_index():
    assert co.charging_time(50, 4, 0.25) == 50.0
    assert math.isinf(co.charging_time(50, 0, 0.25))
    assert co.collectivity_index(0.2, 0.05, 50.0) == pytest.approx(5.0)
    assert math.isinf(co.collectivity_index(math.inf, 0.05, 50.0))
    assert co.collectivity_index(0.0, 0.05, math.inf) == 0.0
    assert co.collectivity_index(math.inf, 0.0, 1.0) == 0.0


# --- conversion ----------------------------------------------------------------------------------------------

INJECTED, NUCLEATED, TURNED, RELEASED = 0, 2, 3, 4


def table(*rows):
    """(time, kind, droplet, members, count, before, after) rows as a table."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * 7
    return cv.EventTable(np.asarray(columns[0], float), *(np.asarray(c, np.int64) for c in columns[1:]))


EVENTS = table(
    (1.0, INJECTED, 3, 10, 25, 0, 25),  # x = 0.25, above; then neutral units join
    (2.0, INJECTED, 3, 20, 5, 25, 30),  # x = 0.15
    (2.0, INJECTED, 9, 4, 9, 0, 9),  # another droplet
    (3.0, INJECTED, 3, 20, 15, 30, 45),  # x = 0.225: the crossing that counts
    (4.0, NUCLEATED, 3, 20, 1, 45, 45),
    (4.0, TURNED, 3, 20, 4, 45, 45),
    (5.0, RELEASED, 30, 1, 1, 0, 4),
    (6.0, TURNED, 3, 20, 5, 80, 95),
    (7.0, TURNED, 31, 1, 1, 9, 10),
    (8.0, TURNED, 3, 20, 10, 95, 200),
)


def test_times_of_a_conversion():
    time, solid = np.arange(0.5, 12.5, 0.5), np.zeros(24, int)
    solid[time >= 4.0] = 4
    solid[time >= 6.0] = 9
    solid[time >= 7.0] = 18
    solid[time >= 8.0] = 20
    solid[time >= 10.0] = 12  # dissolved again
    found = cv.conversion_times(EVENTS, NUCLEATED, time, solid, 0.2)
    assert found == cv.ConversionTimes(threshold=3.0, nucleation=4.0, ninety=7.0, full=8.0, solid=20)
    # Above from the first row on, and from below in it.
    assert cv.conversion_times(EVENTS, NUCLEATED, time, solid, 0.1).threshold == 1.0
    assert cv.conversion_times(EVENTS, NUCLEATED, time, solid, 0.5).threshold is None
    nothing = cv.conversion_times(table(), NUCLEATED, time, 0 * solid, 0.2)
    assert nothing == cv.ConversionTimes(None, None, None, None, 0)
    with pytest.raises(AnalysisError, match="one length"):
        cv.conversion_times(EVENTS, NUCLEATED, time, solid[1:], 0.2)


def test_a_droplet_that_begins_above_the_threshold_has_no_crossing():
    events = table((1.0, INJECTED, 0, 10, 1, 50, 51), (2.0, NUCLEATED, 0, 10, 1, 51, 51))
    assert cv.conversion_times(events, NUCLEATED, [1.0, 2.0], [0, 0], 0.2).threshold is None


def test_collective_and_single():
    together, total, share = cv.collective_share(EVENTS, TURNED)
    assert (together, total) == (19, 20)
    low, high = share.interval_95
    assert share.value == pytest.approx(0.95)
    assert low < 0.95 < high <= 1.0
    assert share.interval_95 == proportion_estimate(19, 20, "m").interval_95
    with pytest.raises(AnalysisError, match="no unit turned"):
        cv.collective_share(table(), TURNED)


def test_order_of_appearance():
    single = cv.order_of_appearance(EVENTS, RELEASED, TURNED)
    assert (single.intermediate, single.solid) == (5.0, 4.0)
    assert single.verdict == "Li2S appeared 1 before Li2S2"
    turned = (6.0, TURNED, 3, 20, 5, 80, 95)
    released = (5.0, RELEASED, 30, 1, 1, 0, 4)
    assert cv.order_of_appearance(table(released, turned), RELEASED, TURNED).verdict.endswith("two-step")
    assert cv.order_of_appearance(table(turned), RELEASED, TURNED).verdict.endswith("single-step")
    assert "did not" in cv.order_of_appearance(table(released), RELEASED, TURNED).verdict
    assert "neither" in cv.order_of_appearance(table(), RELEASED, TURNED).verdict


def test_share_of_converted_droplets():
    labels = np.repeat([0, 1, 2, 3, -1], [10, 8, 8, 2, 4])
    species = np.full(labels.size, S6)
    species[:9] = LI2S  # nine of ten
    species[10:13] = LI2S  # three of eight
    species[18:22] = LI2S  # half of eight
    species[26:28] = LI2S  # too small to count
    converted, droplets, share = cv.converted_share(labels, species, 8)
    assert (converted, droplets) == (2, 3)
    assert share.value == pytest.approx(2 / 3)
    with pytest.raises(AnalysisError, match="no droplet"):
        cv.converted_share(labels, species, 50)


def test_proportions_cover():
    """Wilson's interval holds the true share 95 % of the time within 1.5 % (its own discreteness) at n = 40."""
    rng = np.random.default_rng(7)
    for p in (0.05, 0.5):
        hits = 0
        for k in rng.binomial(40, p, 2000):
            low, high = proportion_estimate(int(k), 40, "m").interval_95
            hits += low <= p <= high
        assert abs(hits / 2000 - 0.95) < 0.015 + 3 * 0.005
    with pytest.raises(AnalysisError, match="no share"):
        proportion_estimate(0, 0, "m")


def test_cumulative_events():
    time = np.array([0.5, 2.0, 4.0, 9.0])
    found = cv.cumulative_events(EVENTS, [INJECTED, TURNED, 7], time)
    np.testing.assert_array_equal(found, [[0, 39, 54, 54], [0, 0, 4, 20], [0, 0, 0, 0]])


# --- grains --------------------------------------------------------------------------------------------------


def test_grains_take_the_units_nearest_to_them_and_lose_none():
    rng = np.random.default_rng(8)
    units, nuclei = rng.uniform(size=(80, 3)) * BOX, rng.uniform(size=(5, 3)) * BOX
    naive = np.argmin(np.linalg.norm(nearest_image(units[:, None] - nuclei[None]), axis=-1), axis=1)
    found = gr.grains_of_nuclei(units, nuclei, BOX)
    np.testing.assert_array_equal(found.nucleus[found.label], naive)
    assert found.units.sum() == 80
    np.testing.assert_array_equal(found.units, np.bincount(found.label))
    # The cube of the volume of 6 Li2S, 45.7 A^3 each: 12 units are below 1.5 nm, 13 are not.
    np.testing.assert_allclose(found.size_nm**3, found.units * 0.2742)
    np.testing.assert_array_equal(found.amorphous, found.units <= 12)
    np.testing.assert_allclose(np.linalg.norm(found.quaternion, axis=1), 1.0)
    np.testing.assert_array_equal(found.quaternion, gr.grains_of_nuclei(units, nuclei, BOX).quaternion)
    assert not np.array_equal(found.quaternion, gr.grains_of_nuclei(units, nuclei, BOX, seed=1).quaternion)
    assert gr.grain_size_nm(12) < 1.5 < gr.grain_size_nm(13)
    with pytest.raises(AnalysisError, match="make no grains"):
        gr.grains_of_nuclei(units, np.zeros((0, 3)), BOX)


def test_a_unit_belongs_to_a_nucleus_of_its_own_droplet():
    units = np.array([[1.0, 1.0, 1.0], [2.9, 1.0, 1.0], [4.5, 1.0, 1.0]])
    nuclei = np.array([[1.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
    found = gr.grains_of_nuclei(units, nuclei, BOX, droplet=[0, 0, 5], nucleus_droplet=[0, 1])
    # The second unit stays in its droplet, the third has no nucleus of its own and takes the nearest.
    np.testing.assert_array_equal(found.nucleus[found.label], [0, 0, 1])


def test_the_nucleus_is_the_solid_unit_nearest_to_a_centre_when_it_is_first_seen():
    time = np.arange(4.0)
    solid = np.zeros((4, 6), bool)
    solid[2:, [1, 2]] = True
    solid[3, 5] = True
    label = np.tile([0, 0, 0, 1, 1, 1], (4, 1))
    distance = np.tile([0.1, 0.9, 0.5, 0.2, 0.2, 0.2], (4, 1))
    found = gr.first_solid_units(time, solid, label, distance, [1.2, 1.2, 3.5], [0, 3, 3])
    assert found == [(2, 2), (3, 5)]


# --- currents ------------------------------------------------------------------------------------------------


def test_units_of_current_and_charge():
    np.testing.assert_allclose(ec.current_fA(1.0), 1.602176634e8)
    # 1 e/ps on 100 nm^2 is 1.6e-7 A on 1e-12 cm^2.
    np.testing.assert_allclose(ec.current_density_uA_per_cm2(1.0, 100.0), 1.602176634e11)
    assert ec.charge_mC_per_cm2(1.0, 100.0) == pytest.approx(1.602176634e-4)
    # Ten electrons on six S: 10 F / (3.6 x 192.36 g/mol); all sixteen of S8 would be 1672 mAh/g.
    assert ec.capacity_mAh_per_g(10, 1) == pytest.approx(1393.3, abs=0.1)
    assert ec.capacity_mAh_per_g(12, 1) == pytest.approx(1672.0, abs=0.2)
    with pytest.raises(AnalysisError, match="area of the electrode"):
        ec.current_density_uA_per_cm2(1.0, 0.0)


def test_charges_of_interval_means_are_exact():
    rng = np.random.default_rng(9)
    time = np.cumsum(rng.uniform(0.1, 0.5, 200))
    electrons = rng.integers(-3, 6, 200)
    current = electrons / np.diff(time, prepend=0.0)
    np.testing.assert_allclose(
        ec.passed_charge(time, current, np.diff(time, prepend=0.0)), np.cumsum(electrons), atol=1e-9
    )
    potential = np.repeat([-0.1, np.nan, 0.2, -0.3], 50)
    parts = ec.half_cycles(time, current, potential, width=np.diff(time, prepend=0.0))
    assert [p.kind for p in parts] == ["reduction", "rest", "oxidation", "reduction"]
    np.testing.assert_allclose([p.charge for p in parts], electrons.reshape(4, 50).sum(axis=1), atol=1e-9)
    assert parts[0].peak_current == current[:50].max()
    assert parts[2].peak_current == current[100:150].min()
    assert math.isnan(parts[1].peak_current)
    assert (parts[0].start, parts[0].end, parts[1].start) == (0.0, time[49], time[49])
    (cycle,) = ec.cycles(parts, potential)
    assert cycle.balance == pytest.approx(-electrons[100:150].sum() / electrons[:50].sum())
    assert math.isnan(cycle.peak_gap)  # held potentials have no peak gap


def test_a_rest_does_not_divide_a_cycle():
    """Reduced by 10 e, a rest, by 20 e more; oxidised by 6 e, a rest, by 18 e: one cycle of 30 e in and 24 e out."""
    potential = np.repeat([-0.1, np.nan, -0.2, 0.2, np.nan, 0.3, -0.1], 2)
    current = np.repeat([5.0, 0.0, 10.0, -3.0, 0.0, -9.0, 7.0], 2)
    parts = ec.half_cycles(np.arange(1.0, 15.0), current, potential)
    (cycle,) = ec.cycles(parts, potential)
    assert (cycle.reduced, cycle.oxidised, cycle.balance) == (30.0, 24.0, 0.8)
    assert ec.cycles(parts[:3], potential) == []


def test_without_current_there_is_no_peak():
    potential = np.concatenate([np.linspace(-0.1, -0.3, 4), np.linspace(0.1, 0.3, 4)])
    idle = ec.half_cycles(np.arange(1.0, 9.0), np.array([0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), potential)
    assert idle[0].peak_current == 2.0
    assert math.isnan(idle[1].peak_current)
    assert math.isnan(idle[1].peak_time)
    (cycle,) = ec.cycles(idle, potential)
    assert math.isnan(cycle.peak_gap)
    assert math.copysign(1.0, cycle.oxidised) == 1.0


def test_when_shares_of_a_charge_have_passed():
    # 1, 4, 9, 16, ... e: a tenth of 100 e after 3.2 rows, half after 7.1, so by the ends of rows 4 and 8.
    current = np.diff(np.arange(11.0) ** 2)
    time = 7.0 + 0.5 * np.arange(1, 11)
    for sign in (1.0, -1.0):
        found = ec.charge_times(time, np.full(10, 0.5), 2 * sign * current, [0.1, 0.5, 1.0])
        np.testing.assert_allclose(found, [2.0, 4.0, 5.0])
    assert np.isnan(ec.charge_times(time, np.full(10, 0.5), np.zeros(10), [0.5])).all()


def test_peaks_of_a_voltammogram():
    """Ramps -0.6..0.6 V and back with Gaussian peaks at -0.21 and 0.34 V: found to the spacing of the rows, and the
    gap is theirs; a mean over 41 rows (2.4 mV) moves none of it."""
    down = np.linspace(0.6, -0.6, 20001)
    potential = np.concatenate([down, down[::-1]])
    time = np.arange(1.0, potential.size + 1)
    current = np.concatenate(
        [3.0 * np.exp(-(((down + 0.21) / 0.1) ** 2)), -2.0 * np.exp(-(((down[::-1] - 0.34) / 0.1) ** 2))]
    )
    for rows in (1, 41):
        parts = ec.half_cycles(time, current, potential, smooth_rows=rows)
        reductions = [p for p in parts if p.kind == "reduction"]
        oxidations = [p for p in parts if p.kind == "oxidation"]
        assert (len(reductions), len(oxidations)) == (1, 2)
        assert reductions[0].peak_potential == pytest.approx(-0.21, abs=1e-4)
        assert oxidations[1].peak_potential == pytest.approx(0.34, abs=1e-4)
        (cycle,) = ec.cycles(parts, potential)
        assert cycle.peak_gap == pytest.approx(0.55, abs=2e-4)
    # Areas of the Gaussians, 3 and 2, cut at E0 where 0.3 % and 0.001 % of them lie on the other side.
    assert cycle.balance == pytest.approx(2 / 3, rel=5e-3)


def test_running_mean_is_the_naive_one():
    x = np.random.default_rng(10).normal(size=23)
    for rows in (1, 3, 7, 99):
        naive = [x[max(0, k - rows // 2) : k + rows // 2 + 1].mean() for k in range(23)]
        np.testing.assert_allclose(ec.running_mean(x, rows), naive, atol=1e-12)
    with pytest.raises(AnalysisError, match="odd"):
        ec.running_mean(x, 4)


def test_records_that_make_no_sense_are_refused():
    with pytest.raises(AnalysisError, match="increasing"):
        ec.passed_charge([1.0, 1.0], [0.0, 0.0])
    with pytest.raises(AnalysisError, match="positive length"):
        ec.interval_widths([1.0, 2.0], 0.0)
    np.testing.assert_array_equal(ec.interval_widths([1.0, 3.0, 4.0]), [2.0, 2.0, 1.0])
    with pytest.raises(AnalysisError, match="one length"):
        ec.half_cycles([1.0, 2.0], [0.0, 0.0], [0.1])


def test_coverage_of_the_electrode():
    species = np.array([[S6, LI2S, LI2S2, S6, LI]])
    position = np.array([[[2, 2, 0.5], [4, 4, 0.5], [6, 2, 0.5], [6, 5, 3.0], [1, 5, 0.3]]], float)
    found = ec.electrode_coverage(position, species, BOX, grid_spacing_nm=0.02)
    area = BOX[0] * BOX[1]
    # Two discs of 0.3 nm and one of 0.25; the fourth is too high, and Li is no sulfur.
    assert found.sulfur[0] == pytest.approx(math.pi * (2 * 0.09 + 0.0625) / area, rel=0.01)
    assert found.solid[0] == pytest.approx(math.pi * 0.0625 / area, rel=0.015)
    np.testing.assert_array_equal(ec.frames_at([1.0, 2.0, 4.0], [0.5, 2.0, 3.9, 9.0]), [0, 1, 1, 2])
