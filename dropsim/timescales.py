"""The guard of time scales: dimensionless groups of a droplet that gathers, charges and converts, and what they allow.

Two runs with the same groups are similar, so that results carry over as ratios (exponents, conversion over growth,
area ratios), never as seconds. Only the slowest clock may be compressed, and only while the groups stay within their
limits. Plain numbers in, sentences out: no arrays, no configuration.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

SLOTS = 10

# n = 1 + 1/(1 + Da) for area against time: within 0.1 of the reaction-limited 2.
LARGEST_DAMKOHLER = 0.1
# R^2/D over the charging time: beads mix ten times while the droplet charges once.
LARGEST_MIXING = 0.1
# M k_h lambda_2 tau: electrons level out thirty times while the droplet charges once.
SMALLEST_COLLECTIVITY = 30.0
# About five of twenty seconds in the paper.
LARGEST_CONVERSION_TO_GROWTH = 0.25
SMALLEST_SUPERSATURATION = 1.0
# Of a free bead over its physical diffusivity; below, times are good to the accuracy of the diffusivities.
LARGEST_ACCELERATION = 2.0


@dataclasses.dataclass(frozen=True)
class Groups:
    """Dimensionless groups; None where one is not known (or has no meaning, without a droplet or contacts).

    supersaturation: S = c / c_sat; damkohler: Da = k R / D; mixing: P = (R^2 / D_dense) / tau_charge; collectivity:
    Theta = M k_h lambda_2 tau_charge, infinite for the well-mixed rule; conversion_to_growth: tau_conv / tau_growth;
    clock_compression: C, rate constant used over the physical one; charging_time, mixing_time, conversion_time,
    growth_time: behind them, in the unit that the caller works in.
    """

    supersaturation: float | None = None
    damkohler: float | None = None
    mixing: float | None = None
    collectivity: float | None = None
    conversion_to_growth: float | None = None
    clock_compression: float | None = None
    charging_time: float | None = None
    mixing_time: float | None = None
    conversion_time: float | None = None
    growth_time: float | None = None

    def to_dict(self) -> dict[str, float | str | None]:
        """Plain values for JSON; an infinite group is the word "infinite", since JSON has no such number."""
        values = dataclasses.asdict(self)
        return {k: "infinite" if v is not None and math.isinf(v) else v for k, v in values.items()}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What one group says. group: its symbol; name: in words; value; limit: as printed; within: None where no limit
    applies or the value is not known; text: one sentence."""

    group: str
    name: str
    value: float | None
    limit: str
    within: bool | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        value = self.value
        shown = "infinite" if value is not None and math.isinf(value) else value
        return dataclasses.asdict(self) | {"value": shown}


def electrode_rates(
    kinetics: str,
    rate_constant: float,
    transfer_coefficient: float,
    reorganisation_V: float,
    overpotential_V: float,
    thermal_voltage_V: float,
) -> tuple[float, float]:
    """(k_in, k_out) per contact and slot at an overpotential, in the unit of the rate constant.

    Butler-Volmer: k0 exp(-alpha f eta), k0 exp((1 - alpha) f eta);
    Marcus: k0 exp[-eta (2 lambda + eta) / (4 lambda kT/e)], k_out with -eta;  both: k_in / k_out = exp(-f eta)

    kinetics: "butler-volmer" or "marcus"; k0 -> rate_constant, of either direction at eta = 0; alpha ->
    transfer_coefficient; lambda -> reorganisation_V; eta -> overpotential_V; kT/e -> thermal_voltage_V. Exponents are
    held at 700, beyond which no time scale is left to compare. Raises ValueError for other kinetics.
    """
    reduced = overpotential_V / thermal_voltage_V
    if kinetics == "butler-volmer":
        exponents = (-transfer_coefficient * reduced, (1.0 - transfer_coefficient) * reduced)
    elif kinetics == "marcus":
        quadratic = overpotential_V * reduced / (4.0 * reorganisation_V)
        exponents = (-0.5 * reduced - quadratic, 0.5 * reduced - quadratic)
    else:
        raise ValueError(f'kinetics must be "butler-volmer" or "marcus", not {kinetics!r}')
    into, out_of = (rate_constant * math.exp(min(x, 700.0)) for x in exponents)
    return into, out_of


def measured_damkohler(capture: float, radius: float, contact: float, escape: float) -> float:
    """Da = k R / D from the share of encounters that end in capture.

    p = k d / (D + k d),  d = a (b - a) / b;  Da = [p / (1 - p)] R / d

    capture: p, of ions that touch the droplet and are captured before they escape; radius: R; contact, escape: how far
    from the droplet an encounter begins and ends, so that a = R + contact, b = R + escape. Steady diffusion between a
    sphere a that captures at the rate k per area and concentration, and an absorbing sphere b. Returns infinity where
    every one is captured. Validity: an ion that is held a while and then leaves counts as captured, so that Da is an
    upper bound.
    """
    if capture >= 1.0:
        return math.inf
    gap = (escape - contact) * (radius + contact) / (radius + escape)
    return capture / (1.0 - capture) * radius / gap


