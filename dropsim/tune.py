"""The auto-tuner of the Coulomb sum: every candidate splitting measured on the very system, in time and in error."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from dropsim_kernels.electrostatics.coulomb import fixed_charges, long_range
from dropsim_kernels.neighbors import build as build_list

from dropsim.build import Built, build, neighbor_settings
from dropsim.composition import composition
from dropsim.config import Config
from dropsim.coulomb_error import exact_coulomb_forces, relative_error, target_beads
from dropsim.forces import bead_charges, site_charges, total_forces
from dropsim.splitting import Splitting, exact_splitting, mesh_splittings

REPEATS = 5
# Candidates of the particle mesh that are measured: those of least estimated cost.
N_MESHES = 8
# Beyond so many charges the exact sum is no candidate any more.
EWALD_BELOW = 6000


@dataclasses.dataclass(frozen=True)
class Measured:
    """A candidate with what was measured.

    force_s: seconds of the whole force; long_range_s: of the part that is no pair sum; list_s: of a neighbour list, 0
    where all pairs are met; error: relative rms error of the Coulomb forces.
    """

    splitting: Splitting
    force_s: float
    long_range_s: float
    list_s: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        own = {"error": self.error, "force_s": self.force_s, "long_range_s": self.long_range_s, "list_s": self.list_s}
        return {**self.splitting.to_dict(), **own}


def best_time(function: Callable[[], Any]) -> float:
    """Least of some wall times of a compiled call, after one to warm up: the least is what others disturb least."""
    jax.block_until_ready(function())
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    return min(times)


def measure(splitting: Splitting, built: Built, targets: np.ndarray, exact: np.ndarray) -> Measured:
    """Time and error of one candidate on the state of `built`; targets, exact: as of `coulomb_error`."""
    state, system = built.state, built.system
    parameters = splitting.parameters(state.position.dtype)
    charge = bead_charges(state.species, state.reaction.electrons, system)
    settings = neighbor_settings(state.position, system.site_position, system.box, splitting.cutoff_nm)
    list_s = 0.0
    if settings.capacity:
        fresh = jax.jit(lambda position: build_list(position, system.site_position, system.box, settings))
        state = dataclasses.replace(state, neighbors=fresh(state.position))
        list_s = best_time(lambda: fresh(state.position))
    fixed = fixed_charges(system.site_position, site_charges(system), system.box, parameters)
    there = dataclasses.replace(system, splitting=parameters, fixed_charges=fixed, neighbors=settings)
    whole = jax.jit(
        lambda position: total_forces(position, state.species, state.reaction.electrons, state.neighbors, there)[1]
    )
    far = jax.jit(lambda position: long_range(position, charge, system.box, parameters, fixed)[1])
    return Measured(
        splitting,
        best_time(lambda: whole(state.position)),
        best_time(lambda: far(state.position)),
        list_s,
        relative_error(state, there, targets, exact),
    )


def tune(config: Config, replica: int = 0) -> Iterator[Measured]:
    """Measure the candidate splittings of a configuration on its relaxed start, one after the other.

    Yields Measured: the Ewald sum where there are not too many charges, then particle meshes in the order of their
    estimated cost. Raises what `build` raises.
    """
    built = build(config, replica)
    whole, tolerance = composition(config), config.electrostatics.force_tolerance
    targets = target_beads(built.state.position.shape[0])
    exact = exact_coulomb_forces(built.state, built.system, targets)
    wanted: list[Splitting] = []
    if whole.n_mobile + whole.n_sites <= EWALD_BELOW:
        wanted.append(exact_splitting(config, whole, tolerance))
    wanted += mesh_splittings(config, whole, tolerance)[:N_MESHES]
    for candidate in wanted:
        yield measure(candidate, built, targets, exact)


def fastest(measured: list[Measured], tolerance: float) -> Measured | None:
    """The one of least time per force among those that meet the tolerance; None where none does."""
    return min((m for m in measured if m.error <= tolerance), key=lambda m: m.force_s, default=None)


def lines_for_the_file(splitting: Splitting) -> str:
    """The section of an experiment file that asks for this splitting."""
    lines = ["[electrostatics]", f'method = "{splitting.method}"', f"cutoff_nm = {splitting.cutoff_nm:.6g}"]
    if splitting.method == "mesh":
        lines += [
            f"splitting_per_nm = {splitting.splitting_per_nm:.6g}",
            f"mesh = [{', '.join(map(str, splitting.waves))}]",
            f"mesh_order = {splitting.order}",
        ]
    return "\n".join(lines)
