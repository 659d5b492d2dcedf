"""What follows from a configuration before it is run: dimensionless groups, limits, cost, warnings.

Plain arithmetic, without jax: `dropsim check` answers in a fraction of a second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dropsim.check_scales import (
    CONTACTS_PER_UNIT,
    DROPLET_RADIUS_NM,
    MEAN_FIELD_BOILING_PERMITTIVITY,
    brownian_step_limit,
    clock_acceleration,
    contact_curvature_kT_per_nm2,
    contact_distance_nm,
    cost,
    droplet_groups,
    droplet_radius_in_box_nm,
    droplet_scales,
    equivalent_permittivity,
    li_s6_bjerrum_nm,
    particle_charging,
    particle_groups,
    saturation_mM,
    strongest_sulfur,
)
from dropsim.composition import (
    LANGEVIN,
    SLOTS_PER_S6,
    composition,
    counts,
    has_droplet_tier,
    lennard_jones_range_nm,
    relative_permittivity,
)
from dropsim.timescales import LARGEST_MIXING, judged
from dropsim.units import bjerrum_length_nm, number_density_per_nm3, thermal_energy

if TYPE_CHECKING:
    from dropsim.config import Config, StageConfig

# Outside of this window droplets form nowhere (below) or also in the bulk (above).
SUPERSATURATION_WINDOW = (1.0, 5.0)
MOST_HOPS = 1e5  # between two looks at the reaction: each costs microseconds
LANGEVIN_PHASE_LIMIT = 0.3  # omega dt of the stiffest pair: 21 steps per period
FS_PER_PS = 1000.0


@dataclass(frozen=True)
class Quantity:
    """A row of `dropsim check`: how says from what, and on what assumption, the value follows."""

    group: str
    name: str
    value: float | int
    unit: str
    how: str

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; what is not finite becomes None."""
        value = self.value if math.isfinite(self.value) else None
        return {"group": self.group, "name": self.name, "value": value, "unit": self.unit, "how": self.how}


def derived_quantities(config: Config) -> list[Quantity]:
    """The rows of `dropsim check`; nan where a quantity is not known, and `how` then says why."""
    return [
        *_particle_rows(config),
        *_electrostatic_rows(config),
        *_dynamics_rows(config),
        *_reaction_rows(config),
        *_kinetics_rows(config),
        *_cost_rows(config),
    ]


def _particle_rows(config: Config) -> list[Quantity]:
    whole = composition(config)
    volume = config.box.lateral_nm[0] * config.box.lateral_nm[1] * config.box.height_nm
    group = "particles"
    rows = [Quantity(group, name, n, "1", _COUNT_TEXTS[name]) for name, n in counts(config).items()]
    return [
        *rows,
        Quantity(group, "Li2S6 concentration", whole.li2s6_mM, "mM", "of the whole number, in the whole box"),
        Quantity(group, "LiTFSI concentration", whole.litfsi_mM, "mM", "of the whole number, without counterions"),
        Quantity(group, "Li2S6 density", whole.n_S6 / volume, "nm^-3", "number / box volume"),
        Quantity(group, "net charge", whole.net_charge_e, "e", "ions, centres, compensation and electrode"),
    ]


_COUNT_TEXTS = {
    "n_Li": "2 per Li2S6, 1 per LiTFSI, and counterions of a negative electrode",
    "n_S6": "li2s6_count, or the concentration times the box volume, rounded",
    "n_TFSI": "1 per LiTFSI, and counterions of positive centres",
    "n_counterions": 'of these, added by compensation = "counterion"',
    "n_mobile": "Li + S6 + TFSI",
    "n_centres": "Mo centres of the arrangement",
    "n_sites": "fixed charged sites: centres and 4 ring sites each",
}


