"""The parts of the Ewald sum: forces against gradients, fixed sites against mobile ones, choice of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import coulomb, ewald
from dropsim_kernels.electrostatics.ewald import EwaldParameters, choose_parameters
from dropsim_kernels.neighbors import allocate, build

LENGTHS = (4.0, 5.0, 3.0)


def parameters(slab, dtype=jnp.float64, n_max=(7, 8, 14)):
    height = jnp.asarray(9.0, dtype) if slab else None
    return EwaldParameters(jnp.asarray(1.6, dtype), jnp.asarray(2.0, dtype), height, n_max, slab)


def scene(slab=True, net=0.0, n=12, n_sites=5, dtype=jnp.float64, seed=11):
    """Charges of both signs with a chosen total, at random places of the box."""
    rng = np.random.default_rng(seed)
    lengths = LENGTHS if slab else (4.0, 5.0, 6.0)
    position = rng.random((n + n_sites, 3)) * lengths
    charge = rng.normal(size=n + n_sites)
    charge += (net - charge.sum()) / len(charge)
    box = Box(jnp.asarray(lengths, dtype), (True, True, not slab))
    x, q = jnp.asarray(position, dtype), jnp.asarray(charge, dtype)
    return x[:n], q[:n], x[n:], q[n:], box


def naive_reciprocal(x, q, lengths, alpha, n_max):
    """Sum over the whole k ellipsoid, one k after the other."""
    x, q, lengths = np.asarray(x, float), np.asarray(q, float), np.asarray(lengths, float)
    energy, forces = 0.0, np.zeros_like(x)
    for n in np.ndindex(*(2 * m + 1 for m in n_max)):
        index = np.asarray(n) - n_max
        norm = ((index / np.asarray(n_max)) ** 2).sum()
        if norm > 1 + 1e-9 or norm == 0:
            continue
        k = 2 * np.pi * index / lengths
        phase = np.exp(1j * x @ k)
        factor = 2 * np.pi / lengths.prod() * np.exp(-(k @ k) / (4 * alpha**2)) / (k @ k)
        s = (q * phase).sum()
        energy += factor * abs(s) ** 2
        forces += 2 * factor * (q * (np.conj(s) * phase).imag)[:, None] * k
    return energy, forces


@pytest.mark.parametrize("slab", [False, True])
@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float64, 1e-12), (jnp.float32, 3e-6)])
def test_reciprocal_matches_the_naive_sum(slab, dtype, rtol):
    x, q, _, _, box = scene(slab, dtype=dtype)
    p = parameters(slab, dtype, n_max=(3, 4, 5))
    energy, forces = jax.jit(ewald.reciprocal)(x, q, box, p)
    assert (energy.dtype, forces.dtype) == (dtype, dtype)
    expected = naive_reciprocal(x, q, ewald.period(box, p), 1.6, (3, 4, 5))
    np.testing.assert_allclose(energy, expected[0], rtol=rtol)
    np.testing.assert_allclose(forces, expected[1], atol=rtol * np.abs(expected[1]).max())


@pytest.mark.parametrize("slab", [False, True])
@pytest.mark.parametrize("net", [0.0, 2.5])
def test_forces_are_the_gradient_of_the_energy(slab, net):
    x, q, sites, site_charge, box = scene(slab, net)

    def energy(x, q):
        return coulomb.coulomb_energy_forces(x, q, sites, site_charge, box, parameters(slab))[0]

    forces = jax.jit(coulomb.coulomb_energy_forces)(x, q, sites, site_charge, box, parameters(slab))[1]
    by_position, by_charge = jax.jit(jax.grad(energy, argnums=(0, 1)))(x, q)
    np.testing.assert_allclose(forces, -by_position, rtol=1e-9, atol=1e-9)
    h = 1e-5
    compiled = jax.jit(energy)
    step = jnp.zeros_like(x).at[3, 2].set(h)
    difference = (compiled(x + step, q) - compiled(x - step, q)) / (2 * h)
    np.testing.assert_allclose(forces[3, 2], -difference, rtol=1e-6)
    step = jnp.zeros_like(q).at[3].set(h)
    difference = (compiled(x, q + step) - compiled(x, q - step)) / (2 * h)
    np.testing.assert_allclose(by_charge[3], difference, rtol=1e-7)


@pytest.mark.parametrize("slab", [False, True])
@pytest.mark.parametrize("net", [0.0, 2.5])
def test_sites_act_as_mobile_charges_would(slab, net):
    x, q, sites, site_charge, box = scene(slab, net)
    p = parameters(slab)
    with_sites = jax.jit(coulomb.coulomb_energy_forces)(x, q, sites, site_charge, box, p)
    everything = jnp.concatenate([x, sites]), jnp.concatenate([q, site_charge])
    nothing = jnp.zeros((0, 3)), jnp.zeros(0)
    together = jax.jit(coulomb.coulomb_energy_forces)(*everything, *nothing, box, p)
    among_sites = jax.jit(coulomb.coulomb_energy_forces)(sites, site_charge, *nothing, box, p)
    np.testing.assert_allclose(with_sites[1], together[1][: len(x)], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(with_sites[0], together[0] - among_sites[0], rtol=1e-11)


def test_reference_energy_agrees_with_the_fast_route_and_a_list():
    x, q, sites, site_charge, box = scene()
    p = parameters(True)
    everything = jnp.concatenate([x, sites]), jnp.concatenate([q, site_charge])
    reference = jax.jit(ewald.ewald_energy)(*everything, box, p)
    fast = jax.jit(coulomb.coulomb_energy_forces)(*everything, jnp.zeros((0, 3)), jnp.zeros(0), box, p)[0]
    np.testing.assert_allclose(fast, reference, rtol=1e-12)
    settings = allocate(x, sites, box, 2.0, 0.1)
    neighbors = jax.jit(build, static_argnums=3)(x, sites, box, settings)
    dense = jax.jit(ewald.real_space_energy_forces)(x, q, sites, site_charge, box, p)
    with_list = jax.jit(ewald.real_space_energy_forces)(x, q, sites, site_charge, box, p, neighbors)
    np.testing.assert_allclose(with_list[0], dense[0], rtol=1e-12)
    np.testing.assert_allclose(with_list[1], dense[1], rtol=1e-10, atol=1e-12)


def test_single_precision_follows_double_with_the_charges_of_centres():
    x, q, sites, site_charge, box = scene(n=20)
    site_charge = jnp.asarray([7.37, -1.8425, -1.8425, -1.8425, -1.8425])
    double = jax.jit(coulomb.coulomb_energy_forces)(x, q, sites, site_charge, box, parameters(True))
    single = jax.jit(coulomb.coulomb_energy_forces)(
        *(jnp.asarray(a, jnp.float32) for a in (x, q, sites, site_charge)),
        Box(jnp.asarray(box.lengths, jnp.float32), box.periodic),
        parameters(True, jnp.float32),
    )
    assert (single[0].dtype, single[1].dtype) == (jnp.float32, jnp.float32)
    rms = float(jnp.sqrt((double[1] ** 2).mean()))
    difference = np.asarray(single[1], float) - np.asarray(double[1])
    assert np.sqrt((difference**2).mean()) < 1e-5 * rms
    np.testing.assert_allclose(single[0], double[0], rtol=2e-5)


def test_replicas_under_vmap():
    x, q, sites, site_charge, box = scene()
    p = parameters(True)
    fixed = jax.jit(ewald.fixed_charges)(sites, site_charge, box, p)
    batch = jnp.stack([x, x * 0.9])
    together = jax.jit(jax.vmap(lambda x: ewald.long_range(x, q, box, p, fixed)))(batch)
    for replica in range(2):
        alone = jax.jit(ewald.long_range)(batch[replica], q, box, p, fixed)
        np.testing.assert_allclose(together[1][replica], alone[1], rtol=1e-10, atol=1e-11)


def test_tighter_tolerance_asks_for_more_and_cutoff_is_kept():
    loose = choose_parameters((11.0, 11.0, 10.0), 300, 1e-2, slab=True, cutoff=4.0)
    tight = choose_parameters((11.0, 11.0, 10.0), 300, 1e-5, slab=True, cutoff=4.0)
    assert float(loose.cutoff) == float(tight.cutoff) == 4.0
    assert float(tight.alpha) > float(loose.alpha)
    assert all(a > b for a, b in zip(tight.n_max, loose.n_max, strict=True))
    chosen = choose_parameters((11.0, 11.0, 10.0), 300, 1e-3, slab=True)
    assert 0 < float(chosen.cutoff) <= 5.5
    assert float(chosen.padded_height) == 30.0
    assert choose_parameters((6.0, 6.0, 6.0), 100, 1e-3).padded_height is None


def test_wide_and_low_slabs_get_more_vacuum_than_asked_for():
    assert float(choose_parameters((30.0, 30.0, 4.0), 300, 1e-4, slab=True).padded_height) > 40.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"force_tolerance": 0.0}, "force_tolerance"),
        ({"force_tolerance": 0.7}, "force_tolerance"),
        ({"cutoff": 3.1}, "cutoff"),
        ({"cutoff": -1.0}, "cutoff"),
        ({"lengths": (6.0, 0.0, 6.0)}, "lengths"),
        ({"lengths": (6.0, 6.0)}, "lengths"),
        ({"n_charges": 0}, "n_charges"),
    ],
)
def test_impossible_requests_are_refused(arguments, message):
    request = {"lengths": (6.0, 6.0, 6.0), "n_charges": 100, "force_tolerance": 1e-3} | arguments
    with pytest.raises(ValueError, match=message):
        choose_parameters(**request)


def test_box_and_parameters_must_agree_on_the_slab():
    x, q, _, _, box = scene(slab=True)
    with pytest.raises(ValueError, match="periodic"):
        ewald.reciprocal(x, q, box, parameters(slab=False))
