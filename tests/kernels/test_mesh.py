"""The particle mesh against the exact sum, against itself, and against the error it promises."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.electrostatics import coulomb, ewald, mesh, spreading
from dropsim_kernels.electrostatics.influence import influence_function, mesh_error, scaled_erfc, slab_kernel
from dropsim_kernels.electrostatics.parameters import choose_parameters, good_mesh_size, mesh_candidates
from dropsim_kernels.electrostatics.reference import reference_forces
from dropsim_kernels.electrostatics.splines import spline_weights

LENGTHS = (5.0, 6.0, 4.5)
ALPHA = 1.8


def place(rng, n, lengths, closest):
    """Random points no closer than `closest`, with images in x and y."""
    lengths, points = np.asarray(lengths), np.empty((n, 3))
    k = 0
    while k < n:
        point = rng.random(3) * lengths
        d = points[:k] - point
        d[:, :2] -= np.round(d[:, :2] / lengths[:2]) * lengths[:2]
        if k == 0 or (d**2).sum(1).min() > closest**2:
            points[k] = point
            k += 1
    return points


def scene(slab, net=0.0, n=60, n_sites=2, dtype=jnp.float64, seed=3, lengths=LENGTHS):
    """Mobile charges with centres of +7.37 among them, in all `net`."""
    rng = np.random.default_rng(seed)
    points = place(rng, n + n_sites, lengths, 0.25)
    charge = rng.choice([1.0, -1.0, -2.0], n)
    charge += (net - 7.37 * n_sites - charge.sum()) / n
    arrays = points[:n], charge, points[n:], np.full(n_sites, 7.37)
    box = Box(jnp.asarray(lengths, dtype), (True, True, not slab))
    return *(jnp.asarray(a, dtype) for a in arrays), box


def parameters(slab, order=5, points=(20, 24, 52), dtype=jnp.float64, way="auto", padded_height=None):
    n = points if slab else (*points[:2], 18)
    return mesh.mesh_parameters(
        LENGTHS, ALPHA, 2.2, n, order, slab, padded_height=padded_height, spreading=way, dtype=dtype
    )


long_range = jax.jit(mesh.long_range)
fixed_charges = jax.jit(mesh.fixed_charges)


def relative(a, b):
    return float(np.sqrt(((np.asarray(a) - np.asarray(b)) ** 2).sum() / (np.asarray(b) ** 2).sum()))


@pytest.mark.parametrize(("slab", "net"), [(False, 0.0), (False, 3.0), (True, 0.0), (True, 5.37)])
def test_long_range_part_converges_to_the_exact_sum(slab, net):
    x, q, sites, site_charge, box = scene(slab, net)
    exact = choose_parameters(LENGTHS, 500, 1e-9, cutoff=2.2, slab=slab, vacuum_factor=6.0)
    exact = ewald.EwaldParameters(jnp.asarray(ALPHA), exact.cutoff, exact.padded_height, exact.n_max, slab)
    fixed = jax.jit(coulomb.fixed_charges)(sites, site_charge, box, exact)
    energy, forces = jax.jit(coulomb.long_range)(x, q, box, exact, fixed)
    total = jax.jit(coulomb.coulomb_energy_forces)(x, q, sites, site_charge, box, exact)
    scale = float(jnp.sqrt((total[1] ** 2).sum(1).mean()))
    errors = []
    for order in (4, 6, 8):
        p = parameters(slab, order)
        on_mesh = jax.jit(coulomb.fixed_charges)(sites, site_charge, box, p)
        found = jax.jit(coulomb.long_range)(x, q, box, p, on_mesh)
        errors.append(float(jnp.sqrt(((found[1] - forces) ** 2).sum(1).mean())) / scale)
        # An energy that forces F over distances of about 1 would change by is no better than their error.
        assert abs(float(found[0] - energy)) < 3 * errors[-1] * scale * len(x) ** 0.5
    assert errors[0] < 5e-3
    assert errors[1] < errors[0] / 4
    assert errors[2] < errors[1] / 3


@pytest.mark.parametrize("slab", [False, True])
def test_derivatives_of_the_energy(slab):
    x, q, sites, site_charge, box = scene(slab, 1.0)
    p = parameters(slab, points=(10, 12, 30))

    def energy(x, q, site_charge):
        return mesh.long_range(x, q, box, p, mesh.fixed_charges(sites, site_charge, box, p))[0]

    compiled = jax.jit(energy)
    forces = jax.jit(lambda x, q: mesh.long_range(x, q, box, p, mesh.fixed_charges(sites, site_charge, box, p)))(x, q)
    gradients = jax.jit(jax.grad(energy, argnums=(0, 1, 2)))(x, q, site_charge)
    np.testing.assert_allclose(gradients[0], -forces[1], rtol=1e-12, atol=1e-12)
    rng, h = np.random.default_rng(1), 1e-5
    arguments = (x, q, site_charge)
    for which in range(3):
        step = [jnp.zeros_like(a) for a in arguments]
        step[which] = jnp.asarray(rng.normal(size=arguments[which].shape))
        plus = compiled(*(a + h * s for a, s in zip(arguments, step, strict=True)))
        minus = compiled(*(a - h * s for a, s in zip(arguments, step, strict=True)))
        # Central differences: h^2 of the third derivative, and rounding of E/h, 1e-16 x 200/1e-5.
        assert float((gradients[which] * step[which]).sum()) == pytest.approx(float(plus - minus) / (2 * h), rel=1e-6)


def test_forces_may_be_differentiated_too():
    x, q, _, _, box = scene(True, n=10, n_sites=0)
    p = parameters(True, points=(8, 8, 24))
    direction = jnp.asarray(np.random.default_rng(0).normal(size=x.shape))

    @jax.jit
    def work(x):
        return (mesh.long_range(x, q, box, p)[1] * direction).sum()

    h = 1e-5
    difference = (work(x + h * direction) - work(x - h * direction)) / (2 * h)
    assert float((jax.jit(jax.grad(work))(x) * direction).sum()) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize("order", [3, 4, 5, 6, 7, 8])
def test_two_ways_to_spread_and_the_plain_sum_agree(order):
    rng = np.random.default_rng(order)
    # Uneven on purpose: half of the charges crowd into a few cells.
    n, points = 400, (9, 14, 22)
    u = np.concatenate([rng.random((n // 2, 3)) * points, rng.normal(size=(n // 2, 3)) * 0.6 + 4.0])
    q = rng.normal(size=n)
    cell, fraction = spreading.mesh_cells(jnp.asarray(u), jnp.ones(3), points)
    plain = np.zeros(points)
    weights = np.asarray(spline_weights(fraction, order)[0])
    for j in itertools.product(range(order), repeat=3):
        at = tuple((np.asarray(cell)[axis] + j[axis]) % points[axis] for axis in range(3))
        np.add.at(plain, at, q * weights[j[0], 0] * weights[j[1], 1] * weights[j[2], 2])
    for way in ("scatter", "bricks"):
        found = jax.jit(spreading.spread, static_argnums=(3, 4, 5))(cell, fraction, jnp.asarray(q), points, order, way)
        np.testing.assert_allclose(found, plain, atol=1e-13 * np.abs(plain).max() * n)
        assert float(found.sum()) == pytest.approx(q.sum(), abs=1e-12)
        # Reading is the transpose of spreading: sum_m rho v = sum_j q_j v_j.
        values = jnp.asarray(rng.normal(size=points))
        interpolate = jax.jit(spreading.interpolate, static_argnums=(3, 4))
        read, slow = (interpolate(cell, fraction, values, order, fused) for fused in (True, False))
        assert float((jnp.asarray(q) * read[0]).sum()) == pytest.approx(float((found * values).sum()), rel=1e-10)
        np.testing.assert_allclose(read[1], slow[1], atol=1e-12)


@pytest.mark.parametrize("slab", [False, True])
def test_single_precision_is_kept_and_follows_double(slab):
    wide = scene(slab, 2.0)
    narrow = scene(slab, 2.0, dtype=jnp.float32)
    double = jax.jit(coulomb.coulomb_energy_forces)(*wide, parameters(slab))
    for way in ("scatter", "bricks"):
        p = parameters(slab, dtype=jnp.float32, way=way)
        single = jax.jit(coulomb.coulomb_energy_forces)(*narrow, p)
        assert (single[0].dtype, single[1].dtype) == (jnp.float32, jnp.float32)
        # Coordinates of 50 mesh spacings have 4e-6 of a spacing as last digit.
        assert relative(single[1], double[1]) < 1e-5
        assert float(single[0]) == pytest.approx(float(double[0]), rel=3e-5)


@pytest.mark.parametrize("way", ["scatter", "bricks"])
def test_replicas_under_vmap(way):
    x, q, sites, site_charge, box = scene(True)
    p = parameters(True, points=(10, 12, 30), way=way)
    fixed = fixed_charges(sites, site_charge, box, p)
    batch, charges = jnp.stack([x, x * 0.9]), jnp.stack([q, -q])
    together = jax.jit(jax.vmap(lambda x, q: mesh.long_range(x, q, box, p, fixed)))(batch, charges)
    for replica in range(2):
        alone = jax.jit(mesh.long_range)(batch[replica], charges[replica], box, p, fixed)
        np.testing.assert_allclose(together[0][replica], alone[0], rtol=1e-12)
        np.testing.assert_allclose(together[1][replica], alone[1], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("slab", [False, True])
def test_sites_act_as_mobile_charges_would(slab):
    x, q, sites, site_charge, box = scene(slab, 2.5)
    p = parameters(slab)
    with_sites = long_range(x, q, box, p, fixed_charges(sites, site_charge, box, p))
    together = long_range(jnp.concatenate([x, sites]), jnp.concatenate([q, site_charge]), box, p)
    among_sites = long_range(sites, site_charge, box, p)
    np.testing.assert_allclose(with_sites[1], together[1][: len(x)], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(with_sites[0], together[0] - among_sites[0], rtol=1e-11)


def test_moving_all_by_whole_mesh_spacings_changes_nothing():
    x, q, _, _, box = scene(False, 1.0, n_sites=0)
    p = parameters(False)
    energy, forces = long_range(x, q, box, p)
    # Not wrapped: images of the box are taken as they come.
    shift = jnp.asarray([3 * 5.0 / 20, -30 * 6.0 / 24, 2 * 4.5 / 18])
    moved = long_range(x + shift[None], q, box, p)
    np.testing.assert_allclose(moved[0], energy, rtol=1e-12)
    np.testing.assert_allclose(moved[1], forces, atol=1e-11 * float(jnp.abs(forces).max()))


@pytest.mark.parametrize("slab", [False, True])
def test_charges_on_faces_and_walls(slab):
    """At 0 and L exactly, and, for a slab, from wall to wall: against the exact sum at the mesh's own error."""
    height = LENGTHS[2]
    corner = np.array([[0.0, 0, 0], [5.0, 6.0, height], [2.5, 0, height], [1e-18, 3.0, 0.0], [2.0, 2.0, 2.0]])
    if not slab:
        corner[1] = [2.5, 3.0, height]
    x, q = jnp.asarray(corner), jnp.asarray([1.0, -1.0, 2.0, -3.0, 2.0])
    box = Box(jnp.asarray(LENGTHS), (True, True, not slab))
    nothing = jnp.zeros((0, 3)), jnp.zeros(0)
    exact = reference_forces(x, q, *nothing, box, np.arange(5), 1e-9)
    found = jax.jit(coulomb.coulomb_energy_forces)(x, q, *nothing, box, parameters(slab, 7, (36, 40, 80)))[1]
    # The pair sum stops at erfc(1.8 x 2.2) of 2e-8: the mesh is what is seen.
    assert relative(found, exact) < 3e-4


