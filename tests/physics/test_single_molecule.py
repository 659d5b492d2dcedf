"""Reduction without centres against closed forms and its own mean field; ledgers exact in every realisation.

Sampled means are compared in standard errors; the limit of 4 (two-sided 6e-5) leaves all comparisons of this file
together below a few per cent of false alarms, and seeds are fixed.
"""

import dataclasses
import math

import numpy as np
import pytest

from dropsim import units
from dropsim.errors import SimulationError
from dropsim.kinetics import surface_chain as chain
from dropsim.kinetics.protocol import PotentialStep
from dropsim.kinetics.rods import reachable_share, reacting_area, rod_shape
from dropsim.kinetics.single_molecule import (
    SMALLEST_PARTICLE,
    first_layer,
    nucleus_size,
    particle_nucleation_rate,
    rod_nucleation_rate,
    simulate_single_molecules,
)
from dropsim.kinetics.single_molecule_ode import solve_patch
from dropsim.kinetics.single_molecule_parameters import SingleMoleculeParameters

LIMIT = 4.0
REDUCE = (PotentialStep(-0.5, 120.0),)
# No births: given particles and rods only.
CLOSED = {
    "nucleation_prefactor_per_nm3_s": 0.0,
    "rod_nucleation_prefactor_per_nm3_s": 0.0,
    "rod_capture_nm": 1e5,
}


def z_scores(sample, expected):
    """Standard errors between means over realisations (K, T) and expected (T,)."""
    sample = np.asarray(sample, dtype=float)
    error = sample.std(axis=0, ddof=1) / math.sqrt(len(sample))
    # Where no realisation differs from another the count is fixed: one unit counts as an error.
    return (sample.mean(axis=0) - expected) / np.maximum(error, 1.0 / len(sample))


# --- one adsorbed ion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("potential", [-0.12, 0.0, 0.05])
def test_adsorbed_ions_obey_detailed_balance(potential):
    """pi_n ~ binomial(10, n) exp(-n f eta), times b and 1 - b above n = 4: every pair of flows balances."""
    p = SingleMoleculeParameters(standard_potential_V=-0.03, branch_potential_V=-0.1)
    rates = chain.generator(p, potential, connected=True, oxidising=True)
    np.testing.assert_allclose(rates.sum(axis=1), 0.0, atol=1e-9 * np.abs(rates).max())
    share = p.single_step_share(potential)
    weight = np.array([math.comb(10, n) for n in chain.ELECTRONS[: chain.N_STATES]], dtype=float)
    weight *= np.exp(-chain.ELECTRONS[: chain.N_STATES] * p.reduced_overpotential(potential))
    weight[chain.INTERMEDIATE] *= 1.0 - share
    weight[chain.D4 : chain.N_STATES] *= share
    flow = weight[:, None] * rates[: chain.N_STATES, : chain.N_STATES]
    np.testing.assert_allclose(flow, flow.T, rtol=1e-10)


def test_reduction_of_one_ion():
    """The first electron waits exponentially with 10 k_in; all ten are in with (1 - e^{-k t})^10 where b = 1."""
    p = SingleMoleculeParameters(desorption_rate_per_s=0.0, branch_potential_V=50.0)
    rates = chain.generator(p, -0.5, connected=True, oxidising=False)
    k_in, k_out = p.surface_rates_per_s(-0.5)
    assert k_out < 1e-8 * k_in
    assert k_in == pytest.approx(0.02 * math.exp(0.04 * 0.5 / units.thermal_voltage_V(300.0)))
    for time in (1.0, 20.0, 60.0, 200.0):
        start, during = chain.transition_matrices(rates, time)
        np.testing.assert_allclose(start.sum(axis=1), 1.0, rtol=1e-12)
        assert start[chain.A0, chain.A0] == pytest.approx(math.exp(-10.0 * k_in * time), rel=1e-6, abs=1e-12)
        assert start[chain.A0, chain.DEPOSITED] == pytest.approx(
            (1 - math.exp(-k_in * time)) ** 10, rel=1e-5, abs=1e-11
        )
        if time > 20.0:
            continue  # a finer quadrature would be needed
        # Arrivals: the average over what is left of the interval.
        nodes, weights = np.polynomial.legendre.leggauss(60)
        parts = [chain.transition_matrices(rates, 0.5 * time * (1 + x))[0] for x in nodes]
        # D10 is deposited within a microsecond, which the quadrature does not resolve.
        rows = slice(0, chain.D10)
        np.testing.assert_allclose(during[rows], np.tensordot(0.5 * weights, parts, 1)[rows], atol=1e-7)


