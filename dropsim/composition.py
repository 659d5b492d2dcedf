"""What a configuration asks for in plain numbers: particles and sites, what rounding costs, the permittivity.

Plain arithmetic without jax, so that `check` may print what `build` will place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dropsim.units import concentration_mM, number_density_per_nm3, thermal_energy

if TYPE_CHECKING:
    from dropsim.config import Config, StageConfig

N_SITES_PER_RING = 4  # nitrogen neighbours that balance one Mo centre
SLOTS_PER_S6 = 10  # electrons that one S6 takes on the way to 6 Li2S
REFERENCE_TEMPERATURE_K = 300.0  # at which permittivity and wells (kT) are given
LANGEVIN = ("baoab", "gjf")  # integrators with velocities
NEUTRAL_WITHIN_E = 1e-6  # decimal charges such as 7.37 leave rounding errors far below this


def relative_permittivity(config: Config) -> float:
    """eps_r at the temperature of the run: eps_r(300 K) 300 K / T, or constant."""
    electrolyte = config.electrolyte
    if electrolyte.permittivity_law == "constant":
        return electrolyte.relative_permittivity_300K
    return electrolyte.relative_permittivity_300K * REFERENCE_TEMPERATURE_K / electrolyte.temperature_K


def langevin_frictions_per_ps(config: Config, stage: StageConfig) -> dict[str, float]:
    """Friction of each bead in a Langevin stage: the stage's own, or each bead's, by default kT/(m D).

    With kT/(m D) a free bead diffuses with the D of its species (exactly with "gjf", at any time step).
    """
    beads = {name: getattr(config.species, name) for name in type(config.species).model_fields}
    if stage.friction == "uniform":
        return dict.fromkeys(beads, stage.friction_per_ps)
    kT = thermal_energy(config.electrolyte.temperature_K)
    return {
        name: bead.friction_per_ps or kT / (bead.mass_amu * bead.diffusivity_nm2_per_ps) for name, bead in beads.items()
    }


def stage_potentials_V(config: Config, stage: StageConfig) -> tuple[float, float] | None:
    """Potential at the begin and the end of a stage, V; None where no electron can be transferred."""
    if not stage.reaction or stage.open_circuit:
        return None
    begin = config.reaction.potential_V if stage.potential_V is None else stage.potential_V
    return begin, begin if stage.potential_end_V is None else stage.potential_end_V


def has_droplet_tier(config: Config) -> bool:
    """Whether the droplet tier belongs to the configuration: it is of a droplet on an electrode."""
    return config.kinetics.enabled and config.box.geometry == "slab"


@dataclass(frozen=True)
class Composition:
    """Whole particle numbers of a configuration, with the concentrations and charge that they give.

    n_*: counts; n_counterions: TFSI (or Li) added to balance the fixed charge, contained in n_TFSI (or n_Li); n_vacant:
    slots of the Li+ reservoir, empty at first (bare electron transfer); li2s6_mM, litfsi_mM: the concentrations of the
    whole numbers; fixed_charge_e: centres, their compensation and the electrode; net_charge_e: of the whole cell.
    """

    n_Li: int
    n_S6: int
    n_TFSI: int
    n_counterions: int
    n_centres: int
    n_ring_sites: int
    n_vacant: int
    li2s6_mM: float
    litfsi_mM: float
    fixed_charge_e: float
    net_charge_e: float

    @property
    def n_mobile(self) -> int:
        """Rows of beads that move, vacant slots of the Li+ reservoir included."""
        return self.n_ions + self.n_vacant

    @property
    def n_ions(self) -> int:
        """Ions that are there at first."""
        return self.n_Li + self.n_S6 + self.n_TFSI

    @property
    def n_sites(self) -> int:
        """Fixed charged sites: centres and their rings."""
        return self.n_centres + self.n_ring_sites


def lattice_shape(config: Config) -> tuple[int, int]:
    """Centres along x and y of a lattice that fills the box; each spacing is length / count."""
    spacing = config.centres.spacing_nm
    n_x, n_y = (max(1, round(length / spacing)) for length in config.box.lateral_nm)
    return n_x, n_y


def patch_capacity(config: Config) -> int:
    """Most centres of a square patch whose periodic images keep the spacing too."""
    spacing = config.centres.spacing_nm
    return math.prod(math.floor(length / spacing + 1e-9) for length in config.box.lateral_nm)


def centre_positions_nm(config: Config) -> list[tuple[float, float]]:
    """Positions (x, y) of the centres, nm, inside the box and in an order fixed by the config.

    A lattice fills the box, half a spacing from its edges. A patch takes the `count` points of a
    square grid nearest to the middle of the box; of the four ways to lay the grid (a point or a
    gap at the middle of each axis) the most compact is taken, so 9 give 3 x 3 and 4 give 2 x 2.
    """
    length_x, length_y = config.box.lateral_nm
    centres = config.centres
    if centres.arrangement == "none":
        return []
    if centres.arrangement == "lattice":
        n_x, n_y = lattice_shape(config)
        return [((i + 0.5) * length_x / n_x, (j + 0.5) * length_y / n_y) for i in range(n_x) for j in range(n_y)]
    spacing = centres.spacing_nm
    best: tuple[float, list[tuple[float, float]]] | None = None
    for odd_x in (1, 0):
        for odd_y in (1, 0):
            grid = [
                (x, y) for x in _axis_offsets(length_x, spacing, odd_x) for y in _axis_offsets(length_y, spacing, odd_y)
            ]
            if len(grid) < centres.count:
                continue
            grid.sort(key=lambda point: (round(point[0] ** 2 + point[1] ** 2, 9), point))
            chosen = grid[: centres.count]
            spread = sum(x * x + y * y for x, y in chosen)
            if best is None or spread < best[0] - 1e-9:
                best = (spread, chosen)
    if best is None:
        raise ValueError(f"a patch of {centres.count} centres does not fit: at most {patch_capacity(config)}")
    return [(length_x / 2 + x, length_y / 2 + y) for x, y in best[1]]


def _axis_offsets(length: float, spacing: float, odd: int) -> list[float]:
    """Offsets from the middle: as many as fit, odd (a point at the middle) or even in number."""
    n = math.floor(length / spacing + 1e-9)
    n -= (n - odd) % 2
    return [(i - (n - 1) / 2) * spacing for i in range(n)]


def composition(config: Config) -> Composition:
    """Whole particle numbers of a configuration.

    N = round(c V N_A), V = lateral_x lateral_y height (the whole box, wall layers included). With
    compensation = "counterion" the fixed charge Q is balanced by round(Q/|q_TFSI|) TFSI when Q > 0,
    by round(|Q|/q_Li) Li when Q < 0; the remainder, at most half an ion, stays in net_charge_e.
    """
    box, electrolyte, species, centres = config.box, config.electrolyte, config.species, config.centres
    volume_nm3 = box.lateral_nm[0] * box.lateral_nm[1] * box.height_nm
    n_S6 = electrolyte.li2s6_count
    if n_S6 is None:
        n_S6 = round(number_density_per_nm3(electrolyte.li2s6_mM) * volume_nm3)
    n_salt = round(number_density_per_nm3(electrolyte.litfsi_mM) * volume_nm3)

    n_centres = 0
    if centres.arrangement == "lattice":
        n_centres = math.prod(lattice_shape(config))
    elif centres.arrangement == "patch":
        n_centres = centres.count
    n_ring = n_centres * N_SITES_PER_RING if centres.compensation == "ring" else 0

    # "ring" and "sheet" balance the centres themselves; "counterion" leaves it to the electrolyte.
    fixed_charge = centres.slab_net_charge_e
    n_Li, n_TFSI, n_counterions = 2 * n_S6 + n_salt, n_salt, 0
    if centres.compensation == "counterion":
        fixed_charge += n_centres * centres.charge_e
        if fixed_charge > 0 and species.TFSI.charge_e < 0:
            n_counterions = round(-fixed_charge / species.TFSI.charge_e)
            n_TFSI += n_counterions
        elif fixed_charge < 0 and species.Li.charge_e > 0:
            n_counterions = round(-fixed_charge / species.Li.charge_e)
            n_Li += n_counterions

    mobile_charge = n_Li * species.Li.charge_e + n_S6 * species.S6.charge_e + n_TFSI * species.TFSI.charge_e
    net_charge = mobile_charge + fixed_charge
    return Composition(
        n_Li=n_Li,
        n_S6=n_S6,
        n_TFSI=n_TFSI,
        n_counterions=n_counterions,
        n_centres=n_centres,
        n_ring_sites=n_ring,
        n_vacant=lithium_slots(config, n_S6),
        li2s6_mM=concentration_mM(n_S6 / volume_nm3),
        litfsi_mM=concentration_mM(n_salt / volume_nm3),
        fixed_charge_e=0.0 if abs(fixed_charge) < NEUTRAL_WITHIN_E else fixed_charge,
        net_charge_e=0.0 if abs(net_charge) < NEUTRAL_WITHIN_E else net_charge,
    )


def lithium_slots(config: Config, n_S6: int) -> int:
    """Li+ that the reservoir may add as beads: none where lithium is coupled to the electrons, or no stage reacts."""
    if config.reaction.charge_treatment != "bare" or not any(stage.reaction for stage in config.stages):
        return 0
    given = config.reaction.lithium_slots
    return SLOTS_PER_S6 * n_S6 if given is None else given


def lennard_jones_range_nm(config: Config, whole: Composition) -> float:
    """Where Lennard-Jones is cut: 2.5 times the largest sigma of the beads that there are or may come to be."""
    table = config.species
    present = {"Li": whole.n_Li, "S6": whole.n_S6, "TFSI": whole.n_TFSI, "Li2S": whole.n_S6}
    present["Li2S2"] = whole.n_S6 if config.reaction.surface_rate_constant_per_ps > 0 else 0
    return 2.5 * max(getattr(table, name).sigma_nm for name, n in present.items() if n)


def counts(config: Config) -> dict[str, int]:
    """Particle and site numbers by name; see `composition` for the rounding and the rest."""
    whole = composition(config)
    return {
        "n_Li": whole.n_Li,
        "n_S6": whole.n_S6,
        "n_TFSI": whole.n_TFSI,
        "n_counterions": whole.n_counterions,
        "n_mobile": whole.n_mobile,
        "n_centres": whole.n_centres,
        "n_sites": whole.n_sites,
    }
