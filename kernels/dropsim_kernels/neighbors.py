"""Fixed-capacity neighbour lists of mobile particles among mobile particles and fixed sites."""

from __future__ import annotations

from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class NeighborSettings:
    """Capacities and grid of a neighbour list: hashable, a static argument of compiled functions.

    cutoff: interaction range; skin: extra range, so that a list lasts until a particle has moved skin/2;
    capacity: neighbours that a row can hold; cells: grid of the cell list, or None to test all pairs;
    cell_capacity: particles that a cell can hold (unused without a grid).
    """

    cutoff: float
    skin: float
    capacity: int
    cells: tuple[int, int, int] | None
    cell_capacity: int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NeighborList:
    """A full list: every mobile particle names all its neighbours.

    index: (N_mobile, K) int32, columns of the concatenation [mobile; sites], ascending, padded with
    N_mobile + N_sites; reference_position: (N_mobile, 3), where it was built; overflow: bool scalar, some
    capacity was too small, and the list must not be used.
    """

    index: jax.Array
    reference_position: jax.Array
    overflow: jax.Array