def _electrostatic_rows(config: Config) -> list[Quantity]:
    group = "electrostatics"
    temperature = config.electrolyte.temperature_K
    eps = relative_permittivity(config)
    contact = contact_distance_nm(config)
    whole = composition(config)
    volume = config.box.lateral_nm[0] * config.box.lateral_nm[1] * config.box.height_nm
    saturation, saturation_how = saturation_mM(config)
    supersaturation = whole.li2s6_mM / saturation
    return [
        Quantity(
            group,
            "relative permittivity",
            eps,
            "1",
            f"{config.electrolyte.permittivity_law} law at {temperature:g} K",
        ),
        Quantity(group, "Bjerrum length", bjerrum_length_nm(eps, temperature), "nm", "e^2 / (4 pi eps0 eps_r kT)"),
        Quantity(group, "Li-S6 contact d", contact, "nm", "minimum of Lennard-Jones + Coulomb of this pair"),
        Quantity(
            group,
            "reduced temperature T*",
            contact / li_s6_bjerrum_nm(config),
            "1",
            "d / (|z+ z-| l_B); the soft model boils near 0.064",
        ),
        Quantity(
            group,
            "mean reduced density",
            whole.n_ions / volume * contact**3,
            "1",
            "ions per volume times d^3",
        ),
        Quantity(group, "saturation c_sat", saturation, "mM", saturation_how),
        Quantity(
            group,
            "supersaturation c/c_sat",
            supersaturation,
            "1",
            "above 1 droplets last" if config.box.geometry == "bulk" else "droplets only at centres: 1 to 5",
        ),
    ]


def _dynamics_rows(config: Config) -> list[Quantity]:
    group = "dynamics"
    rows = [
        Quantity(
            group,
            "pair curvature",
            contact_curvature_kT_per_nm2(config),
            "kT/nm^2",
            f"u''(d) of {_strongest_pair(config)}, about 11 |z+ z-| l_B / d^3",
        )
    ]
    for stage in config.stages:
        name = stage.name
        if stage.integrator in LANGEVIN:
            phase = _langevin_phase(config, stage)
            rows.append(
                Quantity(
                    group,
                    f"{name}: longest step",
                    stage.timestep_fs * LANGEVIN_PHASE_LIMIT / phase,
                    "fs",
                    f"omega dt below {LANGEVIN_PHASE_LIMIT} for the stiffest pair; "
                    f"{stage.timestep_fs:g} fs has {phase:.2g}",
                )
            )
            rows.append(
                Quantity(
                    group,
                    f"{name}: clock",
                    clock_acceleration(config, stage),
                    "1",
                    "no friction: beads fly, there is no diffusive clock"
                    if math.isinf(clock_acceleration(config, stage))
                    else "kT / (m friction) over the physical diffusivity of S6: how much faster beads move",
                )
            )
        else:
            limit = brownian_step_limit(stage.integrator)
            curvature = contact_curvature_kT_per_nm2(config, stage)
            longest = limit / (config.species.Li.diffusivity_nm2_per_ps * curvature) * FS_PER_PS
            rows.append(
                Quantity(
                    group,
                    f"{name}: longest step",
                    longest,
                    "fs",
                    f"D_Li dt u''(d) below {limit}; beyond it contacts gain 0.1 to 0.3 kT per ion",
                )
            )
    return rows


def _strongest_pair(config: Config) -> str:
    kind, electrons = strongest_sulfur(config)
    charge = getattr(config.species, kind).charge_e - electrons
    return f"Li-{kind} with its {electrons} bare electrons ({charge:g} e)" if electrons else f"Li-{kind}"


def _langevin_phase(config: Config, stage: StageConfig) -> float:
    """omega dt of the pair that binds most strongly, omega^2 = u''(d) / reduced mass (kJ/mol = amu nm^2/ps^2)."""
    mass_Li, mass_S6 = config.species.Li.mass_amu, getattr(config.species, strongest_sulfur(config, stage)[0]).mass_amu
    stiffness = contact_curvature_kT_per_nm2(config, stage) * thermal_energy(config.electrolyte.temperature_K)
    return math.sqrt(stiffness * (mass_Li + mass_S6) / (mass_Li * mass_S6)) * stage.timestep_fs / FS_PER_PS


