"""The well-mixed charge transfer against its exact laws, and the electron ledger."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import (
    SLOTS,
    SOLID,
    ContactSettings,
    Drive,
    RateLaw,
    ReactionParameters,
    ReactionState,
    allocate_contacts,
    butler_volmer,
    charge_transfer_step,
    electron_imbalance,
    initial_reaction_state,
)
from dropsim_kernels.noise import replica_key
from scipy import stats

BOX = Box(jnp.array([100.0, 40.0, 20.0]), (True, True, False))
LAW = RateLaw(
    rate_constant=0.01,
    transfer_coefficient=0.5,
    surface_rate_constant=0.0,
    surface_transfer_coefficient=0.04,
    rod_rate_constant=0.0,
    standard_potential=0.0,
    thermal_voltage=0.025,
    reorganisation=0.5,
    branch_potential=-0.5,
    branch_width=0.1,
)
QUIET = ReactionParameters(
    interval=1.0,
    mo_contact=0.8,
    li_bridge=0.63,
    sulfur_contact=1.05,
    surface_contact=0.5,
    tunnelling_range=3.0,
    hop_rate=0.0,
    site_energy=0.0,
    neighbor_energy=0.0,
    threshold=0.2,
    nucleation_rate=0.0,
    nucleation_barrier=0.0,
    minimum_size=2.0,
    front_acceleration=10.0,
    opening_rate=0.0,
    opening_barrier=0.0,
    opening_barrier_later=0.0,
    law=LAW,
    contacts=ContactSettings((1, 1, 1), 8, 8, 8, 8),
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """Parameters, and the rates of injection and ejection at the centres that a test asks for."""

    parameters: ReactionParameters
    rate_in: float
    rate_out: float

    @property
    def drive(self) -> Drive:
        rates = [jnp.asarray(rate) for rate in (self.rate_in, self.rate_out, 0.0, 0.0, 0.0, 0.0, 0.0)]
        return Drive(*rates, oxidising=jnp.asarray(False))


def parameters(rate_in: float = 0.02, rate_out: float = 0.005, **changes) -> Rule:
    values = dataclasses.replace(QUIET, **changes)
    return Rule(jax.tree.map(lambda x: jnp.asarray(float(x)), values), rate_in, rate_out)


def chain(n_units: int, n_droplets: int = 1) -> jnp.ndarray:
    """Droplets that are rows of beads 1 nm apart along x, 5 nm apart along y, each starting above a centre."""
    rows = [[[1.0 * i, 5.0 * d, 0.6] for i in range(n_units)] for d in range(n_droplets)]
    return jnp.asarray(np.array(rows).reshape(-1, 3))


def centres(n_droplets: int = 1) -> jnp.ndarray:
    return jnp.asarray(np.array([[0.0, 5.0 * d, 0.0] for d in range(n_droplets)]))


def start(n_units: int, electrons: int = 0) -> ReactionState:
    state = initial_reaction_state(n_units)
    return dataclasses.replace(state, electrons=state.electrons + electrons, injected=jnp.int32(electrons * n_units))


@partial(jax.jit, static_argnames="n_steps")
def follow(replicas, state, position, centre, flags, drive, numbers, n_steps):
    """Electrons, flags and net injection of each replica after each of n_steps checks."""
    none, nobody = jnp.zeros((0, 3)), jnp.zeros((0,), bool)

    def one(replica):
        key = replica_key(11, replica)

        def body(state, step):
            state, info = charge_transfer_step(
                key, step, state, drive, position, none, nobody, centre, flags, BOX, numbers
            )
            return state, (state, info, electron_imbalance(state))

        return jax.lax.scan(body, state, jnp.arange(n_steps, dtype=jnp.int32))[1]

    return jax.vmap(one)(replicas)


def many(position, centre, rule, n_steps, n_replicas, wired=True, electrons=0):
    contacts = allocate_contacts(position, jnp.zeros((0, 3)), centre, BOX, 1.05, 0.63, 0.8)
    numbers = dataclasses.replace(rule.parameters, contacts=contacts)
    flags = jnp.full((centre.shape[0],), wired)
    state = start(position.shape[0], electrons)
    return follow(jnp.arange(n_replicas), state, position, centre, flags, rule.drive, numbers, n_steps)


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
    rule = parameters(rate_in=0.2, rate_out=0.01, nucleation_rate=10.0, interval=0.5, tunnelling_range=20.0)
    states, info, imbalance = many(chain(12, 2), centres(2), rule, 1000, 10)
    assert np.all(np.asarray(imbalance) == 0)
    electrons, converted = np.asarray(states.electrons), np.asarray(states.phase) == SOLID
    assert np.all((electrons >= 0) & (electrons <= SLOTS))
    assert np.all(electrons[converted] == SLOTS)
    assert np.all(converted[:, 1:] >= converted[:, :-1])
    moved = np.asarray(info.entered).sum(axis=-1) - np.asarray(info.left).sum(axis=-1)
    np.testing.assert_array_equal(moved.cumsum(axis=1), electrons.sum(axis=-1))
    # The front starts at the centre: the first unit to turn is the one in contact.
    first = np.asarray(info.turned)[0].sum(axis=0) > 0
    assert first.any()
    order = np.asarray(converted)[0].argmax(axis=0)[:12]
    assert np.all(np.diff(order[np.asarray(converted)[0, -1, :12]]) >= 0)
    assert converted[:, -1].mean() > 0.9
    # Li2S insulates: the front stops one bead after the last that lies within 3 nm of the centre, at 2.1 nm.
    rule = parameters(rate_in=0.2, rate_out=0.01, nucleation_rate=10.0, interval=0.5, tunnelling_range=3.0)
    states, _, imbalance = many(chain(12, 2), centres(2), rule, 1000, 10)
    assert np.all(np.asarray(imbalance) == 0)
    converted = np.asarray(states.phase)[:, -1] == SOLID
    np.testing.assert_array_equal(converted, np.tile(np.arange(12) % 12 < 4, (10, 2)))


def test_open_circuit_converts_only_what_the_electrons_pay_for():
    rule = parameters(rate_in=0.0, rate_out=0.0, nucleation_rate=1e9)
    states, _, _ = many(chain(10), centres(), rule, 3, 5, electrons=3)
    converted = (np.asarray(states.phase)[:, -1] == SOLID).sum(axis=1)
    np.testing.assert_array_equal(converted, 3)  # floor(30 / 10)
    np.testing.assert_array_equal(np.asarray(states.electrons)[:, -1].sum(axis=1), 30)


def test_nothing_nucleates_below_threshold_or_minimum_size():
    rule = parameters(rate_in=0.0, rate_out=0.0, nucleation_rate=1e9)
    assert not np.any(np.asarray(many(chain(10), centres(), rule, 3, 5, electrons=1)[0].phase))
    small = parameters(rate_in=0.0, rate_out=0.0, nucleation_rate=1e9, minimum_size=11.0)
    assert not np.any(np.asarray(many(chain(10), centres(), small, 3, 5, electrons=5)[0].phase))


def test_detailed_balance_of_butler_volmer():
    for reduced in (-3.0, 0.0, 2.5):
        rate_in, rate_out = butler_volmer(jnp.asarray(0.7), jnp.asarray(0.3), jnp.asarray(reduced))
        assert float(rate_in / rate_out) == pytest.approx(math.exp(-reduced), rel=1e-14)


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
