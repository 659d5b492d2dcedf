"""The formulas behind `dropsim check`: contact of an ion pair, saturation, clocks, droplet scales, cost.

Numbers in capitals are calibrations; each says what it was taken from.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from dropsim.composition import (
    LANGEVIN,
    SLOTS_PER_S6,
    composition,
    langevin_frictions_per_ps,
    relative_permittivity,
    stage_potentials_V,
)
from dropsim.kinetics.calibration import calibrated_interface_velocity
from dropsim.timescales import Groups, electrode_rates, groups
from dropsim.units import (
    bjerrum_length_nm,
    number_density_per_nm3,
    thermal_energy,
    thermal_voltage_V,
)

if TYPE_CHECKING:
    from dropsim.config import Config, SpeciesConfig, StageConfig

# Salt-free Li2S6 with the default beads, 300 K: permittivity -> (c_sat in mM, Li2S6 per nm^3 in the
# droplet). Finite droplets of 100 Li2S6: curvature raises c_sat, which scatters by a factor 1.3 to 2.
COEXISTENCE = {
    8.0: (0.17, 2.43),
    9.0: (1.35, 2.27),
    10.0: (3.9, 2.10),
    12.0: (15.9, 1.70),
    14.0: (81.5, 1.13),
}
MEAN_FIELD_BOILING_PERMITTIVITY = 15.0  # droplets last at 14 and evaporate at 16
FALLBACK_DENSE_PER_NM3 = 2.1  # at permittivity 10

# Diffusivity of S6 inside a droplet over that of a free bead, at permittivity 10.
DENSE_SLOWDOWN_BROWNIAN = 0.25
DENSE_SLOWDOWN_LANGEVIN = 0.11  # friction 1/ps, 100 amu
FALLBACK_DENSE_NM2_PER_S = 8e7  # 8e-7 cm^2/s

CONTACTS_PER_UNIT = 12  # units that one touches in the dense phase, directly or by a Li+
DROPLET_RADIUS_NM = 15.0  # the paper's droplets are about 30 nm across

# Largest D_Li dt u''(d). Against 20 fs (D_Li 0.03-0.04 A^2/ps, permittivity 10: 0.009-0.012 in this group)
# Euler-Maruyama gained 0.10 kT per ion at 40 fs (0.019-0.025) and 0.27 kT at 80 fs (0.037-0.049). It is
# held to the reference; Leimkuhler-Matthews, of higher order in the stationary law, to between both.
BROWNIAN_STEP_LIMITS = {"leimkuhler-matthews": 0.030, "euler-maruyama": 0.012}


@dataclass(frozen=True)
class CostModel:
    """Seconds and bytes of a run: t_step = overhead + per_pair n_mobile (n_mobile + n_sites), or with a particle mesh
    and neighbour lists, above `mesh_above` charges, overhead + per_charge (n_mobile + n_sites)."""

    seconds_overhead: float
    seconds_per_pair: float
    seconds_per_charge: float
    mesh_above: int
    seconds_compile: float
    memory_MB: float
    bytes_per_bead_and_frame: float
    basis_pairs: str
    basis_mesh: str


# All pairs, one core: 4458 and 335 steps/s at 264 and 1053 charges (benchmarks/results/engine.md); about 30 at 2930,
# seen once, of which no result is committed (benchmarks/engine.py without --quick gives it).
# Mesh: 35.7 steps/s at 30,000 charges on both cores of the same machine (benchmarks/results/peers.md).
COST_MODEL = CostModel(
    seconds_overhead=1e-5,
    seconds_per_pair=4e-9,
    seconds_per_charge=9.3e-7,
    mesh_above=3000,
    seconds_compile=25.0,
    memory_MB=800.0,
    bytes_per_bead_and_frame=0.6 * (12 + 12 + 1 + 1),
    basis_pairs="4 ns a pair (AMD EPYC), one core for each replica, plus compilation",
    basis_mesh="0.9 us a charge (particle mesh, two cores of an AMD EPYC), plus compilation",
)


def equivalent_permittivity(config: Config) -> float:
    """The permittivity that gives the same Bjerrum length at 300 K: eps_r T / 300."""
    return relative_permittivity(config) * config.electrolyte.temperature_K / 300.0


def li_s6_bjerrum_nm(config: Config) -> float:
    """|z_Li z_S6| l_B in nm: the length that T* measures the contact with."""
    species = config.species
    bjerrum = bjerrum_length_nm(relative_permittivity(config), config.electrolyte.temperature_K)
    strength = abs(species.Li.charge_e * species.S6.charge_e)
    return strength * bjerrum if strength > 0 else math.nan


def strongest_sulfur(config: Config, stage: StageConfig | None = None) -> tuple[str, int]:
    """The sulfur bead that binds Li+ most strongly, and the electrons that charge it: S6 as it stands, or Li2S with all
    ten of its electrons where these are transferred bare, in this stage or before it (none: in any)."""
    until = len(config.stages) if stage is None else config.stages.index(stage) + 1
    bare = config.reaction.charge_treatment == "bare" and any(one.reaction for one in config.stages[:until])
    return ("Li2S", SLOTS_PER_S6) if bare else ("S6", 0)


def _pair_terms(config: Config, kind: str = "S6", electrons: int = 0) -> tuple[float, float, float]:
    """sigma (nm), epsilon (kT) by Lorentz-Berthelot, and z z' l_B (nm) of Li and a sulfur bead with added electrons."""
    Li: SpeciesConfig = config.species.Li
    sulfur: SpeciesConfig = getattr(config.species, kind)
    temperature = config.electrolyte.temperature_K
    sigma = (Li.sigma_nm + sulfur.sigma_nm) / 2
    epsilon = math.sqrt(Li.epsilon_kJ_per_mol * sulfur.epsilon_kJ_per_mol) / thermal_energy(temperature)
    strength = Li.charge_e * (sulfur.charge_e - electrons)
    return sigma, epsilon, strength * bjerrum_length_nm(relative_permittivity(config), temperature)