def _reaction_rows(config: Config) -> list[Quantity]:
    if not any(stage.reaction for stage in config.stages):
        return []
    group = "reaction"
    rows = []
    if config.centres.arrangement != "none" and config.centres.wired:
        rows.append(
            Quantity(
                group,
                "clock compression",
                _compression(config),
                "1",
                "rate_constant_per_ps over physical_rate_constant_per_s, at the centres",
            )
        )
    for stage in config.stages:
        if not stage.reaction:
            continue
        charging = particle_charging(config, stage)
        name = stage.name
        rows += [
            Quantity(
                group,
                f"{name}: charging time",
                charging.charging_ps,
                "ps",
                "N / [N_c (k_in + k_out)] of a hemisphere; nan without droplet or contacts",
            ),
            Quantity(
                group,
                f"{name}: P",
                charging.mixing_ps / charging.charging_ps,
                "1",
                "R^2/D_dense over the charging time; electrons hop (well mixed), beads need P < 0.1",
            ),
            Quantity(
                group,
                f"{name}: electrons per check",
                charging.electrons_per_check,
                "1",
                "at most, through contacts under the droplet and adsorbed beads, in check_every_ps",
            ),
        ]
        if config.reaction.sharing == "finite":
            theta = particle_groups(config, stage).collectivity
            rows.append(
                Quantity(
                    group,
                    f"{name}: Theta",
                    math.nan if theta is None else theta,
                    "1",
                    "M k_hop lambda_2 tau, lambda_2 of a dense liquid: above 30 the droplet charges as a whole",
                )
            )
            how = f"about k_hop (M/2)^2 for each of {CONTACTS_PER_UNIT} neighbours, all units half full"
            rows.append(Quantity(group, f"{name}: hops per check", charging.hops_per_check, "1", how))
    return rows


def _compression(config: Config) -> float:
    return config.reaction.rate_constant_per_ps * 1e12 / config.reaction.physical_rate_constant_per_s


def _kinetics_rows(config: Config) -> list[Quantity]:
    if not has_droplet_tier(config):
        return []
    group = "droplet tier"
    scales = droplet_scales(config)
    at = f"at R = {DROPLET_RADIUS_NM:g} nm"
    return [
        Quantity(group, "Damkohler number Da", scales.damkohler, "1", f"k R / D {at}, capture probability 1"),
        Quantity(
            group,
            "expected exponent",
            1 + 1 / (1 + scales.damkohler),
            "1",
            "n = 1 + 1/(1 + Da): put in by k, no finding",
        ),
        Quantity(group, "growth time", scales.growth_s, "s", f"rho R / [k (c - c_sat)] {at}; {scales.growth_how}"),
        Quantity(group, "charging time", scales.charging_s, "s", f"N / [N_c (k_in + k_out)] {at}"),
        Quantity(
            group,
            "conversion time",
            scales.conversion_s,
            "s",
            "N / (N_c chi k_in): the front at full reduction",
        ),
        Quantity(group, "P", scales.mixing_s / scales.charging_s, "1", "R^2/D_dense over the charging time"),
        Quantity(
            group,
            "tau_conv/tau_growth",
            scales.conversion_s / scales.growth_s,
            "1",
            "below 0.25 in the paper",
        ),
    ]


def _cost_rows(config: Config) -> list[Quantity]:
    group = "cost (estimate)"
    estimate = cost(config)
    return [
        Quantity(group, "steps", estimate.n_steps, "1", "all stages, all replicas"),
        Quantity(group, "frames", estimate.n_frames, "1", "all stages, all replicas"),
        Quantity(group, "run time", estimate.run_s, "s", estimate.basis),
        Quantity(group, "memory", estimate.memory_MB, "MB", "runtime and compiled program; the beads are small"),
        Quantity(group, "files", estimate.files_MB, "MB", "float32 frames, compressed to about 60 %"),
    ]


def warnings(config: Config) -> list[str]:
    """One line for each reason to doubt that the run shows what it is meant to; empty if there is none."""
    return [
        *_start_warnings(config),
        *_supersaturation_warnings(config),
        *_size_warnings(config),
        *_stage_warnings(config),
        *_reaction_warnings(config),
        *_kinetics_warnings(config),
    ]


def _start_warnings(config: Config) -> list[str]:
    file = config.start.file
    if file is None or Path(file).is_file():
        return []
    return [f"start.file: {file} does not exist: the run will stop before its first step"]