def test_crowded_charges_lose_nothing():
    """All charges in one cell: the groups of the dense way hold any distribution."""
    rng = np.random.default_rng(5)
    x = jnp.asarray(1.0 + 0.05 * rng.random((900, 3)))
    q = jnp.asarray(rng.normal(size=900))
    box = Box(jnp.asarray(LENGTHS), (True, True, True))
    density = {way: jax.jit(mesh.mesh_density)(x, q, box, parameters(False, way=way)) for way in ("scatter", "bricks")}
    np.testing.assert_allclose(density["bricks"], density["scatter"], atol=1e-12)


def test_prediction_without_a_mesh_is_that_of_the_mesh():
    for order, h in ((4, 0.3), (5, 0.35), (7, 0.5)):
        whole = influence_function((24 * h, 25 * h, 26 * h), (24, 25, 26), order, 1.6).error
        assert mesh_error((h, h, h), order, 1.6) == pytest.approx(whole, rel=0.03)


def test_kernel_of_a_slab():
    """Its second difference in z is k^2 psi less the Gaussian source, 4 sqrt(pi) a exp(-k^2/4a^2 - a^2 z^2)."""
    alpha, h = 1.3, 1e-3
    for k in (0.0, 0.2, 3.0, 40.0):
        z = np.array([0.0, 0.4, 2.0, 9.0])
        psi, above, below = (slab_kernel(k, abs(z + d), alpha) for d in (0, h, -h))
        second = (above - 2 * psi + below) / h**2
        source = 4 * np.sqrt(np.pi) * alpha * np.exp(-((k / (2 * alpha)) ** 2) - (alpha * z) ** 2)
        np.testing.assert_allclose(second, k * k * psi - source, rtol=1e-5, atol=3e-7)
    assert np.isfinite(slab_kernel(500.0, np.array([100.0]), 0.1)).all()
    np.testing.assert_allclose(
        scaled_erfc(np.array([0.0, 1.0, 50.0])), [1, 0.427583576155807, 0.01128153626], rtol=1e-9
    )