def contact_distance_nm(config: Config) -> float:
    """Distance d of the minimum of u = 4 epsilon [(sigma/r)^12 - (sigma/r)^6] + z z' l_B / r of Li and S6.

    u in kT, d in nm, by bisection of u'(r) to 1e-12; nan if the pair does not attract or does not
    repel at short range.
    """
    return _contact_nm(*_pair_terms(config))


def _contact_nm(sigma: float, epsilon: float, coulomb: float) -> float:
    def slope(r: float) -> float:
        s6 = (sigma / r) ** 6
        return 24 * epsilon / r * (s6 - 2 * s6 * s6) - coulomb / r**2

    low, high = 0.2 * sigma, 2 ** (1 / 6) * sigma
    # The minimum lies below that of Lennard-Jones alone where the charges attract.
    if epsilon <= 0 or coulomb >= 0 or slope(low) >= 0:
        return math.nan
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def contact_curvature_kT_per_nm2(config: Config, stage: StageConfig | None = None) -> float:
    """u''(d) of Li and the `strongest_sulfur` at contact, kT/nm^2: near 11 |z z'| l_B / d^3 where Coulomb dominates.

    u'' = 4 epsilon [156 (sigma/d)^12 - 42 (sigma/d)^6] / d^2 + 2 z z' l_B / d^3; nan without contact.
    """
    sigma, epsilon, coulomb = _pair_terms(config, *strongest_sulfur(config, stage))
    d = _contact_nm(sigma, epsilon, coulomb)
    s6 = (sigma / d) ** 6
    return 4 * epsilon * (156 * s6 * s6 - 42 * s6) / d**2 + 2 * coulomb / d**3


