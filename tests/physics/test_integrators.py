"""That the rows of the validation battery notice the mistakes that integrators are prone to."""

import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels import integrators as kernel
from dropsim_kernels.hydrodynamics import hindered_diffusivity
from dropsim_kernels.integrators import INTEGRATORS
from dropsim_kernels.noise import step_key

from dropsim.validation import brownian
from dropsim.validation.dynamics import ROWS, correlations
from dropsim.validation.rows import Settings

RUN = {row.key: row.run for row in ROWS}


@pytest.fixture(autouse=True)
def compiled_anew():
    """The driver is compiled for an integrator's name: what a test puts there must not outlive it."""
    brownian.trajectory.clear_cache()
    yield
    brownian.trajectory.clear_cache()


def misses(results) -> list[str]:
    """What did not come out as it should."""
    return [result.quantity for result in results if not result.passed]


def missed(key: str) -> list[str]:
    """What a row finds wrong."""
    return misses(RUN[key](Settings()).results)


def test_noise_too_weak_is_noticed(monkeypatch):
    """Noise of the strength of one axis in three dimensions."""
    honest = kernel.gaussian_vectors
    monkeypatch.setattr(kernel, "gaussian_vectors", lambda *arguments: honest(*arguments) / np.sqrt(3))
    assert len(missed("B1")) == 18


def test_noise_shared_between_axes_is_noticed(monkeypatch):
    honest = kernel.gaussian_vectors
    monkeypatch.setattr(kernel, "gaussian_vectors", lambda *arguments: jnp.repeat(honest(*arguments)[:, :1], 3, 1))
    assert [name.removeprefix("correlation of moves, ") for name in misses(correlations(Settings()))] == [
        "axes x, y",
        "axes y, z",
        "axes x, z",
    ]


def test_noise_repeated_every_second_step_is_noticed(monkeypatch):
    monkeypatch.setattr(kernel, "step_key", lambda key, stream, step: step_key(key, stream, step // 2))
    assert "correlation of moves, steps one apart" in misses(correlations(Settings()))


def test_leimkuhler_matthews_without_its_memory_is_noticed(monkeypatch):
    """Both Gaussians new in every step: kT/k / (2 - k D dt / kT), which at k D dt = kT happens to be right."""
    advance = INTEGRATORS["leimkuhler-matthews"].advance
    forgetful = INTEGRATORS["leimkuhler-matthews"]._replace(
        advance=lambda key, step, *rest: advance(key, 2 * step, *rest)
    )
    monkeypatch.setitem(INTEGRATORS, "leimkuhler-matthews", forgetful)
    assert missed("B2") == ["k <x^2> / kT, leimkuhler-matthews, k D dt / kT = 0.5"]


def test_gjf_with_an_exponential_friction_is_noticed(monkeypatch):
    """1 - exp(-gamma dt) in place of gamma dt: diffusion too fast by a tenth at gamma dt = 0.2, by five times at 5."""
    advance = INTEGRATORS["gjf"].advance

    def swapped(key, step, position, velocity, force, dynamics):
        friction = -jnp.expm1(-dynamics.friction * dynamics.timestep) / dynamics.timestep
        return advance(key, step, position, velocity, force, dynamics._replace(friction=friction))

    monkeypatch.setitem(INTEGRATORS, "gjf", INTEGRATORS["gjf"]._replace(advance=swapped))
    assert missed("B3") == [f"D m gamma / kT, gjf, gamma dt = {product}" for product in (0.2, 1, 5)]


def test_walls_without_the_drift_are_noticed(monkeypatch):
    """Noise of a strength that depends on the place, and no drift along its slope."""

    def driftless(*arguments):
        along, across, slope = hindered_diffusivity(*arguments)
        return along, across, jnp.zeros_like(slope)

    monkeypatch.setattr(kernel, "hindered_diffusivity", driftless)
    assert "heights against exp(-u/kT)" in missed("B8")