def _supersaturation_warnings(config: Config) -> list[str]:
    whole = composition(config)
    if whole.n_S6 == 0:
        return []
    saturation, how = saturation_mM(config)
    low, high = SUPERSATURATION_WINDOW
    ratio = whole.li2s6_mM / saturation
    if math.isnan(ratio):
        eps = equivalent_permittivity(config)
        if eps >= MEAN_FIELD_BOILING_PERMITTIVITY:
            return [
                f"electrolyte: permittivity {eps:.3g} is above the boiling of the model "
                f"({MEAN_FIELD_BOILING_PERMITTIVITY:g}): no droplets are expected"
            ]
        return [f"electrolyte.saturation_mM: c_sat is not known ({how}), so droplets may form in the bulk too"]
    if ratio <= low:
        return [
            f"electrolyte.li2s6_mM: {whole.li2s6_mM:.3g} mM is below saturation ({saturation:.3g} mM): "
            "no droplet lasts; raise the concentration or lower the permittivity"
        ]
    if ratio >= high and config.box.geometry == "slab":
        return [
            f"electrolyte.li2s6_mM: {ratio:.3g} times saturation ({saturation:.3g} mM): droplets also "
            f"form in the bulk, without centres; stay below {high:g} times"
        ]
    return []


def _size_warnings(config: Config) -> list[str]:
    found = []
    radius = droplet_radius_in_box_nm(config)
    shortest = min(*config.box.lateral_nm, config.box.height_nm)
    if radius > 0 and shortest < 3 * radius:
        found.append(
            f"box: {shortest:g} nm is below 3 radii of the droplet that all of its Li2S6 make "
            f"({radius:.2g} nm): it would feel its own images"
        )
    whole = composition(config)
    half = 0.5 * min(
        config.box.lateral_nm if config.box.geometry == "slab" else (*config.box.lateral_nm, config.box.height_nm)
    )
    reach = lennard_jones_range_nm(config, whole)
    cutoff = min(config.electrostatics.cutoff_nm or half, half)
    if cutoff < reach:
        key = "box" if cutoff == half else "electrostatics.cutoff_nm"
        found.append(
            f"{key}: Lennard-Jones is cut at {cutoff:.3g} nm ({'half the box' if cutoff == half else 'the cutoff'}) "
            f"instead of {reach:.3g} nm, 2.5 sigma of the largest bead: another model"
        )
    if whole.net_charge_e != 0:
        balance = {
            "electrode": "balanced by a uniform charge of the electrode plane",
            "background": "balanced by a uniform charge of the volume, which real electrolytes do not have",
            "keep": "not balanced: ions far from the electrode feel its field",
        }
        how = balance.get(config.electrostatics.net_charge, "not balanced")
        found.append(f"electrostatics.net_charge: {whole.net_charge_e:+.4g} e are {how}")
    return found


def _stage_warnings(config: Config) -> list[str]:
    found = []
    for index, stage in enumerate(config.stages):
        default = type(stage).model_fields["friction_per_ps"].default
        if stage.friction_per_ps != default and (stage.integrator not in LANGEVIN or stage.friction == "species"):
            why = 'friction = "species"' if stage.integrator in LANGEVIN else f'integrator = "{stage.integrator}"'
            found.append(f"stages.{index}.friction_per_ps: {stage.friction_per_ps:g} is not used with {why}")
        key = f"stages.{index}.timestep_fs"
        if stage.integrator in LANGEVIN:
            phase = _langevin_phase(config, stage)
            if phase > LANGEVIN_PHASE_LIMIT:
                longest = stage.timestep_fs * LANGEVIN_PHASE_LIMIT / phase
                found.append(f"{key}: {stage.timestep_fs:g} fs is too long for ion contacts; at most {longest:.2g} fs")
            faster = clock_acceleration(config, stage)
            if stage.friction == "uniform" and stage.friction_per_ps == 0:
                found.append(
                    f"stages.{index} ({stage.name}): without friction the energy is constant, not the temperature; "
                    "its times and diffusivities are not physical"
                )
            elif faster > 2:
                found.append(
                    f"stages.{index} ({stage.name}): the Langevin clock is about {faster:.3g} times fast; "
                    "its times and diffusivities are not physical"
                )
        else:
            limit = brownian_step_limit(stage.integrator)
            curvature = contact_curvature_kT_per_nm2(config, stage)
            group = config.species.Li.diffusivity_nm2_per_ps * stage.timestep_fs / FS_PER_PS * curvature
            if group > limit:
                found.append(
                    f"{key}: {stage.timestep_fs:g} fs biases ion contacts (D_Li dt u'' = {group:.2g}, "
                    f"limit {limit}); at most {stage.timestep_fs * limit / group:.2g} fs"
                )
    return found


