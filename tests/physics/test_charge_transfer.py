"""The well-mixed charge transfer against its exact laws, and the electron ledger."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import (
    SLOTS,
    ReactionParameters,
    ReactionState,
    butler_volmer,
    charge_transfer_step,
    electron_imbalance,
    rank_within,
)
from dropsim_kernels.noise import replica_key
from scipy import stats

BOX = Box(jnp.array([100.0, 40.0, 20.0]), (True, True, False))
QUIET = ReactionParameters(
    rate_in=0.02,
    rate_out=0.005,
    interval=1.0,
    mo_contact=0.8,
    li_bridge=0.63,
    sulfur_contact=1.05,
    threshold=0.2,
    nucleation_rate=0.0,
    nucleation_barrier=0.0,
    minimum_size=2.0,
    front_acceleration=10.0,
)


def parameters(**changes) -> ReactionParameters:
    values = dataclasses.replace(QUIET, **changes)
    return jax.tree.map(lambda x: jnp.asarray(float(x)), values)


def chain(n_units: int, n_droplets: int = 1) -> jnp.ndarray:
    """Droplets that are rows of beads 1 nm apart along x, 5 nm apart along y, each starting above a centre."""
    rows = [[[1.0 * i, 5.0 * d, 0.6] for i in range(n_units)] for d in range(n_droplets)]
    return jnp.asarray(np.array(rows).reshape(-1, 3))


def centres(n_droplets: int = 1) -> jnp.ndarray:
    return jnp.asarray(np.array([[0.0, 5.0 * d, 0.0] for d in range(n_droplets)]))


def start(n_units: int, electrons: int = 0) -> ReactionState:
    return ReactionState(
        electrons=jnp.full((n_units,), electrons, jnp.int32),
        converted=jnp.zeros((n_units,), bool),
        converting=jnp.zeros((n_units,), bool),
        injected=jnp.int32(electrons * n_units),
    )


def run(position, centre, rule, n_steps, replica, wired=True, electrons=0):
    """Electrons, flags and net injection after each of n_steps checks."""
    key = replica_key(11, replica)
    flags = jnp.full((centre.shape[0],), wired)

    def body(state, step):
        state, info = charge_transfer_step(key, step, state, position, jnp.zeros((0, 3)), centre, flags, BOX, rule)
        return state, (state, info, electron_imbalance(state))

    return jax.lax.scan(body, start(position.shape[0], electrons), jnp.arange(n_steps, dtype=jnp.int32))[1]


def many(position, centre, rule, n_steps, n_replicas, **settings):
    return jax.jit(jax.vmap(lambda replica: run(position, centre, rule, n_steps, replica, **settings)))(
        jnp.arange(n_replicas)
    )


def test_rank_within():
    rank = rank_within(jnp.array([2, 0, 2, 0, 2]), jnp.array([0.3, 0.5, 0.1, 0.2, 0.9]))
    np.testing.assert_array_equal(rank, [1, 1, 0, 0, 2])


@pytest.mark.parametrize("interval", [1.0, 5.0])
def test_charging_follows_the_exact_mean_whatever_the_interval(interval):
    """<N_e> = N M p (1 - exp(-t / tau)), tau = N / (N_c (k_in + k_out)), p = k_in / (k_in + k_out)."""
    n_units, n_steps = 6, int(60 / interval)
    states, info, _ = many(chain(n_units), centres(), parameters(interval=interval), n_steps, 400)
    assert np.all(np.asarray(info.contacts)[0, 0] == [1, 0, 0, 0, 0, 0])
    total = np.asarray(states.electrons).sum(axis=-1)
    p, tau = 0.02 / 0.025, n_units / 0.025
    t = interval * np.arange(1, n_steps + 1)
    expected = n_units * SLOTS * p * -np.expm1(-t / tau)
    error = total.std(axis=0, ddof=1) / np.sqrt(len(total))
    assert np.max(np.abs(total.mean(axis=0) - expected) / error) < 4.5


def test_stationary_law_is_binomial_and_shared_hypergeometrically():
    rule = parameters(interval=1e4)
    states, _, _ = many(chain(4), centres(), rule, 2, 4000)
    electrons = np.asarray(states.electrons)[:, -1]
    p = 0.8
    for counts, slots in ((electrons.sum(axis=1), 4 * SLOTS), (electrons[:, 3], SLOTS)):
        law = stats.binom(slots, p)
        edges = np.unique(law.ppf(np.linspace(0, 1, 9)[1:-1]).astype(int))
        observed = np.histogram(counts, np.concatenate([[-1], edges, [slots]]) + 0.5)[0]
        expected = np.diff(law.cdf(np.concatenate([[-1], edges, [slots]]))) * len(counts)
        assert stats.chisquare(observed, expected).pvalue > 1e-3
    # Given the total, the beads are exchangeable: the far bead holds as much as the one in contact.
    difference = electrons[:, 0] - electrons[:, 3]
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))


def test_threshold_time():
    """Without ejection the mean crosses x at tau ln[p / (p - x)]; large N makes the passage sharp."""
    n_units = 40
    rule = parameters(rate_out=0.0, rate_in=0.5, interval=0.25)
    states, _, _ = many(chain(n_units), centres(), rule, 160, 100)
    fraction = np.asarray(states.electrons).sum(axis=-1) / (SLOTS * n_units)
    crossing = 0.25 * (np.argmax(fraction > 0.2, axis=1) + 1)
    expected = n_units / 0.5 * math.log(1 / (1 - 0.2))
    error = crossing.std(ddof=1) / np.sqrt(len(crossing))
    # First passage above a grid of 1/(M N) and seen every 0.25: later by half a check, by at most one electron.
    late = 0.5 * 0.25 + 1 / (0.5 * SLOTS * (1 - 0.2))
    assert -4 * error < crossing.mean() - expected < late + 4 * error


def test_unwired_centre_passes_no_current():
    states, info, _ = many(chain(5), centres(), parameters(), 50, 20, wired=False)
    assert np.all(np.asarray(states.electrons) == 0)
    assert np.all(np.asarray(info.contacts) == 0)


def test_separate_droplets_do_not_share():
    position = jnp.concatenate([chain(5), chain(5) + jnp.array([[0.0, 10.0, 5.0]])])
    states, _, _ = many(position, centres(), parameters(rate_in=1.0, rate_out=0.0), 50, 20)
    electrons = np.asarray(states.electrons)[:, -1]
    assert np.all(electrons[:, :5].sum(axis=1) > 0)
    assert np.all(electrons[:, 5:] == 0)


def test_conversion_keeps_every_electron_and_ends_complete():
    """C4: injected - ejected = electrons found, at every check; a converted unit holds ten, for good."""
    rule = parameters(rate_in=0.2, rate_out=0.01, nucleation_rate=10.0, interval=0.5)
    states, info, imbalance = many(chain(12, 2), centres(2), rule, 1000, 10)
    assert np.all(np.asarray(imbalance) == 0)
    electrons, converted = np.asarray(states.electrons), np.asarray(states.converted)
    assert np.all((electrons >= 0) & (electrons <= SLOTS))
    assert np.all(electrons[converted] == SLOTS)
    assert np.all(converted[:, 1:] >= converted[:, :-1])
    moved = np.asarray(info.entered).sum(axis=-1) - np.asarray(info.left).sum(axis=-1)
    np.testing.assert_array_equal(moved.cumsum(axis=1), electrons.sum(axis=-1))
    # The front starts at the centre: the first unit to turn is the one in contact.
    first = np.asarray(info.turned)[0].any(axis=0)
    assert first.any()
    order = np.asarray(converted)[0].argmax(axis=0)[:12]
    assert np.all(np.diff(order[np.asarray(converted)[0, -1, :12]]) >= 0)
    assert converted[:, -1].mean() > 0.9


def test_open_circuit_converts_only_what_the_electrons_pay_for():
    rule = parameters(rate_in=0.0, rate_out=0.0, nucleation_rate=1e9)
    states, _, _ = many(chain(10), centres(), rule, 3, 5, electrons=3)
    converted = np.asarray(states.converted)[:, -1].sum(axis=1)
    np.testing.assert_array_equal(converted, 3)  # floor(30 / 10)
    np.testing.assert_array_equal(np.asarray(states.electrons)[:, -1].sum(axis=1), 30)


def test_nothing_nucleates_below_threshold_or_minimum_size():
    rule = parameters(rate_in=0.0, rate_out=0.0, nucleation_rate=1e9)
    assert not np.any(np.asarray(many(chain(10), centres(), rule, 3, 5, electrons=1)[0].converted))
    small = dataclasses.replace(rule, minimum_size=jnp.asarray(11.0))
    assert not np.any(np.asarray(many(chain(10), centres(), small, 3, 5, electrons=5)[0].converted))


def test_detailed_balance_of_butler_volmer():
    for reduced in (-3.0, 0.0, 2.5):
        rate_in, rate_out = butler_volmer(0.7, 0.3, reduced, math.exp)
        assert rate_in / rate_out == pytest.approx(math.exp(-reduced), rel=1e-14)


def test_independent_of_particle_order():
    """The law, not the path, is what an order cannot change: compare means of a permuted droplet."""
    n_units = 6
    order = np.array([3, 1, 5, 0, 2, 4])
    here = np.asarray(many(chain(n_units), centres(), parameters(interval=2.0), 20, 600)[0].electrons)[:, -1].sum(
        axis=1
    )
    there = np.asarray(many(chain(n_units)[order], centres(), parameters(interval=2.0), 20, 600)[0].electrons)[
        :, -1
    ].sum(axis=1)
    assert abs(here.mean() - there.mean()) < 4 * np.sqrt((here.var() + there.var()) / 600)