# --- errors as promised ----------------------------------------------------------------------------------------

SYSTEMS = {  # lengths, mobile charges, sites, slab
    "bulk": ((7.0, 7.0, 7.0), 300, 0, False),
    "slab": ((8.0, 8.0, 6.0), 300, 0, True),
    "charged": ((8.0, 8.0, 6.0), 300, 4, True),
    "thin": ((100.0, 100.0, 5.0), 600, 12, True),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SYSTEMS)
def test_achieved_force_error_is_below_the_requested_one(name, seed):
    """20 random systems; each with one of the tolerances, which all kinds of system meet in turn."""
    lengths, n, n_sites, slab = SYSTEMS[name]
    tolerance = (1e-2, 1e-3, 1e-4, 1e-5, 3e-4)[seed]
    rng = np.random.default_rng(100 + seed)
    x = place(rng, n + n_sites, lengths, 0.28)
    x[n:, 2] = 0.0
    q = np.where(np.arange(n + n_sites) % 2, 1.0, -1.0)
    q[n:] = 7.37
    box = Box(jnp.asarray(lengths), (True, True, not slab))
    arguments = (*(jnp.asarray(a) for a in (x[:n], q[:n], x[n:], q[n:])), box)
    exact = reference_forces(*arguments, np.arange(n), 1e-8)
    effective = (q**2).sum() / (q[:n] ** 2).mean()
    best = mesh_candidates(lengths, effective, tolerance, slab, n_particles=n)[0]
    p = mesh.mesh_parameters(
        lengths, best.alpha, best.cutoff, best.mesh, best.order, slab, padded_height=best.padded_height
    )
    achieved = relative(jax.jit(coulomb.coulomb_energy_forces)(*arguments, p)[1], exact)
    assert 0.05 * tolerance < achieved < tolerance