def saturation_mM(config: Config) -> tuple[float, str]:
    """c_sat of Li2S6 in mM, and where it is from; nan where neither the file nor the table has it.

    From `electrolyte.saturation_mM`; else log-linear in the permittivity between entries of COEXISTENCE,
    which holds without explicit salt and for the default beads only.
    """
    electrolyte = config.electrolyte
    if electrolyte.saturation_mM is not None:
        return electrolyte.saturation_mM, "from the file or its preset"
    if composition(config).n_TFSI > 0:
        return math.nan, "no data with explicit salt"
    defaults = type(config.species)()
    forces = {"charge_e", "sigma_nm", "epsilon_kJ_per_mol"}
    if any(
        getattr(config.species, name).model_dump(include=forces) != getattr(defaults, name).model_dump(include=forces)
        for name in ("Li", "S6")
    ):
        return math.nan, "no data for changed beads"
    eps = equivalent_permittivity(config)
    found = _interpolate(eps, 0, logarithmic=True)
    if found is None:
        return (
            math.nan,
            f"no data at permittivity {eps:.3g}; known from {min(COEXISTENCE):g} to {max(COEXISTENCE):g}",
        )
    return found, "interpolated between runs of finite droplets, good to 30-50 %"


def _interpolate(eps: float, column: int, *, logarithmic: bool) -> float | None:
    for left, right in pairwise(COEXISTENCE):
        if left <= eps <= right:
            weight = (eps - left) / (right - left)
            a, b = COEXISTENCE[left][column], COEXISTENCE[right][column]
            return a ** (1 - weight) * b**weight if logarithmic else a + (b - a) * weight
    return None


def dense_density_per_nm3(config: Config) -> float:
    """Li2S6 per nm^3 of the droplet: linear in the permittivity in COEXISTENCE, 2.1 outside."""
    return _interpolate(equivalent_permittivity(config), 1, logarithmic=False) or FALLBACK_DENSE_PER_NM3


def droplet_radius_in_box_nm(config: Config) -> float:
    """Radius (nm) of a hemisphere on the wall, in bulk of a sphere, that holds all Li2S6 above saturation; 0 if there
    is none."""
    whole = composition(config)
    saturation, _ = saturation_mM(config)
    if math.isnan(saturation):
        if equivalent_permittivity(config) >= MEAN_FIELD_BOILING_PERMITTIVITY:
            return 0.0
        saturation = 0.0
    if whole.li2s6_mM <= saturation:
        return 0.0
    n = whole.n_S6 * (1 - saturation / whole.li2s6_mM)
    solid_angle = 4 * math.pi if config.box.geometry == "bulk" else 2 * math.pi
    return (3 * n / (solid_angle * dense_density_per_nm3(config))) ** (1 / 3)


def brownian_step_limit(integrator: str) -> float:
    """Largest D_Li dt u''(d) of a Brownian integrator."""
    return BROWNIAN_STEP_LIMITS[integrator]


def clock_acceleration(config: Config, stage: StageConfig) -> float:
    """kT / (m friction) of a free S6 in a Langevin stage over its physical diffusivity."""
    S6 = config.species.S6
    friction = langevin_frictions_per_ps(config, stage)["S6"]
    if friction == 0:
        return math.inf
    langevin = thermal_energy(config.electrolyte.temperature_K) / (S6.mass_amu * friction)
    return langevin / S6.diffusivity_nm2_per_ps


def butler_volmer(
    rate_constant: float, transfer: float, overpotential_V: float, temperature_K: float
) -> tuple[float, float]:
    """(k_in, k_out) = k0 (exp(-alpha f eta), exp((1 - alpha) f eta)), in the unit of k0; f = e/kT.

    Exponents are held at 700, beyond which no time scale is left to compare.
    """
    reduced = overpotential_V / thermal_voltage_V(temperature_K)
    k_in = rate_constant * math.exp(min(-transfer * reduced, 700.0))
    return k_in, rate_constant * math.exp(min((1 - transfer) * reduced, 700.0))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.inf


def marcus(
    rate_constant: float, reorganisation_eV: float, overpotential_V: float, temperature_K: float
) -> tuple[float, float]:
    """(k_in, k_out) = k0 exp[(lambda^2 - (lambda +- eta)^2) / (4 lambda kT)]: both k0 at eta = 0."""
    width = 4 * reorganisation_eV * thermal_voltage_V(temperature_K)

    def rate(shift: float) -> float:
        return rate_constant * math.exp(min((reorganisation_eV**2 - (reorganisation_eV + shift) ** 2) / width, 700.0))

    return rate(overpotential_V), rate(-overpotential_V)