@pytest.mark.parametrize("potential", [0.5, 2.0, 5.0, 10.0])
def test_far_above_the_standard_potential_ions_lose_their_electrons_and_desorb(potential):
    """However fast the electrons leave, what is left desorbs at its own pace: 1 - e^{-k_d t} have gone after t."""
    p = SingleMoleculeParameters()
    rates = chain.generator(p, potential, connected=True, oxidising=True)
    k_in, k_out = p.surface_rates_per_s(potential)
    assert rates[chain.A0, chain.A0 + 1] / rates[chain.A0 + 1, chain.A0] == pytest.approx(10.0 * k_in / k_out)
    for time in (1e-3, 0.1, 1.0):
        gone = chain.transition_matrices(rates, time)[0][:, chain.LEFT]
        expected = 1.0 - math.exp(-p.desorption_rate_per_s * time)
        assert gone[chain.A0] == pytest.approx(expected, rel=1e-4)
        # Ten electrons leave within microseconds: at 0.5 V their k_out is 2e6 per second.
        assert gone[chain.D10] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("potential", "share"), [(-0.5, 0.5), (-0.1, 0.05)])
def test_share_of_the_single_step(potential, share):
    """b(E): half at -0.5 V, a twentieth at -0.1 V; what is not released becomes Li2S."""
    p = SingleMoleculeParameters(desorption_rate_per_s=0.0)
    rates = chain.generator(p, potential, connected=True, oxidising=False)
    end = chain.transition_matrices(rates, 1e4)[0][chain.A0]
    assert end[chain.DEPOSITED] + end[chain.RELEASED] == pytest.approx(1.0, abs=1e-6)
    # k_out returns some from n = 4 to the fork: at -0.1 V a few in a hundred.
    assert end[chain.DEPOSITED] == pytest.approx(p.single_step_share(potential), rel=0.1)
    assert p.single_step_share(potential) == pytest.approx(share, rel=0.01)


def test_open_circuit_and_ramps_pass_through_the_standard_potential():
    p = SingleMoleculeParameters()
    rest = chain.generator(p, 0.0, connected=False, oxidising=False)
    moved = rest[: chain.N_STATES] @ np.ones(chain.N_ALL)
    np.testing.assert_allclose(moved, 0.0, atol=1e-12)
    assert rest[chain.A0, chain.LEFT] > 0
    assert np.count_nonzero(np.triu(rest[: chain.N_STATES, : chain.N_STATES], 1)) == 0
    assert p.rod_uptake_velocity_nm_per_s(0.0) == 0.0
    assert p.rod_uptake_velocity_nm_per_s(0.3) == 0.0
    # Two electrons: the net uptake near E0 is k_r (-2 f eta).
    assert p.rod_uptake_velocity_nm_per_s(-1e-5) == pytest.approx(1e4 * 2e-5 / units.thermal_voltage_V(300.0), rel=1e-3)


def test_weak_dependence_on_the_potential():
    """alpha = 0.04: k_in at -0.1 V is about half of that at -0.5 V, as the paper's current on bare Ti."""
    p = SingleMoleculeParameters()
    ratio = p.surface_rates_per_s(-0.1)[0] / p.surface_rates_per_s(-0.5)[0]
    assert ratio == pytest.approx(math.exp(-0.04 * 0.4 / units.thermal_voltage_V(300.0)))
    assert 0.5 < ratio < 0.6