@pytest.mark.parametrize("slab", [False, True])
def test_reference_forces_are_those_of_the_ewald_sum(slab):
    x, q, sites, site_charge, box = scene(slab, 3.0)
    exact = choose_parameters(LENGTHS, 500, 1e-10, cutoff=2.5 if slab else 2.25, slab=slab, vacuum_factor=6.0)
    expected = jax.jit(coulomb.coulomb_energy_forces)(x, q, sites, site_charge, box, exact)[1]
    targets = np.array([0, 7, 31, 59])
    found = reference_forces(x, q, sites, site_charge, box, targets)
    assert relative(found, np.asarray(expected)[targets]) < 1e-7


def test_candidates():
    tight = mesh_candidates((10.0, 10.0, 10.0), 1000, 1e-4)
    loose = mesh_candidates((10.0, 10.0, 10.0), 1000, 1e-2)
    assert [c.cost for c in tight] == sorted(c.cost for c in tight)
    assert tight[0].cost > loose[0].cost
    assert all(c.real_error**2 + c.mesh_error**2 < 1e-4**2 for c in tight)
    assert all(n == good_mesh_size(n) for c in tight for n in c.mesh)
    assert {c.cutoff for c in mesh_candidates((10.0, 10.0, 10.0), 1000, 1e-3, cutoffs=[2.0, 3.0])} == {2.0, 3.0}
    assert [good_mesh_size(n) for n in (1, 11, 13, 47.2, 101)] == [1, 12, 14, 48, 105]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 2}, "order"),
        ({"order": 9}, "order"),
        ({"mesh": (4, 20, 20)}, "mesh"),
        ({"mesh": (20, 20)}, "mesh"),
        ({"alpha": 0.0}, "alpha"),
        ({"cutoff": 3.1}, "cutoff"),
        ({"lengths": (5.0, -6.0, 4.5)}, "lengths"),
        ({"spreading": "fast"}, "spreading"),
        ({"padded_height": 20.0}, "slab"),
        ({"slab": True, "padded_height": 9.0}, "padded_height"),
        ({"slab": True, "mesh": (20, 20, 16)}, "points along z"),
    ],
)
def test_impossible_meshes_are_refused(change, message):
    request = {"lengths": LENGTHS, "alpha": 1.0, "cutoff": 2.0, "mesh": (20, 20, 20), "order": 5} | change
    with pytest.raises(ValueError, match=message):
        mesh.mesh_parameters(**request)


def test_methods_do_not_mix():
    x, q, sites, site_charge, box = scene(True)
    p, exact = parameters(True, points=(10, 12, 30)), choose_parameters(LENGTHS, 60, 1e-2, slab=True)
    with pytest.raises(TypeError, match="fixed_charges"):
        coulomb.long_range(x, q, box, p, coulomb.fixed_charges(sites, site_charge, box, exact))
    with pytest.raises(TypeError, match="fixed_charges"):
        coulomb.long_range(x, q, box, exact, coulomb.fixed_charges(sites, site_charge, box, p))
    with pytest.raises(ValueError, match="periodic"):
        mesh.long_range(x, q, Box(box.lengths, (True, True, True)), p)
    with pytest.raises(ValueError, match="cutoffs"):
        mesh_candidates((5.0, 5.0, 5.0), 100, 1e-3, cutoffs=[3.0])
    with pytest.raises(ValueError, match="neighbor_distance"):
        mesh_candidates((5.0, 5.0, 5.0), 100, 1e-3, neighbor_distance=0.0)
