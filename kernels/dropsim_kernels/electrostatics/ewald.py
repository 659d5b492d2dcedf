"""Ewald sums for periodic boxes and for slabs, with net charge and fixed sites.

Energies are in charge^2/length: the caller multiplies by its Coulomb factor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EwaldParameters:
    """How a Coulomb sum is split.

    alpha: scalar, inverse length, of erfc(alpha r)/r; cutoff: scalar, length, of the real-space sum;
    padded_height: scalar, length of the z period with its vacuum (used where `slab`, else None);
    n_max: largest wave index along x, y, z (static); slab: whether z does not repeat (static).
    """

    alpha: jax.Array
    cutoff: jax.Array
    padded_height: jax.Array | None
    n_max: tuple[int, int, int] = field(metadata={"static": True})
    slab: bool = field(metadata={"static": True})
