"""The laws that the rows of charge transfer are held to: against each other, and in limits known by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from dropsim.validation import transfer_laws as laws
from dropsim.validation.held_beads import chi_square_result, kolmogorov_result, largest_deviation_result
from dropsim.validation.naive_reaction import Droplet, simulate

ROW = np.diag(np.ones(2, bool), 1) | np.diag(np.ones(2, bool), -1)


def test_mean_time_of_full_reduction_is_the_tenth_harmonic_number():
    time = np.linspace(0.0, 40.0, 400_001)
    mean = np.trapezoid(1 - laws.full_reduction(time, 1.0), time)
    assert mean == pytest.approx(sum(1 / k for k in range(1, 11)), rel=1e-9)
    assert mean == pytest.approx(2.929, abs=5e-4)
    without = laws.passage_to_full(time[:40_000:4000], 1.0, 0.0)
    np.testing.assert_allclose(without, laws.full_reduction(time[:40_000:4000], 1.0), atol=1e-12)


def test_a_grid_of_random_phase_delays_by_half_its_width():
    time = np.linspace(0.0, 40.0, 40_001)
    seen = laws.seen_on_grid(lambda t: -np.expm1(-np.maximum(t, 0.0)), 0.5)
    assert np.trapezoid(1 - seen(time), time) == pytest.approx(1.25, abs=1e-5)


@pytest.mark.parametrize("energies", [(0.0, 0.0), (0.1, -0.05)])
def test_master_equation_has_the_mean_of_the_graph_and_the_stationary_law_of_gibbs(energies):
    contacts, empty = np.array([2, 0, 1]), np.zeros(3)
    states = laws.occupations(3)
    matrix = laws.generator(ROW, contacts, 0.05, 0.02, 0.004, *energies)
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 0.0, atol=1e-12)
    law = laws.gibbs_law(states, ROW, 5 / 7, *energies)
    np.testing.assert_allclose(matrix.T @ law, 0.0, atol=1e-14)
    if energies == (0.0, 0.0):
        start = np.zeros(len(states))
        start[0] = 1.0
        mean = laws.law_at(matrix, start, 9.0) @ states
        np.testing.assert_allclose(
            mean, laws.mean_electrons(ROW, contacts, 0.05, 0.02, 0.004, np.array([9.0]), empty)[0], rtol=1e-9
        )


def test_fast_hopping_is_the_pool_and_its_threshold_time():
    time, empty = np.array([3.0, 30.0]), np.zeros(3)
    fast = laws.mean_electrons(ROW, np.array([1, 0, 1]), 0.05, 0.02, 1e4, time, empty)
    np.testing.assert_allclose(fast.sum(axis=1), laws.pooled_mean(time, 3, 2, 0.05, 0.02), rtol=1e-5)
    tau, filling = laws.charging_time(3, 2, 0.05, 0.02), 5 / 7
    crossing = np.array([tau * math.log(filling / (filling - 0.2))])
    assert laws.pooled_mean(crossing, 3, 2, 0.05, 0.02)[0] == pytest.approx(0.2 * 30, rel=1e-12)


def test_a_constant_hazard_gives_an_exponential_wait():
    time = np.array([0.5, 2.0])
    wait = laws.waiting_for_nucleus(time, 2, 1, 0.05, 0.02, lambda x: np.full(np.shape(x), 0.3))
    np.testing.assert_allclose(wait, -np.expm1(-0.3 * time), rtol=1e-10)
    hazard = laws.nucleation_hazard(0.1, 0.05, 0.2, 4)
    np.testing.assert_allclose(hazard(np.array([0.1, 0.2, 0.4])), [0.0, 0.0, 0.4 * math.exp(-0.05)])


def test_capture_with_frequent_checks_is_smoluchowskis_and_dois():
    """Second order in the rms step once its known shift of the radius, 0.5826 steps, is taken; and the steady rate of a
    sphere that reacts throughout tends to that of an absorbing one."""
    share = laws.capture_with_checks(2.0, 1.0, 1.0, 0.005, 450)
    assert share == pytest.approx(laws.smoluchowski_capture(2.0, 1 - 0.5826 * 0.1, 1.0, 2.25), rel=1e-3)
    assert laws.volume_reactive_rate(1.0, 2.0, 1e8) == pytest.approx(8 * math.pi, rel=1e-3)
    # Slow reaction: the whole sphere reacts, at the rate times its volume.
    assert laws.volume_reactive_rate(1.0, 2.0, 1e-4) == pytest.approx(1e-4 * 4 / 3 * math.pi, rel=1e-3)


@pytest.mark.parametrize("sharing", ["mixed", "finite"])
def test_the_second_program_has_the_exact_mean(sharing):
    contacts, looks, n = np.array([1, 1, 1, 2]), np.array([5.0, 15.0]), 2000
    droplet = Droplet(contacts, np.arange(4), 0.05, 0.01, 0.01, 0.0, 0.05, 0.2, 1.0, sharing)
    electrons, solid = simulate(droplet, n, looks, np.random.default_rng(3))
    if sharing == "mixed":
        exact = laws.pooled_mean(looks, 4, 5, 0.05, 0.01)
    else:
        graph = ~np.eye(4, dtype=bool)
        exact = laws.mean_electrons(graph, contacts, 0.05, 0.01, 0.01, looks, np.zeros(4)).sum(axis=1)
    error = electrons.std(axis=0, ddof=1) / np.sqrt(n)
    assert np.all(np.abs(electrons.mean(axis=0) - exact) < 4 * error)
    assert not solid.any()


def test_verdicts_pass_their_law_and_notice_five_per_cent():
    random, n = np.random.default_rng(1), 40_000
    wait = random.exponential(size=n)

    def law(t):
        return -np.expm1(-t)

    assert kolmogorov_result("wait", wait, law).passed
    assert not kolmogorov_result("wait", 1.05 * wait, law).passed
    counts = np.bincount(random.binomial(10, 0.5, n), minlength=11)
    assert chi_square_result("count", counts, n * stats.binom.pmf(np.arange(11), 10, 0.5)).passed
    assert not chi_square_result("count", counts, n * stats.binom.pmf(np.arange(11), 10, 0.525)).passed
    sample = random.normal(size=(n, 5))
    assert largest_deviation_result("mean", sample, np.zeros(5)).passed
    assert not largest_deviation_result("mean", sample, np.full(5, 0.05)).passed
    # A mean that does not scatter has to be right.
    assert not largest_deviation_result("mean", np.ones((5, 2)), np.array([1.0, 1.1])).passed