# --- shapes and nuclei -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.0, 3.0, 10.0])
def test_rods_grow_at_their_ends(ratio):
    volume = np.array([0.0, 0.2, 1.0, 5.0, 1e2, 1e4, 1e6])
    length, width = rod_shape(volume, 1.0, ratio)
    np.testing.assert_allclose(length * width**2, volume, rtol=1e-12)
    aspect = length[1:] / width[1:]
    assert np.all(np.diff(aspect) >= -1e-12)
    assert np.all((aspect >= 1.0 - 1e-12) & (aspect <= ratio + 1e-12))
    if ratio > 1.0:
        assert aspect[-1] > 0.9 * ratio
        # The ends move `ratio` times as fast as the sides.
        more, wider = rod_shape(volume[3:] * 1.001, 1.0, ratio)
        np.testing.assert_allclose((more - length[3:]) / (wider - width[3:]), ratio, rtol=1e-6)
    assert reacting_area(20.0, 5.0, 3.0, ratio) == 2 * 3.0 * (20.0 + ratio * 5.0)
    np.testing.assert_allclose(reachable_share(np.array([0.0, 1.0, 6.0]), 3.0), [0.0, 1.0, 0.5])


def test_nucleation_rates():
    p = SingleMoleculeParameters()
    assert p.barrier == pytest.approx(2 * math.pi / 3 * 1.0**3 / 0.06)
    assert particle_nucleation_rate(p, np.array([0.0, 1.0]))[1] == 0.0
    expected = p.nucleation_prefactor_per_nm3_s * p.film_volume_nm3 * math.exp(-p.barrier / math.log(4.0) ** 2)
    assert particle_nucleation_rate(p, 4.0) == pytest.approx(expected)
    # A nucleus is 1.2 R*, R* = l_c / ln S.
    size = 4 * math.pi / 3 * (1.2 / math.log(4.0)) ** 3 / 0.06
    assert nucleus_size(p, 4.0) == math.ceil(size)
    assert nucleus_size(p, 1e9) == SMALLEST_PARTICLE
    # The work of two electrons takes the barrier of rods away.
    plain = p.rod_nucleation_prefactor_per_nm3_s * p.film_volume_nm3 * 2.0
    assert rod_nucleation_rate(p, 2.0, -0.5) == pytest.approx(plain, rel=0.05)
    assert rod_nucleation_rate(p, 2.0, 0.0) < 1e-20 * plain
    assert rod_nucleation_rate(p, 0.0, -0.5) == 0.0


# --- the patch -------------------------------------------------------------------------------------------


def test_langmuir_coverage_at_rest():
    """theta/(1 - theta) = k_a c/(k_d Gamma) with the c that is left in the closed film."""
    p = SingleMoleculeParameters(area_um2=0.01, adsorption_velocity_nm_per_s=60.0, desorption_rate_per_s=1.0)
    rest = (PotentialStep(0.0, 20.0, open_circuit=True),)
    solution = simulate_single_molecules(5, p, rest, [15.0, 20.0], 64)
    total, sites = p.total_units, p.total_sites
    k = p.adsorption_velocity_nm_per_s / (p.desorption_rate_per_s * p.film_height_nm * p.site_density_per_nm2 / 1.0)
    # n = sites k' (total - n)/(1 + k' (total - n)), k' = k H/V per ion.
    per_ion = k / sites
    b = 1.0 + per_ion * (total + sites)
    adsorbed = (b - math.sqrt(b * b - 4.0 * per_ion**2 * total * sites)) / (2.0 * per_ion)
    assert 0.1 < adsorbed / sites < 0.5
    assert np.abs(z_scores(solution.n_adsorbed, adsorbed)).max() < LIMIT
    assert np.all(solution.net_e == 0)


