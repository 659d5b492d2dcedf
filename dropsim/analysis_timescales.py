"""The guard of time scales with the numbers that one run measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dropsim.analysis_parts import Collector
from dropsim.analysis_reaction import Charging
from dropsim.check_scales import DENSE_SLOWDOWN_LANGEVIN
from dropsim.composition import LANGEVIN
from dropsim.timescales import (
    Groups,
    as_summary,
    electrode_rates,
    groups,
    judged,
    measured_damkohler,
    stage_clock_verdict,
)
from dropsim.trajectory import Stage
from dropsim.units import NM2_PER_PS_IN_NM2_PER_S, concentration_mM, thermal_energy, thermal_voltage_V

PS_PER_S = 1.0e12


def clock_sentences(stages: tuple[Stage, ...], values: Mapping[str, Any]) -> list[str]:
    """What the clocks of a run's stages mean, one sentence for each that is not the physical one.

    stages: of the trajectory; values: the resolved configuration as plain values.
    """
    temperature = float(values["electrolyte"]["temperature_K"])
    bead = values["species"]["S6"]
    found = []
    for stage, given in zip(stages, values["stages"], strict=True):
        acceleration = math.nan
        if given.get("friction", "uniform") == "uniform":
            friction = float(given["friction_per_ps"])
            free = thermal_energy(temperature) / (float(bead["mass_amu"]) * friction) if friction > 0 else math.inf
            acceleration = free / float(bead["diffusivity_nm2_per_ps"])
        text = stage_clock_verdict(stage.name, acceleration, keeps_physical_clock=not stage.accelerated_clock)
        if text is not None:
            found.append(text)
    return found


def measured_groups(
    out: Collector, values: Mapping[str, Any], charging: Charging, lengths: Any, n_sulfur: int
) -> tuple[Groups, dict[str, str]]:
    """The groups of one run of a slab, from its own estimates where it has them; and where each is from.

    S: all Li2S6 of the box over c_sat (the configuration's, else that measured beside droplets); Da: from the share
    of encounters that end in capture; P and Theta: size, contacts, radius and spectral gap of the charging droplet;
    tau_conv, tau_growth: measured, on the clocks of their stages. Beads of a Langevin stage mix faster than those of
    the Brownian one in which their diffusivity was measured: for them it is estimated. lengths: (3,) nm; n_sulfur:
    Li2S6 in the box.
    """
    reaction, electrolyte = values["reaction"], values["electrolyte"]
    saturation = electrolyte.get("saturation_mM") or out.value("vapour_concentration")
    total = concentration_mM(n_sulfur / float(lengths[0] * lengths[1] * lengths[2]))
    capture = out.value("capture_probability")
    damkohler = None
    if capture is not None and charging.radius_nm is not None:
        damkohler = measured_damkohler(capture, charging.radius_nm, 1.05, 1.6)
    reacting = [s for s in values["stages"] if s["reaction"]]
    potential = float(reaction["potential_V"])
    for stage in reacting[:1]:
        given = stage.get("potential_V")
        potential = potential if given is None else float(given)
    rates = electrode_rates(
        reaction.get("kinetics", "butler-volmer"),
        float(reaction["rate_constant_per_ps"]),
        float(reaction["transfer_coefficient"]),
        float(reaction.get("reorganisation_energy_eV", 1.0)),
        potential - float(reaction.get("standard_potential_V", 0.0)),
        thermal_voltage_V(float(electrolyte["temperature_K"])),
    )
    hop = {"mixed": math.inf, "none": 0.0}.get(reaction.get("sharing", "mixed"), reaction.get("hop_rate_per_ps"))
    compressed = float(reaction["rate_constant_per_ps"]) * PS_PER_S / float(reaction["physical_rate_constant_per_s"])
    converted = out.value("conversion_time")
    # Without a contact nothing charges through centres: mixing and sharing have nothing to be set against.
    wired = values["centres"]["arrangement"] != "none" and bool(values["centres"]["wired"])
    known = bool(reacting) and wired and charging.n_units is not None
    dense, dense_source = _dense_diffusivity(out, values, reacting[:1])
    found = groups(
        concentration=total,
        saturation=saturation,
        damkohler=damkohler,
        radius=charging.radius_nm,
        dense_diffusivity=dense,
        n_units=charging.n_units,
        n_contacts=charging.n_contacts,
        injection_rate=rates[0] if known else None,
        ejection_rate=rates[1] if known else None,
        hop_rate=hop if known else None,
        spectral_gap=charging.spectral_gap,
        conversion_time=math.nan if converted is None else converted,
        growth_time=out.facts.get("growth_time_ps"),
        clock_compression=compressed if reacting and wired else None,
    )
    sources = {
        "S": f"{total:.3g} mM in the box over c_sat "
        + ("of the configuration" if electrolyte.get("saturation_mM") else "measured beside droplets"),
        "Da": "from the measured share of encounters that end in capture; an upper bound",
        "P": f"R from the radius of gyration; {dense_source}; N and N_c measured",
        "Theta": "lambda_2, N and N_c measured; the hop rate is put in",
        "tau_conv/tau_growth": "measured, each on the clock of its stages",
        "C": "rate_constant_per_ps over physical_rate_constant_per_s",
    }
    known_groups = {v.group for v in judged(found) if v.value is not None}
    return found, {group: text for group, text in sources.items() if group in known_groups}


def _dense_diffusivity(
    out: Collector, values: Mapping[str, Any], reacting: list[Mapping[str, Any]]
) -> tuple[float | None, str]:
    """Diffusivity of S6 in droplets on the clock of the first reacting stage, nm^2/ps, and where it is from."""
    measured = out.value("dense_diffusivity")
    for stage in reacting:
        langevin = stage["integrator"] in LANGEVIN and stage.get("friction", "uniform") == "uniform"
        if langevin:
            if float(stage["friction_per_ps"]) <= 0:
                return None, ""
            bead = values["species"]["S6"]
            temperature = float(values["electrolyte"]["temperature_K"])
            free = thermal_energy(temperature) / (float(bead["mass_amu"]) * float(stage["friction_per_ps"]))
            return (
                DENSE_SLOWDOWN_LANGEVIN * free,
                f"D_dense taken as {DENSE_SLOWDOWN_LANGEVIN:g} of a free Langevin bead's",
            )
    if measured is None:
        return None, ""
    return measured / NM2_PER_PS_IN_NM2_PER_S, "D_dense measured in the Brownian stage"


def timescales_summary(
    stages: tuple[Stage, ...], values: Mapping[str, Any], found: tuple[Groups, dict[str, str]] | None
) -> dict[str, Any]:
    """What summary.json holds under "timescales"; found: of `measured_groups`, None in a box without an electrode."""
    measured, sources = (Groups(), {}) if found is None else found
    return as_summary(measured, clock_sentences(stages, values)) | {"sources": sources}
