"""Types, shapes and compilations of the integrators; what they sample is under tests/physics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.integrators import INTEGRATORS, Dynamics, descent_step, langevin_advance, thermal_velocities
from dropsim_kernels.noise import replica_key

N = 7


def setup(dtype, timestep=0.02, friction=1.0):
    """Arguments of a step for beads of three kinds."""
    kind = np.arange(N) % 3
    column = [np.array(values)[kind][:, None] for values in ((2.5e-4, 1.2e-4, 2.9e-4), (100.0, 50.0, 200.0))]
    dynamics = Dynamics(
        jnp.asarray(timestep, dtype), jnp.asarray(2.494, dtype), *(jnp.asarray(c, dtype) for c in column),
        jnp.asarray(friction, dtype),
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
