"""Every input of the droplet tier, with its unit in the name and where it came from."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from dropsim import units
from dropsim.kinetics import growth_laws
from dropsim.kinetics.grains import AMORPHOUS_BELOW_NM, UNIT_VOLUME_NM3
from dropsim.kinetics.protocol import PotentialStep, potential_at, stretches
from dropsim.observables.estimate import Estimate
from dropsim.timescales import SMALLEST_COLLECTIVITY

# Li2S6 + 10 Li+ + 10 e- -> 6 Li2S.
ELECTRONS_PER_UNIT = 10
SULFUR_PER_UNIT = 6
LITHIUM_PER_LIQUID_UNIT = 2
LITHIUM_PER_SOLID_UNIT = 12

# Where contact numbers given per area are anchored, and where `derived` is evaluated: the paper's 30 nm.
REFERENCE_RADIUS_NM = 15.0

Closure = Literal["constant", "charge-slaved"]
Kinetics = Literal["butler-volmer", "marcus"]

CLOSURE_NOTE = {
    "constant": (
        "constant closure: capture does not depend on the electrons; the exponent n(Da) = 1 + 1/(1 + Da) "
        "follows from this choice and is not a finding"
    ),
    "charge-slaved": (
        "charge-slaved closure: capture follows the injection current; this is dropsim's hypothesis, not the "
        "paper's, and n = 2/(3 - m) in its charge-limited regime follows from it and is not a finding"
    ),
}


DEFAULT_PROTOCOL = (PotentialStep(-0.5, 120.0), PotentialStep(0.5, 120.0))

# The whole default protocol in the TEM movie's frames.
DEFAULT_SAVE_TIMES_S = tuple(0.4 * frame for frame in range(601))

DEFAULT_SOURCES = {
    "bulk_density_per_nm3": "10 mM, the paper",
    "saturation_density_per_nm3": "4 mM, coarse-grained liquid at eps_r = 10",
    "dense_density_per_nm3": "coarse-grained liquid at eps_r = 10",
    "dense_diffusivity_nm2_per_s": "coarse-grained liquid at eps_r = 10",
    "bulk_diffusivity_nm2_per_s": "1e-10 m^2/s in molecular dynamics, 6e-10 in continuum models of DOL/DME cells",
    "interface_velocity_nm_per_s": "from the paper's growth of a 30 nm droplet in about 20 s",
    "closure": "choice",
    "capture_floor": "choice",
    "electrons_per_capture": "2 e per Li2S6, charge sharing in the paper's AIMD",
    "seed_radius_nm": "choice",
    "onset_s": "droplet #1 of the paper",
    "contact_angle_deg": "choice: hemisphere",
    "centre_density_per_nm2": "6.9 wt% Mo in 1.1 nm rafts, the paper",
    "contact_prefactor": "centre density times footprint",
    "contact_power": "contacts under the footprint",
    "kinetics": "choice",
    "reorganisation_energy_eV": "choice: of the order of outer-sphere transfer; read by Marcus rates only",
    "rate_constant_per_s": "estimate from conversion within five seconds, the paper",
    "transfer_coefficient": "slope of the activation energies with centres, the paper",
    "standard_potential_V": "free parameter: the pseudo-reference has no absolute scale",
    "temperature_K": "the paper",
    "threshold": "2 of 10 e, the paper's AIMD load; no threshold was measured",
    "minimum_size_units": "choice",
    "nucleation_rate_per_s": "choice",
    "nucleation_barrier": "choice",
    "front_acceleration": "choice",
    "dissolution_rate_per_s": "choice: liquid leaves faster than solid opens",
    "opening_rate_per_s": "choice: a crystal of 25 nm dissolves within a charge, as in the paper",
    "opening_barrier_kT": "with the opening rate: about 18 s until fast dissolution, of a rod in the paper",
    "opening_barrier_later_kT": "choice: the barrier nearly vanishes from the second cycle, the paper",
    "tunnelling_range_nm": "2 to 5 nm of electron tunnelling through Li2S",
    "solid_volume_nm3": "6 x 45.7 A^3 of Li2S (27.5 cm^3/mol)",
    "film_height_nm": "spacer of the paper's cell",
    "supply_radius_nm": "choice: never depleted",
    "centroid_diffusivity_nm2_per_s": "TEM value of the paper, put in",
    "hop_rate_per_s": "not given: well mixed",
    "spectral_gap": "not given: of a dense liquid, see spectral_gap_of_liquid",
    "sulfur_contact_nm": "first shell of sulfur beads",
    "grains_per_unit": "choice: about 15 grains in a droplet of 30 nm",
    "amorphous_below_nm": "too few planes for lattice fringes",
    "droplets_per_um2": "put in: scales currents and charges per area, nothing else",
}

# Units in which a measurement may come, and the factor to the field's own unit.
_MEASURED_UNITS = {
    "saturation_density_per_nm3": {"1/nm^3": 1.0, "nm^-3": 1.0, "mM": units.MILLIMOLAR_PER_NM3},
    "dense_density_per_nm3": {"1/nm^3": 1.0, "nm^-3": 1.0, "mM": units.MILLIMOLAR_PER_NM3},
    "dense_diffusivity_nm2_per_s": {"nm^2/s": 1.0, "nm^2/ps": units.NM2_PER_PS_IN_NM2_PER_S},
    "bulk_diffusivity_nm2_per_s": {"nm^2/s": 1.0, "nm^2/ps": units.NM2_PER_PS_IN_NM2_PER_S},
    "contact_angle_deg": {"deg": 1.0},
    "contact_prefactor": {"1": 1.0, "nm^-m": 1.0},
    "contact_power": {"1": 1.0},
    "spectral_gap": {"1": 1.0},
}


@dataclasses.dataclass(frozen=True)
class KineticParameters:
    """All inputs of the droplet tier; a unit is one Li2S6 (liquid) or 6 Li2S (solid).

    bulk_density_per_nm3, saturation_density_per_nm3: Li2S6 far away and in equilibrium with the unreduced
    liquid; dense_density_per_nm3: units per volume of the liquid; interface_velocity_nm_per_s: k at capture
    probability 1; capture_floor: p0 of the charge-slaved closure; electrons_per_capture: electrons that it
    asks for per captured unit; onset_s: delay of the seed after reduction sets in; contact_prefactor: a of
    N_c = a R^contact_power, in nm^-power (None: from centre_density_per_nm2 under the footprint, at
    R = 15 nm where the power is not 2; 0: no electronic contact); rate_constant_per_s: k0 per contact and
    electron slot, at E0; kinetics: Butler-Volmer rates with transfer_coefficient, or Marcus rates with
    reorganisation_energy_eV; threshold, nucleation_rate_per_s, nucleation_barrier, minimum_size_units: x_s, k_nuc per
    unit, B and smallest size of the crystallisation hazard; front_acceleration: chi; dissolution_rate_per_s:
    at which an unreduced liquid unit leaves in oxidation; opening_rate_per_s, opening_barrier_kT,
    opening_barrier_later_kT, tunnelling_range_nm: k_open, W in the first charge and in later ones, and l of
    `charging`; supply_radius_nm: cylinder of height film_height_nm that feeds the droplet (None:
    never depleted); hop_rate_per_s (None: infinite), spectral_gap (None: of a dense liquid with sulfur_contact_nm):
    only for the collectivity index; grains_per_unit, amorphous_below_nm: of `grains`; droplets_per_um2: for
    currents per area; provenance: field -> where its value is from.
    Raises ValueError for a value outside its range, naming it.
    """

    bulk_density_per_nm3: float = 10.0 * units.MILLIMOLAR_PER_NM3
    saturation_density_per_nm3: float = 4.0 * units.MILLIMOLAR_PER_NM3
    dense_density_per_nm3: float = 2.1
    dense_diffusivity_nm2_per_s: float = 8.0e7
    bulk_diffusivity_nm2_per_s: float = 3.0e8
    interface_velocity_nm_per_s: float = 260.0
    closure: Closure = "constant"
    capture_floor: float = 0.02
    electrons_per_capture: float = 2.0
    seed_radius_nm: float = 1.0
    onset_s: float = 34.4
    contact_angle_deg: float = 90.0
    centre_density_per_nm2: float = 0.025
    contact_prefactor: float | None = None
    contact_power: float = 2.0
    kinetics: Kinetics = "butler-volmer"
    reorganisation_energy_eV: float = 0.5
    rate_constant_per_s: float = 100.0
    transfer_coefficient: float = 0.30
    standard_potential_V: float = 0.0
    temperature_K: float = 300.0
    threshold: float = 0.2
    minimum_size_units: float = 20.0
    nucleation_rate_per_s: float = 1e-3
    nucleation_barrier: float = 0.05
    front_acceleration: float = 10.0
    dissolution_rate_per_s: float = 1.0
    opening_rate_per_s: float = 1.0
    opening_barrier_kT: float = 3.0
    opening_barrier_later_kT: float = 0.3
    tunnelling_range_nm: float = 3.0
    solid_volume_nm3: float = UNIT_VOLUME_NM3
    film_height_nm: float = 100.0
    supply_radius_nm: float | None = None
    centroid_diffusivity_nm2_per_s: float = 4.71
    hop_rate_per_s: float | None = None
    spectral_gap: float | None = None
    sulfur_contact_nm: float = 1.05
    grains_per_unit: float = 1e-3
    amorphous_below_nm: float = AMORPHOUS_BELOW_NM
    droplets_per_um2: float = 50.0
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.closure not in CLOSURE_NOTE:
            raise ValueError(f"closure is {self.closure!r}: one of {', '.join(CLOSURE_NOTE)} is allowed")
        if self.kinetics not in ("butler-volmer", "marcus"):
            raise ValueError(f"kinetics is {self.kinetics!r}: butler-volmer or marcus is allowed")
        for name in _POSITIVE:
            _check(name, getattr(self, name), lambda x: x > 0, "> 0")
        for name in _NOT_NEGATIVE:
            _check(name, getattr(self, name), lambda x: x >= 0, ">= 0")
        for name in ("capture_floor", "transfer_coefficient"):
            _check(name, getattr(self, name), lambda x: 0 <= x <= 1, "0 to 1")
        _check("threshold", self.threshold, lambda x: 0 < x < 1, "above 0 and below 1")
        _check("contact_power", self.contact_power, lambda x: 0 <= x < 3, "0 to below 3")
        _check("contact_angle_deg", self.contact_angle_deg, lambda x: 0 < x <= 180, "above 0, up to 180")
        _check("electrons_per_capture", self.electrons_per_capture, lambda x: 0 < x <= 10, "above 0, up to 10")
        _check("front_acceleration", self.front_acceleration, lambda x: x >= 1, ">= 1")
        _check("standard_potential_V", self.standard_potential_V, lambda x: True, "finite")
        if self.seed_units < 1.0:
            raise ValueError(
                f"seed_radius_nm is {self.seed_radius_nm}: the seed holds {self.seed_units:.3g} Li2S6; "
                "enlarge it until it holds at least one"
            )
        unknown = set(self.provenance) - set(_FIELDS)
        if unknown:
            raise ValueError(f"provenance names {sorted(unknown)}, which are no inputs of the droplet tier")
        complete = {n: self.provenance.get(n, f"default ({DEFAULT_SOURCES[n]})") for n in _FIELDS}
        object.__setattr__(self, "provenance", complete)

    @classmethod
    def from_measurements(
        cls,
        given: Mapping[str, float | str | None],
        measurements: Mapping[str, Estimate],
        source: str,
    ) -> KineticParameters:
        """Merge what the experiment file gives, what a particle run measured, and the defaults, in this
        order.

        given: field -> value, None where the file leaves it open; measurements: field -> Estimate, converted
        from its unit (mM, nm^2/ps, ...); source: the particle run's file, for the provenance. Raises
        ValueError for a name that is no input, a unit that does not fit, or a measurement that is not finite.
        """
        unknown = (set(given) | set(measurements)) - set(_FIELDS)
        if unknown:
            raise ValueError(f"{sorted(unknown)} are no inputs of the droplet tier; known: {', '.join(_FIELDS)}")
        values: dict[str, float | str] = {}
        provenance: dict[str, str] = {}
        for name, estimate in measurements.items():
            factors = _MEASURED_UNITS.get(name)
            if factors is None or estimate.unit not in factors:
                allowed = "no measurement" if factors is None else " or ".join(factors)
                raise ValueError(f"{name} was measured in {estimate.unit!r}: {allowed} is allowed")
            if not math.isfinite(estimate.value):
                raise ValueError(f"{name} measured in {source} is {estimate.value}: give it in the experiment file")
            factor = factors[estimate.unit]
            values[name] = estimate.value * factor
            error = estimate.standard_error * factor
            provenance[name] = f"particle run {source}: {values[name]:.4g} +- {error:.2g} ({estimate.method})"
        for name, value in given.items():
            if value is not None:
                values[name] = value
                provenance[name] = "config"
        return cls(**values, provenance=provenance)  # pyright: ignore[reportArgumentType]

    @property
    def unit_volume_nm3(self) -> float:
        """Omega = 1 / rho_dense, volume of one liquid unit."""
        return 1.0 / self.dense_density_per_nm3

    @property
    def seed_units(self) -> float:
        """Liquid units in a cap of the seed's radius (a mean: realisations round it at random)."""
        factor = growth_laws.cap_volume_factor(self.contact_angle_deg)
        return self.dense_density_per_nm3 * 4.0 / 3.0 * math.pi * factor * self.seed_radius_nm**3

    @property
    def contact_coefficient(self) -> float:
        """a of N_c(R) = a R^m in nm^-m, as used."""
        if self.contact_prefactor is not None:
            return self.contact_prefactor
        footprint = math.pi * growth_laws.cap_base_radius(1.0, self.contact_angle_deg) ** 2
        return self.centre_density_per_nm2 * footprint * REFERENCE_RADIUS_NM ** (2.0 - self.contact_power)

    @property
    def supply_volume_nm3(self) -> float:
        """Volume of electrolyte that feeds the droplet; infinite without depletion."""
        if self.supply_radius_nm is None:
            return math.inf
        return math.pi * self.supply_radius_nm**2 * self.film_height_nm

    def reduced_overpotential(self, potential_V: float) -> float:
        """f eta = e (E - E0) / kT. Raises ValueError beyond 10 V, where rates would overflow."""
        return units.reduced_overpotential(potential_V, self.standard_potential_V, self.temperature_K)

    @property
    def rate_exponents(self) -> tuple[float, float]:
        """(a, b) of ln(k_in / k0) = -a f eta - b (f eta)^2, and with 1 - a for -a of k_out.

        Butler-Volmer: a = alpha, b = 0. Marcus with reorganisation energy lambda: k_in = kappa exp[-(lambda + e eta)^2
        / (4 lambda kT)], k_out with - e eta, so that a = 1/2 and b = kT / (4 lambda), and kappa = k0 exp(lambda / 4kT).
        Either way k_in / k_out = exp(-f eta). Source: Marcus, J. Chem. Phys. 24, 966 (1956), doi 10.1063/1.1742723.
        """
        if self.kinetics == "marcus":
            return 0.5, units.thermal_voltage_V(self.temperature_K) / (4.0 * self.reorganisation_energy_eV)
        return self.transfer_coefficient, 0.0

    def injection_rate_per_s(self, potential_V: float) -> float:
        """k_in = k0 exp[-a f eta - b (f eta)^2], per contact and empty slot; see `rate_exponents`."""
        first, second = self.rate_exponents
        reduced = self.reduced_overpotential(potential_V)
        return self.rate_constant_per_s * math.exp(-first * reduced - second * reduced**2)

    def ejection_rate_per_s(self, potential_V: float) -> float:
        """k_out = k0 exp[(1 - a) f eta - b (f eta)^2], per contact and filled slot; see `rate_exponents`."""
        first, second = self.rate_exponents
        reduced = self.reduced_overpotential(potential_V)
        return self.rate_constant_per_s * math.exp((1.0 - first) * reduced - second * reduced**2)

    def total_rate_per_s(self, potential_V: float) -> float:
        """k_in + k_out, with which a contact relaxes one slot."""
        return self.injection_rate_per_s(potential_V) + self.ejection_rate_per_s(potential_V)

    def nernst_fraction(self, potential_V: float) -> float:
        """p = k_in / (k_in + k_out) = 1 / (1 + exp(f eta))."""
        reduced = self.reduced_overpotential(potential_V)
        # Both branches keep the exponent negative: no overflow, and small p keeps its digits.
        return math.exp(-reduced) / (1.0 + math.exp(-reduced)) if reduced > 0 else 1.0 / (1.0 + math.exp(reduced))

    def spectral_gap_at(self, radius_nm: float) -> float:
        """lambda_2 of a droplet of this radius of curvature: as given, else that of a dense liquid."""
        if self.spectral_gap is not None:
            return self.spectral_gap
        extent = radius_nm * math.sqrt(growth_laws.projected_area_factor(self.contact_angle_deg) / math.pi)
        return float(growth_laws.spectral_gap_of_liquid(self.dense_density_per_nm3, self.sulfur_contact_nm, extent))

    def derived(self, potential_V: float = DEFAULT_PROTOCOL[0].potential_V) -> dict[str, float | str | None]:
        """Dimensionless groups and times of a droplet of R = 15 nm at a potential.

        Da = k R / D at capture probability 1; supersaturation S = c_inf / c_sat; tau_charge = N / [N_c (k_in +
        k_out)]; growth_time: R from 0 to 15 nm in the mixed law with dc = c_inf - c_sat; conversion_time = N
        / (N_c chi k_in); conversion_ratio: their ratio; mixing_number P = (R^2 / D_dense) / tau_charge;
        spectral_gap lambda_2; collectivity_index Theta = M k_h lambda_2 tau_charge, None where hops are taken as
        infinitely fast; sharing_note: whether the well-mixed rule holds; first_layer_time = exp(W) / k_open, and later;
        expected_exponent with the sentence that it follows from the closure. Times in s, infinite where the process is
        off.
        """
        radius = REFERENCE_RADIUS_NM
        volume_factor = growth_laws.cap_volume_factor(self.contact_angle_deg)
        n_units = self.dense_density_per_nm3 * 4.0 / 3.0 * math.pi * volume_factor * radius**3
        n_contacts = self.contact_coefficient * radius**self.contact_power
        injection, ejection = self.injection_rate_per_s(potential_V), self.ejection_rate_per_s(potential_V)
        tau = float(growth_laws.charging_time(n_units, n_contacts, injection + ejection))
        damkohler = self.interface_velocity_nm_per_s * radius / self.bulk_diffusivity_nm2_per_s
        drive = self.bulk_density_per_nm3 - self.saturation_density_per_nm3
        shape = growth_laws.cap_area_factor(self.contact_angle_deg) / volume_factor
        speed = shape * self.interface_velocity_nm_per_s * self.unit_volume_nm3 * drive
        growth = radius * (1.0 + damkohler / 2.0) / speed if speed > 0 else math.inf
        uptake = n_contacts * self.front_acceleration * injection
        conversion = n_units / uptake if uptake > 0 else math.inf
        slaved = self.closure == "charge-slaved"
        gap = self.spectral_gap_at(radius)
        collectivity = None
        if self.hop_rate_per_s is not None:
            collectivity = ELECTRONS_PER_UNIT * self.hop_rate_per_s * gap * tau
        opening = self.opening_rate_per_s
        return {
            "reference_radius_nm": radius,
            "reference_potential_V": potential_V,
            "damkohler_number": damkohler,
            "supersaturation": self.bulk_density_per_nm3 / self.saturation_density_per_nm3,
            "units_at_reference": n_units,
            "contacts_at_reference": n_contacts,
            "charging_time_s": tau,
            "growth_time_s": growth,
            "conversion_time_s": conversion,
            "conversion_ratio": conversion / growth if math.isfinite(conversion) else math.inf,
            "mixing_time_s": radius**2 / self.dense_diffusivity_nm2_per_s,
            "mixing_number": radius**2 / self.dense_diffusivity_nm2_per_s / tau,
            "spectral_gap": gap,
            "collectivity_index": collectivity,
            "sharing_note": sharing_note(collectivity),
            "first_layer_time_s": math.exp(self.opening_barrier_kT) / opening if opening > 0 else math.inf,
            "first_layer_time_later_s": math.exp(self.opening_barrier_later_kT) / opening if opening > 0 else math.inf,
            "expected_exponent": (
                growth_laws.contact_limited_exponent(self.contact_power)
                if slaved
                else float(growth_laws.area_exponent(damkohler))
            ),
            "closure_note": CLOSURE_NOTE[self.closure],
        }


