"""The experiment file as frozen, plain values; units stand in the key names.

`Config` is read here, and ends at `build`: no other module looks into it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dropsim.config_rules import CombinationError, combination_problems

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
MESH_ORDERS = (4, 5, 6, 7, 8)
MeshSize = Annotated[int, Field(ge=MESH_ORDERS[-1], le=4096)]


class Section(BaseModel):
    """A table of the file: frozen; an unknown key, and a value of another type, are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="folder name of the run")]
    title: Annotated[str, Field(description="one line for figures and tables")] = ""
    role: Annotated[Literal["main", "control"], Field(description="what the run is in its study")] = "main"
    seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of the counter-based random numbers")] = 1
    replicas: Annotated[int, Field(ge=1, le=1000, description="independent copies, one folder each")] = 1
    precision: Literal["float32", "float64"] = "float32"
    chunk_ps: Annotated[Positive, Field(description="time between writes of frames and checkpoints")] = 10.0


class BoxConfig(Section):
    geometry: Annotated[
        Literal["slab", "bulk"],
        Field(
            description="walls at z = 0 and z = height, periodic in x and y; or periodic in all three, without walls"
        ),
    ] = "slab"
    lateral_nm: Annotated[tuple[Positive, Positive], Field(description="periodic lengths along x and y")] = (
        11.0,
        11.0,
    )
    height_nm: Annotated[Positive, Field(description="distance between the walls along z, or the third period")] = 10.0


class ElectrolyteConfig(Section):
    li2s6_mM: Annotated[NonNegative, Field(description="mean concentration of Li2S6 in the box")] = 100.0
    li2s6_count: Annotated[int | None, Field(ge=0, description="number of Li2S6, instead of the concentration")] = None
    litfsi_mM: Annotated[NonNegative, Field(description="explicit LiTFSI")] = 0.0
    temperature_K: Positive = 300.0
    relative_permittivity_300K: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 10.0
    permittivity_law: Annotated[
        Literal["inverse-temperature", "constant"],
        Field(description="eps_r(T) = eps_r(300 K) 300/T, as ethers do, or constant"),
    ] = "inverse-temperature"
    saturation_mM: Annotated[Positive | None, Field(description="c_sat of Li2S6 at this permittivity, where known")] = (
        None
    )


def _require_nothing(schema: dict[str, Any]) -> None:
    schema.pop("required", None)


class SpeciesConfig(Section):
    # A file may give a bead in part: `SpeciesTable` completes it.
    model_config = ConfigDict(json_schema_extra=_require_nothing)

    charge_e: Finite
    sigma_nm: Positive
    epsilon_kJ_per_mol: NonNegative
    diffusivity_nm2_per_ps: Positive
    mass_amu: Positive = 100.0
    friction_per_ps: Annotated[
        Positive | None, Field(description='Langevin, where a stage has friction = "species"; none: kT/(m D)')
    ] = None
    hydrodynamic_radius_nm: Annotated[Positive | None, Field(description="for wall_mobility; none: half of sigma")] = (
        None
    )