def test_ledgers_of_cycles():
    """Sulfur, lithium and electrons to the last one: ten half cycles with ramps, rest, and supply from beside."""
    p = SingleMoleculeParameters(area_um2=0.3, exchange_rate_per_s=0.01)
    cycle = (
        PotentialStep(-0.5, 40.0),
        PotentialStep(-0.5, 2.0, potential_end_V=0.5),
        PotentialStep(0.5, 20.0),
        PotentialStep(0.0, 5.0, open_circuit=True),
        PotentialStep(0.2, 3.0, potential_end_V=-0.3),
    )
    times = np.linspace(0.0, 5 * 70.0, 71)
    solution = simulate_single_molecules(2, p, cycle * 5, times, 4, leap_s=0.2)
    for residual in (solution.sulfur_residual, solution.lithium_residual, solution.electron_residual):
        assert residual.dtype == np.int64
        assert np.all(residual == 0)
    assert solution.n_rods.max() > 0
    assert solution.n_particles.max() > 0
    assert np.all(solution.n_supplied[:, -1] != 0)
    assert np.all(solution.n_opened[:, -1] > 0)
    assert not solution.connected.all()
    assert min(v.min() for v in (solution.n_dissolved, solution.n_intermediate, solution.particle_molecules)) >= 0
    assert solution.rod_molecules.min() >= 0
    # Electrons are those of the current.
    charge = solution.current_fA[:, 1:] @ np.diff(times) / (units.ELEMENTARY_CHARGE_C * 1e15)
    np.testing.assert_allclose(charge, solution.net_e[:, -1], rtol=1e-9, atol=1e-6)


GIVEN = {"particles": (60000, 90000), "rods": (1200, 600), "dissolved_intermediate": 3000}
STEPS = (
    PotentialStep(-0.5, 40.0),
    PotentialStep(-0.1, 10.0),
    PotentialStep(0.0, 5.0, open_circuit=True),
    PotentialStep(0.5, 20.0),
)
TIMES = np.array([1.0, 5.0, 20.0, 39.0, 42.0, 49.0, 53.0, 55.5, 58.0, 62.0, 66.0])


@pytest.fixture(scope="module")
def mean_field():
    return solve_patch(SingleMoleculeParameters(**CLOSED), STEPS, TIMES, **GIVEN)


@pytest.fixture(scope="module")
def realisations():
    return simulate_single_molecules(11, SingleMoleculeParameters(**CLOSED), STEPS, TIMES, 64, leap_s=0.1, **GIVEN)


def test_mean_field_conserves_matter_and_charge(mean_field):
    scale = 6.0 * SingleMoleculeParameters().total_units
    for residual in (mean_field.sulfur_residual, mean_field.lithium_residual, mean_field.electron_residual):
        assert np.abs(residual).max() < 1e-10 * scale


def test_mean_of_the_jump_process(mean_field, realisations):
    """Reduction at two potentials, rest, and oxidation with given particles and rods."""
    s, m = realisations, mean_field
    pairs = {
        "dissolved": (s.n_dissolved, m.dissolved),
        "adsorbed": (s.n_adsorbed, m.states.sum(axis=1)),
        "electrons on ions": (s.adsorbed_states @ chain.ELECTRONS[:12], m.states @ chain.ELECTRONS[:12]),
        "li2s2": (s.n_intermediate, m.intermediate),
        "particle 1": (s.particle_molecules[:, :, 0], m.particles[:, 0]),
        "particle 2": (s.particle_molecules[:, :, 1], m.particles[:, 1]),
        "rod 1": (s.rod_molecules[:, :, 0], m.rods[:, 0]),
        "rod 2": (s.rod_molecules[:, :, 1], m.rods[:, 1]),
        "electrons": (s.net_e, m.net),
    }
    worst = {name: float(np.abs(z_scores(*pair)).max()) for name, pair in pairs.items()}
    assert max(worst.values()) < LIMIT, worst
    # Something happened in each part: growth, ripening, dissolution.
    assert m.rods[3].min() > 5 * 1200
    assert m.particles[-1, 0] < m.particles[5, 0]
    assert m.rods[-1].max() < 0.5 * m.rods[7].max()