def _known(*values: float | None) -> bool:
    return all(v is not None and not math.isnan(v) for v in values)


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    if numerator is None or denominator is None or not _known(numerator, denominator) or denominator <= 0:
        return None
    # A process that never ends (infinite denominator) is as slow as one may wish; two of them cannot be compared.
    return None if math.isinf(numerator) else numerator / denominator


def groups(
    *,
    concentration: float | None = None,
    saturation: float | None = None,
    interface_velocity: float | None = None,
    damkohler: float | None = None,
    radius: float | None = None,
    bulk_diffusivity: float | None = None,
    dense_diffusivity: float | None = None,
    n_units: float | None = None,
    n_contacts: float | None = None,
    injection_rate: float | None = None,
    ejection_rate: float | None = None,
    hop_rate: float | None = None,
    spectral_gap: float | None = None,
    front_acceleration: float = 1.0,
    conversion_time: float | None = None,
    growth_time: float | None = None,
    clock_compression: float | None = None,
) -> Groups:
    """The groups of a droplet from plain numbers, in any one system of units.

    S = c / c_sat;  Da = k R / D;  tau_charge = N / [N_c (k_in + k_out)];  P = R^2 / (D_dense tau_charge);
    Theta = M k_h lambda_2 tau_charge, M = 10;  tau_conv = N / (N_c chi k_in) unless it is given

    concentration, saturation: c, c_sat; interface_velocity: k, or damkohler itself where it was measured; radius: R;
    bulk_diffusivity, dense_diffusivity: of S6 outside and inside; n_units: N; n_contacts: N_c; injection_rate,
    ejection_rate: per contact and slot; hop_rate: k_h, infinite for the well-mixed rule, 0 for none; spectral_gap:
    lambda_2; front_acceleration: chi; conversion_time: nan where it is not to be estimated; clock_compression: C.
    Returns what follows from those that are given.
    """
    rate = None
    if n_contacts is not None and injection_rate is not None and ejection_rate is not None:
        rate = n_contacts * (injection_rate + ejection_rate)
    charging = None
    if _known(n_units, rate) and rate is not None and n_units is not None and n_units > 0:
        charging = n_units / rate if rate > 0 else math.inf
    mixing = None
    if _known(radius, dense_diffusivity) and radius is not None and dense_diffusivity:
        mixing = radius * radius / dense_diffusivity
    if conversion_time is None and _known(n_units, n_contacts, injection_rate):
        uptake = (n_contacts or 0.0) * front_acceleration * (injection_rate or 0.0)
        conversion_time = (n_units or 0.0) / uptake if uptake > 0 else None
    if damkohler is None and _known(interface_velocity, radius, bulk_diffusivity):
        damkohler = _ratio((interface_velocity or 0.0) * (radius or 0.0), bulk_diffusivity)
    if not _known(conversion_time):
        conversion_time = None
    theta = None
    if hop_rate is not None and hop_rate == 0:
        theta = 0.0
    elif hop_rate is not None and math.isinf(hop_rate):
        theta = math.inf
    elif hop_rate is not None and spectral_gap is not None and charging is not None:
        theta = 0.0 if spectral_gap == 0 else SLOTS * hop_rate * spectral_gap * charging
    return Groups(
        supersaturation=_ratio(concentration, saturation),
        damkohler=damkohler if _known(damkohler) else None,
        mixing=_ratio(mixing, charging),
        collectivity=theta,
        conversion_to_growth=_ratio(conversion_time, growth_time),
        clock_compression=clock_compression,
        charging_time=charging,
        mixing_time=mixing,
        conversion_time=conversion_time,
        growth_time=growth_time,
    )


