"""Brownian and Langevin steps against closed forms; every tolerance is in standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box, unwrap, wrap
from dropsim_kernels.integrators import INTEGRATORS, Dynamics
from dropsim_kernels.noise import replica_key


def dynamics(timestep, kT, diffusivity, mass=1.0, friction=1.0, n=1, dtype=jnp.float64) -> Dynamics:
    return Dynamics(
        jnp.asarray(timestep, dtype),
        jnp.asarray(kT, dtype),
        jnp.full((n, 1), diffusivity, dtype),
        jnp.full((n, 1), mass, dtype),
        jnp.asarray(friction, dtype),
    )


def run(name, force, settings, n_steps, n, replica=0, keep=False, start=None):
    """Trajectory of n independent beads in a force field; returns positions at the end, or all of them."""
    integrator = INTEGRATORS[name]
    key = replica_key(5, replica)
    dtype = settings.timestep.dtype
    x = jnp.zeros((n, 3), dtype) if start is None else start
    v = jnp.zeros((n, 3), dtype)

    def body(carry, step):
        x, v, f = carry
        x, v = integrator.advance(key, step, x, v, f, settings)
        f = force(x)
        v = integrator.finish(v, f, settings)
        return (x, v, f), (x if keep else None)

    (x, _, _), path = jax.jit(lambda x, v: jax.lax.scan(body, (x, v, force(x)), jnp.arange(n_steps, dtype=jnp.int32)))(
        x, v
    )
    return np.asarray(path if keep else x)


def free(x):
    return jnp.zeros_like(x)


@pytest.mark.parametrize("name", ["euler-maruyama", "leimkuhler-matthews"])
@pytest.mark.parametrize(("friction", "kT"), [(0.3, 0.37), (1.0, 1.0), (9.4, 3.2)])
def test_free_brownian_motion(name, friction, kT):
    """B1: the mean-squared displacement per axis is 2 (kT / gamma) t, less D dt for the averaged noise."""
    n, n_steps, dt = 4000, 40, 0.05
    diffusivity = kT / friction
    x = run(name, free, dynamics(dt, kT, diffusivity, n=n), n_steps, n)
    expected = 2 * diffusivity * n_steps * dt - (diffusivity * dt if name == "leimkuhler-matthews" else 0.0)
    measured = np.mean(x**2)
    assert abs(measured - expected) < 4 * expected * np.sqrt(2 / x.size)
    assert abs(np.mean(x)) < 4 * np.sqrt(expected / x.size)


@pytest.mark.parametrize("stiffness", [0.5, 1.0])
@pytest.mark.parametrize("name", ["euler-maruyama", "leimkuhler-matthews"])
def test_harmonic_trap_variance(name, stiffness):
    """B2: kT/k / (1 - k dt / 2 gamma) for Euler-Maruyama; kT/k exactly for Leimkuhler-Matthews."""
    n, kT, k = 60_000, 1.0, stiffness
    x = run(name, lambda x: -k * x, dynamics(1.0, kT, 1.0, n=n), 40, n)
    exact = kT / k / (1 - 0.5 * k) if name == "euler-maruyama" else kT / k
    assert abs(np.var(x) - exact) < 4 * exact * np.sqrt(2 / x.size)


def test_langevin_free_diffusion_has_the_known_excess():
    """B3: BAOAB's free diffusion is D = kT/(m gamma) x coth x, x = gamma dt / 2; the integrator is not for D."""
    friction, dt, n, n_steps = 5.0, 0.2, 4000, 200
    x = run("baoab", free, dynamics(dt, 1.0, 1.0, friction=friction, n=n), n_steps, n)
    half = 0.5 * friction * dt
    excess = half / np.tanh(half)
    # The start from rest costs a transient of order 1/gamma, known for the exact process.
    t = n_steps * dt
    long_time = 2 / friction * excess * t
    transient = 2 / friction**2 * 1.5
    measured = np.mean(x**2)
    assert abs(measured - long_time) < 4 * long_time * np.sqrt(2 / x.size) + 2 * transient
    assert measured > 1.02 * 2 / friction * t