def _unused_warnings(config: Config) -> Iterator[str]:
    """Keys of the reaction that the file changes and nothing reads."""
    rule = config.reaction
    surface = (rule.surface_rate_constant_per_ps > 0, "surface_rate_constant_per_ps = 0")
    marcus = (rule.kinetics == "marcus", 'kinetics = "butler-volmer"')
    classic = (rule.kinetics == "butler-volmer", 'kinetics = "marcus"')
    read = {
        "hop_rate_per_ps": (rule.sharing == "finite", f'sharing = "{rule.sharing}"'),
        "reorganisation_energy_eV": marcus,
        "transfer_coefficient": classic,
        "surface_transfer_coefficient": surface if not surface[0] else classic,
        **dict.fromkeys(
            (
                "surface_contact_nm",
                "surface_sharing",
                "branch_potential_V",
                "branch_width_V",
                "rod_rate_constant_per_ps",
            ),
            surface,
        ),
    }
    for name, (used, why) in read.items():
        value = getattr(rule, name)
        if not used and value != type(rule).model_fields[name].default:
            yield f"reaction.{name}: {value} is not used with {why}"


def _reaction_warnings(config: Config) -> list[str]:
    found = []
    if any(stage.reaction for stage in config.stages):
        found += _unused_warnings(config)
        slots, n_S6 = composition(config).n_vacant, composition(config).n_S6
        if 0 < slots < SLOTS_PER_S6 * n_S6:
            found.append(
                f"reaction.lithium_slots: a run stops when {slots} electrons have come in; {SLOTS_PER_S6 * n_S6} would "
                "reduce everything"
            )
    for index, stage in enumerate(config.stages):
        if not stage.reaction:
            continue
        here = f"stages.{index} ({stage.name})"
        whole, rule = composition(config), config.reaction
        if stage.open_circuit:
            continue
        by_surface = rule.surface_rate_constant_per_ps > 0 and config.box.geometry == "slab"
        by_centres = whole.n_centres > 0 and config.centres.wired
        if not by_centres and not by_surface:
            found.append(f"{here}: reaction without wired centres: no electron will be transferred")
            continue
        charging = particle_charging(config, stage)
        if charging.hops_per_check > MOST_HOPS:
            longest = rule.check_every_ps * MOST_HOPS / charging.hops_per_check
            found.append(
                f"reaction.hop_rate_per_ps: about {charging.hops_per_check:.2g} hops between two looks, each followed "
                f'one by one: slow; set reaction.sharing = "mixed", a lower rate, or check_every_ps below {longest:.2g}'
            )
        if not by_centres:
            continue
        if rule.sharing != "none" and whole.n_S6 < rule.minimum_size:
            found.append(
                f"reaction.minimum_size: {config.reaction.minimum_size} S6 are needed to nucleate Li2S, "
                f"the box holds {whole.n_S6}: nothing will convert"
            )
        for verdict in judged(particle_groups(config, stage)):
            if verdict.within is False and verdict.group == "P" and verdict.value is not None:
                slower = rule.rate_constant_per_ps * LARGEST_MIXING / verdict.value
                found.append(
                    f"reaction.rate_constant_per_ps: the clock is compressed {_compression(config):.2g} times and "
                    f"{verdict.text}, and compare ratios only; below {slower:.1g} per ps P is below {LARGEST_MIXING:g}"
                )
            elif verdict.within is False and verdict.group == "Theta" and rule.sharing == "finite":
                found.append(f"reaction.hop_rate_per_ps: {verdict.text}")
    return found


def _kinetics_warnings(config: Config) -> list[str]:
    if not has_droplet_tier(config):
        return []
    found = []
    scales = droplet_scales(config)
    judgements = {v.group: v for v in judged(droplet_groups(scales)) if v.within is False}
    if "Da" in judgements:
        found.append(f"kinetics.interface_velocity_nm_per_s: {judgements['Da'].text}")
    if number_density_per_nm3(config.kinetics.bulk_mM) <= number_density_per_nm3(scales.saturation_mM):
        found.append(
            f"kinetics.bulk_mM: {config.kinetics.bulk_mM:g} mM is not above saturation "
            f"({scales.saturation_mM:.3g} mM): the droplet cannot grow"
        )
    elif "tau_conv/tau_growth" in judgements:
        found.append(f"kinetics.rate_constant_per_s: {judgements['tau_conv/tau_growth'].text}")
    if "P" in judgements:
        found.append(f"kinetics.rate_constant_per_s: {judgements['P'].text}")
    return found