def judged(found: Groups) -> list[Verdict]:
    """Every group beside its limit, in a fixed order; those that are not known say so."""
    return [
        _judge(
            "S", "supersaturation c/c_sat", found.supersaturation, f"> {SMALLEST_SUPERSATURATION:g}",
            lambda v: v > SMALLEST_SUPERSATURATION,
            "is not above {limit}: no droplet lasts; raise the concentration or lower the permittivity",
        ),
        _judge(
            "Da", "interface against diffusion, k R / D", found.damkohler, f"< {LARGEST_DAMKOHLER:g}",
            lambda v: v < LARGEST_DAMKOHLER,
            "is above {limit}: growth is no longer limited by the interface, and its exponent is below 1.9; lower k "
            "or compare with the law of this Da",
        ),
        _judge(
            "P", "mixing against charging, R^2/D_dense / tau", found.mixing, f"< {LARGEST_MIXING:g}",
            lambda v: v < LARGEST_MIXING,
            "is above {limit}: the droplet is not well mixed while it charges, the same beads stay near the "
            "centres; lower the rate constant{factor}",
            factor=lambda v: v / LARGEST_MIXING,
        ),
        _judge(
            "Theta", "sharing against charging, M k_h lambda_2 tau", found.collectivity, f"> {SMALLEST_COLLECTIVITY:g}",
            lambda v: v > SMALLEST_COLLECTIVITY,
            "is below {limit}: electrons are not shared by the whole droplet, it charges from the contacts outwards; "
            "raise the hop rate or lower the rate constant{factor}",
            factor=lambda v: SMALLEST_COLLECTIVITY / v if v > 0 else math.inf,
        ),
        _judge(
            "tau_conv/tau_growth", "conversion against growth", found.conversion_to_growth,
            f"< {LARGEST_CONVERSION_TO_GROWTH:g}", lambda v: v < LARGEST_CONVERSION_TO_GROWTH,
            "is above {limit}: the droplet goes on gathering while it converts, other than in the paper (about 5 s of "
            "20 s); raise front_acceleration or the rate constant",
        ),
        _compression(found.clock_compression),
    ]  # fmt: skip


def _judge(group, name, value, limit, within, sentence, factor=None) -> Verdict:
    if value is None or math.isnan(value):
        return Verdict(group, name, None, limit, None, f"{group} is not known")
    good = bool(within(value))
    shown = "infinite" if math.isinf(value) else f"{value:.2g}"
    if shown == limit.lstrip("<> "):
        shown = f"{value:.4g}"  # a value beside its limit needs its digits
    if good:
        return Verdict(group, name, value, limit, True, f"{group} = {shown}, within {limit}")
    by = ""
    if factor is not None:
        times = factor(value)
        by = f" at least {times:.2g} times" if math.isfinite(times) else ""
    text = f"{group} = {shown} " + sentence.format(limit=limit.lstrip("<> "), factor=by)
    return Verdict(group, name, value, limit, False, text)


def _compression(value: float | None) -> Verdict:
    """The clock compression has no limit of its own: what it may be follows from the groups above."""
    name = "compression of the reaction's clock"
    if value is None or math.isnan(value):
        return Verdict("C", name, None, "-", None, "C is not known")
    text = (
        f"C = {value:.2g}: the reaction runs on a clock {value:.2g} times fast; compare ratios of times, never seconds"
    )
    if value <= 1.0:
        text = f"C = {value:.2g}: the reaction's clock is not compressed"
    return Verdict("C", name, value, "-", None, text)


def verdicts(found: Groups) -> list[str]:
    """One sentence for every group beyond its limit: the group, its value, the limit, and what to change."""
    return [v.text for v in judged(found) if v.within is False]


def stage_clock_verdict(name: str, acceleration: float, *, keeps_physical_clock: bool) -> str | None:
    """What the clock of a stage means: None for a physical one, else a sentence.

    name: of the stage; acceleration: diffusivity of a free bead in it over the physical one, nan where it is not
    known, infinite without friction; keeps_physical_clock: whether the dynamics are diffusive with the given
    diffusivities (Brownian).
    """
    if keeps_physical_clock:
        return None
    if math.isinf(acceleration):
        return f"stage {name}: no friction, beads fly; times have no meaning as times of diffusion"
    if math.isnan(acceleration):
        return f"stage {name}: Langevin dynamics at low friction samples; times have no physical meaning"
    if acceleration <= LARGEST_ACCELERATION:
        return None
    return (
        f"stage {name}: the Langevin clock is about {acceleration:.3g} times fast: it samples, times and diffusivities "
        "have no physical meaning"
    )


def similarity_note(found: Groups) -> str:
    """Whether the run may be compared with seconds in the microscope through ratios."""
    bad = [v.group for v in judged(found) if v.within is False]
    unknown = [v.group for v in judged(found) if v.value is None]
    if bad:
        return f"outside its limits in {', '.join(bad)}: ratios of times differ from those of the uncompressed system"
    text = "every known group is within its limit: ratios of times may be compared, absolute times may not"
    return text + (f" (not known: {', '.join(unknown)})" if unknown else "")


def as_summary(found: Groups, clocks: list[str]) -> dict[str, Any]:
    """What summary.json holds under "timescales": groups, verdicts of all groups, and sentences on the clocks."""
    return {
        "groups": found.to_dict(),
        "verdicts": [v.to_dict() for v in judged(found)],
        "beyond": verdicts(found),
        "clocks": list(clocks),
        "note": similarity_note(found),
    }