def test_halving_the_leap_keeps_the_mean():
    p = SingleMoleculeParameters(area_um2=0.5)
    times = [20.0, 60.0, 120.0]
    coarse = simulate_single_molecules(21, p, REDUCE, times, 32, leap_s=0.1)
    fine = simulate_single_molecules(22, p, REDUCE, times, 32, leap_s=0.05)
    for name in ("n_adsorbed", "net_e", "n_direct", "n_particle_molecules", "n_rod_molecules"):
        a, b = (np.asarray(getattr(s, name), float) for s in (coarse, fine))
        error = np.sqrt((a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1)) / 32)
        assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) < LIMIT * error + 1e-9), name


def test_li2s2_comes_before_li2s_where_there_are_two_steps():
    """No single step: every Li2S was Li2S2, and in most realisations its particles are there before the rods."""
    p = SingleMoleculeParameters(branch_potential_V=-50.0)
    solution = simulate_single_molecules(4, p, (PotentialStep(-0.5, 240.0),), np.arange(0.0, 241.0, 2.0), 16)
    assert np.all(solution.n_direct == 0)
    has_rods = solution.n_transferred[:, -1] > 0
    assert has_rods.sum() >= 12
    assert np.isnan(solution.first_single_step_s).all()
    dissolved_first = np.argmax(solution.n_intermediate > 0, axis=1)
    rods_first = np.argmax(solution.n_rods > 0, axis=1)
    assert np.all((dissolved_first < rods_first)[has_rods])
    assert (solution.first_particle_s < solution.first_two_step_s)[has_rods].mean() > 0.6
    # The metastable particles ripen, and in the end feed the rods.
    ever = solution.n_particles.max(axis=1)
    assert ever.mean() > solution.n_particles[:, -1].mean()


def test_single_step_rods_at_strong_drive():
    both = simulate_single_molecules(6, SingleMoleculeParameters(), REDUCE, [60.0, 120.0], 16)
    weak = simulate_single_molecules(6, SingleMoleculeParameters(), (PotentialStep(-0.1, 120.0),), [60.0, 120.0], 16)
    strong_share, weak_share = both.single_step_share[:, -1], weak.single_step_share[:, -1]
    assert weak_share.mean() < 0.2
    assert 0.2 < strong_share.mean() < 0.7
    length, width = both.rod_length_width_nm
    aspect = length.max(axis=2) / width.max(axis=2)
    assert np.all(aspect[:, 1] > aspect[:, 0])
    # Current of half the strength at -0.1 V: alpha = 0.04.
    ratio = weak.net_e[:, -1].mean() / both.net_e[:, -1].mean()
    assert 0.3 < ratio < 0.7


def test_dissolution_is_slow_then_fast_and_easier_the_second_time():
    p = SingleMoleculeParameters(**CLOSED, opening_barrier_kT=3.0, surface_rate_constant_per_s=1e-6)
    rod = (120000,)
    down, up = PotentialStep(-1e-6, 1.0), PotentialStep(0.5, 30.0)
    times = np.arange(0.0, 31.0 + 1e-9, 0.5)
    first = simulate_single_molecules(9, p, (down, up), times, 16, rods=rod)
    rate = -np.diff(first.n_rod_molecules.mean(axis=0))
    start, peak = rate[2:4].mean(), int(np.argmax(rate))
    assert rate[peak] > 4.0 * start
    assert times[peak] > 4.0
    # The first layer opens with k_open e^{-W}: at the start N_1 k_b units a second.
    layer = float(first_layer(p, np.array(120000.0)))
    expected = 6.0 * round(layer) * p.opening_rate_per_s * math.exp(-3.0)
    early = simulate_single_molecules(9, p, (down, up), [1.0, 1.1], 32, rods=rod, leap_s=0.02)
    lost = (early.n_rod_molecules[:, 0] - early.n_rod_molecules[:, 1]) / 0.1
    # Within 0.1 s the opened share adds s N_reach: half of 0.1 k_b N_reach per N_1 k_b.
    reach = 120000 / 6 * 3.0 / float(rod_shape(np.array(120000 * 0.0457), 1.0, 10.0)[1])
    corrected = expected + 6.0 * 0.5 * 0.1 * p.opening_rate_per_s * math.exp(-3.0) * reach
    assert abs(lost.mean() - corrected) < LIMIT * lost.std(ddof=1) / math.sqrt(32) + 0.02 * corrected
    # The same after an oxidation that dissolved some.
    cycle = (down, PotentialStep(0.5, 1.0), down, up)
    later = simulate_single_molecules(9, p, cycle, times + 2.0, 16, rods=rod)
    half = [np.argmax(s.n_rod_molecules.mean(axis=0) < 60000) for s in (first, later)]
    assert half[1] < 0.7 * half[0]


