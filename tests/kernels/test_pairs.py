"""The pair evaluator against a naive double loop, its derivatives, and its two routes against each other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.neighbors import allocate, build, grown
from dropsim_kernels.pairs import pair_forces as evaluate
from dropsim_kernels.pairs import pair_laplacian as evaluate_laplacian
from dropsim_kernels.potentials import lennard_jones, lennard_jones_shifted, mix_lorentz_berthelot, yukawa

# Compiled as a user would: op by op the same code takes a hundred times as long.
pair_forces = jax.jit(evaluate, static_argnums=0)
pair_laplacian = jax.jit(evaluate_laplacian, static_argnums=0)

LENGTHS = (5.0, 4.0, 6.0)


def scene(n=30, n_sites=7, dtype=jnp.float64, seed=3):
    """Particles at least 0.45 apart, so that single precision can be compared; parameters of two kinds."""
    rng = np.random.default_rng(seed)
    chosen = []
    while len(chosen) < n + n_sites:
        x = rng.random(3) * LENGTHS
        d = np.asarray(chosen).reshape(-1, 3) - x
        d[:, :2] -= np.asarray(LENGTHS[:2]) * np.round(d[:, :2] / LENGTHS[:2])
        if not len(chosen) or (d**2).sum(1).min() > 0.45**2:
            chosen.append(x)
    everything = jnp.asarray(np.asarray(chosen), dtype)
    parameters = {
        "charge": jnp.asarray(rng.choice([1.0, -2.0], n + n_sites), dtype),
        "sigma": jnp.asarray(rng.choice([0.4, 0.5], n + n_sites), dtype),
        "epsilon": jnp.asarray(rng.choice([0.3, 1.1], n + n_sites), dtype),
    }
    rows = {name: value[:n] for name, value in parameters.items()}
    box = Box(jnp.asarray(LENGTHS, dtype), (True, True, False))
    return everything[:n], everything[n:], rows, parameters, box


def u(r, row, column):
    sigma, epsilon = mix_lorentz_berthelot(row["sigma"], column["sigma"], row["epsilon"], column["epsilon"])
    coulomb = yukawa(r, row["charge"] * column["charge"], 0.8)
    return lennard_jones_shifted(r, sigma, epsilon, 1.2) + coulomb


def naive(position, sites, parameters, lengths, cutoff):
    """Energy, forces and virial by loops over pairs, with the derivatives written out by hand."""
    x = np.concatenate([np.asarray(position, float), np.asarray(sites, float)])
    p = {name: np.asarray(value, float) for name, value in parameters.items()}
    n = len(position)
    energy, virial, forces = 0.0, 0.0, np.zeros((n, 3))
    for i in range(n):
        for j in range(len(x)):
            if j == i:
                continue
            d = x[i] - x[j]
            d[:2] -= lengths[:2] * np.round(d[:2] / lengths[:2])
            r = np.sqrt(d @ d)
            if r >= cutoff:
                continue
            s, e = (p["sigma"][i] + p["sigma"][j]) / 2, np.sqrt(p["epsilon"][i] * p["epsilon"][j])
            qq = p["charge"][i] * p["charge"][j]
            value, slope = qq * np.exp(-0.8 * r) / r, -qq * np.exp(-0.8 * r) * (0.8 / r + 1 / r**2)
            if r < 1.2:
                at, edge = (s / 1.2) ** 6, 24 * e / 1.2
                slope_at = -edge * (2 * at**2 - at)
                six = (s / r) ** 6
                value += 4 * e * (six**2 - six) - 4 * e * (at**2 - at) - (r - 1.2) * slope_at
                slope += -24 * e / r * (2 * six**2 - six) - slope_at
            share = 0.5 if j < n else 1.0
            energy += share * value
            virial -= share * r * slope
            forces[i] -= slope * d / r
    return energy, forces, virial


def listed(position, sites, box, cutoff, skin=0.3):
    settings = allocate(position, sites, box, cutoff, skin)
    return jax.jit(build, static_argnums=3)(position, sites, box, settings)


@pytest.mark.parametrize("route", ["all pairs", "list"])
@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float64, 1e-11), (jnp.float32, 2e-5)])
def test_matches_the_naive_loops(route, dtype, rtol):
    position, sites, rows, columns, box = scene(dtype=dtype)
    neighbors = listed(position, sites, box, 1.9) if route == "list" else None
    result = pair_forces(u, position, sites, rows, columns, neighbors, box, 1.9)
    assert all(part.dtype == dtype for part in result)
    expected = naive(position, sites, columns, np.asarray(LENGTHS), 1.9)
    for found, reference in zip(result, expected, strict=True):
        np.testing.assert_allclose(found, reference, rtol=rtol, atol=rtol * np.abs(expected[1]).max())


@pytest.mark.parametrize("route", ["all pairs", "list"])
def test_forces_are_the_gradient_of_the_energy(route):
    position, sites, rows, columns, box = scene()
    neighbors = listed(position, sites, box, 1.9) if route == "list" else None

    def energy(x):
        return pair_forces(u, x, sites, rows, columns, neighbors, box, 1.9)[0]

    forces = pair_forces(u, position, sites, rows, columns, neighbors, box, 1.9)[1]
    gradient = jax.grad(energy)(position)
    assert bool(jnp.isfinite(gradient).all())
    np.testing.assert_allclose(forces, -gradient, rtol=1e-10, atol=1e-10)
    h = 1e-5
    step = jnp.zeros_like(position).at[4, 1].set(h)
    difference = (energy(position + step) - energy(position - step)) / (2 * h)
    np.testing.assert_allclose(forces[4, 1], -difference, rtol=1e-6)


def test_energy_can_be_differentiated_with_respect_to_parameters():
    position, sites, rows, columns, box = scene()
    n = position.shape[0]

    def energy(charge):
        columns_now = columns | {"charge": charge}
        rows_now = rows | {"charge": charge[:n]}
        return pair_forces(u, position, sites, rows_now, columns_now, None, box, 1.9)[0]

    h = 1e-4
    unit = jnp.zeros_like(columns["charge"]).at[2].set(h)
    difference = (energy(columns["charge"] + unit) - energy(columns["charge"] - unit)) / (2 * h)
    np.testing.assert_allclose(jax.grad(energy)(columns["charge"])[2], difference, rtol=1e-8)


def test_newtons_third_law_without_sites():
    position, _, rows, _, box = scene()
    nothing = jnp.zeros((0, 3))
    _, forces, _ = pair_forces(u, position, nothing, rows, rows, None, box, 1.9)
    np.testing.assert_allclose(forces.sum(0), 0.0, atol=1e-10)


def test_virial_is_the_volume_derivative():
    """W = -dU/d ln s under x -> s x, L -> s L, for a potential without a length of its own cutoff."""
    position, _, rows, _, box = scene(n=20, n_sites=0)
    plain = lambda r, a, b: lennard_jones(r, a["sigma"], a["epsilon"] * 0 + 1.0) * 0 + 1 / r**3  # noqa: E731
    far = 1.99

    def energy(s):
        grown = Box(box.lengths * s, box.periodic)
        return pair_forces(plain, position * s, jnp.zeros((0, 3)), rows, rows, None, grown, far * s)[0]

    virial = pair_forces(plain, position, jnp.zeros((0, 3)), rows, rows, None, box, far)[2]
    h = 1e-6
    np.testing.assert_allclose(virial, -(energy(1 + h) - energy(1 - h)) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(virial, 3 * energy(1.0), rtol=1e-12)


def test_integer_parameters_ride_along_with_the_list():
    position, sites, rows, columns, box = scene()
    kind = jnp.asarray(np.arange(len(columns["charge"])) % 3, jnp.int32)
    table = jnp.asarray([[1.0, 2.0, 3.0], [2.0, 5.0, 7.0], [3.0, 7.0, 4.0]])

    def by_kind(r, row, column):
        return table[row["kind"], column["kind"]] * row["charge"] / r

    rows, columns = rows | {"kind": kind[: len(position)]}, columns | {"kind": kind}
    dense = pair_forces(by_kind, position, sites, rows, columns, None, box, 1.5)
    with_list = pair_forces(by_kind, position, sites, rows, columns, listed(position, sites, box, 1.5), box, 1.5)
    for a, b in zip(dense, with_list, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_coinciding_particles_are_not_hidden():
    position, sites, rows, columns, box = scene()
    overlapping = position.at[1].set(position[0])
    energy, forces, _ = pair_forces(u, overlapping, sites, rows, columns, None, box, 1.9)
    assert not bool(jnp.isfinite(energy) & jnp.isfinite(forces).all())


def test_replicas_under_vmap():
    position, sites, rows, columns, box = scene()
    batch = jnp.stack([position, position * 0.99])
    together = jax.vmap(lambda x: pair_forces(u, x, sites, rows, columns, None, box, 1.9))(batch)
    for replica in range(2):
        alone = pair_forces(u, batch[replica], sites, rows, columns, None, box, 1.9)
        np.testing.assert_allclose(together[1][replica], alone[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("route", ["all pairs", "list"])
def test_laplacian_is_the_trace_of_the_hessian(route):
    position, sites, rows, columns, box = scene(n=12, n_sites=5)
    neighbors = listed(position, sites, box, 1.9) if route == "list" else None

    def energy(x):
        return evaluate(u, x.reshape(-1, 3), sites, rows, columns, None, box, 1.9)[0]

    hessian = jax.jit(jax.hessian(energy))(position.reshape(-1))
    found = pair_laplacian(u, position, sites, rows, columns, neighbors, box, 1.9)
    np.testing.assert_allclose(found, jnp.trace(hessian), rtol=1e-10)


def test_laplacian_of_a_power_is_the_closed_form():
    """nabla^2 r^-3 = 6 r^-5 for each of the two particles."""
    position = jnp.asarray([[0.2, 1.0, 1.0], [4.7, 1.4, 1.0]])
    nothing = jnp.zeros((0, 3))
    box = Box(jnp.asarray(LENGTHS), (True, True, False))
    none = jnp.zeros(2)
    found = pair_laplacian(lambda r, row, column: r**-3, position, nothing, none, none, None, box, 1.9)
    np.testing.assert_allclose(found, 2 * 6 * np.sqrt(0.5**2 + 0.4**2) ** -5, rtol=1e-12)


def test_wider_rows_hold_the_same_pairs():
    position, sites, rows, columns, box = scene()
    settings = allocate(position, sites, box, 1.5, 0.3)
    wider = dataclasses.replace(settings, capacity=settings.capacity + 24)
    neighbors = listed(position, sites, box, 1.5)
    padded = grown(neighbors, wider)
    np.testing.assert_array_equal(padded.index, jax.jit(build, static_argnums=3)(position, sites, box, wider).index)
    forces = pair_forces(u, position, sites, rows, columns, neighbors, box, 1.5)[1]
    forces_padded = pair_forces(u, position, sites, rows, columns, padded, box, 1.5)[1]
    np.testing.assert_allclose(forces_padded, forces, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="rows"):
        grown(padded, settings)


def test_listed_replicas_under_vmap():
    position, sites, rows, columns, box = scene()
    settings = allocate(position, sites, box, 1.5, 0.3, headroom=1.5)
    batch = jnp.stack([position, position * 0.99])

    def forces(x):
        return evaluate(u, x, sites, rows, columns, build(x, sites, box, settings), box, 1.5)[1]

    together = jax.jit(jax.vmap(forces))(batch)
    for replica in range(2):
        alone = pair_forces(u, batch[replica], sites, rows, columns, None, box, 1.5)[1]
        np.testing.assert_allclose(together[replica], alone, rtol=1e-11, atol=1e-11)
