"""The integrators step by step: types, shapes, compilations, twins in numpy and exact moments of linear systems.

What they sample is asked by the rows B1 to B8 of the validation battery.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.hydrodynamics import (
    SMALLEST_GAP,
    WallMobility,
    hindered_diffusivity,
    parallel_friction,
    perpendicular_friction,
)
from dropsim_kernels.integrators import (
    INTEGRATORS,
    MOTION_STREAM,
    Dynamics,
    descent_step,
    langevin_advance,
    thermal_velocities,
)
from dropsim_kernels.noise import gaussian_vectors, replica_key, step_key

N = 7


def setup(dtype, timestep=0.02, friction=1.0, wall=None):
    """Arguments of a step for beads of three kinds; friction: one number, or one for each kind."""
    kind = np.arange(N) % 3
    column = [np.array(values)[kind][:, None] for values in ((2.5e-4, 1.2e-4, 2.9e-4), (100.0, 50.0, 200.0))]
    dynamics = Dynamics(
        jnp.asarray(timestep, dtype), jnp.asarray(2.494, dtype), *(jnp.asarray(c, dtype) for c in column),
        jnp.asarray(friction if np.ndim(friction) == 0 else np.array(friction)[kind][:, None], dtype), wall,
    )  # fmt: skip
    generator = np.random.default_rng(1)
    arrays = [jnp.asarray(generator.normal(size=(N, 3)), dtype) for _ in range(3)]
    return arrays, dynamics


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_types_and_shapes_stay(name, dtype):
    (position, velocity, force), dynamics = setup(dtype)
    integrator = INTEGRATORS[name]
    key, step = replica_key(1, 0), jnp.asarray(5, jnp.int32)
    moved, after = integrator.advance(key, step, position, velocity, force, dynamics)
    finished = integrator.finish(after, force, dynamics)
    for array in (moved, after, finished):
        assert (array.shape, array.dtype) == ((N, 3), dtype)
    assert np.all(np.asarray(moved != position))
    assert bool(jnp.all(finished == velocity)) == integrator.overdamped


@pytest.mark.parametrize("name", INTEGRATORS)
def test_precisions_agree(name):
    ends = []
    for dtype in (jnp.float32, jnp.float64):
        (position, velocity, force), dynamics = setup(dtype)
        moved, _ = INTEGRATORS[name].advance(
            replica_key(1, 0), jnp.asarray(0, jnp.int32), position, velocity, force, dynamics
        )
        ends.append(np.asarray(moved, np.float64))
    np.testing.assert_allclose(*ends, atol=1e-6)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_step_size_and_friction_are_data_not_programs(name):
    traces = []

    @jax.jit
    def advance(step, arrays, dynamics):
        traces.append(1)
        return INTEGRATORS[name].advance(replica_key(1, 0), step, *arrays, dynamics)

    for number, timestep in enumerate((0.01, 0.02, 0.05)):
        arrays, dynamics = setup(jnp.float32, timestep, friction=0.1 * (number + 1))
        advance(jnp.asarray(number, jnp.int32), arrays, dynamics)
    assert len(traces) == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_weak_friction_keeps_its_noise(dtype):
    """1 - c^2 = 2 gamma dt to first order: at gamma dt = 2e-7 float32 must not lose it in the difference."""
    (position, velocity, _), dynamics = setup(dtype, timestep=0.02, friction=1e-5)
    still = jnp.zeros_like(velocity)
    key, step = replica_key(1, 0), jnp.asarray(0, jnp.int32)
    _, kicked = langevin_advance(key, step, position, still, still, dynamics)
    (position, _, _), strong = setup(dtype, timestep=0.02, friction=1e6)
    _, thermal = langevin_advance(key, step, position, still, still, strong)
    # The same Gaussians, scaled by the root of 1 - c^2; at the strong friction c = 0.
    np.testing.assert_allclose(kicked, np.sqrt(2 * 1e-5 * 0.02) * np.asarray(thermal), rtol=1e-5)


def twin(name, R, R_next, x, v, f, f_new, p):
    """One step in numpy: (x', v') from the textbook formulas; p: Dynamics with numpy leaves."""
    dt, kT, D, m, gamma = (np.asarray(leaf, np.float64) for leaf in p[:5])
    if name == "baoab":
        c = np.exp(-gamma * dt)
        half = v + dt / (2 * m) * f
        x = x + dt / 2 * half
        half = c * half + np.sqrt(kT / m * (1 - c**2)) * R
        return x + dt / 2 * half, half + dt / (2 * m) * f_new
    if name == "gjf":
        alpha = m * gamma
        b = 1 / (1 + alpha * dt / (2 * m))
        a = (1 - alpha * dt / (2 * m)) / (1 + alpha * dt / (2 * m))
        beta = np.sqrt(2 * alpha * kT * dt) * R
        moved = x + b * dt * v + b * dt**2 / (2 * m) * f + b * dt / (2 * m) * beta
        return moved, a * v + dt / (2 * m) * (a * f + f_new) + b / m * beta
    noise = {"leimkuhler-matthews": (R + R_next) / 2, "euler-maruyama": R}[name]
    return x + D / kT * f * dt + np.sqrt(2 * D * dt) * noise, v


@pytest.mark.parametrize("name", INTEGRATORS)
@pytest.mark.parametrize("friction", [0.0, 0.7, (0.3, 1.0, 200.0)], ids=["none", "one", "per bead"])
def test_the_step_is_that_of_the_formulas(name, friction):
    (x, v, f), dynamics = setup(jnp.float64, 0.02, friction)
    f_new = jnp.flip(f, axis=0)
    key, step = replica_key(1, 0), jnp.asarray(5, jnp.int32)
    moved, after = INTEGRATORS[name].advance(key, step, x, v, f, dynamics)
    after = INTEGRATORS[name].finish(after, f_new, dynamics)
    R, R_next = (np.asarray(gaussian_vectors(step_key(key, MOTION_STREAM, step + i), N, jnp.float64)) for i in (0, 1))
    expected = twin(name, R, R_next, *(np.asarray(array) for array in (x, v, f, f_new)), dynamics)
    np.testing.assert_allclose(moved, expected[0], rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(after, expected[1], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", [name for name, row in INTEGRATORS.items() if not row.overdamped])
def test_without_friction_it_is_velocity_verlet(name):
    """An oscillator, 2000 steps: the path of velocity Verlet, hence its conserved energy and no drift."""
    dt, mass = 0.1, 2.0
    (x, v, _), dynamics = setup(jnp.float64, dt, 0.0)
    dynamics = dynamics._replace(mass=jnp.full((N, 1), mass))
    y, w = np.asarray(x), np.asarray(v)

    def body(step, carry):
        x, v = carry
        x, v = INTEGRATORS[name].advance(replica_key(1, 0), step.astype(jnp.int32), x, v, -x, dynamics)
        return x, INTEGRATORS[name].finish(v, -x, dynamics)

    x, v = jax.jit(lambda x, v: jax.lax.fori_loop(0, 2000, body, (x, v)))(x, v)
    shadow = y**2 * (1 - dt**2 / (4 * mass)) + mass * w**2
    for _ in range(2000):
        w = w - dt / (2 * mass) * y
        y = y + dt * w
        w = w - dt / (2 * mass) * y
    np.testing.assert_allclose(x, y, atol=1e-11)
    np.testing.assert_allclose(v, w, atol=1e-11)
    np.testing.assert_allclose(x**2 * (1 - dt**2 / (4 * mass)) + mass * v**2, shadow, rtol=1e-11)


def moments(name, friction, timestep, k, m, kT):
    """Stationary <x^2>, <x v>, <v^2> and the step matrix of an integrator in the force -k x, without sampling.

    The step is linear in (x, v, R): its matrix is read off the kernel by probing, and the covariance C solves
    C = A C A^T + B B^T.
    """
    dtype = jnp.float64
    dynamics = Dynamics(
        jnp.asarray(timestep), jnp.asarray(kT), jnp.ones((1, 1)), jnp.full((1, 1), m), jnp.full((1, 1), friction)
    )
    key, step = replica_key(3, 0), jnp.asarray(2, jnp.int32)
    R = float(gaussian_vectors(step_key(key, MOTION_STREAM, step), 1, dtype)[0, 0])

    def after(x, v):
        x, v = jnp.full((1, 3), x, dtype), jnp.full((1, 3), v, dtype)
        x, v = INTEGRATORS[name].advance(key, step, x, v, -k * x, dynamics)
        v = INTEGRATORS[name].finish(v, -k * x, dynamics)
        return np.array([x[0, 0], v[0, 0]])

    noise = after(0.0, 0.0)
    A = np.stack([after(1.0, 0.0) - noise, after(0.0, 1.0) - noise], axis=1)
    B = noise[:, None] / R
    C = np.linalg.solve(np.eye(4) - np.kron(A, A), (B @ B.T).ravel()).reshape(2, 2)
    return C, A, B


@pytest.mark.parametrize("name", ["baoab", "gjf"])
@pytest.mark.parametrize("friction", [0.05, 1.0, 8.0])
@pytest.mark.parametrize("timestep", [0.1, 0.8, 1.5])
def test_langevin_moments_in_a_harmonic_well_are_exact(name, friction, timestep):
    """<x^2> = kT/k and <x v> = 0 at any stable step; m <v^2> = kT (1 - (w dt)^2 / 4), w^2 = k/m."""
    k, m, kT = 1.7, 2.3, 0.9
    C, A, B = moments(name, friction, timestep, k, m, kT)
    np.testing.assert_allclose(C[0, 0], kT / k, rtol=1e-10)
    np.testing.assert_allclose(C[0, 1], 0.0, atol=1e-10)
    np.testing.assert_allclose(C[1, 1], kT / m * (1 - k / m * timestep**2 / 4), rtol=1e-10)
    if name == "gjf":
        # The half-step velocity u = (x' - x) / (dt sqrt(b)) has the temperature itself.
        b = 1 / (1 + friction * timestep / 2)
        row = A[0] - np.array([1.0, 0.0])
        moved = row @ C @ row + B[0, 0] ** 2
        np.testing.assert_allclose(m * moved / timestep**2 / b, kT, rtol=1e-10)


@pytest.mark.parametrize("name", ["baoab", "gjf"])
@pytest.mark.parametrize("friction", [0.05, 1.0, 8.0])
def test_langevin_diffusion_of_a_free_bead(name, friction):
    """From the matrix of a free step: v' = c v + B_v R, x' - x = A_xv v + B_x R, so D dt is half the variance of
    (A_xv B_v / (1 - c) + B_x) R; exact for gjf, too large by x coth x for baoab."""
    timestep, m, kT = 0.7, 2.3, 0.9
    key, step = replica_key(3, 0), jnp.asarray(2, jnp.int32)
    R = float(gaussian_vectors(step_key(key, MOTION_STREAM, step), 1, jnp.float64)[0, 0])
    dynamics = Dynamics(
        jnp.asarray(timestep), jnp.asarray(kT), jnp.ones((1, 1)), jnp.full((1, 1), m), jnp.full((1, 1), friction)
    )
    still = jnp.zeros((1, 3))
    ends = [INTEGRATORS[name].advance(key, step, still, v, still, dynamics) for v in (still, jnp.ones((1, 3)))]
    (x0, v0), (x1, v1) = [(float(x[0, 0]), float(v[0, 0])) for x, v in ends]
    amplitude = (x1 - x0) * (v0 / R) / (1 - (v1 - v0)) + x0 / R
    half = friction * timestep / 2
    excess = half / np.tanh(half) if name == "baoab" else 1.0
    np.testing.assert_allclose(amplitude**2 / (2 * timestep), kT / (m * friction) * excess, rtol=1e-12)


def test_thermal_velocities_have_their_spread():
    """400 beads of each mass: 1200 components, relative standard error of a variance sqrt(2/1200)."""
    mass = jnp.repeat(jnp.asarray([10.0, 100.0]), 400)[:, None]
    velocity = thermal_velocities(replica_key(4, 0), jnp.asarray(0, jnp.int32), jnp.asarray(2.494), mass)
    for half, m in ((velocity[:400], 10.0), (velocity[400:], 100.0)):
        assert abs(float(jnp.mean(half**2)) * m / 2.494 - 1.0) < 4 * np.sqrt(2 / 1200)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_descent_moves_the_worst_bead_by_the_limit(dtype):
    (position, _, force), _ = setup(dtype)
    limit = jnp.asarray(0.01, dtype)
    moved = np.linalg.norm(descent_step(position, force, limit) - position, axis=1)
    sizes = np.linalg.norm(force, axis=1)
    np.testing.assert_allclose(moved, 0.01 * sizes / sizes.max(), rtol=1e-4)
    np.testing.assert_array_equal(descent_step(position, jnp.zeros_like(force), limit), position)


def test_exact_friction_towards_a_wall():
    """Against the exact series in bispherical coordinates (Brenner 1961, doi 10.1016/0009-2509(61)80035-3)."""
    gap = np.geomspace(0.01, 30.0, 60)
    alpha = np.arccosh(1 + gap)[:, None]
    n = np.arange(1, 400)[None, :]
    # The terms fall as exp(-2 n alpha): far below rounding where the hyperbolic functions would overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        top = 2 * np.sinh((2 * n + 1) * alpha) + (2 * n + 1) * np.sinh(2 * alpha)
        below = 4 * np.sinh((n + 0.5) * alpha) ** 2 - ((2 * n + 1) * np.sinh(alpha)) ** 2
        term = n * (n + 1) / ((2 * n - 1) * (2 * n + 3)) * np.where(n * alpha > 200, 0.0, top / below - 1)
    exact = 4 / 3 * np.sinh(alpha[:, 0]) * term.sum(axis=1)
    radius = jnp.full(gap.shape, 0.3)
    friction, _ = perpendicular_friction(jnp.asarray(0.3 * (1 + gap)), radius)
    np.testing.assert_allclose(friction, exact, rtol=0.008)
    # Limits: lubrication a / h, and no wall.
    near, _ = perpendicular_friction(jnp.asarray([0.3 * 1.0101]), radius[:1])
    assert float(near[0]) == pytest.approx(1 / 0.0101, rel=0.05)
    far, slope = perpendicular_friction(jnp.asarray([jnp.inf]), radius[:1])
    assert (float(far[0]), float(slope[0])) == (1.0, 0.0)


def test_friction_along_a_wall():
    """Against the exact solution (Goldman, Cox and Brenner 1967, doi 10.1016/0009-2509(67)80047-2, table 2), and
    against the limit of a freely turning sphere close to the wall."""
    z = jnp.asarray([10.0677, 3.7622, 2.3524, 1.5431, 1.1276])
    exact = np.array([1.0587, 1.1738, 1.3079, 1.5675, 2.1514])
    np.testing.assert_allclose(parallel_friction(z, jnp.ones_like(z)), exact, rtol=0.05)
    np.testing.assert_allclose(parallel_friction(z, jnp.ones_like(z))[:3], exact[:3], rtol=0.002)
    # Translation 8/15 L + 0.9588, rotation 2/5 L + 0.3817, coupling L/10 - 0.1895 with L = ln(a/h).
    L = np.log(100.0)
    free = 8 / 15 * L + 0.9588 - 4 / 3 * (L / 10 - 0.1895) ** 2 / (2 / 5 * L + 0.3817)
    assert float(parallel_friction(jnp.asarray([1.01]), jnp.ones(1))[0]) == pytest.approx(free, rel=1e-3)
    along = np.asarray(parallel_friction(jnp.linspace(1.0, 3.0, 4001), jnp.ones(4001)))
    assert np.all(np.diff(along) <= 0)
    assert np.max(-np.diff(along)) < 0.03


@pytest.mark.parametrize("height", [2.0, np.inf])
def test_slope_of_the_hindered_diffusivity(height):
    """The drift is the derivative of the diffusivity across the walls, one or two, at contact and without a radius."""
    z = jnp.asarray([0.05, 0.302, 0.31, 0.4, 0.8, 1.0, 1.5, 1.65])[:, None]
    D = jnp.asarray([1.0, 2.0, 1.0, 0.5, 1.0, 1.0, 1.0, 3.0])[:, None]
    walls = WallMobility(jnp.asarray([0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.0, 0.2])[:, None], jnp.asarray(height))
    along, across, slope = hindered_diffusivity(z, D, walls)
    low, high = (hindered_diffusivity(z + e, D, walls)[1] for e in (-1e-7, 1e-7))
    np.testing.assert_allclose(slope, (high - low) / 2e-7, rtol=1e-5, atol=1e-6)
    assert np.all((np.asarray(across) > 0) & (np.asarray(across) <= np.asarray(along)) & (np.asarray(along) <= D))
    assert float(across[6, 0]) == float(along[6, 0]) == 1.0
    # In contact the mobility stays at that of the smallest gap.
    held, _ = perpendicular_friction(jnp.asarray([0.1, 0.3 * (1 + SMALLEST_GAP)]), jnp.full(2, 0.3))
    assert float(held[0]) == pytest.approx(float(held[1]), rel=1e-9)
    if height == 2.0:
        mirrored = hindered_diffusivity(2.0 - z, D, walls)
        for there, here, sign in zip(mirrored, (along, across, slope), (1, 1, -1), strict=True):
            np.testing.assert_allclose(there, sign * here, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_step_near_a_wall(dtype):
    """Euler-Maruyama with the diffusivities at the start of the step and the drift along their slope."""
    walls = WallMobility(jnp.full((N, 1), 0.25, dtype), jnp.asarray(3.0, dtype))
    (x, v, f), dynamics = setup(dtype, wall=walls)
    x = jnp.abs(x) + jnp.asarray(0.2, dtype)
    key, step = replica_key(1, 0), jnp.asarray(5, jnp.int32)
    moved, after = INTEGRATORS["euler-maruyama"].advance(key, step, x, v, f, dynamics)
    assert moved.dtype == dtype
    assert bool(jnp.all(after == v))
    R = np.asarray(gaussian_vectors(step_key(key, MOTION_STREAM, step), N, dtype), np.float64)
    along, across, slope = (np.asarray(a, np.float64) for a in hindered_diffusivity(x[:, 2:], dynamics[2], walls))
    D = np.concatenate([along, along, across], axis=1)
    expected = np.asarray(x, np.float64) + D * 0.02 / 2.494 * np.asarray(f) + np.sqrt(2 * D * 0.02) * R
    expected[:, 2] += slope[:, 0] * 0.02
    np.testing.assert_allclose(moved, expected, rtol=1e-5 if dtype == jnp.float32 else 1e-12)
    far = WallMobility(jnp.zeros((N, 1), dtype), jnp.asarray(jnp.inf, dtype))
    without, _ = INTEGRATORS["euler-maruyama"].advance(key, step, x, v, f, dynamics._replace(wall=None))
    with_none, _ = INTEGRATORS["euler-maruyama"].advance(key, step, x, v, f, dynamics._replace(wall=far))
    np.testing.assert_array_equal(without, with_none)


@pytest.mark.parametrize("name", [name for name, row in INTEGRATORS.items() if not row.position_dependent])
def test_other_integrators_refuse_walls(name):
    walls = WallMobility(jnp.full((N, 1), 0.25), jnp.asarray(3.0))
    arrays, dynamics = setup(jnp.float64, wall=walls)
    with pytest.raises(ValueError, match="use euler-maruyama near walls"):
        INTEGRATORS[name].advance(replica_key(1, 0), jnp.asarray(0, jnp.int32), *arrays, dynamics)
