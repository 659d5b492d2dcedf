"""Crystal grains of a droplet that has turned to Li2S: how many, how large, and how they lie.

Drawn, not simulated: the number, the places of the nuclei and the orientations are random by the laws below, and
only the number of units that the grains share comes from the droplet.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

# One unit is 6 Li2S of 45.7 A^3 each (27.5 cm^3/mol).
UNIT_VOLUME_NM3 = 6 * 0.0457
# Below this size an electron micrograph shows no lattice fringes, and the grain counts as amorphous.
AMORPHOUS_BELOW_NM = 1.5


@dataclasses.dataclass(frozen=True)
class Grains:
    """Grains of one droplet.

    units: (G,) int, units of each grain, at least 1, which add up to the droplet's; size_nm: (G,) edge of a cube of
    the grain's volume; amorphous: (G,) bool; quaternion: (G, 4), unit, (w, x, y, z) with w >= 0.
    """

    units: NDArray[np.int64]
    size_nm: NDArray[np.float64]
    amorphous: NDArray[np.bool_]
    quaternion: NDArray[np.float64]


def grain_size_nm(units: ArrayLike, unit_volume_nm3: float = UNIT_VOLUME_NM3) -> NDArray[np.float64]:
    """Edge of a cube that holds so many units.

        l = (n v)^(1/3)

    units: n, any shape; unit_volume_nm3: v. Returns nm.
    """
    return np.cbrt(np.asarray(units, dtype=np.float64) * unit_volume_nm3)


def draw_orientations(rng: np.random.Generator, n_grains: int) -> NDArray[np.float64]:
    """Orientations uniform on SO(3), as unit quaternions (w, x, y, z) with w >= 0.

    Four independent normal numbers, normalised, are uniform on the unit sphere in four dimensions, and thereby
    uniform rotations; q and -q are the same one. Returns (n_grains, 4). Source: Marsaglia, Ann. Math. Stat. 43, 645
    (1972), doi 10.1214/aoms/1177692644.
    """
    normal = rng.standard_normal((n_grains, 4))
    quaternion = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return np.where(quaternion[:, :1] < 0.0, -quaternion, quaternion)


def draw_grain_number(rng: np.random.Generator, mean: float) -> int:
    """Number of nuclei, Poisson with this mean, given that there is at least one.

        P(k) = mean^k / [k! (exp(mean) - 1)],  k >= 1;  its average is mean / (1 - exp(-mean))

    mean: >= 0 (0: always one). A crystal has at least the nucleus that began it.
    """
    if mean <= 0.0:
        return 1
    # The first point of a Poisson process on (0, mean], given that there is one, then the rest of the process.
    first = -np.log1p(np.expm1(-mean) * rng.random())
    return 1 + int(rng.poisson(max(mean - first, 0.0)))


def draw_cap_points(rng: np.random.Generator, n_points: int, contact_angle_deg: float = 90.0) -> NDArray[np.float64]:
    """Points uniform in a spherical cap of unit radius that stands on z = 0 with a contact angle.

    Returns (n_points, 3). The height is drawn from the cap's own profile, by rejection: at least half of the tries are
    kept.
    """
    cosine = np.cos(np.radians(contact_angle_deg))
    height, widest = 1.0 - cosine, max(1.0 - max(cosine, 0.0) ** 2, 1e-300)
    kept = np.zeros(0)
    while kept.size < n_points:
        z = height * rng.random(2 * (n_points - kept.size) + 8)
        section = 1.0 - (z + cosine) ** 2
        kept = np.concatenate([kept, z[rng.random(z.size) * widest < section]])
    z = kept[:n_points]
    radius = np.sqrt(np.maximum(1.0 - (z + cosine) ** 2, 0.0) * rng.random(n_points))
    angle = 2.0 * np.pi * rng.random(n_points)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


def draw_grains(
    rng: np.random.Generator,
    n_units: int,
    grains_per_unit: float,
    *,
    amorphous_below_nm: float = AMORPHOUS_BELOW_NM,
    unit_volume_nm3: float = UNIT_VOLUME_NM3,
    contact_angle_deg: float = 90.0,
) -> Grains:
    """Divide a crystal of n_units among grains.

    The number of nuclei is Poisson with mean grains_per_unit x n_units, at least one (`draw_grain_number`) and at most
    n_units; they lie at random in the cap, and each unit, at random in the cap too, belongs to the nearest nucleus: a
    Voronoi share. Every nucleus holds at least its own unit, so that the units add up exactly. n_units: >= 1;
    grains_per_unit: >= 0. Raises ValueError outside these ranges.
    """
    if n_units < 1 or not grains_per_unit >= 0:
        raise ValueError(f"{n_units} units with {grains_per_unit} grains each: at least 1 and at least 0 are allowed")
    n_grains = min(draw_grain_number(rng, grains_per_unit * n_units), n_units)
    places = draw_cap_points(rng, n_units, contact_angle_deg)
    # The first units are the nuclei: each is nearest to itself.
    nearest = KDTree(places[:n_grains]).query(places)[1]
    units = np.bincount(nearest, minlength=n_grains).astype(np.int64)
    size = grain_size_nm(units, unit_volume_nm3)
    return Grains(units, size, size < amorphous_below_nm, draw_orientations(rng, n_grains))


def grain_facts(grains: list[Grains]) -> dict[str, float | int | None]:
    """Statistics of the grains of several crystals.

    Returns crystals, grains, grains_per_crystal (mean and standard deviation), size_nm (median over grains, and
    weighted by volume), amorphous_share (of the grains) and amorphous_volume_share; None where there is no grain.
    """
    number = np.array([g.units.size for g in grains])
    if not number.sum():
        return {"crystals": len(grains), "grains": 0}
    size = np.concatenate([g.size_nm for g in grains])
    units = np.concatenate([g.units for g in grains])
    amorphous = np.concatenate([g.amorphous for g in grains])
    return {
        "crystals": len(grains),
        "grains": int(number.sum()),
        "grains_per_crystal": float(number.mean()),
        "grains_per_crystal_deviation": float(number.std(ddof=1)) if number.size > 1 else None,
        "median_size_nm": float(np.median(size)),
        "volume_weighted_size_nm": float((size * units).sum() / units.sum()),
        "amorphous_share": float(amorphous.mean()),
        "amorphous_volume_share": float(units[amorphous].sum() / units.sum()),
    }