def centre_rates(config: Config, potential_V: float) -> tuple[float, float]:
    """(k_in, k_out) at a wired centre, 1/ps per contact and slot, at a potential."""
    rule, temperature = config.reaction, config.electrolyte.temperature_K
    overpotential = potential_V - rule.standard_potential_V
    if rule.kinetics == "marcus":
        return marcus(rule.rate_constant_per_ps, rule.reorganisation_energy_eV, overpotential, temperature)
    return butler_volmer(rule.rate_constant_per_ps, rule.transfer_coefficient, overpotential, temperature)


def surface_rates(config: Config, potential_V: float) -> tuple[float, float]:
    """(k_in, k_out) of an adsorbed bead at the bare electrode, 1/ps per slot, at a potential."""
    rule, temperature = config.reaction, config.electrolyte.temperature_K
    overpotential = potential_V - rule.standard_potential_V
    if rule.kinetics == "marcus":
        return marcus(rule.surface_rate_constant_per_ps, rule.reorganisation_energy_eV, overpotential, temperature)
    return butler_volmer(
        rule.surface_rate_constant_per_ps, rule.surface_transfer_coefficient, overpotential, temperature
    )


@dataclass(frozen=True)
class ParticleCharging:
    """Of the largest droplet that the box can make: times of charging and of mixing of its beads (ps); of the whole
    box: most electrons that cross the electrode, and that hop between beads, between two looks at the reaction."""

    charging_ps: float
    mixing_ps: float
    electrons_per_check: float
    hops_per_check: float


def particle_charging(config: Config, stage: StageConfig) -> ParticleCharging:
    """Charging N / [N_c (k_in + k_out)] and mixing R^2 / D_dense of a hemisphere with all excess Li2S6.

    N_c: S6 within `mo_contact_nm` (a half ball) of each wired centre under the footprint. An estimate
    to a factor of two or so; nan without a droplet or without contacts. Rates: the faster of both ends of a ramp.
    Electrons per check: of N_c contacts and M slots, with chi where a droplet converts, plus a layer of adsorbed beads;
    hops: k_hop n (M - n) for each of CONTACTS_PER_UNIT neighbours at n = M/2.
    """
    radius = droplet_radius_in_box_nm(config)
    density = dense_density_per_nm3(config)
    reaction, whole = config.reaction, composition(config)
    area = config.box.lateral_nm[0] * config.box.lateral_nm[1]
    per_centre = density * 2 / 3 * math.pi * reaction.mo_contact_nm**3
    n_centres = min(whole.n_centres, whole.n_centres / area * math.pi * radius**2) if config.centres.wired else 0
    n_units = density * 2 / 3 * math.pi * radius**3
    potentials = stage_potentials_V(config, stage) or ()
    k_in, k_out = max((centre_rates(config, E) for E in potentials), key=sum, default=(0.0, 0.0))
    surface_in, surface_out = max((surface_rates(config, E) for E in potentials), key=sum, default=(0.0, 0.0))
    if stage.integrator in LANGEVIN:
        free = config.species.S6.diffusivity_nm2_per_ps * clock_acceleration(config, stage)
        dense = DENSE_SLOWDOWN_LANGEVIN * free
    else:
        dense = DENSE_SLOWDOWN_BROWNIAN * config.species.S6.diffusivity_nm2_per_ps
    contacts = n_centres * per_centre
    rate = contacts * (k_in + k_out)
    adsorbed = min(whole.n_S6, area * density ** (2 / 3))
    electrons = SLOTS_PER_S6 * (
        contacts * (reaction.front_acceleration * k_in + k_out) + adsorbed * (surface_in + surface_out)
    )
    hops = 0.0
    if reaction.sharing == "finite":
        hops = reaction.hop_rate_per_ps * whole.n_S6 * CONTACTS_PER_UNIT * (SLOTS_PER_S6 / 2) ** 2
    return ParticleCharging(
        charging_ps=n_units / rate if rate > 0 else math.nan,
        mixing_ps=radius**2 / dense,
        electrons_per_check=electrons * reaction.check_every_ps,
        hops_per_check=hops * reaction.check_every_ps,
    )


