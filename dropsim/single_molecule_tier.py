"""The bare electrode of a study: inputs from the file, realisations, and what a microscope and a potentiostat would
read off them. Writes single_molecule.csv, single_molecule.json and the figures of this tier."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropsim.analysis import write_json
from dropsim.config import Config
from dropsim.errors import AnalysisError, ConfigError
from dropsim.kinetics.protocol import HalfCycle, PotentialStep, as_step, half_cycles, protocol_duration
from dropsim.kinetics.ripening_posterior import ripening_posterior
from dropsim.kinetics.single_molecule import SingleMoleculeSolution, simulate_single_molecules
from dropsim.kinetics.single_molecule_parameters import SingleMoleculeParameters
from dropsim.observables.estimate import Estimate
from dropsim.units import concentration_mM, number_density_per_nm3

Floats = NDArray[np.float64]

# What the electrode without centres has from the droplet tier's table: key there -> input here.
SHARED_INPUTS = {
    "film_height_nm": "film_height_nm",
    "standard_potential_V": "standard_potential_V",
    "bulk_diffusivity_nm2_per_s": "diffusivity_nm2_per_s",
    "tunnelling_range_nm": "tunnelling_range_nm",
    "opening_rate_per_s": "opening_rate_per_s",
    "opening_barrier_kT": "opening_barrier_kT",
    "opening_barrier_later_kT": "opening_barrier_later_kT",
}


def single_molecule_parameters(config: Config) -> tuple[SingleMoleculeParameters, tuple[PotentialStep, ...]]:
    """Inputs and protocol of the bare patch; electrolyte, film and protocol are those of [kinetics].

    Provenance: "config" for a key that differs from its default, else the default's own source. Raises ConfigError for
    values that cannot be run.
    """
    table, kinetics = config.single_molecule, config.kinetics
    inputs = {f.name for f in dataclasses.fields(SingleMoleculeParameters)}
    values: dict[str, Any] = {k: v for k, v in table.model_dump().items() if k in inputs}
    values |= {mine: getattr(kinetics, theirs) for theirs, mine in SHARED_INPUTS.items()}
    values |= {
        "bulk_density_per_nm3": number_density_per_nm3(kinetics.bulk_mM),
        "solubility_per_nm3": number_density_per_nm3(table.solubility_mM),
        "temperature_K": config.electrolyte.temperature_K,
    }
    try:
        defaults = SingleMoleculeParameters()
        changed = {k: "config" for k, v in values.items() if not _same(v, getattr(defaults, k))}
        parameters = SingleMoleculeParameters(**values, provenance=changed)
        protocol = tuple(as_step(entry) for entry in kinetics.protocol)
        protocol_duration(protocol)
        for step in protocol:
            parameters.reduced_overpotential(step.potential_V)
            parameters.reduced_overpotential(step.end_V)
    except ValueError as error:
        raise ConfigError(f"single_molecule: {error}") from error
    return parameters, protocol


def _same(a: float | None, b: float | None) -> bool:
    return a is b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-12))


@dataclasses.dataclass(frozen=True)
class SingleMoleculeTier:
    """What the tier gives: inputs, realisations, numbers and reasons."""

    parameters: SingleMoleculeParameters
    protocol: tuple[PotentialStep, ...]
    solution: SingleMoleculeSolution
    estimates: dict[str, Estimate]
    missing: dict[str, str]
    facts: dict[str, Any]


def mean_of(values: Floats, unit: str, method: str) -> Estimate:
    """Mean and standard error over independent realisations that have the number; AnalysisError for fewer than two."""
    good = np.asarray(values, dtype=np.float64)[np.isfinite(values)]
    if good.size < 2:
        raise AnalysisError(f"{good.size} of {len(values)} realisations have it")
    error = float(good.std(ddof=1) / math.sqrt(good.size))
    return Estimate(float(good.mean()), error, unit, float(good.size), f"{method}; {good.size} realisations")


def charge_between(solution: SingleMoleculeSolution, start_s: float, end_s: float) -> Floats:
    """Electrons that entered between two times of each realisation, from the saves next to them, (K,)."""
    first, last = (int(np.argmin(np.abs(solution.time_s - t))) for t in (start_s, end_s))
    return (solution.net_e[:, last] - solution.net_e[:, first]).astype(np.float64)


def time_dissolved(time_s: Floats, molecules: NDArray[np.int64], share: float) -> Floats:
    """First time at which a share of what was there at the start is gone, nan where it never is, (K,).

    time_s: (T,) from 0; molecules: (K, T). Half of it is gone after five times the time of a tenth at a constant rate,
    6.6 times where the rate falls with what is left, and less where dissolution sets in slowly.
    """
    gone = (molecules <= (1.0 - share) * molecules[:, :1]) & (molecules[:, :1] > 0)
    return np.where(gone.any(axis=1), time_s[np.argmax(gone, axis=1)], np.nan)


def measure_patches(
    solution: SingleMoleculeSolution, protocol: tuple[PotentialStep, ...]
) -> tuple[dict[str, Estimate], dict[str, str], dict[str, Any]]:
    """What would be seen of the realisations: (estimates, missing, facts).

    Counts, sizes and the share of single-step Li2S are those at the end of the first reduction; currents are means per
    frame, per area of electrode; times of first appearance are exact.
    """
    p, time = solution.parameters, solution.time_s
    cycles = half_cycles(protocol, p.standard_potential_V)
    per_electron = p.current_uA_per_cm2(1.0)  # uC/cm^2 for one electron
    reductions = [c for c in cycles if c.kind == "reduction"]
    values: dict[str, tuple[Floats, str, str]] = {
        "first_particle": (solution.first_particle_s, "s", "first Li2S2 particle"),
        "first_single_step_rod": (solution.first_single_step_s, "s", "first rod of ions reduced where they were"),
        "first_two_step_rod": (solution.first_two_step_s, "s", "first rod out of Li2S2"),
    }
    both = np.isfinite(solution.first_particle_s) & np.isfinite(solution.first_two_step_s)
    if both.any():
        first = (solution.first_particle_s < solution.first_two_step_s)[both].astype(np.float64)
        values["particle_before_two_step_rod"] = (first, "1", "share in which Li2S2 particles come first")
    if reductions:
        start, end = (int(np.argmin(np.abs(time - t))) for t in (reductions[0].start_s, reductions[0].end_s))
        length, width = solution.rod_length_width_nm
        radius = solution.particle_radius_nm[:, end]
        ever = solution.n_particles[:, start : end + 1].max(axis=1)
        with np.errstate(invalid="ignore"):
            longest = length[:, end].max(axis=1)
            aspect = longest / np.where(longest > 0, width[:, end].max(axis=1), np.nan)
        current = solution.current_uA_per_cm2[:, start + 1 : end + 1]
        when = "at the end of the first reduction"
        values |= {
            "particles": (solution.n_particles[:, end].astype(float), "1", f"Li2S2 particles on the patch {when}"),
            "particles_gone": ((ever - solution.n_particles[:, end]).astype(float), "1", "of the most at a time"),
            "largest_particle_radius": (np.where(radius.max(axis=1) > 0, radius.max(axis=1), np.nan), "nm", when),
            "rods": (solution.n_rods[:, end].astype(float), "1", f"Li2S rods on the patch {when}"),
            "longest_rod": (np.where(longest > 0, longest, np.nan), "nm", when),
            "rod_aspect_ratio": (aspect, "1", f"length over width of the longest rod {when}"),
            "single_step_share": (solution.single_step_share[:, end], "1", "share of Li2S that never was Li2S2"),
            "peak_reduction_current": (current.max(axis=1), "uA/cm^2", "largest mean per frame"),
            "mean_reduction_current": (current.mean(axis=1), "uA/cm^2", "first reduction"),
        }
    oxidations = [c for c in cycles if c.kind == "oxidation"]
    if oxidations:
        start, end = (int(np.argmin(np.abs(time - t))) for t in (oxidations[0].start_s, oxidations[0].end_s))
        for name, share in (("tenth", 0.1), ("half", 0.5)):
            after = time_dissolved(
                time[start : end + 1] - time[start], solution.n_rod_molecules[:, start : end + 1], share
            )
            values[f"rods_{name}_dissolved"] = (
                after,
                "s",
                f"{100 * share:g} % of the Li2S gone, from the first charge on",
            )
    for number, cycle in enumerate(cycles):
        charge = charge_between(solution, cycle.start_s, cycle.end_s) * per_electron
        values[f"charge_{number + 1}_{cycle.kind}"] = (charge, "uC/cm^2", f"{cycle.start_s:g} to {cycle.end_s:g} s")
    estimates: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    for key, (numbers, unit, method) in values.items():
        try:
            estimates[key] = mean_of(numbers, unit, method)
        except AnalysisError as error:
            missing[key] = str(error)
    facts: dict[str, Any] = {
        "realisations": int(solution.net_e.shape[0]),
        "ledger": {
            "sulfur_error": int(np.abs(solution.sulfur_residual).max()),
            "lithium_error": int(np.abs(solution.lithium_residual).max()),
            "electron_error_thirds": int(np.abs(solution.electron_residual).max()),
        },
        "half_cycles": [_half_cycle_row(c) for c in cycles],
    }
    return estimates, missing, facts


def _half_cycle_row(cycle: HalfCycle) -> dict[str, Any]:
    return {"start_s": cycle.start_s, "end_s": cycle.end_s, "kind": cycle.kind}


def run_single_molecule_tier(config: Config) -> SingleMoleculeTier:
    """Solve the tier for a configuration; see `single_molecule_parameters` and `measure_patches`."""
    parameters, protocol = single_molecule_parameters(config)
    table, kinetics = config.single_molecule, config.kinetics
    times = np.arange(0.0, protocol_duration(protocol) + 1e-9, kinetics.frame_s)
    solution = simulate_single_molecules(
        kinetics.seed, parameters, protocol, times, table.realisations, leap_s=table.leap_s
    )
    estimates, missing, facts = measure_patches(solution, protocol)
    try:
        facts["ripening_posterior"] = ripening_posterior(
            kinetics.seed,
            diffusivity_nm2_per_s=parameters.diffusivity_nm2_per_s,
            volume_nm3=parameters.intermediate_volume_nm3,
        ).summary()
    except AnalysisError as error:
        missing["ripening_posterior"] = str(error)
    return SingleMoleculeTier(parameters, protocol, solution, estimates, missing, facts)


def single_molecule_summary(tier: SingleMoleculeTier) -> dict[str, Any]:
    """What single_molecule.json holds."""
    return {
        "title": "a patch of bare electrode, seconds",
        "inputs": {
            name: {"value": getattr(tier.parameters, name), "from": origin}
            for name, origin in sorted(tier.parameters.provenance.items())
        },
        "protocol": [dataclasses.asdict(s) for s in tier.protocol],
        "derived": tier.parameters.derived(tier.protocol[0].potential_V),
        "estimates": {k: e.to_dict() for k, e in sorted(tier.estimates.items())},
        "missing": dict(sorted(tier.missing.items())),
        "facts": tier.facts,
    }


def table_columns(solution: SingleMoleculeSolution) -> dict[str, Floats]:
    """Columns of single_molecule.csv: means over the realisations at each save, and errors of the current."""
    p = solution.parameters
    n = len(solution.net_e)
    current = solution.current_uA_per_cm2
    radius, (length, width) = solution.particle_radius_nm, solution.rod_length_width_nm

    def mean_present(values: Floats) -> Floats:
        present = (values > 0).sum(axis=(0, 2))
        return np.where(present > 0, values.sum(axis=(0, 2)) / np.maximum(present, 1), np.nan)

    share = solution.single_step_share
    known = np.isfinite(share).sum(axis=0)
    volume = p.film_volume_nm3
    return {
        "t_s": solution.time_s,
        "potential_V": np.where(solution.connected, solution.potential_V, np.nan),
        "current_fA": solution.current_fA.mean(axis=0),
        "current_uA_per_cm2": current.mean(axis=0),
        "current_error_uA_per_cm2": current.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.zeros(current.shape[1]),
        "charge_uC_per_cm2": solution.net_e.mean(axis=0) * p.current_uA_per_cm2(1.0),
        "n_particles": solution.n_particles.mean(axis=0),
        "mean_particle_radius_nm": mean_present(radius),
        "largest_particle_radius_nm": radius.max(axis=2).mean(axis=0),
        "n_rods": solution.n_rods.mean(axis=0),
        "mean_rod_length_nm": mean_present(length),
        "mean_rod_width_nm": mean_present(width),
        "li2s6_mM": concentration_mM(1.0) * solution.n_dissolved.mean(axis=0) / volume,
        "li2s2_mM": concentration_mM(1.0) * solution.n_intermediate.mean(axis=0) / volume,
        "adsorbed_per_nm2": solution.n_adsorbed.mean(axis=0) / p.area_nm2,
        "single_step_share": np.where(known > 0, np.nansum(share, axis=0) / np.maximum(known, 1), np.nan),
    }


def write_single_molecule_tier(root: Path, tier: SingleMoleculeTier) -> dict[str, Any]:
    """Write single_molecule.csv, single_molecule.json and the figure into a study's folder; returns the summary."""
    from dropsim.plots_pathways import plot_single_molecule

    root.mkdir(parents=True, exist_ok=True)
    summary = single_molecule_summary(tier)
    write_json(root / "single_molecule.json", summary)
    columns = table_columns(tier.solution)
    with open(root / "single_molecule.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            table.writerow([f"{x:.6g}" if math.isfinite(x) else "" for x in row])
    plot_single_molecule(root, tier.solution, summary)
    return summary