def test_solid_out_of_reach_of_electrons_takes_its_time():
    """Twice the tunnelling range: a thick rod dissolves faster once its first layer is open."""
    protocol = (PotentialStep(-1e-6, 1.0), PotentialStep(0.5, 20.0))
    left = []
    for reach in (2.0, 4.0):
        p = SingleMoleculeParameters(**CLOSED, tunnelling_range_nm=reach, surface_rate_constant_per_s=1e-6)
        solution = simulate_single_molecules(3, p, protocol, [13.0], 8, rods=(300000,))
        left.append(solution.n_rod_molecules.mean())
    assert left[1] < 0.9 * left[0]


def test_realisations_do_not_depend_on_their_number():
    p = SingleMoleculeParameters(area_um2=0.2)
    few = simulate_single_molecules(1, p, (PotentialStep(-0.5, 20.0),), [10.0, 20.0], 3)
    many = simulate_single_molecules(1, p, (PotentialStep(-0.5, 20.0),), [10.0, 20.0], 20)
    other = simulate_single_molecules(2, p, (PotentialStep(-0.5, 20.0),), [10.0, 20.0], 3)
    np.testing.assert_array_equal(few.net_e, many.net_e[:3])
    assert np.any(few.net_e != other.net_e)
    assert np.any(many.net_e[0] != many.net_e[16])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"area_um2": 0.0}, "area_um2"),
        ({"surface_transfer_coefficient": 1.5}, "surface_transfer_coefficient"),
        ({"rod_growth_ratio": 0.5}, "rod_growth_ratio"),
        ({"capillary_length_nm": math.nan}, "capillary_length_nm"),
        ({"provenance": {"nonsense": "config"}}, "nonsense"),
    ],
)
def test_bad_inputs_are_named(change, match):
    with pytest.raises(ValueError, match=match):
        SingleMoleculeParameters(**change)


def test_bad_calls_are_named():
    p = SingleMoleculeParameters(area_um2=0.1)
    for change, match in (
        ({"seed": -1}, "seed"),
        ({"n_realisations": 0}, "n_realisations"),
        ({"leap_s": 0.0}, "leap_s"),
        ({"save_times": [2.0, 1.0]}, "save_times"),
        ({"particles": (1000,)}, "sulfur atoms"),
        ({"particles": (3,) * 65}, "slots"),
    ):
        values = {"seed": 1, "save_times": [1.0], "n_realisations": 2, **change}
        with pytest.raises(ValueError, match=match):
            simulate_single_molecules(
                values.pop("seed"), p, REDUCE, values.pop("save_times"), values.pop("n_realisations"), **values
            )
    with pytest.raises(ValueError, match="ramp"):
        solve_patch(p, (PotentialStep(-0.5, 1.0, potential_end_V=0.5),), [1.0])
    crowded = dataclasses.replace(p, nucleation_barrier=0.01, nucleation_prefactor_per_nm3_s=1e3)
    with pytest.raises(SimulationError, match="particle_slots"):
        simulate_single_molecules(1, crowded, REDUCE, [60.0], 2, particle_slots=4)
