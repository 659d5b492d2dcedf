"""Whether the engine keeps the total energy where no bath is coupled: its forces, its step and its rounding at once."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dropsim.build import build
from dropsim.config_load import load_config_text
from dropsim.errors import SimulationError
from dropsim.forces import total_forces
from dropsim.simulate import Stage, advance, step, thermalise, with_more_room
from dropsim.system import NEIGHBOR_OVERFLOW, SPECIES, State, System
from dropsim.validation.brownian import SIGMAS
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings

LIMITS = {"float32": 1e-3, "float64": 1e-6}
"""Largest drift allowed, kT per nanosecond and degree of freedom."""
QUICK_RESOLUTION = {"float32": 1e-4, "float64": 5e-6}
"""Largest standard error of the drift in the quick size; what its runs of 0.1 and 0.2 ns can tell from zero."""

TIMESTEP_PS = 0.02
FRAME_STEPS = 10
# Weights of a central difference of eighth order, for the samples -4..4 steps away.
DIFFERENCE = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
REACH = 4

EXPERIMENT = """
preset = "condensing"
[run]
name = "energy"
seed = {seed}
precision = "{precision}"
[box]
geometry = "bulk"
lateral_nm = [{length}, {length}]
height_nm = {length}
[electrolyte]
li2s6_count = {count}
[centres]
arrangement = "none"
[electrostatics]
method = "{method}"
[[stages]]
name = "bath"
integrator = "baoab"
timestep_fs = 20.0
duration_ps = 1.0
record_every_ps = 1.0
[kinetics]
enabled = false
"""


@dataclasses.dataclass(frozen=True)
class Track:
    """Energies of a run without a bath, kT per degree of freedom, from their first value; time: (F,) ns."""

    time: np.ndarray
    energy: np.ndarray
    shadow: np.ndarray


def stage_of(friction_per_ps: float) -> Stage:
    """Langevin steps of the default length; without friction, velocity Verlet."""
    return Stage(
        "energy", "baoab", FRAME_STEPS, TIMESTEP_PS, (friction_per_ps,) * len(SPECIES), False, FRAME_STEPS, 0, 1, True
    )


def total_and_shadow_energy(state: State, system: System) -> tuple[State, Array, Array]:
    """The state eight steps of velocity Verlet later; total and shadow energy in the middle of them, kJ/mol.

        H~ = (p . Dq - q . Dp - D beta) / 2,   beta_{n+1} = beta_n - dt (g_n + g_{n+1}) / 2,   g = 2 U + q . F

    D: central difference over +-4 steps; q: positions, unwrapped; p: momenta. Velocity Verlet conserves its shadow
    energy but for terms that are exponentially small in 1/dt, and its total energy only to within a fluctuation of
    order dt^2 that hides a drift. The difference of the two has bounded size, so that both have the same drift.

    state: with forces at its positions; returns scalars in the dtype of the positions. Validity: no friction; error
    of H~ of order dt^8. Source: Engle, Skeel and Drees, J. Comput. Phys. 206, 432 (2005), doi
    10.1016/j.jcp.2004.12.009.
    """
    mass = system.mass[state.species][:, None]
    origin = state.image
    dtype = state.position.dtype

    def sample(state: State) -> tuple[Array, ...]:
        # The force is known since the step; the energy is not.
        energy, _ = total_forces(state.position, state.species, state.reaction.electrons, state.neighbors, system)
        position = state.position + (state.image - origin).astype(dtype) * system.box.lengths[None, :]
        return position, mass * state.velocity, state.force, energy, 0.5 * jnp.sum(mass * state.velocity**2)

    def move(state: State, _) -> tuple[State, tuple[Array, ...]]:
        state = step(state, system)
        return state, sample(state)

    first = sample(state)
    state, later = jax.lax.scan(move, state, length=2 * REACH)
    q, p, force, potential, kinetic = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
    # Both from the middle: small numbers keep their digits, and H~ moves with a constant added to U.
    q, above = q - q[REACH][None], potential - potential[REACH]
    weights = jnp.asarray(DIFFERENCE, dtype)
    dt = system.timestep.astype(dtype)

    def rate(values: Array) -> Array:
        return jnp.tensordot(weights, values, 1) / dt

    g = 2 * above + jnp.sum(q * force, axis=(1, 2))
    beta = jnp.concatenate([jnp.zeros((1,), dtype), -0.5 * dt * jnp.cumsum(g[1:] + g[:-1])])
    # In the middle q is 0, and the term q . Dp with it.
    shadow = 0.5 * (jnp.sum(p[REACH] * rate(q)) - rate(beta)) + potential[REACH]
    return state, potential[REACH] + kinetic[REACH], shadow


@partial(jax.jit, static_argnames=("n_frames",))
def energies(state: State, system: System, n_frames: int) -> tuple[State, tuple[Array, Array]]:
    """Total and shadow energy once in FRAME_STEPS steps, (n_frames,) kJ/mol each."""

    def frame(state: State, _) -> tuple[State, tuple[Array, Array]]:
        state = jax.lax.fori_loop(0, FRAME_STEPS - 2 * REACH, lambda _, s: step(s, system), state)
        state, total, shadow = total_and_shadow_energy(state, system)
        return state, (total, shadow)

    return jax.lax.scan(frame, state, length=n_frames)


def energy_track(settings: Settings, method: str, count: int, length_nm: float, bath_ps: float, run_ps: float) -> Track:
    """Li2S6 in a periodic cube, brought to 300 K by a bath that is then taken away.

    Raises SimulationError where the run breaks.
    """
    text = EXPERIMENT.format(
        seed=settings.seed, precision=settings.precision, length=length_nm, count=count, method=method
    )
    built = build(load_config_text(text))
    frame_ps = FRAME_STEPS * TIMESTEP_PS
    state, system = built.state, built.system
    state = thermalise(state, system)
    while True:
        bath, free = stage_of(2.0).of(system), stage_of(0.0).of(system)
        warm, _, _ = advance(state, bath, round(bath_ps / frame_ps), FRAME_STEPS, 0)
        n_frames = round(run_ps / frame_ps)
        end, (total, shadow) = energies(warm, free, n_frames)
        error = int(end.error)
        if not error:
            break
        if error & ~NEIGHBOR_OVERFLOW:
            raise SimulationError(f"the run without a bath broke with error bits {error}")
        state, system = with_more_room(state, system)
    # Total momentum is kept too: three degrees of freedom less.
    unit = float(system.thermal_energy) * (3 * state.position.shape[0] - 3)
    total, shadow = (np.asarray(e, np.float64) / unit for e in (total, shadow))
    return Track(1e-3 * frame_ps * np.arange(1, n_frames + 1), total - total[0], shadow - shadow[0])


def drift(time: np.ndarray, energy: np.ndarray, n_blocks: int = 10) -> tuple[float, float]:
    """Slope of a line through the energies, by least squares, and its standard error.

    The error is the spread of what each block of consecutive frames adds to the slope, so that frames may be correlated
    within a block. Ten blocks: the error itself is good to a quarter.
    """
    weight = (time - time.mean()) / np.sum((time - time.mean()) ** 2)
    slope = float(weight @ energy)
    rest = energy - energy.mean() - slope * (time - time.mean())
    parts = np.array([block.sum() for block in np.array_split(weight * rest, n_blocks)])
    return slope, float(np.sqrt(np.sum(parts**2) * n_blocks / (n_blocks - 2)))


def conserved_energy(settings: Settings) -> Outcome:
    """Drift of the total energy at the default step of 20 fs, for both ways to sum Coulomb forces in the full size.

    The standard error is bounded too: else "no drift" would say nothing. In the full size it has to be below the limit;
    the quick size in double precision resolves a drift of about 1e-5 kT/ns only. Forces that jump where pairs are cut
    make the energy wander by 1e-4 kT/ns, which either size notices.
    """
    limit = LIMITS[settings.precision]
    resolution = limit if settings.full else QUICK_RESOLUTION[settings.precision]
    if settings.full:
        cases = {"ewald": (60, 3.3, 40.0, 1000.0), "mesh": (60, 3.3, 40.0, 300.0)}
    else:
        # What rounds less has to be watched for longer before so small a drift would show.
        cases = {"ewald": (30, 3.1, 20.0, 200.0 if settings.precision == "float64" else 100.0)}
    results, curves = [], []
    for method, (count, length_nm, bath_ps, run_ps) in cases.items():
        track = energy_track(settings, method, count, length_nm, bath_ps, run_ps)
        slope, error = drift(track.time, track.shadow)
        case = f"{method}, {3 * count} beads, {track.time.size * FRAME_STEPS} steps"
        results += [
            Result(
                f"|drift of the energy|, {case}", abs(slope), limit, SIGMAS, "kT/ns per degree of freedom",
                standard_error=error, relation="at most", basis="slope of the shadow energy",
            ),
            Result(
                f"its standard error, {case}", error, resolution, 0.0, "kT/ns per degree of freedom",
                relation="at most", basis="a drift of that size would be seen",
            ),
        ]  # fmt: skip
        for name, energy in (("total", track.energy), ("shadow", track.shadow)):
            label = "(E − E₀) / kT per degree of freedom"
            curves.append(Curve(f"{name} energy, {method}", track.time, energy, np.zeros_like(energy), "t / ns", label))
    return Outcome(tuple(results), tuple(curves))


ROWS: tuple[Row, ...] = (
    Row(
        "B9",
        "energy drift without a bath",
        "energy is conserved; shadow energy of velocity Verlet: Engle, Skeel and Drees, J. Comput. Phys. 206, 432 "
        "(2005), doi 10.1016/j.jcp.2004.12.009",
        conserved_energy,
    ),
)
