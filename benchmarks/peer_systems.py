"""The ionic systems that dropsim and other programs are timed on: one equilibrated configuration for all of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.electrostatics.parameters import mesh_candidates

from dropsim import units
from dropsim.build import Built, build, relaxed, with_splitting
from dropsim.composition import composition
from dropsim.config import MESH_ORDERS, Config
from dropsim.config_load import load_config_text
from dropsim.simulate import advance, thermalise, with_forces, with_more_room
from dropsim.splitting import Splitting, contact_nm
from dropsim.system import N_RING, NEIGHBOR_OVERFLOW, State, System

DENSITY_PER_NM3 = 2.0
WORKLOADS = {
    "bulk": "2:1 electrolyte in a cube that repeats in all directions",
    "slab": "the same between two walls, over charged Mo centres and the sites that neutralise them",
}
# Fixed charges of the slab: rows of Mo at z = 0, rows of neutralising sites below the wall.
MO_ROWS, SITE_ROWS = 10, 40
MO_CHARGE_E, SITE_HEIGHT_NM = 7.37, -0.3
CUTOFFS_NM = (1.3, 1.4, 1.45, 1.5, 1.6, 1.7)
SITE_CHARGE_E = -MO_CHARGE_E * MO_ROWS**2 / SITE_ROWS**2

_FILE = """
[run]
name = "{name}"
precision = "float32"
[box]
geometry = "{name}"
lateral_nm = [{edge!r}, {edge!r}]
height_nm = {edge!r}
[electrolyte]
li2s6_count = {n_salt}
relative_permittivity_300K = 20.0
[species.S6]
sigma_nm = 0.55
epsilon_kJ_per_mol = 0.5
mass_amu = 192.0
[species.Li]
sigma_nm = 0.25
epsilon_kJ_per_mol = 0.5
mass_amu = 7.0
[centres]
{centres}
[[stages]]
name = "langevin"
integrator = "baoab"
timestep_fs = 10.0
friction_per_ps = 1.0
duration_ps = 10.0
record_every_ps = 1.0
[kinetics]
enabled = false
"""


def peer_config(workload: str, n_ions: int) -> Config:
    """Configuration of a workload with `n_ions` mobile ions, a multiple of three."""
    edge = (n_ions / DENSITY_PER_NM3) ** (1 / 3)
    centres = 'arrangement = "none"'
    if workload == "slab":
        centres = (
            f'arrangement = "lattice"\nspacing_nm = {edge / MO_ROWS!r}\ncharge_e = {MO_CHARGE_E}\nheight_nm = 0.0\n'
            'compensation = "sheet"\nsigma_nm = 0.35\nepsilon_kJ_per_mol = 0.5'
        )
    return load_config_text(_FILE.format(name=workload, edge=edge, n_salt=n_ions // 3, centres=centres))


def lattice_start(n_ions: int, edge: float, slab: bool) -> np.ndarray:
    """Ions on a lattice, moved a little at random, the species mixed at random: (N, 3) nm."""
    random = np.random.default_rng(1)
    low = np.array([0.0, 0.0, 0.4 if slab else 0.0])
    length = np.full(3, edge) - 2 * low
    points = np.ceil(length / (length.prod() / n_ions) ** (1 / 3)).astype(int)
    site = random.permutation(int(points.prod()))[:n_ions]
    place = np.stack(np.unravel_index(site, points), axis=1)
    return low + (place + 0.5) * length / points + random.uniform(-0.05, 0.05, (n_ions, 3))


def with_sites(state: State, system: System, edge: float, splitting: Splitting) -> tuple[State, System]:
    """The slab with its neutralising sites as points, in place of a uniform plane."""
    at = (np.arange(SITE_ROWS) + 0.5) * edge / SITE_ROWS
    x, y = np.meshgrid(at, at, indexing="ij")
    sites = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, SITE_HEIGHT_NM)])
    dtype = system.site_position.dtype
    field = system.force_field
    field = dataclasses.replace(
        field,
        charge=field.charge.at[N_RING].set(SITE_CHARGE_E),
        sheet_density=jnp.zeros_like(field.sheet_density),
    )
    system = dataclasses.replace(
        system,
        force_field=field,
        site_position=jnp.concatenate([system.site_position, jnp.asarray(sites, dtype)]),
        site_species=jnp.concatenate([system.site_species, jnp.full((len(sites),), N_RING, jnp.int32)]),
    )
    return with_splitting(state, system, splitting)


def built_peer(workload: str, n_ions: int, position: np.ndarray, splitting: Splitting) -> Built:
    """A workload with its ions at `position`, and the Coulomb sum split as given."""
    config = peer_config(workload, n_ions)
    built = build(config, position=position, splitting=splitting)
    state, system = built.state, built.system
    if workload == "slab":
        state, system = with_sites(state, system, config.box.height_nm, splitting)
        state = jax.jit(with_forces)(state, system)
    return dataclasses.replace(built, state=state, system=system)


def splittings(workload: str, n_ions: int, tolerance: float) -> list[Splitting]:
    """Particle meshes that meet a force error by estimate, the least estimated cost first."""
    config = peer_config(workload, n_ions)
    slab = workload == "slab"
    edge = config.box.height_nm
    whole = composition(config)
    n_salt, n_mobile = whole.n_S6, whole.n_mobile
    squares = (4.0 + 2.0) * n_salt
    fixed = MO_ROWS**2 * MO_CHARGE_E**2 + SITE_ROWS**2 * SITE_CHARGE_E**2 if slab else 0.0
    extent = edge - SITE_HEIGHT_NM if slab else None
    found = mesh_candidates(
        (edge, edge, edge),
        (squares + fixed) / squares * n_mobile,
        tolerance,
        slab=slab,
        neighbor_distance=contact_nm(config),
        cutoffs=[c for c in CUTOFFS_NM if c <= edge / 2],
        orders=MESH_ORDERS,
        extent=extent,
        n_particles=n_mobile,
    )
    return [
        Splitting(
            "mesh", c.cutoff, c.alpha, c.mesh, c.order, (edge, edge, edge), slab, padded_height_nm=c.padded_height,
            extent_nm=extent, predicted_error=float(np.hypot(c.real_error, c.mesh_error)),
        )
        for c in found
    ]  # fmt: skip


def advanced(state: State, system: System, n_steps: int) -> tuple[State, System]:
    """The state so many steps later, with more room for the neighbour list where it needs it."""
    while True:
        after, _, _ = advance(state, system, 1, n_steps, 0)
        error = int(after.error)
        if error & ~NEIGHBOR_OVERFLOW:
            raise RuntimeError(f"error bits {error}: the start of the comparison could not be equilibrated")
        if not error:
            return after, system
        state, system = with_more_room(state, system)


def equilibrated(workload: str, n_ions: int, n_steps: int) -> Built:
    """A workload relaxed, warmed with short steps and strong friction, and run for `n_steps` as it will be timed."""
    config = peer_config(workload, n_ions)
    splitting = splittings(workload, n_ions, 1e-3)[0]
    built = built_peer(workload, n_ions, lattice_start(n_ions, config.box.height_nm, workload == "slab"), splitting)
    stage = built.plan[0]
    strong = tuple(20.0 for _ in stage.friction_per_ps)
    state, system = relaxed(built.state, built.system)
    state = thermalise(state, system)
    soft = dataclasses.replace(stage, timestep_ps=0.002, friction_per_ps=strong)
    for one in (soft, dataclasses.replace(stage, friction_per_ps=strong), stage):
        state, system = advanced(state, one.of(system), n_steps)
    return dataclasses.replace(built, state=state, system=stage.of(system))


def save(path: Path, built: Built) -> None:
    """Everything that another program needs of a configuration, in nm, ps, amu, e and kJ/mol; one npz file."""
    state, system = built.state, built.system
    field = system.force_field
    tables = {
        "charge": field.charge,
        "sigma": field.sigma,
        "epsilon": field.epsilon,
        "mass": system.mass,
        "wall_sigma": field.wall_sigma,
        "wall_depth": field.wall_depth,
        "top_sigma": field.top_sigma,
    }
    arrays: dict[str, Any] = dict(
        position=np.asarray(state.position, np.float64),
        velocity=np.asarray(state.velocity, np.float64),
        species=np.asarray(state.species),
        site_position=np.asarray(system.site_position, np.float64),
        site_species=np.asarray(system.site_species),
        lengths=np.asarray(system.box.lengths, np.float64),
        slab=not system.box.periodic[2],
        coulomb=units.COULOMB_KJ_NM_PER_MOL_E2 / 20.0,
        lennard_jones_cutoff=float(field.lennard_jones_cutoff),
        thermal_energy=float(system.thermal_energy),
        timestep=float(system.timestep),
        friction=1.0,
        **{name: np.asarray(values, np.float64) for name, values in tables.items()},
    )
    np.savez(path, **arrays)