def sharing_note(collectivity: float | None) -> str:
    """Whether electrons spread over a droplet faster than they enter, in a sentence."""
    if collectivity is None:
        return "well mixed: no hop rate was given, and electrons spread at once"
    if collectivity < SMALLEST_COLLECTIVITY:
        return (
            f"Theta = {collectivity:.3g} is below {SMALLEST_COLLECTIVITY:g}: electrons do not spread over the droplet "
            "as fast as they enter, and the well-mixed rule of this tier does not hold"
        )
    return f"Theta = {collectivity:.3g}: electrons spread over the droplet faster than they enter (well mixed)"


_FIELDS = tuple(f.name for f in dataclasses.fields(KineticParameters) if f.name != "provenance")
_POSITIVE = (
    "saturation_density_per_nm3",
    "dense_density_per_nm3",
    "dense_diffusivity_nm2_per_s",
    "bulk_diffusivity_nm2_per_s",
    "interface_velocity_nm_per_s",
    "seed_radius_nm",
    "temperature_K",
    "reorganisation_energy_eV",
    "tunnelling_range_nm",
    "sulfur_contact_nm",
    "solid_volume_nm3",
    "film_height_nm",
    "supply_radius_nm",
)
_NOT_NEGATIVE = (
    "bulk_density_per_nm3",
    "onset_s",
    "centre_density_per_nm2",
    "contact_prefactor",
    "rate_constant_per_s",
    "minimum_size_units",
    "nucleation_rate_per_s",
    "nucleation_barrier",
    "dissolution_rate_per_s",
    "opening_rate_per_s",
    "opening_barrier_kT",
    "opening_barrier_later_kT",
    "grains_per_unit",
    "amorphous_below_nm",
    "droplets_per_um2",
    "centroid_diffusivity_nm2_per_s",
    "hop_rate_per_s",
    "spectral_gap",
)