def liquid_spectral_gap(density_per_nm3: float, contact_nm: float, radius_nm: float) -> float:
    """lambda_2 = (4 pi rho a^5 / 30) (2.0816 / R)^2 of a dense liquid, without numpy: see
    `kinetics.growth_laws.spectral_gap_of_liquid`."""
    return 4.0 * math.pi * density_per_nm3 * contact_nm**5 / 30.0 * (2.081575977818101 / radius_nm) ** 2


def particle_groups(config: Config, stage: StageConfig) -> Groups:
    """Dimensionless groups of a reacting stage, for the largest droplet that the box can make.

    Theta: M k_hop lambda_2 tau with lambda_2 of a dense liquid of the same radius, infinite for the well-mixed rule, 0
    where nothing is shared. Da and the growth time are not known before the run, which measures them.
    """
    charging, rule = particle_charging(config, stage), config.reaction
    radius = droplet_radius_in_box_nm(config)
    saturation, _ = saturation_mM(config)
    gap = None
    if radius > 0:
        gap = liquid_spectral_gap(dense_density_per_nm3(config), rule.s6_contact_nm, radius)
    hop = {"mixed": math.inf, "none": 0.0}.get(rule.sharing, rule.hop_rate_per_ps)
    known = radius > 0 and not math.isnan(charging.charging_ps)
    return groups(
        concentration=composition(config).li2s6_mM,
        saturation=saturation,
        radius=radius,
        dense_diffusivity=radius**2 / charging.mixing_ps if radius > 0 and charging.mixing_ps > 0 else None,
        # Of the charging time itself: one unit with one contact.
        n_units=charging.charging_ps if known else None,
        n_contacts=1.0,
        injection_rate=1.0,
        ejection_rate=0.0,
        conversion_time=math.nan,
        hop_rate=hop if known else None,
        spectral_gap=gap,
        clock_compression=rule.rate_constant_per_ps * 1e12 / rule.physical_rate_constant_per_s,
    )


@dataclass(frozen=True)
class DropletScales:
    """The droplet tier at R = 15 nm: Da and times in s; saturation in mM that the growth time used."""

    damkohler: float
    growth_s: float
    growth_how: str
    charging_s: float
    conversion_s: float
    mixing_s: float
    saturation_mM: float


