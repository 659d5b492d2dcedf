"""The mean field of the bare patch with given particles and rods: what the jump process is held to.

The equations of `single_molecule` without births: adsorption, the chain of adsorbed ions, Li2S2 between solution,
particles, rods and the metal, and the dissolution of rods. Held potentials and open circuit only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim.errors import SimulationError
from dropsim.kinetics import surface_chain as chain
from dropsim.kinetics.charging import opening_rates
from dropsim.kinetics.protocol import PotentialStep, step_ends
from dropsim.kinetics.single_molecule import exchange_rates, first_layer, reached_units
from dropsim.kinetics.single_molecule_parameters import SingleMoleculeParameters

# Counts below this need no relative accuracy.
_SMALLEST_COUNT = 1e4


# Save times are padded to whole blocks, so that few shapes are ever compiled.
_SAVE_BLOCK = 64


class Patch(NamedTuple):
    """Mean counts: Li2S6 dissolved, adsorbed ions by state (12,), Li2S2 dissolved, Li2S2 in each particle, Li2S in each
    rod, Li2S loose, electrons in minus out, and the open share of each rod's first layer."""

    dissolved: Any
    states: Any
    intermediate: Any
    particles: Any
    rods: Any
    loose: Any
    net: Any
    open_share: Any


@dataclasses.dataclass(frozen=True)
class PatchSolution:
    """time_s: (T,); the fields of `Patch` with a leading time axis; sulfur_residual (atoms), lithium_residual,
    electron_residual (e): (T,), found minus what there was and what passed, rounding."""

    time_s: NDArray[np.float64]
    dissolved: NDArray[np.float64]
    states: NDArray[np.float64]
    intermediate: NDArray[np.float64]
    particles: NDArray[np.float64]
    rods: NDArray[np.float64]
    loose: NDArray[np.float64]
    net: NDArray[np.float64]
    open_share: NDArray[np.float64]
    sulfur_residual: NDArray[np.float64]
    lithium_residual: NDArray[np.float64]
    electron_residual: NDArray[np.float64]


class _Constants(NamedTuple):
    """The inputs that the traced equations read, as numbers: new values need no new program."""

    film_volume_nm3: Any
    film_height_nm: Any
    total_sites: Any
    adsorption_velocity_nm_per_s: Any
    intermediate_adsorption_velocity_nm_per_s: Any
    particle_velocity_nm_per_s: Any
    diffusivity_nm2_per_s: Any
    solubility_per_nm3: Any
    capillary_length_nm: Any
    intermediate_volume_nm3: Any
    solid_volume_nm3: Any
    rod_seed_nm: Any
    rod_growth_ratio: Any
    tunnelling_range_nm: Any
    opening_rate_per_s: Any


class _Drive(NamedTuple):
    rates: Any  # (15, 15) of the chain
    rod_velocity: Any
    oxidising: Any
    barrier_rate: Any
    places: Any  # of each rod's first layer


@eqx.filter_jit
def _integrate(p: _Constants, start: Patch, times: Any, drive: _Drive, rtol: Any) -> Any:
    held = jnp.asarray(chain.ELECTRONS[: chain.N_STATES], dtype=jnp.float64)
    taken = jnp.asarray(chain.ELECTRONS, dtype=jnp.float64)
    states_only = chain.N_STATES

    def slope(time: Any, y: Patch, drive: _Drive) -> Patch:
        free = 1.0 - y.states.sum() / p.total_sites
        up, down, rod_up, metal = exchange_rates(p, y.particles, y.rods, free, drive.rod_velocity, jnp)
        adsorbed = p.adsorption_velocity_nm_per_s / p.film_height_nm * free * y.dissolved
        triples = metal * y.intermediate / 3.0
        flow = y.states @ drive.rates[:states_only]  # net gain of each state and way out
        grown = up * y.intermediate - down
        turned = rod_up * y.intermediate
        gone, opening = opening_rates(
            reached_units(p, y.rods, jnp),
            drive.places,
            y.open_share,
            p.opening_rate_per_s,
            drive.barrier_rate,
        )
        # Below one unit a rod is gone.
        gone = drive.oxidising * jnp.where(y.rods > 6.0, gone, 0.0)
        deposited = flow[chain.DEPOSITED]
        number = y.rods.shape[0]
        entry = jnp.zeros_like(y.states).at[chain.A0].add(adsorbed)
        entry = entry.at[chain.INTERMEDIATE].add(triples).at[chain.D10].add(gone.sum())
        shared = 6.0 * deposited / number if number else jnp.zeros_like(y.rods)
        # Electrons gained on the way: what arrives in each state minus what the leavers had.
        electrons = flow[:states_only] @ held + flow[states_only:] @ taken[states_only:]
        return Patch(
            dissolved=flow[chain.LEFT] - adsorbed,
            states=flow[:states_only] + entry,
            intermediate=3.0 * flow[chain.RELEASED] - 3.0 * triples - grown.sum() - turned.sum(),
            particles=grown,
            rods=2.0 * turned + shared - 6.0 * gone,
            loose=jnp.zeros_like(y.loose) if number else 6.0 * deposited,
            net=electrons + 2.0 * turned.sum(),
            open_share=drive.oxidising * opening,
        )

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),  # pyright: ignore[reportArgumentType]
        diffrax.Kvaerno5(),
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=start,
        args=drive,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=_SMALLEST_COUNT * rtol),
        max_steps=200_000,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    return solution.ys, diffrax.is_okay(solution.result)


