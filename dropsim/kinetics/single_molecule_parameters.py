"""Every input of the single-molecule pathway, with its unit in the name and where it came from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from dropsim import units

NM2_PER_UM2 = 1e6
CM2_PER_UM2 = 1e-8

DEFAULT_SOURCES = {
    "area_um2": "choice: about one field of view",
    "film_height_nm": "spacer of the paper's cell",
    "bulk_density_per_nm3": "10 mM, the paper",
    "exchange_rate_per_s": "choice: the film over the patch is closed",
    "temperature_K": "the paper",
    "standard_potential_V": "free parameter: the pseudo-reference has no absolute scale",
    "site_density_per_nm2": "choice: one Li2S6 per nm^2 lies flat",
    "adsorption_velocity_nm_per_s": "choice",
    "desorption_rate_per_s": "choice: coverage of a few per cent at 10 mM",
    "intermediate_adsorption_velocity_nm_per_s": "choice: as for Li2S6",
    "release_rate_per_s": "choice: soluble Li2S2 leaves faster than it reacts on",
    "surface_rate_constant_per_s": "set so that Li2S2 particles appear by 25 s at -0.5 V, TEM of bare Ti in the paper",
    "surface_transfer_coefficient": "slope of the activation energies without centres, the paper",
    "branch_potential_V": "single-step and two-step together at -0.5 V, the paper: share put at 0.5",
    "branch_width_V": "two-step dominates at -0.1 V, the paper: share of single-step put at 0.05",
    "diffusivity_nm2_per_s": "1e-10 m^2/s in molecular dynamics, 6e-10 in continuum models of DOL/DME cells",
    "particle_velocity_nm_per_s": "scale from the ripening times 70 to 138 s, TEM of bare Ti in the paper",
    "solubility_per_nm3": "choice: not measured",
    "capillary_length_nm": "choice: 2 gamma Omega / kT with gamma of about 0.035 J/m^2",
    "intermediate_volume_nm3": "estimate: between Li2S and Li2S plus one sulfur atom",
    "nucleation_prefactor_per_nm3_s": "set so that about three particles form per um^2",
    "nucleation_barrier": "classical nucleation theory with the same capillary length",
    "rod_velocity_nm_per_s": "choice: rods compete with the particles after about a minute",
    "rod_nucleation_prefactor_per_nm3_s": "choice: rods after the particles",
    "rod_nucleation_barrier": "choice: as for the particles",
    "rod_seed_nm": "choice",
    "rod_growth_ratio": "choice: ends ten times as fast as sides",
    "rod_capture_nm": "choice: a few rods per um^2",
    "solid_volume_nm3": "45.7 A^3 of Li2S (27.5 cm^3/mol)",
    "tunnelling_range_nm": "2 to 5 nm, the usual scale of tunnelling through an insulator",
    "opening_rate_per_s": "choice: a rod of 10 nm dissolves within a charge, as in the paper",
    "opening_barrier_kT": "with the opening rate: about 18 s between first and fast dissolution of a rod, the paper",
    "opening_barrier_later_kT": "choice: the barrier nearly vanishes from the second cycle, the paper",
}


@dataclasses.dataclass(frozen=True)
class SingleMoleculeParameters:
    """All inputs of reduction without centres: one ion at a time on bare metal under a film of electrolyte.

    area_um2, film_height_nm: the patch and the film over it, which hold bulk_density_per_nm3 of Li2S6;
    exchange_rate_per_s: with which Li2S6 of the film is replaced from beside the patch (0: closed);
    site_density_per_nm2: places for adsorbed ions; adsorption_velocity_nm_per_s (k_a) and desorption_rate_per_s (k_d)
    of Li2S6; intermediate_adsorption_velocity_nm_per_s and release_rate_per_s: the same of Li2S2, three at a time;
    surface_rate_constant_per_s: k0 per electron slot of an adsorbed ion, Butler-Volmer with
    surface_transfer_coefficient; branch_potential_V, branch_width_V: b(E) = 1/(1 + exp[(E - E_b)/w]), share of ions
    with four electrons that go on to Li2S where they are; particle_velocity_nm_per_s: k_s of Li2S2 onto its particles;
    solubility_per_nm3: c_eq of Li2S2 over a flat face; capillary_length_nm: l_c = 2 gamma Omega/kT;
    intermediate_volume_nm3: Omega of Li2S2; nucleation_prefactor_per_nm3_s: A; nucleation_barrier: B of A exp(-B/ln^2
    S), None: (2 pi/3) l_c^3/Omega, that of a sphere; rod_velocity_nm_per_s: of Li2S2 onto reacting faces of a rod at E
    = E0; rod_nucleation_prefactor_per_nm3_s, rod_nucleation_barrier (None: as the particles'): A_r and B_r of rods out
    of Li2S2; rod_seed_nm: width up to which a rod is a cube; rod_growth_ratio: speed of the ends over that of the
    sides; rod_capture_nm: reach within which Li2S made on the surface joins a rod; solid_volume_nm3: of one Li2S;
    tunnelling_range_nm: of electrons through Li2S; opening_rate_per_s, opening_barrier_kT, opening_barrier_later_kT:
    k_open and W of six Li2S while E > E0, in the first charge and in later ones; provenance: field -> where its value
    is from. Raises ValueError for a value outside its range, naming it.
    """

    area_um2: float = 1.0
    film_height_nm: float = 100.0
    bulk_density_per_nm3: float = 10.0 * units.MILLIMOLAR_PER_NM3
    exchange_rate_per_s: float = 0.0
    temperature_K: float = 300.0
    standard_potential_V: float = 0.0
    site_density_per_nm2: float = 1.0
    adsorption_velocity_nm_per_s: float = 2.0
    desorption_rate_per_s: float = 6.0
    intermediate_adsorption_velocity_nm_per_s: float = 10.0
    release_rate_per_s: float = 10.0
    surface_rate_constant_per_s: float = 0.02
    surface_transfer_coefficient: float = 0.04
    branch_potential_V: float = -0.5
    branch_width_V: float = 0.136
    diffusivity_nm2_per_s: float = 3.0e8
    particle_velocity_nm_per_s: float = 1.0e6
    solubility_per_nm3: float = 0.03 * units.MILLIMOLAR_PER_NM3
    capillary_length_nm: float = 1.0
    intermediate_volume_nm3: float = 0.06
    nucleation_prefactor_per_nm3_s: float = 3.0
    nucleation_barrier: float | None = None
    rod_velocity_nm_per_s: float = 1.0e4
    rod_nucleation_prefactor_per_nm3_s: float = 1e-10
    rod_nucleation_barrier: float | None = None
    rod_seed_nm: float = 1.0
    rod_growth_ratio: float = 10.0
    rod_capture_nm: float = 1000.0
    solid_volume_nm3: float = 0.0457
    tunnelling_range_nm: float = 3.0
    opening_rate_per_s: float = 1.0
    opening_barrier_kT: float = 3.0
    opening_barrier_later_kT: float = 0.3
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _FIELDS:
            value = getattr(self, name)
            if value is None:
                if name in _MAY_BE_NONE:
                    continue
                raise ValueError(f"{name} is None: a number is needed")
            low = -math.inf if name in _ANY_SIGN else 0.0
            if not (math.isfinite(value) and (value > 0 if name in _POSITIVE else value >= low)):
                allowed = "> 0" if name in _POSITIVE else "finite" if name in _ANY_SIGN else ">= 0"
                raise ValueError(f"{name} is {value}: {allowed} is allowed")
        if self.surface_transfer_coefficient > 1.0:
            raise ValueError(f"surface_transfer_coefficient is {self.surface_transfer_coefficient}: 0 to 1 is allowed")
        if self.rod_growth_ratio < 1.0:
            raise ValueError(f"rod_growth_ratio is {self.rod_growth_ratio}: >= 1 is allowed")
        unknown = set(self.provenance) - set(_FIELDS)
        if unknown:
            raise ValueError(f"provenance names {sorted(unknown)}, which are no inputs of the single-molecule tier")
        complete = {n: self.provenance.get(n, f"default ({DEFAULT_SOURCES[n]})") for n in _FIELDS}
        object.__setattr__(self, "provenance", complete)

    @property
    def area_nm2(self) -> float:
        """The patch of electrode, nm^2."""
        return self.area_um2 * NM2_PER_UM2

    @property
    def film_volume_nm3(self) -> float:
        """The electrolyte over the patch, nm^3."""
        return self.area_nm2 * self.film_height_nm

    @property
    def total_units(self) -> int:
        """Li2S6 in the film at the start, a whole number."""
        return round(self.bulk_density_per_nm3 * self.film_volume_nm3)

    @property
    def total_sites(self) -> int:
        """Places for adsorbed ions on the patch."""
        return max(1, round(self.site_density_per_nm2 * self.area_nm2))

    @property
    def barrier(self) -> float:
        """B of the particles' nucleation, as used."""
        if self.nucleation_barrier is not None:
            return self.nucleation_barrier
        return 2.0 * math.pi / 3.0 * self.capillary_length_nm**3 / self.intermediate_volume_nm3

    @property
    def rod_barrier(self) -> float:
        """B of the rods' nucleation, as used."""
        return self.barrier if self.rod_nucleation_barrier is None else self.rod_nucleation_barrier

    def reduced_overpotential(self, potential_V: float) -> float:
        """f eta = e (E - E0)/kT. Raises ValueError beyond 10 V, where rates would overflow."""
        return units.reduced_overpotential(potential_V, self.standard_potential_V, self.temperature_K)

    def surface_rates_per_s(self, potential_V: float) -> tuple[float, float]:
        """(k_in, k_out) per slot of an adsorbed ion: k0 exp(-alpha f eta), k0 exp((1 - alpha) f eta)."""
        reduced, alpha = self.reduced_overpotential(potential_V), self.surface_transfer_coefficient
        k0 = self.surface_rate_constant_per_s
        return k0 * math.exp(-alpha * reduced), k0 * math.exp((1.0 - alpha) * reduced)

    def single_step_share(self, potential_V: float) -> float:
        """b(E) = 1/(1 + exp[(E - E_b)/w]): share that goes on to Li2S without Li2S2 leaving the surface."""
        exponent = (potential_V - self.branch_potential_V) / self.branch_width_V
        return 1.0 / (1.0 + math.exp(min(exponent, 700.0)))

    def rod_uptake_velocity_nm_per_s(self, potential_V: float) -> float:
        """Net velocity of Li2S2 + 2 e- -> 2 Li2S onto a reacting face, E <= E0 (0 above).

        k = k_r exp(-alpha f eta) [1 - exp(2 f eta)]: Butler-Volmer with two electrons; it vanishes at E0, and what is
        solid comes back only by the opening of its faces.
        """
        reduced = self.reduced_overpotential(potential_V)
        if reduced >= 0.0:
            return 0.0
        forward = self.rod_velocity_nm_per_s * math.exp(-self.surface_transfer_coefficient * reduced)
        return -forward * math.expm1(2.0 * reduced)

    @property
    def ripening_constant_nm2_per_s(self) -> float:
        """K = k_s Omega c_eq l_c: a particle of radius R in saturated solution is gone after R^2/(2 K)."""
        return (
            self.particle_velocity_nm_per_s
            * self.intermediate_volume_nm3
            * self.solubility_per_nm3
            * self.capillary_length_nm
        )

    def current_uA_per_cm2(self, electrons_per_s: float) -> float:
        """Current density of the patch for a number of electrons per second."""
        return electrons_per_s * units.ELEMENTARY_CHARGE_C * 1e6 / (self.area_um2 * CM2_PER_UM2)

    def derived(self, potential_V: float) -> dict[str, float]:
        """Rates and groups at a potential: what the inputs amount to."""
        k_in, k_out = self.surface_rates_per_s(potential_V)
        isotherm = self.adsorption_velocity_nm_per_s * self.bulk_density_per_nm3 / (
            self.desorption_rate_per_s * self.site_density_per_nm2
        ) if self.desorption_rate_per_s > 0 else math.inf  # fmt: skip
        return {
            "li2s6_in_film": float(self.total_units),
            "full_charge_uC_per_cm2": 10.0 * self.current_uA_per_cm2(self.total_units),
            "coverage_at_equilibrium": 1.0 if math.isinf(isotherm) else isotherm / (1.0 + isotherm),
            "injection_rate_per_s": k_in,
            "ejection_rate_per_s": k_out,
            "single_step_share": self.single_step_share(potential_V),
            "first_four_electrons_s": sum(1.0 / (10 - n) for n in range(4)) / k_in if k_in > 0 else math.inf,
            "rod_uptake_velocity_nm_per_s": self.rod_uptake_velocity_nm_per_s(potential_V),
            "nucleation_barrier": self.barrier,
            "ripening_constant_nm2_per_s": self.ripening_constant_nm2_per_s,
            "ripening_damkohler_at_10_nm": self.particle_velocity_nm_per_s * 10.0 / self.diffusivity_nm2_per_s,
        }


_FIELDS = tuple(f.name for f in dataclasses.fields(SingleMoleculeParameters) if f.name != "provenance")
_MAY_BE_NONE = ("nucleation_barrier", "rod_nucleation_barrier")
_ANY_SIGN = ("standard_potential_V", "branch_potential_V")
_POSITIVE = (
    "area_um2",
    "film_height_nm",
    "bulk_density_per_nm3",
    "temperature_K",
    "site_density_per_nm2",
    "release_rate_per_s",
    "branch_width_V",
    "diffusivity_nm2_per_s",
    "particle_velocity_nm_per_s",
    "solubility_per_nm3",
    "capillary_length_nm",
    "intermediate_volume_nm3",
    "rod_seed_nm",
    "rod_growth_ratio",
    "rod_capture_nm",
    "solid_volume_nm3",
    "tunnelling_range_nm",
)