def test_langevin_configurational_variance():
    """BAOAB samples a harmonic well's positions exactly at any stable step."""
    n = 40_000
    x = run("baoab", lambda x: -x, dynamics(0.8, 1.0, 1.0, friction=1.0, n=n), 60, n)
    assert abs(np.var(x) - 1.0) < 4 * np.sqrt(2 / x.size)


def test_relaxation_in_a_well():
    """B4: the mean decays as exp(-k t / gamma); Leimkuhler-Matthews at small steps."""
    n, dt = 20_000, 0.02
    begin = jnp.full((n, 3), 3.0)
    x = run("leimkuhler-matthews", lambda x: -x, dynamics(dt, 1.0, 1.0, n=n), 50, n, start=begin)
    discrete = 3.0 * (1 - dt) ** 50
    assert abs(x.mean() - discrete) < 4 / np.sqrt(x.size)


def test_increments_are_uncorrelated():
    """B6: over particles, axes, steps and replicas."""
    settings = dynamics(1.0, 1.0, 0.5, n=200)
    here = np.diff(run("euler-maruyama", free, settings, 500, 200, keep=True), axis=0)
    there = np.diff(run("euler-maruyama", free, settings, 500, 200, replica=1, keep=True), axis=0)
    tolerance = 4 / np.sqrt(here[:, 1:].size)
    assert abs(np.mean(here[:, 1:] * here[:, :-1])) < tolerance
    assert abs(np.mean(here[1:] * here[:-1])) < tolerance
    assert abs(np.mean(here[..., 0] * here[..., 1])) < 4 / np.sqrt(here[..., 0].size)
    assert abs(np.mean(here * there)) < 4 / np.sqrt(here.size)


@pytest.mark.parametrize("name", sorted(INTEGRATORS))
def test_same_path_at_any_batch_size(name):
    """B6: a replica's path does not depend on how many run beside it, nor a bead's on how many follow it."""
    settings = dynamics(0.1, 1.0, 1.0, n=4)
    force = lambda x: -x  # noqa: E731
    integrator = INTEGRATORS[name]

    def path(replica):
        key = replica_key(5, replica)
        x, v = jnp.ones((4, 3)), jnp.zeros((4, 3))
        for step in range(5):
            x, v = integrator.advance(key, jnp.int32(step), x, v, force(x), settings)
            v = integrator.finish(v, force(x), settings)
        return x

    alone = path(jnp.int32(2))
    batch = jax.vmap(path)(jnp.arange(4, dtype=jnp.int32))
    np.testing.assert_array_equal(alone, batch[2])


def test_tiny_steps_move_float32_beads_and_wrapping_keeps_the_msd():
    """B7: 10^5 steps of 1e-4 nm in a 10 nm box in float32, against the same law in one box length."""
    n, n_steps, dt = 64, 20_000, 1e-3
    diffusivity = 5e-6
    box = Box(jnp.asarray([10.0, 10.0, 10.0], jnp.float32), (True, True, True))
    settings = dynamics(dt, 1.0, diffusivity, n=n, dtype=jnp.float32)
    integrator = INTEGRATORS["euler-maruyama"]
    key = replica_key(9, 0)
    begin = jnp.full((n, 3), 9.9995, jnp.float32)

    def body(carry, step):
        x, image = carry
        x, _ = integrator.advance(key, step, x, jnp.zeros_like(x), jnp.zeros_like(x), settings)
        return wrap(x, image, box), None

    (x, image), _ = jax.jit(
        lambda x: jax.lax.scan(body, (x, jnp.zeros((n, 3), jnp.int32)), jnp.arange(n_steps, dtype=jnp.int32))
    )(begin)
    assert np.any(np.asarray(image) != 0)
    moved = np.asarray(unwrap(x, image, box), np.float64) - 9.9995
    expected = 2 * diffusivity * dt * n_steps
    # One step is 1e-4 nm, a hundred times the spacing of float32 numbers near 10 nm.
    assert abs(np.mean(moved**2) - expected) < 4 * expected * np.sqrt(2 / moved.size)