class SpeciesTable(Section):
    """Beads: estimated sizes and wells of solvated ions; diffusivities of 1 M LiTFSI in DOL/DME (ComBat)."""

    Li: SpeciesConfig = SpeciesConfig(
        charge_e=1.0, sigma_nm=0.40, epsilon_kJ_per_mol=0.418, diffusivity_nm2_per_ps=2.5e-4
    )
    S6: SpeciesConfig = SpeciesConfig(
        charge_e=-2.0, sigma_nm=0.60, epsilon_kJ_per_mol=1.255, diffusivity_nm2_per_ps=1.25e-4
    )
    TFSI: SpeciesConfig = SpeciesConfig(
        charge_e=-1.0, sigma_nm=0.65, epsilon_kJ_per_mol=0.753, diffusivity_nm2_per_ps=2.9e-4
    )
    # One reduced unit (6 Li2S). Volume 274 nm^3 x 1e-3 against 476 for liquid Li2S6: sigma x 0.576^(1/3).
    Li2S: SpeciesConfig = SpeciesConfig(
        charge_e=-2.0, sigma_nm=0.50, epsilon_kJ_per_mol=1.255, diffusivity_nm2_per_ps=1.25e-5
    )
    # One S6 that has taken four electrons (3 Li2S2): dissolved like S6, in size between it and the solid unit.
    Li2S2: SpeciesConfig = SpeciesConfig(
        charge_e=-2.0, sigma_nm=0.55, epsilon_kJ_per_mol=1.255, diffusivity_nm2_per_ps=1.25e-4
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """A bead that is given in part keeps its other defaults."""
        if not isinstance(values, dict):
            return values
        beads = {name: field.default.model_dump() for name, field in cls.model_fields.items()}
        return {
            name: {**beads[name], **given} if name in beads and isinstance(given, dict) else given
            for name, given in values.items()
        }


# What a kind of wall means, for the keys that a file leaves out. Titanium: UFF size, and a well of 5 to 10 kT,
# strong at short range, because Ti(001) binds polysulfides more than the centres do. Plain: it only repels.
WALL_KINDS: dict[str, dict[str, float]] = {
    "graphene": {"sigma_nm": 0.34, "well_depth_S6_kT": 0.5, "well_depth_other_kT": 0.3},
    "titanium": {"sigma_nm": 0.283, "well_depth_S6_kT": 7.0, "well_depth_other_kT": 0.3},
    "plain": {"sigma_nm": 0.34, "well_depth_S6_kT": 0.0, "well_depth_other_kT": 0.0},
}


class WallConfig(Section):
    kind: Annotated[
        Literal["graphene", "titanium", "plain"],
        Field(description="electrode at z = 0; gives the defaults of the other keys, here those of graphene"),
    ] = "graphene"
    sigma_nm: Annotated[Positive, Field(description="0.34 graphene and plain, 0.283 titanium")] = 0.34
    well_depth_S6_kT: Annotated[
        NonNegative,
        Field(description="depth of the 9-3 well for sulfur beads, in kT(300 K); 7 titanium; 0, plain: only repels"),
    ] = 0.5
    well_depth_other_kT: Annotated[NonNegative, Field(description="the same for Li and TFSI")] = 0.3

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """A wall named by its kind has that kind's numbers, except where the file gives its own."""
        if not isinstance(values, dict):
            return values
        return {**WALL_KINDS.get(str(values.get("kind", "graphene")), {}), **values}


class CentresConfig(Section):
    arrangement: Literal["none", "lattice", "patch"] = "lattice"
    spacing_nm: Positive = 2.75
    count: Annotated[int, Field(ge=1, description="centres of a patch, placed nearest to its middle")] = 9
    charge_e: Annotated[Finite, Field(description="+7.37 e: Bader charge per Mo cluster (put in)")] = 7.37
    sigma_nm: Positive = 0.40
    epsilon_kJ_per_mol: NonNegative = 0.418
    height_nm: Annotated[NonNegative, Field(description="of the Mo bead above the wall plane")] = 0.15
    compensation: Annotated[
        Literal["ring", "sheet", "counterion"],
        Field(description="what balances the centres: 4 N sites, the whole wall, or extra ions"),
    ] = "ring"
    ring_radius_nm: Positive = 0.30
    slab_net_charge_e: Annotated[Finite, Field(description="extra charge of the electrode, spread over its sheet")] = (
        0.0
    )
    wired: Annotated[bool, Field(description="electronic contact: without it centres gather but pass no current")] = (
        True
    )


class ElectrostaticsConfig(Section):
    method: Annotated[
        Literal["auto", "ewald", "mesh"],
        Field(description="exact Ewald sum, particle mesh, or whichever is faster for so many charges"),
    ] = "auto"
    force_tolerance: Annotated[float, Field(gt=1e-10, le=1e-1, description="relative rms force error asked for")] = 1e-3
    cutoff_nm: Annotated[Positive | None, Field(description="real-space cutoff; chosen for speed if absent")] = None
    splitting_per_nm: Annotated[
        Positive | None, Field(description="alpha of erfc(alpha r)/r; chosen for the tolerance if absent")
    ] = None
    mesh: Annotated[
        tuple[MeshSize, MeshSize, MeshSize] | None, Field(description="mesh points; chosen for the tolerance if absent")
    ] = None
    mesh_order: Annotated[
        int | None, Field(ge=MESH_ORDERS[0], le=MESH_ORDERS[-1], description="order of the B-splines; chosen if absent")
    ] = None
    vacuum_factor: Annotated[
        float, Field(ge=2, le=20, description="Ewald sum: padded Lz / height for the slab correction")
    ] = 3.0
    net_charge: Annotated[
        Literal["error", "electrode", "background", "keep"],
        Field(
            description="refuse a charged cell; balance it on the electrode plane; by a uniform charge of the whole "
            "volume; or leave it charged (slab only)"
        ),
    ] = "error"


class StartConfig(Section):
    """Where the beads are at first."""

    kind: Annotated[
        Literal["random", "layered", "droplet", "file"],
        Field(description="anywhere; a dense film on the electrode; a compact droplet; the positions of a file"),
    ] = "random"
    density_per_nm3: Annotated[Positive, Field(description="Li2S6 per nm3 of the film or the droplet")] = 2.1
    film_height_nm: Annotated[Positive | None, Field(description="layered; none: from density_per_nm3")] = None
    droplet_count: Annotated[int | None, Field(ge=1, description="Li2S6 in the droplet; none: all")] = None
    droplet_centre_nm: Annotated[
        tuple[Finite, Finite] | None, Field(description="x and y of the droplet; none: the middle of the box")
    ] = None
    droplet_height_nm: Annotated[
        Positive | None,
        Field(description="z of a floating droplet's centre; none: on the electrode, in bulk the middle"),
    ] = None
    contact_angle_deg: Annotated[float, Field(gt=0, le=180, description="of the droplet on the electrode")] = 90.0
    file: Annotated[
        str | None, Field(description=".h5md of dropsim, LAMMPS .data, .gro, .pdb; beside the experiment file")
    ] = None
    frame: Annotated[int, Field(description="which frame of the file; -1: the last")] = -1
    shift_nm: Annotated[tuple[Finite, Finite, Finite], Field(description="added to the positions of the file")] = (
        0.0,
        0.0,
        0.0,
    )
    names: Annotated[
        dict[str, Literal["Li", "S6", "TFSI", "none"]],
        Field(description="atom type or name of the file = bead; none leaves it out"),
    ] = {}


class StageConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    integrator: Annotated[
        Literal["baoab", "gjf", "leimkuhler-matthews", "euler-maruyama"],
        Field(description="Langevin (baoab for averages, gjf for diffusion), or Brownian with the given diffusivities"),
    ]
    duration_ps: Positive
    timestep_fs: Positive
    friction: Annotated[
        Literal["uniform", "species"], Field(description="Langevin: friction_per_ps for all, or each bead its own")
    ] = "uniform"
    friction_per_ps: Annotated[NonNegative, Field(description="Langevin only; 0: no bath, constant energy")] = 1.0
    record_every_ps: Positive = 2.0
    reaction: Annotated[bool, Field(description="whether electrons may be transferred in this stage")] = False
    potential_V: Annotated[
        Finite | None, Field(description="E at the electrode in this stage; none: reaction.potential_V")
    ] = None
    potential_end_V: Annotated[
        Finite | None, Field(description="E at the end of a linear ramp, in treads of one check; none: constant")
    ] = None
    open_circuit: Annotated[
        bool, Field(description="nothing is connected: no current, electrons stay where they are")
    ] = False
    wall_mobility: Annotated[
        bool, Field(description="euler-maruyama: beads near a wall move more slowly, as in a viscous liquid")
    ] = False


class ReactionConfig(Section):
    """Electron transfer at wired centres and at the bare electrode; rates are per contact and per electron slot."""

    potential_V: Annotated[
        Finite, Field(description="E at the working electrode during reaction stages that give none of their own")
    ] = -0.1
    standard_potential_V: Annotated[Finite, Field(description="E0, at which injection and ejection balance")] = 0.0
    sharing: Annotated[
        Literal["mixed", "finite", "none"],
        Field(
            description="electrons of a droplet: spread over it at once; hop from bead to bead; stay on the bead that "
            "took them"
        ),
    ] = "mixed"
    hop_rate_per_ps: Annotated[
        Positive, Field(description='k_hop per electron and free slot of a neighbour, where sharing = "finite"')
    ] = 1.0
    site_energy_kT: Annotated[
        Finite, Field(description='U of H = sum U n^2/2 over beads; not where sharing = "mixed"')
    ] = 0.0
    neighbor_energy_kT: Annotated[
        Finite, Field(description='J of H = sum J n n\' over beads in contact; not where sharing = "mixed"')
    ] = 0.0
    kinetics: Annotated[
        Literal["butler-volmer", "marcus"], Field(description="how the rates depend on the potential")
    ] = "butler-volmer"
    transfer_coefficient: Annotated[Fraction, Field(description="alpha at the centres (Butler-Volmer)")] = 0.30
    reorganisation_energy_eV: Annotated[Positive, Field(description="lambda, where kinetics is marcus")] = 0.5
    rate_constant_per_ps: Annotated[NonNegative, Field(description="k0 at the centres (compressed clock)")] = 0.002
    physical_rate_constant_per_s: Annotated[
        Positive,
        Field(description="k0 that the experiment's five seconds ask for; gives the clock compression"),
    ] = 100.0
    charge_treatment: Annotated[
        Literal["coupled", "bare"],
        Field(
            description="each electron brings a Li+ onto its bead, whose charge stays; or the bead's charge becomes "
            "-2 - n, and an explicit Li+ enters the box far from the electrode"
        ),
    ] = "coupled"
    lithium_slots: Annotated[
        int | None, Field(ge=1, description="most Li+ that may enter (bare); none: ten for each S6")
    ] = None
    check_every_ps: Positive = 0.2
    mo_contact_nm: Positive = 0.80
    li_bridge_nm: Positive = 0.63
    s6_contact_nm: Positive = 1.05
    threshold: Annotated[
        float, Field(gt=0, lt=1, description="x_s, reduced fraction above which Li2S may nucleate")
    ] = 0.2
    nucleation_rate_per_ps: Annotated[NonNegative, Field(description="k_nuc per S6 unit")] = 0.01
    nucleation_barrier: NonNegative = 0.05
    minimum_size: Annotated[int, Field(ge=1, description="S6 units below which a droplet does not nucleate")] = 20
    front_acceleration: Annotated[float, Field(ge=1, description="chi, k_in multiplier of a converting droplet")] = 10.0
    surface_rate_constant_per_ps: Annotated[
        NonNegative, Field(description="k0 at the bare electrode, per slot of an adsorbed bead; 0: it does not react")
    ] = 0.0
    surface_transfer_coefficient: Annotated[Fraction, Field(description="alpha at the bare electrode")] = 0.04
    surface_contact_nm: Annotated[
        Positive, Field(description="height above the electrode below which a sulfur bead is adsorbed")
    ] = 0.75
    surface_sharing: Annotated[
        bool, Field(description="whether adsorbed beads share electrons with their droplet, or react one by one")
    ] = False
    branch_potential_V: Annotated[
        Finite, Field(description="E at which half of the adsorbed beads go on from Li2S2 to Li2S where they are")
    ] = -0.5
    branch_width_V: Annotated[Positive, Field(description="w of that share, 1/(1 + exp((E - E_b)/w))")] = 0.136
    rod_rate_constant_per_ps: Annotated[
        NonNegative | None,
        Field(description="k0 of dissolved Li2S2 at Li2S near the electrode; none: surface_rate_constant_per_ps"),
    ] = None
    tunnelling_range_nm: Annotated[
        Positive,
        Field(description="farthest that Li2S may be from a wired centre or the electrode and exchange charge"),
    ] = 3.0
    opening_rate_per_ps: Annotated[
        NonNegative, Field(description="at which a Li2S unit beside a dissolved one dissolves, above E0")
    ] = 0.01
    opening_barrier_kT: Annotated[
        NonNegative, Field(description="W: exp(-W) slows a unit that no dissolved one touches (first layer)")
    ] = 4.0
    opening_barrier_later_kT: Annotated[NonNegative, Field(description="W of units that have dissolved before")] = 2.0


class ProtocolStep(Section):
    potential_V: Annotated[Finite, Field(description="E at the start of the step; at open circuit of no meaning")]
    duration_s: Positive
    potential_end_V: Annotated[Finite | None, Field(description="E at its end, reached linearly; none: E is held")] = (
        None
    )
    open_circuit: Annotated[bool, Field(description="no potential is imposed, and no current flows")] = False


class KineticsConfig(Section):
    """The droplet tier. A key left out whose default is none is taken from the particle run, where that has it."""

    enabled: Annotated[bool, Field(description="whether to run it; never for a bulk box, which has no electrode")] = (
        True
    )
    protocol: tuple[ProtocolStep, ...] = (
        ProtocolStep(potential_V=-0.5, duration_s=120.0),
        ProtocolStep(potential_V=0.5, duration_s=120.0),
    )
    bulk_mM: Positive = 10.0
    saturation_mM: Positive | None = None
    dense_density_per_nm3: Positive | None = None
    dense_diffusivity_nm2_per_s: Positive | None = None
    contact_prefactor: Positive | None = None
    contact_power: Annotated[float | None, Field(ge=0, le=2)] = None
    bulk_diffusivity_nm2_per_s: Positive = 3.0e8
    interface_velocity_nm_per_s: Annotated[
        Positive | None,
        Field(description="k at full capture probability; none: calibrated, see calibration_radius_nm"),
    ] = None
    calibration_radius_nm: Annotated[
        Positive, Field(description="radius that a charged droplet reaches in calibration_time_s; TEM: 15 nm")
    ] = 15.0
    calibration_time_s: Annotated[Positive, Field(description="growth from seed to nucleation; TEM: about 20 s")] = 20.0
    closure: Annotated[
        Literal["constant", "charge-slaved"],
        Field(description="capture independent of the electrons, or proportional to them (dropsim's hypothesis)"),
    ] = "constant"
    capture_floor: Annotated[Fraction, Field(description="p0 of the charge-slaved closure")] = 0.02
    seed_radius_nm: Positive = 1.0
    onset_s: Annotated[NonNegative, Field(description="when the droplet's seed appears (the paper's #1: 34.4 s)")] = (
        34.4
    )
    contact_angle_deg: Annotated[float, Field(gt=0, le=180)] = 90.0
    centre_density_per_nm2: Positive = 0.025
    kinetics: Annotated[
        Literal["butler-volmer", "marcus"], Field(description="how the rates depend on the potential")
    ] = "butler-volmer"
    reorganisation_energy_eV: Annotated[Positive, Field(description="lambda, where kinetics is marcus")] = 0.5
    rate_constant_per_s: Annotated[
        Positive, Field(description="k0 per contact and slot, at E0; default: k_in = 100/s at -0.5 V and alpha 0.3")
    ] = 0.3
    transfer_coefficient: Fraction = 0.30
    standard_potential_V: Finite = 0.0
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.2
    nucleation_rate_per_s: Annotated[
        NonNegative | None,
        Field(description="k_nuc per unit; none: calibrated so that half nucleate within calibration_time_s"),
    ] = None
    nucleation_barrier: NonNegative = 0.05
    front_acceleration: Annotated[float, Field(ge=1)] = 10.0
    dissolution_rate_per_s: Annotated[
        Positive, Field(description="at which a liquid unit without electrons leaves, above E0")
    ] = 1.0
    opening_rate_per_s: Annotated[
        NonNegative, Field(description="k_open of a solid unit within the tunnelling range, above E0")
    ] = 1.0
    opening_barrier_kT: Annotated[
        NonNegative, Field(description="W: places of the first layer open with k_open exp(-W), in the first charge")
    ] = 3.0
    opening_barrier_later_kT: Annotated[NonNegative, Field(description="W in later charges")] = 0.3
    tunnelling_range_nm: Annotated[
        Positive, Field(description="farthest that solid may be from a wired centre and exchange electrons")
    ] = 3.0
    hop_rate_per_s: Annotated[
        Positive | None,
        Field(description="k_hop between neighbours, for the collectivity index Theta only; none: infinitely fast"),
    ] = None
    grains_per_unit: Annotated[
        NonNegative, Field(description="mean number of crystal nuclei per unit of a converted droplet; at least one")
    ] = 1.0e-3
    amorphous_below_nm: Annotated[NonNegative, Field(description="size below which a grain counts as amorphous")] = 1.5
    droplets_per_um2: Annotated[
        NonNegative, Field(description="droplets per area of electrode, for currents and charges per area; put in")
    ] = 50.0
    film_height_nm: Positive = 100.0
    supply_radius_nm: Annotated[
        Positive | None, Field(description="cylinder that feeds the droplet; None: never depleted")
    ] = None
    centroid_diffusivity_nm2_per_s: Annotated[
        Positive, Field(description="anchored droplet; the TEM value is put in")
    ] = 4.71
    realisations: Annotated[int, Field(ge=2, le=10000)] = 64
    frame_s: Annotated[Positive, Field(description="spacing of the virtual TEM frames")] = 0.4
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class SingleMoleculeConfig(Section):
    """The same electrode without centres: one ion at a time on a patch of bare metal, over seconds.

    Electrolyte, film, protocol, frames, seed, and the dissolution of solid are those of [kinetics].
    """

    enabled: Annotated[bool, Field(description="whether to run it beside the droplet tier")] = False
    area_um2: Annotated[Positive, Field(description="patch of electrode")] = 1.0
    realisations: Annotated[int, Field(ge=2, le=10000)] = 16
    leap_s: Annotated[Positive, Field(le=1.0, description="longest leap of the jump process")] = 0.1
    exchange_rate_per_s: Annotated[
        NonNegative, Field(description="at which the film's Li2S6 is replaced from beside the patch; 0: closed")
    ] = 0.0
    site_density_per_nm2: Annotated[Positive, Field(description="places for adsorbed ions")] = 1.0
    adsorption_velocity_nm_per_s: Annotated[NonNegative, Field(description="k_a of Li2S6")] = 2.0
    desorption_rate_per_s: Annotated[NonNegative, Field(description="k_d of Li2S6 without electrons")] = 6.0
    intermediate_adsorption_velocity_nm_per_s: Annotated[NonNegative, Field(description="k_a of Li2S2")] = 10.0
    release_rate_per_s: Annotated[Positive, Field(description="at which Li2S2 leaves the metal")] = 10.0
    surface_rate_constant_per_s: Annotated[
        NonNegative, Field(description="k0 per slot of an adsorbed ion; particles by 25 s at -0.5 V")
    ] = 0.02
    surface_transfer_coefficient: Annotated[Fraction, Field(description="alpha without centres")] = 0.04
    branch_potential_V: Annotated[
        Finite, Field(description="at which half of the ions with four electrons go on to Li2S where they are")
    ] = -0.5
    branch_width_V: Annotated[Positive, Field(description="of b(E); default: a share of 0.05 at -0.1 V")] = 0.136
    particle_velocity_nm_per_s: Annotated[Positive, Field(description="k_s of Li2S2 onto its particles")] = 1.0e6
    solubility_mM: Annotated[Positive, Field(description="c_eq of Li2S2 over a flat face")] = 0.03
    capillary_length_nm: Annotated[Positive, Field(description="l_c = 2 gamma Omega / kT of Li2S2")] = 1.0
    intermediate_volume_nm3: Annotated[Positive, Field(description="Omega of Li2S2")] = 0.06
    nucleation_prefactor_per_nm3_s: Annotated[NonNegative, Field(description="A of J = A exp(-B/ln^2 S)")] = 3.0
    nucleation_barrier: Annotated[
        NonNegative | None, Field(description="B; none: (2 pi/3) l_c^3/Omega, that of a sphere")
    ] = None
    rod_velocity_nm_per_s: Annotated[NonNegative, Field(description="k_r of Li2S2 onto a rod's faces, at E0")] = 1.0e4
    rod_nucleation_prefactor_per_nm3_s: Annotated[NonNegative, Field(description="A_r of rods out of Li2S2")] = 1.0e-10
    rod_nucleation_barrier: Annotated[NonNegative | None, Field(description="B_r; none: as the particles'")] = None
    rod_seed_nm: Annotated[Positive, Field(description="width up to which a rod is a cube")] = 1.0
    rod_growth_ratio: Annotated[float, Field(ge=1, le=1000, description="speed of ends over sides")] = 10.0
    rod_capture_nm: Annotated[Positive, Field(description="reach within which Li2S joins a rod")] = 1000.0


class Config(Section):
    """A whole experiment file."""

    preset: Annotated[str | None, Field(description="named defaults that the file overrides key by key")] = None
    run: RunConfig
    box: BoxConfig = BoxConfig()
    electrolyte: ElectrolyteConfig = ElectrolyteConfig()
    species: SpeciesTable = SpeciesTable()
    wall: WallConfig = WallConfig()
    centres: CentresConfig = CentresConfig()
    electrostatics: ElectrostaticsConfig = ElectrostaticsConfig()
    start: StartConfig = StartConfig()
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    reaction: ReactionConfig = ReactionConfig()
    kinetics: KineticsConfig = KineticsConfig()
    single_molecule: SingleMoleculeConfig = SingleMoleculeConfig()

    @model_validator(mode="after")
    def _combinations(self) -> Config:
        problems = combination_problems(self)
        if problems:
            raise CombinationError(problems)
        return self


def config_hash(config: Config) -> str:
    """Eight hexadecimal digits that name what is simulated.

    SHA-256 of the resolved values as JSON with sorted keys, without `run.title`, `run.replicas` (more
    copies of the same) and `preset` (the values that it gave are in). Equal configs have equal hashes.
    """
    values = config.model_dump(mode="json", exclude={"preset": True, "run": {"title", "replicas"}})
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