def solve_patch(
    parameters: SingleMoleculeParameters,
    protocol: Sequence[PotentialStep],
    save_times: ArrayLike,
    *,
    particles: Sequence[float] = (),
    rods: Sequence[float] = (),
    dissolved_intermediate: float = 0.0,
    relative_tolerance: float = 1e-9,
) -> PatchSolution:
    """Integrate the mean field of a bare patch with given solids through a protocol of held potentials.

    particles: Li2S2 in each; rods: Li2S in each; dissolved_intermediate: Li2S2 in solution; all are made of the film's
    own Li2S6, and their electrons count as passed, as in `simulate_single_molecules`, whose mean this is where nothing
    is born or vanishes. save_times: (T,) s, increasing, from 0; relative_tolerance: of the implicit steps, also
    absolute in counts. Ions that become Li2S on the metal are shared equally by the rods, or lie loose without one.
    Returns a `PatchSolution`. Raises ValueError for a ramp or bad times, SimulationError where the integration fails.
    """
    p = parameters
    times = np.atleast_1d(np.asarray(save_times, dtype=np.float64))
    ends = step_ends(protocol)
    if times[0] < 0 or np.any(np.diff(times) <= 0) or times[-1] > ends[-1] * (1 + 1e-9):
        raise ValueError(f"save_times must increase from 0 or later to at most {ends[-1]:g} s")
    if any(step.potential_end_V not in (None, step.potential_V) for step in protocol):
        raise ValueError("a ramp has no mean field here: take simulate_single_molecules")
    given = 2.0 * (sum(particles) + dissolved_intermediate) + sum(rods)
    state = Patch(
        dissolved=np.float64(p.total_units - given / 6.0),
        states=np.zeros(chain.N_STATES),
        intermediate=np.float64(dissolved_intermediate),
        particles=np.asarray(particles, dtype=np.float64),
        rods=np.asarray(rods, dtype=np.float64),
        loose=np.float64(0.0),
        net=np.float64((4.0 * (sum(particles) + dissolved_intermediate) + 5.0 * sum(rods)) / 3.0),
        open_share=np.zeros(len(rods)),
    )
    constants = _Constants(*(np.float64(getattr(p, name)) for name in _Constants._fields))
    rows: list[tuple[NDArray[np.bool_], Patch]] = []
    start, later, was_oxidising, places = 0.0, False, False, np.zeros(len(rods))
    with jax.enable_x64(True):
        for step, end in zip(protocol, ends, strict=True):
            connected = not step.open_circuit
            oxidising = connected and step.potential_V > p.standard_potential_V
            if oxidising and not was_oxidising:
                state = state._replace(open_share=np.zeros(len(rods)))
                places = first_layer(p, np.asarray(state.rods))
            barrier = p.opening_barrier_later_kT if later else p.opening_barrier_kT
            drive = _Drive(
                rates=chain.generator(p, step.potential_V, connected=connected, oxidising=oxidising),
                rod_velocity=np.float64(p.rod_uptake_velocity_nm_per_s(step.potential_V) if connected else 0.0),
                oxidising=np.float64(oxidising),
                barrier_rate=np.float64(p.opening_rate_per_s * math.exp(-barrier)),
                places=places if oxidising else np.zeros(len(rods)),
            )
            mine = (times >= start) & ((times < end) if end < ends[-1] else (times <= end * (1 + 1e-9)))
            nodes = np.unique(np.concatenate([[start], np.minimum(times[mine], end), [end]]))
            padded = np.concatenate([nodes, np.full(-nodes.size % _SAVE_BLOCK, end)])
            saved, well = _integrate(constants, state, padded, drive, np.float64(relative_tolerance))
            if not bool(well):
                raise SimulationError(f"the equations of the patch could not be integrated from {start:g} to {end:g} s")
            saved = Patch(*(np.asarray(leaf) for leaf in saved))
            at = np.searchsorted(nodes, np.minimum(times[mine], end))
            rows.append((mine, Patch(*(leaf[at] for leaf in saved))))
            state = Patch(*(leaf[-1] for leaf in saved))
            later |= was_oxidising and not oxidising and connected
            was_oxidising = oxidising if connected else was_oxidising
            start = end
    fields = {
        name: np.concatenate([np.asarray(getattr(part, name)) for _, part in rows], axis=0) for name in Patch._fields
    }
    held = fields["states"] @ chain.ELECTRONS[: chain.N_STATES]
    adsorbed = fields["states"].sum(axis=1)
    li2s2 = fields["intermediate"] + fields["particles"].sum(axis=1)
    li2s = fields["rods"].sum(axis=1) + fields["loose"]
    total = float(p.total_units)
    return PatchSolution(
        time_s=times,
        **fields,
        sulfur_residual=6.0 * (fields["dissolved"] + adsorbed - total) + 2.0 * li2s2 + li2s,
        lithium_residual=2.0 * (fields["dissolved"] + adsorbed + li2s2 + li2s - total) + held - fields["net"],
        electron_residual=held + (4.0 * li2s2 + 5.0 * li2s) / 3.0 - fields["net"],
    )
