"""Brownian and Langevin steps against closed forms: free diffusion, wells, barriers, walls, noise, precision.

Beads are independent of each other. Units nm, ps, kJ/mol with round numbers: kT = D = 1 unless a row varies them.
Sampled numbers are judged in standard errors.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box, unwrap, wrap
from dropsim_kernels.integrators import INTEGRATORS, Dynamics
from dropsim_kernels.noise import replica_key
from jax import Array
from scipy.linalg import eigh_tridiagonal

from dropsim.validation.brownian import (
    SIGMAS,
    beads,
    double_well,
    free,
    harmonic,
    mean_result,
    quartic,
    run,
    variance_result,
    weight_law,
    weight_on_wall,
)
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings
from dropsim.validation.slow_walls import slow_walls

# --- B1: free Brownian motion ----------------------------------------------------------------------------

FRICTIONS = (0.3, 1.0, 9.4)
THERMAL_ENERGIES = (0.37, 1.0, 3.2)


def free_brownian_motion(settings: Settings) -> Outcome:
    """Three frictions side by side in one system, at three temperatures: <x^2> = 2 D t, D = kT / gamma.

    Leimkuhler-Matthews averages two noises, so its displacement lacks half a step at each end: 2 D t - D dt.
    """
    n, n_steps, dt = beads(settings, 2000), 50, 0.05
    kind = np.repeat(np.arange(3), n)
    results, curves = [], []
    for integrator in ("euler-maruyama", "leimkuhler-matthews"):
        lag = dt if integrator == "leimkuhler-matthews" else 0.0
        scaled = []
        for number, kT in enumerate(THERMAL_ENERGIES):
            diffusivity = kT / np.asarray(FRICTIONS)[kind]
            frames, _, _ = run(
                settings, integrator, free, n_steps=n_steps, timestep=dt, thermal_energy=kT, diffusivity=diffusivity,
                n=3 * n, n_frames=10, replica=number,
            )  # fmt: skip
            scaled.append(frames[-1] / np.sqrt(diffusivity)[:, None])
            for k, friction in enumerate(FRICTIONS):
                D = kT / friction
                what = f"<x^2>, {integrator}, gamma {friction}, kT {kT}"
                results.append(variance_result(what, frames[-1][kind == k], D * (2 * n_steps * dt - lag), "nm^2"))
                if integrator == "euler-maruyama" and kT == 1.0:
                    time = dt * n_steps / 10 * np.arange(1, 11)
                    msd = np.mean(frames[:, kind == k] ** 2, axis=(1, 2))
                    error = 2 * D * time * np.sqrt(2 / (3 * n))
                    curves.append(
                        Curve(
                            f"free diffusion, gamma {friction}", time, msd, 2 * D * time, "t / ps", "<x²> / nm²", error
                        )
                    )
        results.append(mean_result(f"<x> / sqrt(D), {integrator}", np.concatenate(scaled), 0.0, "ps^0.5"))
    return Outcome(tuple(results), tuple(curves))


# --- B2: harmonic trap -----------------------------------------------------------------------------------


def harmonic_trap(settings: Settings) -> Outcome:
    """Spread in a trap against the step: wells of several stiffness side by side, k D dt / kT from 0.1 to 1.5.

    Euler-Maruyama: (kT/k) / (1 - k D dt / 2 kT); Leimkuhler-Matthews, BAOAB and GJF: kT/k. The velocities of the last
    two, at the positions, have m <v^2> = kT (1 - (w dt)^2 / 4).
    """
    n = beads(settings, 5000)
    stiffness = np.array([0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5])
    kind = np.repeat(np.arange(stiffness.size), n)
    results, curves = [], []
    for integrator in ("euler-maruyama", "leimkuhler-matthews"):
        frames, _, _ = run(
            settings, integrator, harmonic, n_steps=100, timestep=1.0, parameters=stiffness[kind][:, None],
            n=kind.size,
        )  # fmt: skip
        exact = 1 / (1 - 0.5 * stiffness) if integrator == "euler-maruyama" else np.ones(stiffness.size)
        sample = frames[-1].reshape(stiffness.size, -1) * np.sqrt(stiffness)[:, None]
        for index in (2, 4):
            what = f"k <x^2> / kT, {integrator}, k D dt / kT = {stiffness[index]}"
            results.append(variance_result(what, sample[index], exact[index]))
        error = exact * np.sqrt(2 / sample.shape[1])
        name, x, y = f"spread in a trap, {integrator}", "k D Δt / kT", "k <x²> / kT"
        curves.append(Curve(name, stiffness, np.mean(sample**2, axis=1), exact, x, y, error))
    dt, frictions = 0.8, (0.5, 3.0)
    kind = np.repeat(np.arange(2), n)
    for integrator in ("baoab", "gjf"):
        frames, velocity, _ = run(
            settings, integrator, harmonic, n_steps=80, timestep=dt, friction=np.asarray(frictions)[kind],
            parameters=1.0, n=kind.size,
        )  # fmt: skip
        for k, friction in enumerate(frictions):
            where = f"{integrator}, w dt = {dt}, gamma dt = {friction * dt:g}"
            results.append(variance_result(f"k <x^2> / kT, {where}", frames[-1][kind == k], 1.0))
            results.append(variance_result(f"m <v^2> / kT, {where}", velocity[kind == k], 1 - dt**2 / 4))
    return Outcome(tuple(results), tuple(curves))


# --- B3: diffusion under Langevin dynamics ---------------------------------------------------------------


def free_langevin_motion(settings: Settings) -> Outcome:
    """Diffusivity against the step: BAOAB kT/(m gamma) x coth x, x = gamma dt / 2; GJF kT/(m gamma).

    Both move a free bead by dt (v + v') / 2 with velocities of correlation c per step, c = exp(-gamma dt) or
    (1 - x)/(1 + x). So <x^2> after n steps is exactly dt^2 (kT/m) sum_ij w_i w_j c^|i-j| with weights 1, and 1/2 at
    the ends; what it lacks of 2 D t is added to the sample, which then is judged at D itself.
    """
    n, n_steps = beads(settings, 2500), 150
    friction = np.array([0.2, 0.5, 1.0, 2.0, 3.0, 5.0])
    kind = np.repeat(np.arange(friction.size), n)
    weight = np.ones(n_steps + 1)
    weight[[0, -1]] = 0.5
    apart = np.abs(np.subtract.outer(np.arange(n_steps + 1), np.arange(n_steps + 1)))
    half = 0.5 * friction
    results, curves = [], []
    for integrator in ("baoab", "gjf"):
        frames, _, _ = run(
            settings, integrator, free, n_steps=n_steps, timestep=1.0, friction=friction[kind], n=kind.size,
            thermal=True,
        )  # fmt: skip
        kept = np.exp(-friction) if integrator == "baoab" else (1 - half) / (1 + half)
        ratio = half / np.tanh(half) if integrator == "baoab" else np.ones(friction.size)
        exact = np.array([weight @ np.power(c, apart) @ weight for c in kept])
        missing = 2 * ratio / friction * n_steps - exact
        measured = np.mean(frames[-1].reshape(friction.size, -1) ** 2, axis=1)
        value = (measured + missing) * friction / (2 * n_steps)
        error = exact * np.sqrt(2 / (3 * n)) * friction / (2 * n_steps)
        for k in (0, 2, 5):
            results.append(
                Result(
                    f"D m gamma / kT, {integrator}, gamma dt = {friction[k]:g}",
                    float(value[k]),
                    float(ratio[k]),
                    SIGMAS,
                    standard_error=float(error[k]),
                    basis=f"sqrt(2/n), n = {3 * n}",
                )
            )
        curves.append(
            Curve(f"free diffusion, {integrator}", friction, value, ratio, "γ Δt", "D m γ / kT", error)
        )  # fmt: skip
    return Outcome(tuple(results), tuple(curves))


# --- B4: relaxation, escape, wall ------------------------------------------------------------------------


def relaxation(settings: Settings) -> Outcome:
    """The mean in a well decays as exp(-k t / gamma); at k D dt / kT = 10^-3 the discrete decay is the same to
    1/2000 of itself."""
    n, n_steps, start = beads(settings, 2000), 1000, 3.0
    frames, _, _ = run(
        settings, "leimkuhler-matthews", harmonic, n_steps=n_steps, timestep=1e-3, parameters=1.0, start=start, n=n,
        n_frames=10,
    )  # fmt: skip
    time = 0.1 * np.arange(1, 11)
    results = [
        mean_result(f"<x(t)> / nm at k t / gamma = {time[i]:g}", frames[i], start * np.exp(-time[i]), "nm")
        for i in (4, 9)
    ]
    error = np.sqrt((1 - np.exp(-2 * time)) / (3 * n))
    mean = np.mean(frames, axis=(1, 2))
    curve = Curve("decay in a well", time, mean, start * np.exp(-time), "k t / γ", "<x> / nm", error, log_y=True)
    return Outcome(tuple(results), (curve,))


def escape_mode(barrier: float, n_grid: int = 3000) -> tuple[float, np.ndarray, np.ndarray]:
    """Slowest relaxation over the barrier of h (x^2 - 1)^2, kT = D = 1, by diagonalising its Smoluchowski operator.

    Hops between points of a grid with rates exp(-(u_j - u_i) / 2) / dx^2 obey detailed balance and approach the
    operator as dx^2. Returns the rate, the grid, and the eigenfunction of the backward equation on it: its mean over
    a sample decays with that rate alone, whatever the start.
    """
    x = np.linspace(-2.2, 2.2, n_grid)
    u = barrier * (x**2 - 1) ** 2
    hop = 1 / (x[1] - x[0]) ** 2
    up = hop * np.exp(-0.5 * np.diff(u))
    down = hop * np.exp(0.5 * np.diff(u))
    leaving = np.concatenate([up, [0.0]]) + np.concatenate([[0.0], down])
    values, vectors = eigh_tridiagonal(leaving, np.full(n_grid - 1, -hop), select="i", select_range=(0, 1))
    return float(values[1]), x, vectors[:, 1] * np.exp(0.5 * u)


def escape(settings: Settings) -> Outcome:
    """Rate of crossing a barrier of 3 kT, from the decay of the slow eigenfunction after a start in one well.

    Kramers' formula (sqrt(u''(0) u''(1)) / pi) exp(-3) = 0.269 is high by a ninth at so low a barrier; the
    eigenvalue is exact.
    """
    barrier, n, dt, n_steps = 3.0, beads(settings, 2000), 5e-4, 3000
    rate, x, mode = escape_mode(barrier)
    frames, _, _ = run(
        settings, "leimkuhler-matthews", double_well, n_steps=n_steps, timestep=dt, parameters=barrier, start=-1.0,
        n=n,
    )  # fmt: skip
    left = np.interp(frames[-1], x, mode) / np.interp(-1.0, x, mode)
    time = n_steps * dt
    error = np.std(left) / np.sqrt(left.size) / (np.mean(left) * time)
    measured = -np.log(np.mean(left)) / time
    result = Result(
        "crossing rate, barrier 3 kT", float(measured), rate, SIGMAS, "1/ps", standard_error=float(error),
        basis=f"n = {left.size}",
    )  # fmt: skip
    return Outcome((result,))


def sedimentation(settings: Settings) -> Outcome:
    """Beads under a weight of 2 kT per sigma on a repulsive wall: exp(-u/kT), nobody beyond, no net flux."""
    weight, n = 2.0, beads(settings, 1500)
    law = weight_law(weight)
    # A start that is too high by a tenth of sigma, and leaves the soft part of the wall empty.
    start = 1.1 + np.random.default_rng(settings.seed).exponential(1 / weight, (n, 3))
    dt = 1e-3 if not settings.full else 5e-4
    frames, _, lowest = run(
        settings, "leimkuhler-matthews", weight_on_wall, n_steps=round(6 / dt), timestep=dt, parameters=weight,
        start=start, n=n, n_frames=3,
    )  # fmt: skip
    sample = frames[-1].ravel()
    results = (
        law.result("heights against exp(-u/kT)", sample),
        Result(
            "smallest height that any step reached",
            float(lowest.min()),
            0.0,
            0.0,
            "nm",
            relation="at least",
            basis="nobody beyond the wall",
        ),
        mean_result("mean drift at equilibrium, 2 ps", (frames[2] - frames[1]).ravel(), 0.0, "nm"),
    )
    edges = np.concatenate([np.linspace(0.8, 2.0, 25), np.linspace(2.1, 3.6, 16)])
    return Outcome(results, (law.curve("heights on a wall", sample, edges, "z / σ"),))


def relaxation_escape_wall(settings: Settings) -> Outcome:
    """The three parts of B4."""
    parts = [part(settings) for part in (relaxation, escape, sedimentation)]
    return Outcome(sum((p.results for p in parts), ()), sum((p.curves for p in parts), ()))


# --- B5: configurational temperature ---------------------------------------------------------------------


def configurational_temperature(x: np.ndarray) -> tuple[float, float]:
    """<u'^2> / <u''> of samples in x^2/2 + x^4/4, and its standard error (of a ratio of two means)."""
    top, below = (x + x**3) ** 2, 1 + 3 * x**2
    ratio = np.mean(top) / np.mean(below)
    return float(ratio), float(np.std(top - ratio * below) / np.mean(below) / np.sqrt(x.size))


def euler_temperature(step: float, n_grid: int = 900) -> float:
    """Configurational temperature that Euler-Maruyama settles at in the same well, without sampling.

    step: D dt with kT = 1. The step is a Gaussian kernel; its stationary density is solved for on a grid.
    """
    x = np.linspace(-4.0, 4.0, n_grid)
    kernel = np.exp(-((x[:, None] - x - step * (-x - x**3)) ** 2) / (4 * step))
    kernel /= kernel.sum(axis=0)
    matrix = kernel - np.eye(n_grid)
    matrix[-1] = 1.0
    density = np.linalg.solve(matrix, np.eye(n_grid)[-1])
    return float(density @ (x + x**3) ** 2 / (density @ (1 + 3 * x**2)))


def temperature_of_positions(settings: Settings) -> Outcome:
    """<u'^2> / <u''> = kT in an anharmonic well, for steps that are small; Euler-Maruyama's excess at larger ones.

    Several D dt side by side. That the largest Euler step does not give kT is asked for too: a check that can fail.
    At 0.15 a bead is thrown beyond |x| = 3.5 once in seven million steps, and there the step is unstable.
    """
    n = beads(settings, 6000)
    step = np.array([0.03, 0.05, 0.07, 0.1])
    kind = np.repeat(np.arange(step.size), n)
    results, curves = [], []
    for integrator in ("leimkuhler-matthews", "euler-maruyama"):
        frames, _, _ = run(
            settings, integrator, quartic, n_steps=300, timestep=1.0, diffusivity=step[kind], n=kind.size
        )
        sampled = [configurational_temperature(frames[-1][kind == k].ravel()) for k in range(step.size)]
        value, error = (np.array(column) for column in zip(*sampled, strict=True))
        is_euler = integrator == "euler-maruyama"
        reference = np.array([euler_temperature(s) for s in step]) if is_euler else np.ones(step.size)
        for k in range(step.size) if is_euler else (0,):
            results.append(
                Result(
                    f"<u'^2> / (<u''> kT), {integrator}, D dt = {step[k]:g}",
                    value[k],
                    float(reference[k]),
                    SIGMAS,
                    standard_error=error[k],
                    basis=f"n = {3 * n}",
                )
            )
        if is_euler:
            results.append(
                Result(
                    "the same above 1 at D dt = 0.1, in standard errors",
                    (value[-1] - 1) / error[-1],
                    SIGMAS,
                    0.0,
                    relation="at least",
                    basis="too large a step is noticed",
                )
            )
        name = f"configurational temperature, {integrator}"
        curves.append(Curve(name, step, value, reference, "D Δt (kT = 1, σ² of the well = 1)", "T / T₀", error))
    return Outcome(tuple(results), tuple(curves))


# --- B6: noise -------------------------------------------------------------------------------------------


def path(integrator: str, replica: Array, start: Array, dynamics: Dynamics, seed: int, n_steps: int) -> Array:
    """Positions after a few steps in a harmonic well, as a function of the replica."""
    key = replica_key(seed, replica)
    row = INTEGRATORS[integrator]

    def move(step, carry):
        x, v = carry
        x, v = row.advance(key, jnp.asarray(step, jnp.int32), x, v, -x, dynamics)
        return x, row.finish(v, -x, dynamics)

    return jax.lax.fori_loop(0, n_steps, move, (start, jnp.zeros_like(start)))[0]


def correlations(settings: Settings) -> tuple[Result, ...]:
    """Correlation coefficients of the moves of free beads, over beads, axes, steps and replicas."""
    n, n_steps = beads(settings, 200), 500
    moves = []
    for replica in (0, 1):
        frames, _, _ = run(
            settings, "euler-maruyama", free, n_steps=n_steps, timestep=1.0, diffusivity=0.5, n=n, n_frames=n_steps,
            replica=replica,
        )  # fmt: skip
        moves.append(np.diff(frames, axis=0))
    here, there = moves
    pairs = {
        "neighbouring beads": here[:, 1:] * here[:, :-1],
        "steps one apart": here[1:] * here[:-1],
        "steps two apart": here[2:] * here[:-2],
        "axes x, y": here[..., 0] * here[..., 1],
        "axes y, z": here[..., 1] * here[..., 2],
        "axes x, z": here[..., 0] * here[..., 2],
        "replicas": here * there,
    }
    return tuple(
        Result(
            f"correlation of moves, {name}",
            float(np.mean(product)),
            0.0,
            SIGMAS,
            standard_error=1 / np.sqrt(product.size),
            basis=f"1/sqrt(n), n = {product.size}",
        )
        for name, product in pairs.items()
    )


def same_paths(settings: Settings) -> tuple[Result, ...]:
    """Whether a replica's path depends on how many run beside it, or a bead's on how many follow it."""
    results = []
    dtype = settings.dtype
    one = jnp.ones((), dtype)

    def dynamics(n: int) -> Dynamics:
        return Dynamics(one / 10, one, jnp.ones((n, 1), dtype), jnp.ones((n, 1), dtype), jnp.ones((n, 1), dtype))

    for integrator in INTEGRATORS:

        @jax.jit
        def alone(replica: Array, start: Array, dynamics: Dynamics, integrator: str = integrator) -> Array:
            return path(integrator, replica, start, dynamics, settings.seed, 20)

        single = np.asarray(alone(jnp.int32(2), jnp.ones((4, 3), dtype), dynamics(4)))
        batch = jax.jit(jax.vmap(alone, in_axes=(0, None, None)))
        crowd = np.asarray(batch(jnp.arange(3, dtype=jnp.int32), jnp.ones((9, 3), dtype), dynamics(9)))
        difference = float(np.max(np.abs(crowd[2, :4] - single)))
        what = f"path alone, and in a batch of 3 with 5 beads more, {integrator}"
        results.append(Result(what, difference, 0.0, 0.0, "nm", basis="same bits"))
    return tuple(results)


def noise(settings: Settings) -> Outcome:
    """No correlation over beads, axes, steps and replicas; the same path alone, in a batch and in a larger system."""
    return Outcome(correlations(settings) + same_paths(settings))


# --- B7: small steps -------------------------------------------------------------------------------------


def small_steps(settings: Settings) -> Outcome:
    """20 000 moves of 10^-4 nm across the edge of a 10 nm box, positions wrapped with image counters.

    In float32 one move is a hundred times the spacing of numbers near 10: the mean square displacement must not
    notice.
    """
    n, n_steps, dt, D = beads(settings, 128), 20_000, 1e-3, 5e-6
    dtype = settings.dtype
    box = Box(jnp.full((3,), 10.0, dtype), (True, True, True))
    column = jnp.ones((n, 1), dtype)
    one = jnp.ones((), dtype)
    dynamics = Dynamics(dt * one, one, D * column, column, column)
    key = replica_key(settings.seed, 9)
    euler = INTEGRATORS["euler-maruyama"]

    @jax.jit
    def wander(x: Array) -> tuple[Array, Array]:
        def move(step, carry):
            x, image = carry
            still = jnp.zeros_like(x)
            x, _ = euler.advance(key, jnp.asarray(step, jnp.int32), x, still, still, dynamics)
            return wrap(x, image, box)

        return jax.lax.fori_loop(0, n_steps, move, (x, jnp.zeros(x.shape, jnp.int32)))

    start = np.full((n, 3), 9.9995, dtype)
    x, image = wander(jnp.asarray(start))
    moved = np.asarray(unwrap(x, image, box), np.float64) - start.astype(np.float64)
    crossed = float(np.mean(np.asarray(image) != 0))
    return Outcome(
        (
            variance_result("<x^2> / 2 D t of small steps", moved, 1.0, scale=1 / (2 * D * dt * n_steps)),
            Result(
                "share of beads beyond the edge of the box",
                crossed,
                0.5,
                SIGMAS,
                standard_error=float(np.sqrt(0.25 / moved.size)),
                basis=f"binomial, n = {moved.size}",
            ),
        )
    )


ROWS: tuple[Row, ...] = (
    Row(
        "B1",
        "free Brownian motion, three frictions in one system",
        "<x^2> = 2 (kT/gamma) t: Ermak, J. Chem. Phys. 62, 4189 (1975), doi 10.1063/1.430300",
        free_brownian_motion,
    ),
    Row(
        "B2",
        "spread in a harmonic trap against the step",
        "closed forms of the linear recursions; Leimkuhler and Matthews 2013, doi 10.1093/amrx/abs010; Gronbech-Jensen "
        "and Farago 2013, doi 10.1080/00268976.2012.760055",
        harmonic_trap,
    ),
    Row(
        "B3",
        "diffusion of free beads under Langevin dynamics",
        "closed form of the velocity recursion; Gronbech-Jensen and Farago 2013, doi 10.1080/00268976.2012.760055",
        free_langevin_motion,
    ),
    Row(
        "B4",
        "decay in a well, rate over a barrier, heights on a wall",
        "exp(-k t/gamma); eigenvalue of the Smoluchowski operator (Kramers 1940, doi 10.1016/S0031-8914(40)90098-2); "
        "exp(-u/kT)",
        relaxation_escape_wall,
    ),
    Row(
        "B5",
        "configurational temperature in an anharmonic well",
        "<u'^2>/<u''> = kT: Rugh, Phys. Rev. Lett. 78, 772 (1997), doi 10.1103/PhysRevLett.78.772; stationary law of "
        "the Euler step on a grid",
        temperature_of_positions,
    ),
    Row("B6", "noise without correlation; a path that is its own", "independence; equality of bits", noise),
    Row("B7", "small steps across a periodic edge", "<x^2> = 2 D t", small_steps),
    Row(
        "B8",
        "diffusion near no-slip walls",
        "Goldman, Cox and Brenner 1967, doi 10.1016/0009-2509(67)80047-2; Brenner 1961, doi "
        "10.1016/0009-2509(61)80035-3; exp(-u/kT)",
        slow_walls,
    ),
)