def _check(name: str, value: float | None, allowed, text: str) -> None:
    if value is not None and not (math.isfinite(value) and allowed(value)):
        raise ValueError(f"{name} is {value}: {text} is allowed")


class Segment(NamedTuple):
    """A stretch of the protocol in which no switch is thrown; its switches are at its start.

    The potential is linear from start_V to end_V; connected: whether the electrode is, which it is not at rest.
    """

    start_s: float
    end_s: float
    start_V: float
    end_V: float
    connected: bool
    oxidising: bool  # E > E0, with electronic contact
    begins_reduction: bool  # the first that reduces, or the first that does after one that oxidised
    seeds: bool  # the seed appears at its start

    def potential_V(self, time_s: float) -> float:
        """E at a time within it; both ends exactly."""
        share = (time_s - self.start_s) / (self.end_s - self.start_s)
        return (1.0 - share) * self.start_V + share * self.end_V


def protocol_segments(parameters: KineticParameters, protocol: Sequence[PotentialStep]) -> list[Segment]:
    """Cut a protocol at its steps, where a ramp crosses E0, and at the onset of each reduction.

    A reduction begins where E <= E0 for the first time, and again after an oxidation; rests neither begin nor end one.
    Its seed appears onset_s after it begins, unless an oxidation comes first. Raises ValueError for an empty protocol
    or a potential out of range.
    """
    segments: list[Segment] = []
    onset = math.inf
    was_oxidising = True
    detached = parameters.contact_coefficient == 0.0
    for part in stretches(protocol, parameters.standard_potential_V):
        connected = part.kind != "rest"
        if connected:
            parameters.reduced_overpotential(part.start_V)
            parameters.reduced_overpotential(part.end_V)
        # Without electronic contact the droplet does not feel the electrode, and nothing oxidises it.
        oxidising = part.kind == "oxidation" and not detached
        begins = was_oxidising and connected and not oxidising
        if begins:
            onset = part.start_s + parameters.onset_s
            was_oxidising = False
        elif oxidising:
            onset = math.inf
            was_oxidising = True
        cuts = [part.start_s, part.end_s]
        if part.start_s < onset < part.end_s:
            cuts.insert(1, onset)
        for left, right in itertools.pairwise(cuts):
            first = left == part.start_s
            values = (part.start_V, part.end_V)
            if len(cuts) > 2:
                share = (onset - part.start_s) / (part.end_s - part.start_s)
                middle = (1.0 - share) * part.start_V + share * part.end_V
                values = (part.start_V, middle) if first else (middle, part.end_V)
            segments.append(Segment(left, right, *values, connected, oxidising, begins and first, left == onset))
    return segments


def first_reduction_potential(parameters: KineticParameters, protocol: Sequence[PotentialStep]) -> float:
    """The most negative potential of the first reduction: where `derived` is evaluated.

    A protocol without reduction gives its first potential.
    """
    reducing = [s for s in stretches(protocol, parameters.standard_potential_V) if s.kind == "reduction"]
    if not reducing:
        return float(potential_at(protocol, 0.0)[0])
    lowest = math.inf
    for before, part in itertools.pairwise([reducing[0], *reducing]):
        if part.start_s > before.end_s:
            break
        lowest = min(lowest, part.start_V, part.end_V)
    return lowest
