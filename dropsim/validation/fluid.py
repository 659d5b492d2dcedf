"""A fluid of beads in a box, sampled with the kernels alone: what the sampled rows of the battery share.

Everything is in reduced units: the lengths, energies and masses of the row that uses it, k_B = 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box, unwrap, wrap
from dropsim_kernels.electrostatics.ewald import EwaldParameters, long_range
from dropsim_kernels.integrators import INTEGRATORS, Dynamics, thermal_velocities
from dropsim_kernels.neighbors import NeighborList, NeighborSettings, allocate, build, list_pays, needs_rebuild, regrow
from dropsim_kernels.noise import replica_key
from dropsim_kernels.pairs import pair_forces
from dropsim_kernels.potentials import ewald_real
from jax import Array

from dropsim.errors import SimulationError
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import combine_replicas, mean_estimate

ShortRange = Callable[[Array], Array]


def _no_short_range(r: Array) -> Array:
    return jnp.zeros_like(r)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fluid:
    """What is simulated.

        U = sum_{i<j} [u(r_ij) + lambda q_i q_j (1/r)_periodic] + g sum_i z_i

    box; dynamics: per bead, see `Dynamics`; cutoff: () of the pair sum, for a charged fluid that of `ewald`;
    charge -> q: (N,); coupling -> lambda: (), energy x length / charge^2; slope -> g: (), of a linear potential
    along z; ewald: None for no charges. Static: short_range -> u, zero beyond the reach that it brings itself;
    neighbors, None for all pairs. Where the box is not periodic along z its faces reflect.
    """

    box: Box
    dynamics: Dynamics
    cutoff: Array
    charge: Array
    coupling: Array
    slope: Array
    ewald: EwaldParameters | None
    short_range: ShortRange = dataclasses.field(metadata={"static": True})
    neighbors: NeighborSettings | None = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FluidState:
    """What evolves; overflow: a neighbour list was too small at some step, and nothing since can be used."""

    position: Array
    image: Array
    velocity: Array
    force: Array
    neighbors: NeighborList | None
    key: Array
    step: Array
    overflow: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Samples:
    """Series of T samples.

    position: (T, N, 3) unwrapped; energy: (T,) of the short-range pairs; virial: (T,), -sum r u'(r) over them;
    coulomb: (T,) Coulomb energy; kinetic: (T,) kinetic energy about the centre of mass, of N - 1 beads.
    """

    position: Any
    energy: Any
    virial: Any
    coulomb: Any
    kinetic: Any

    def discard(self, fraction: float) -> Samples:
        """The same without the first `fraction` of the samples."""
        first = math.ceil(fraction * len(self.energy))
        return jax.tree.map(lambda series: series[first:], self)


def simple_cubic(n_side: int, length: float) -> np.ndarray:
    """n_side^3 points of a simple cubic lattice that fills a cube of this edge; (n_side^3, 3)."""
    axis = (np.arange(n_side) + 0.5) * length / n_side
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)


def build_fluid(
    position: np.ndarray,
    lengths: tuple[float, float, float],
    dtype: np.dtype,
    *,
    thermal_energy: float,
    timestep: float,
    friction: float,
    cutoff: float,
    skin: float,
    short_range: ShortRange = _no_short_range,
    charge: np.ndarray | None = None,
    coupling: float = 0.0,
    slope: float = 0.0,
    ewald: EwaldParameters | None = None,
) -> Fluid:
    """A fluid of beads of mass 1 that start at these positions; on the host.

    position: (N, 3); lengths: of the box, periodic along z unless `ewald` is that of a slab; friction: 1/time;
    cutoff, skin: of the neighbour list, made where it is likely to pay; the rest as in `Fluid`.
    Raises ValueError for a cutoff beyond half of the shortest periodic length.
    """
    n = len(position)
    slab = ewald is not None and ewald.slab
    box = Box(jnp.asarray(lengths, dtype), (True, True, not slab))
    settings = allocate(position, np.zeros((0, 3)), box, cutoff, skin) if list_pays(n, 0, box, cutoff + skin) else None

    def scalar(x: float) -> Array:
        return jnp.asarray(x, dtype)

    ones = jnp.ones((n, 1), dtype)
    dynamics = Dynamics(
        timestep=scalar(timestep),
        thermal_energy=scalar(thermal_energy),
        diffusivity=thermal_energy / friction * ones if friction > 0 else jnp.zeros_like(ones),
        mass=ones,
        friction=friction * ones,
    )
    return Fluid(
        box=box,
        dynamics=dynamics,
        cutoff=scalar(cutoff),
        charge=jnp.zeros(n, dtype) if charge is None else jnp.asarray(charge, dtype),
        coupling=scalar(coupling),
        slope=scalar(slope),
        ewald=ewald,
        short_range=short_range,
        neighbors=settings,
    )


def _pair_sum(
    u: Callable[[Array, Array, Array], Array], position: Array, neighbors: NeighborList | None, fluid: Fluid
) -> tuple[Array, Array, Array]:
    sites = jnp.zeros((0, 3), position.dtype)
    return pair_forces(u, position, sites, fluid.charge, fluid.charge, neighbors, fluid.box, fluid.cutoff)


def _short_pair(fluid: Fluid) -> Callable[[Array, Array, Array], Array]:
    return lambda r, row, column: fluid.short_range(r)


def _charge_pair(fluid: Fluid) -> Callable[[Array, Array, Array], Array]:
    assert fluid.ewald is not None
    alpha = jnp.asarray(fluid.ewald.alpha).astype(fluid.coupling.dtype)
    return lambda r, row, column: fluid.coupling * row * column * ewald_real(r, alpha)


def coulomb_energy(position: Array, neighbors: NeighborList | None, fluid: Fluid) -> Array:
    """Coulomb energy of the fluid, with the periodic images of its own charges; 0 where there are none."""
    if fluid.ewald is None:
        return jnp.zeros((), position.dtype)
    near, _, _ = _pair_sum(_charge_pair(fluid), position, neighbors, fluid)
    far, _ = long_range(position, fluid.charge, fluid.box, fluid.ewald)
    return near + fluid.coupling * far


def total_force(position: Array, neighbors: NeighborList | None, fluid: Fluid) -> Array:
    """Force on every bead, (N, 3)."""
    short = _short_pair(fluid)
    if fluid.ewald is None:
        return _pair_sum(short, position, neighbors, fluid)[1]
    charges = _charge_pair(fluid)
    _, near, _ = _pair_sum(lambda r, a, b: short(r, a, b) + charges(r, a, b), position, neighbors, fluid)
    _, far = long_range(position, fluid.charge, fluid.box, fluid.ewald)
    return (near + fluid.coupling * far).at[:, 2].add(-fluid.slope)


def _new_list(position: Array, fluid: Fluid) -> NeighborList | None:
    if fluid.neighbors is None:
        return None
    return build(position, jnp.zeros((0, 3), position.dtype), fluid.box, fluid.neighbors)


def _good_list(state: FluidState, position: Array, fluid: Fluid) -> NeighborList | None:
    if state.neighbors is None or fluid.neighbors is None:
        return None
    return jax.lax.cond(
        needs_rebuild(state.neighbors, position, fluid.box, fluid.neighbors),
        lambda p: _new_list(p, fluid),
        lambda _: state.neighbors,
        position,
    )


def _reflected(position: Array, velocity: Array, fluid: Fluid) -> tuple[Array, Array]:
    """Elastic reflection at z = 0 and z = L_z.

    The folded path of a particle in the evenly continued potential: a BAOAB step stays one, since its noise is even.
    """
    if fluid.box.periodic[2]:
        return position, velocity
    height = fluid.box.lengths[2]
    z, v = position[:, 2], velocity[:, 2]
    below, above = z < 0, z > height
    z = jnp.where(below, -z, jnp.where(above, 2 * height - z, z))
    return position.at[:, 2].set(z), velocity.at[:, 2].set(jnp.where(below | above, -v, v))


def _step(state: FluidState, fluid: Fluid) -> FluidState:
    integrator = INTEGRATORS["baoab"]
    position, velocity = integrator.advance(
        state.key, state.step, state.position, state.velocity, state.force, fluid.dynamics
    )
    position, velocity = _reflected(position, velocity, fluid)
    position, image = wrap(position, state.image, fluid.box)
    neighbors = _good_list(state, position, fluid)
    force = total_force(position, neighbors, fluid)
    return dataclasses.replace(
        state,
        position=position,
        image=image,
        velocity=integrator.finish(velocity, force, fluid.dynamics),
        force=force,
        neighbors=neighbors,
        step=state.step + 1,
        overflow=state.overflow if neighbors is None else state.overflow | neighbors.overflow,
    )


def _sample(state: FluidState, fluid: Fluid) -> Samples:
    energy, _, virial = _pair_sum(_short_pair(fluid), state.position, state.neighbors, fluid)
    velocity = state.velocity - state.velocity.mean(0)[None, :]
    return Samples(
        position=unwrap(state.position, state.image, fluid.box),
        energy=energy,
        virial=virial,
        coulomb=coulomb_energy(state.position, state.neighbors, fluid),
        kinetic=0.5 * (fluid.dynamics.mass * velocity * velocity).sum(),
    )


@partial(jax.jit, static_argnames=("n_samples", "steps_between"))
def _advance(state: FluidState, fluid: Fluid, n_samples: int, steps_between: int) -> tuple[FluidState, Samples]:
    def one(state: FluidState, _: None) -> tuple[FluidState, Samples]:
        state = jax.lax.fori_loop(0, steps_between, lambda _, s: _step(s, fluid), state)
        return state, _sample(state, fluid)

    return jax.lax.scan(one, state, length=n_samples)


@jax.jit
def _start(position: Array, key: Array, fluid: Fluid) -> FluidState:
    step = jnp.zeros((), jnp.int32)
    position, image = wrap(position, jnp.zeros(position.shape, jnp.int32), fluid.box)
    neighbors = _new_list(position, fluid)
    return FluidState(
        position=position,
        image=image,
        velocity=thermal_velocities(key, step, fluid.dynamics.thermal_energy, fluid.dynamics.mass),
        force=total_force(position, neighbors, fluid),
        neighbors=neighbors,
        key=key,
        step=step,
        overflow=jnp.zeros((), bool) if neighbors is None else neighbors.overflow,
    )


def start(fluid: Fluid, position: np.ndarray, seed: int) -> FluidState:
    """Beads at these positions with thermal velocities; position: (N, 3)."""
    return _start(jnp.asarray(position, fluid.coupling.dtype), replica_key(seed, 0), fluid)


def sample(
    fluid: Fluid, state: FluidState, n_samples: int, steps_between: int, *, n_chunks: int = 4
) -> tuple[Samples, FluidState, Fluid]:
    """Langevin dynamics (BAOAB), sampled every `steps_between` steps.

    n_samples: rounded up to a multiple of n_chunks. A chunk in which a neighbour list overflowed is repeated from
    its start with more room. Returns the samples as numpy arrays, the last state, and the fluid with the
    capacities that sufficed.
    Raises SimulationError for positions that are not finite. Validity: second order in the time step.
    """
    per_chunk = math.ceil(n_samples / n_chunks)
    chunks: list[Samples] = []
    while len(chunks) < n_chunks:
        after, samples = _advance(state, fluid, per_chunk, steps_between)
        if bool(after.overflow):
            assert fluid.neighbors is not None
            fluid = dataclasses.replace(fluid, neighbors=regrow(fluid.neighbors))
            neighbors = _new_list(state.position, fluid)
            assert neighbors is not None
            state = dataclasses.replace(state, neighbors=neighbors, overflow=neighbors.overflow)
            continue
        if not bool(jnp.isfinite(after.position).all()):
            raise SimulationError("a position is not finite: the time step of this row is too long for its potential")
        chunks.append(jax.tree.map(np.asarray, samples))
        state = after
    return jax.tree.map(lambda *series: np.concatenate(series), *chunks), state, fluid


def with_friction(fluid: Fluid, friction: float) -> Fluid:
    """The same fluid under another friction, 1/time."""
    ones = jnp.ones_like(fluid.dynamics.mass)
    return dataclasses.replace(fluid, dynamics=fluid.dynamics._replace(friction=friction * ones))


def block_estimate(series: np.ndarray, n_blocks: int = 10) -> Estimate:
    """Mean of one stationary series, in reduced units.

    Its error is the larger of those from blocks and from the autocorrelation: ten blocks know their own spread
    to 24 % only.
    """
    x = np.asarray(series, float)
    blocks = mean_estimate(x, "1", "blocks", n_blocks=n_blocks)
    correlated = mean_estimate(x, "1")
    return blocks if blocks.standard_error > correlated.standard_error else correlated


def independent_estimate(values: np.ndarray) -> Estimate:
    """Mean and standard error of independent values (n,), n > 1."""
    return combine_replicas([Estimate(float(v), 0.0, "1", 1.0, "one block") for v in values])
