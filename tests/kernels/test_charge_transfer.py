"""Types, shapes and compilations of the charge transfer; its laws are under tests/physics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import (
    SLOTS,
    ReactionParameters,
    ReactionState,
    charge_transfer_step,
    electron_imbalance,
    nucleation_hazard,
    rank_within,
)
from dropsim_kernels.noise import replica_key

advance = jax.jit(charge_transfer_step)
NUMBERS = {
    "rate_in": 0.3, "rate_out": 0.1, "interval": 0.5, "mo_contact": 0.8, "li_bridge": 0.63, "sulfur_contact": 1.05,
    "threshold": 0.2, "nucleation_rate": 0.5, "nucleation_barrier": 0.05, "minimum_size": 2.0,
    "front_acceleration": 10.0,
}  # fmt: skip


def setup(dtype, n_units=9, n_li=12, n_mo=3):
    """Arguments of a step: units, ions and centres at random in a small box."""
    generator = np.random.default_rng(2)

    def places(n):
        return jnp.asarray(generator.random((n, 3)) * [3.0, 3.0, 1.5], dtype)

    state = ReactionState(
        electrons=jnp.zeros((n_units,), jnp.int32),
        converted=jnp.zeros((n_units,), bool),
        converting=jnp.zeros((n_units,), bool),
        injected=jnp.zeros((), jnp.int32),
    )
    box = Box(jnp.asarray([3.0, 3.0, 4.0], dtype), (True, True, False))
    rule = ReactionParameters(**{name: jnp.asarray(value, dtype) for name, value in NUMBERS.items()})
    return state, (places(n_units), places(n_li), places(n_mo), jnp.ones((n_mo,), bool), box, rule)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("sizes", [(9, 12, 3), (9, 0, 3), (9, 12, 0), (1, 2, 1), (0, 5, 2), (0, 0, 0)])
def test_types_and_shapes_stay_and_no_electron_is_made(dtype, sizes):
    """Also without Li, without centres, with one unit and with none."""
    state, given = setup(dtype, *sizes)
    key = replica_key(3, 0)
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), state)
    for step in range(6):
        state, info = advance(key, jnp.asarray(step, jnp.int32), state, *given)
        assert jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), state) == shapes
        assert all(leaf.shape == (sizes[0],) for leaf in jax.tree.leaves(info))
        assert int(electron_imbalance(state)) == 0
        electrons, converted = np.asarray(state.electrons), np.asarray(state.converted)
        assert np.all((electrons >= 0) & (electrons <= SLOTS))
        assert np.all(electrons[converted] == SLOTS)
    if sizes[0] == 9 and sizes[2]:
        assert int(state.injected) > 0
    if not sizes[2]:
        assert int(state.injected) == 0


def test_both_precisions_take_the_same_path():
    """Their draws are the same bits, so away from ties the electrons are the same."""
    ends = []
    for dtype in (jnp.float32, jnp.float64):
        state, given = setup(dtype)
        for step in range(4):
            state, _ = advance(replica_key(3, 0), jnp.asarray(step, jnp.int32), state, *given)
        ends.append(np.asarray(state.electrons))
    np.testing.assert_array_equal(*ends)


def test_rates_are_data_not_programs():
    state, given = setup(jnp.float32)
    traces = []

    @jax.jit
    def step(number, state, *given):
        traces.append(1)
        return charge_transfer_step(replica_key(3, 0), number, state, *given)[0]

    for number, rate in enumerate((0.1, 0.2, 0.9)):
        rule = dataclasses.replace(given[-1], rate_in=jnp.asarray(rate, jnp.float32))
        state = step(jnp.asarray(number, jnp.int32), state, *given[:-1], rule)
    assert len(traces) == 1


def test_a_batch_is_its_members():
    state, given = setup(jnp.float32)

    def end(replica):
        return advance(replica_key(3, replica), jnp.asarray(0, jnp.int32), state, *given)[0].electrons

    together = jax.vmap(end)(jnp.arange(4, dtype=jnp.uint32))
    for replica in range(4):
        np.testing.assert_array_equal(together[replica], end(jnp.uint32(replica)))


def test_rank_within_against_a_loop():
    generator = np.random.default_rng(0)
    label, value = generator.integers(0, 5, 40), generator.random(40)
    expected = [sum((label == label[i]) & (value < value[i])) for i in range(40)]
    np.testing.assert_array_equal(rank_within(jnp.asarray(label, jnp.int32), jnp.asarray(value)), expected)


def test_hazard_is_its_formula_and_zero_below():
    rule = setup(jnp.float64)[1][-1]
    fraction, size = jnp.asarray([0.1, 0.2, 0.4, 0.4, 1.0]), jnp.asarray([5.0, 5.0, 5.0, 1.0, 2.0])
    expected = [0.0, 0.0, 0.5 * 5 * np.exp(-0.05), 0.0, 0.5 * 2 * np.exp(-0.05 / 16)]
    np.testing.assert_allclose(nucleation_hazard(fraction, size, rule), expected, rtol=1e-12)
    slope = jax.grad(lambda x: nucleation_hazard(x, jnp.asarray(5.0), rule))
    assert np.isfinite([float(slope(jnp.asarray(x))) for x in (0.1, 0.2, 0.3)]).all()
