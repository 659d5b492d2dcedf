"""A droplet whose Li2S covers all its contacts goes on converting at N_c chi k_in, as far as electrons tunnel."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import (
    SLOTS,
    SOLID,
    Drive,
    RateLaw,
    ReactionParameters,
    allocate_contacts,
    charge_transfer_step,
    electron_imbalance,
    initial_reaction_state,
)
from dropsim_kernels.noise import replica_key

BOX = Box(jnp.array([20.0, 20.0, 10.0]), (True, True, False))
# A row of units on one centre, which two of them touch; the nearest is Li2S already.
ROW = jnp.array([[2.0 + 0.6 * k, 2.0, 0.75] for k in range(5)])
CENTRE = jnp.array([[2.0, 2.0, 0.1]])
RATE_IN, CHI = 0.02, 3.0
LAW = dict.fromkeys((f.name for f in dataclasses.fields(RateLaw) if f.name != "kinetics"), 1.0)
NUMBERS = {
    "interval": 400.0, "mo_contact": 0.95, "li_bridge": 0.63, "sulfur_contact": 0.7, "surface_contact": 0.1,
    "hop_rate": 50.0, "site_energy": 0.0, "neighbor_energy": 0.0, "threshold": 0.2, "nucleation_rate": 0.0,
    "nucleation_barrier": 0.0, "minimum_size": 2.0, "opening_rate": 0.0, "opening_barrier": 0.0,
    "opening_barrier_later": 0.0, "front_acceleration": CHI,
}  # fmt: skip


def converted(sharing, tunnelling_range, n_replicas, **numbers):
    """Solid units after one interval, (R,)."""
    contacts = allocate_contacts(ROW, jnp.zeros((0, 3)), CENTRE, BOX, 0.7, 0.63, 0.95, with_edges=sharing != "mixed")
    values = {**NUMBERS, "tunnelling_range": tunnelling_range, **numbers}
    law = RateLaw(**{k: jnp.asarray(v) for k, v in (LAW | {"surface_rate_constant": 0.0}).items()},
                  kinetics="butler-volmer")  # fmt: skip
    rule = ReactionParameters(
        **{k: jnp.asarray(v) for k, v in values.items()}, law=law, contacts=contacts, sharing=sharing,
        surface_sharing=False, interactions=False, max_events=200_000,
    )  # fmt: skip
    rates = [jnp.asarray(rate) for rate in (RATE_IN, 0.001, 0.0, 0.0, 0.0, 0.0, 0.0)]
    drive = Drive(*rates, oxidising=jnp.asarray(False))
    state = initial_reaction_state(len(ROW))
    # Both units that touch the centre are solid.
    first = jnp.arange(len(ROW)) < 2
    state = dataclasses.replace(
        state, phase=jnp.where(first, SOLID, 0).astype(jnp.int32),
        electrons=jnp.where(first, SLOTS, 0).astype(jnp.int32), injected=jnp.int32(2 * SLOTS),
    )  # fmt: skip

    def one(replica):
        key = replica_key(5, replica)
        nothing, nobody = jnp.zeros((0, 3)), jnp.zeros((0,), bool)
        wired = jnp.ones((1,), bool)
        step = jnp.int32(0)
        after, info = charge_transfer_step(key, step, state, drive, ROW, nothing, nobody, CENTRE, wired, BOX, rule)
        return after.phase, info.trouble, electron_imbalance(after)

    phase, trouble, imbalance = jax.jit(jax.vmap(one))(jnp.arange(n_replicas))
    assert not np.any(trouble)
    assert not np.any(imbalance)
    return np.asarray((phase == SOLID).sum(axis=1))


def test_conversion_goes_on_over_covered_contacts():
    """Electrons come at N_c chi k_in M; each ten turn a unit: N_solid - 2 is floor(Poisson / 10)."""
    interval = 15.0
    mean = 2 * CHI * RATE_IN * SLOTS * interval  # N_c = 2
    solid = converted("mixed", 3.0, 1000, interval=interval)
    electrons = np.random.default_rng(1).poisson(mean, 200_000)
    expected = 2 + np.minimum(electrons // SLOTS, 3)
    error = expected.std() * np.sqrt(1 / len(solid) + 1 / len(expected))
    assert abs(solid.mean() - expected.mean()) < 4 * error
    assert 0.3 < (expected.mean() - 2) / 3 < 0.9  # neither nothing nor everything


def test_hops_that_are_fast_give_the_same():
    solid = [converted(sharing, 3.0, 200, interval=15.0).mean() for sharing in ("mixed", "finite")]
    assert abs(solid[0] - solid[1]) < 4 * np.sqrt(2 * 0.5 / 200)


@pytest.mark.parametrize(("sharing", "reach"), [("mixed", 0.5), ("none", 3.0)])
def test_out_of_reach_and_for_single_molecules_nothing_passes(sharing, reach):
    assert np.all(converted(sharing, reach, 20) == 2)