def droplet_scales(config: Config) -> DropletScales:
    """The droplet tier's dimensionless numbers at R = 15 nm.

    Da = k R / D, growth rho R / [k (c - c_sat)], charging N / [N_c (k_in + k_out)], conversion
    N / (N_c chi k_in).

    N of the cap with the given contact angle; N_c = a R^m, by default the centre density under the
    footprint; k at full capture; what the particle run will measure is at its fall-back here.
    """
    kinetics = config.kinetics
    radius = DROPLET_RADIUS_NM
    temperature = config.electrolyte.temperature_K
    density = kinetics.dense_density_per_nm3 or dense_density_per_nm3(config)
    saturation = kinetics.saturation_mM
    how = "c_sat of kinetics.saturation_mM"
    if saturation is None:
        saturation, _ = saturation_mM(config)
        how = "c_sat of the electrolyte"
    if math.isnan(saturation):
        saturation, how = 0.0, "c_sat not known, taken as 0"
    cosine = math.cos(math.radians(kinetics.contact_angle_deg))
    volume = math.pi * radius**3 / 3 * (2 + cosine) * (1 - cosine) ** 2
    n_units = density * volume
    power = 2.0 if kinetics.contact_power is None else kinetics.contact_power
    footprint = math.pi * (1 - cosine**2)
    prefactor = kinetics.contact_prefactor or kinetics.centre_density_per_nm2 * footprint
    n_contacts = prefactor * radius**power
    # At the most negative potential of the protocol, which reduces most.
    driven = [step for step in kinetics.protocol if not step.open_circuit] or list(kinetics.protocol)
    ends = [step.potential_V for step in driven] + [s.potential_end_V for s in driven if s.potential_end_V is not None]
    k_in, k_out = electrode_rates(
        kinetics.kinetics,
        kinetics.rate_constant_per_s,
        kinetics.transfer_coefficient,
        kinetics.reorganisation_energy_eV,
        min(ends) - kinetics.standard_potential_V,
        thermal_voltage_V(temperature),
    )
    excess = number_density_per_nm3(kinetics.bulk_mM) - number_density_per_nm3(saturation)
    dense_diffusivity = kinetics.dense_diffusivity_nm2_per_s or FALLBACK_DENSE_NM2_PER_S
    velocity = kinetics.interface_velocity_nm_per_s
    if velocity is None:
        bulk = number_density_per_nm3(kinetics.bulk_mM)
        shape = 2.0 * (1 - cosine) / ((2 + cosine) * (1 - cosine) ** 2)  # cap's surface / volume over a sphere's
        try:
            velocity = calibrated_interface_velocity(
                kinetics.calibration_radius_nm, kinetics.calibration_time_s, density, bulk,
                kinetics.bulk_diffusivity_nm2_per_s, shape,
            )  # fmt: skip
        except ValueError:
            velocity = math.nan
        how += "; k calibrated to the TEM's size and time"
    return DropletScales(
        damkohler=velocity * radius / kinetics.bulk_diffusivity_nm2_per_s,
        growth_s=_ratio(density * radius, velocity * excess),
        growth_how=how,
        charging_s=_ratio(n_units, n_contacts * (k_in + k_out)),
        conversion_s=_ratio(n_units, n_contacts * kinetics.front_acceleration * k_in),
        mixing_s=radius**2 / dense_diffusivity,
        saturation_mM=saturation,
    )


def droplet_groups(scales: DropletScales) -> Groups:
    """Dimensionless groups of the droplet tier at R = 15 nm; a process that never happens leaves its group open."""

    def ratio(a: float, b: float) -> float | None:
        return a / b if math.isfinite(a) and b > 0 and not math.isnan(b) else None

    return Groups(
        damkohler=None if math.isnan(scales.damkohler) else scales.damkohler,
        mixing=ratio(scales.mixing_s, scales.charging_s),
        conversion_to_growth=ratio(scales.conversion_s, scales.growth_s),
        charging_time=scales.charging_s,
        mixing_time=scales.mixing_s,
        conversion_time=scales.conversion_s,
        growth_time=scales.growth_s,
    )


@dataclass(frozen=True)
class Cost:
    """What a run will take, as estimated by COST_MODEL."""

    n_steps: int
    n_frames: int
    run_s: float
    memory_MB: float
    files_MB: float
    basis: str


def cost(config: Config) -> Cost:
    """Steps, frames, time, memory and file size of all stages and replicas, by COST_MODEL.

    Time: the replicas run side by side, one on each core of this machine.
    """
    whole = composition(config)
    model = COST_MODEL
    steps = sum(round(stage.duration_ps * 1000.0 / stage.timestep_fs) for stage in config.stages)
    frames = sum(round(stage.duration_ps / stage.record_every_ps) for stage in config.stages)
    n_charges = whole.n_mobile + whole.n_sites
    mesh = config.electrostatics.method != "ewald" and n_charges > model.mesh_above
    work = model.seconds_per_charge if mesh else model.seconds_per_pair * whole.n_mobile
    per_step = model.seconds_overhead + work * n_charges
    replicas = config.run.replicas
    rounds = math.ceil(replicas / (os.cpu_count() or 1))
    return Cost(
        n_steps=steps * replicas,
        n_frames=frames * replicas,
        run_s=model.seconds_compile + per_step * steps * rounds,
        memory_MB=model.memory_MB,
        files_MB=model.bytes_per_bead_and_frame * n_charges * frames * replicas / 1e6,
        basis=model.basis_mesh if mesh else model.basis_pairs,
    )
