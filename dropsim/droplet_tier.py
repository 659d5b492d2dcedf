"""The droplet tier of a study: inputs from the file or a particle run, both solvers, and what a microscope and a
potentiostat would read off the result. Writes droplets.csv, current.csv, grains.csv, droplet_tier.json and the figures
of this tier."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dropsim.analysis import GROWN_SHARE, write_json
from dropsim.config import Config, KineticsConfig
from dropsim.errors import AnalysisError, ConfigError
from dropsim.kinetics import growth_laws
from dropsim.kinetics.calibration import calibrated_interface_velocity, calibrated_nucleation_rate
from dropsim.kinetics.cycles import (
    CurrentRecord,
    SaveTimes,
    at_saves,
    cycle_rows,
    half_cycle_rows,
    join_save_times,
    mean_current,
)
from dropsim.kinetics.droplet import DropletSolution, solve_droplet
from dropsim.kinetics.grains import Grains, draw_grains, grain_facts
from dropsim.kinetics.parameters import KineticParameters, first_reduction_potential, protocol_segments
from dropsim.kinetics.protocol import PotentialStep, as_step
from dropsim.kinetics.stochastic import simulate_droplets
from dropsim.observables.diffusion import covariance_estimator, gls_diffusivity, ordinary_msd_fit
from dropsim.observables.estimate import Estimate
from dropsim.observables.force import force_summary
from dropsim.observables.growth import exponent_from_rate, fit_power_law, growth_verdict
from dropsim.observables.statistics import combine_replicas
from dropsim.units import number_density_per_nm3

# Realisations whose tracks and areas are fitted one by one, as a microscopist would fit single droplets.
FITTED_DROPLETS = 32
# A droplet is seen when it has its seed's size; the law's own onset lies before that by up to this.
ONSET_UNCERTAINTY_FRAMES = 5
# Droplets in the table of tracks, and whose grains are drawn.
TABLE_DROPLETS = 8
GRAIN_DROPLETS = 16

# Estimates of a particle run, and the input that each may fill.
FROM_PARTICLE_RUN = {
    "dense_density": "dense_density_per_nm3",
    "dense_diffusivity": "dense_diffusivity_nm2_per_s",
    "vapour_concentration": "saturation_density_per_nm3",
    "contact_prefactor": "contact_prefactor",
    "contact_power": "contact_power",
}


def kinetic_parameters(
    config: Config, measured: Mapping[str, Estimate], source: str
) -> tuple[KineticParameters, tuple[PotentialStep, ...], dict[str, str]]:
    """Inputs and protocol of the droplet tier, and which measurements were not used, with the reason.

    A key given in [kinetics] wins; one left out is taken from the particle run's estimates (`measured`, of the
    file `source`) where it has the number, else from the defaults; `KineticParameters.provenance` says which.
    A contact law that grows faster than a footprint (m > 2) holds for the few sizes it was fitted to, and is not
    extrapolated to 15 nm. Raises ConfigError for values that cannot be run.
    """
    table: KineticsConfig = config.kinetics
    given: dict[str, float | str | None] = {
        "bulk_density_per_nm3": number_density_per_nm3(table.bulk_mM),
        "saturation_density_per_nm3": None
        if table.saturation_mM is None
        else number_density_per_nm3(table.saturation_mM),
        "temperature_K": config.electrolyte.temperature_K,
    }
    inputs = {f.name for f in dataclasses.fields(KineticParameters)}
    given |= {k: v for k, v in table.model_dump().items() if k in inputs}
    open_rates = [k for k in ("interface_velocity_nm_per_s", "nucleation_rate_per_s") if given[k] is None]
    if config.centres.arrangement == "none" or not config.centres.wired:
        given["contact_prefactor"] = 0.0  # a droplet that gathers, and passes no current
    usable = {}
    for key, name in FROM_PARTICLE_RUN.items():
        estimate = measured.get(key)
        if given.get(name) is None and estimate is not None and math.isfinite(estimate.value) and estimate.value > 0:
            usable[name] = estimate
    unused: dict[str, str] = {}
    power = usable.get("contact_power")
    if power is not None and power.value > 2.0:
        unused["contact_power"] = (
            f"measured m = {power.value:.3g} ± {power.standard_error:.2g}: contacts under a footprint grow at most as "
            "R^2, so the law is not extrapolated to 15 nm"
        )
        del usable["contact_power"]
    # Prefactor and power come from one fit, and mean nothing apart.
    if not {"contact_prefactor", "contact_power"} <= set(usable):
        usable.pop("contact_prefactor", None)
        usable.pop("contact_power", None)
    try:
        parameters = KineticParameters.from_measurements(given, usable, source)
        parameters = calibrated(parameters, open_rates, table.calibration_radius_nm, table.calibration_time_s)
        protocol = tuple(as_step(entry) for entry in table.protocol)
        protocol_segments(parameters, protocol)  # refuses a potential that is out of range
    except ValueError as error:
        raise ConfigError(f"kinetics: {error}") from error
    return parameters, protocol, unused


def calibrated(
    parameters: KineticParameters, rates: Sequence[str], radius_nm: float, time_s: float
) -> KineticParameters:
    """The parameters with the named rates set from the TEM's size and time: a calibration, not a finding.

    rates: of "interface_velocity_nm_per_s" and "nucleation_rate_per_s"; see `kinetics.calibration`. Raises
    ValueError where no rate reaches the radius in time.
    """
    if not rates:
        return parameters
    volume, surface = (
        f(parameters.contact_angle_deg) for f in (growth_laws.cap_volume_factor, growth_laws.cap_area_factor)
    )
    density = parameters.dense_density_per_nm3
    n_units = density * 4.0 / 3.0 * math.pi * volume * radius_nm**3
    values = {
        "interface_velocity_nm_per_s": lambda: calibrated_interface_velocity(
            radius_nm, time_s, density, parameters.bulk_density_per_nm3, parameters.bulk_diffusivity_nm2_per_s,
            surface / volume,
        ),
        "nucleation_rate_per_s": lambda: calibrated_nucleation_rate(n_units, time_s),
    }  # fmt: skip
    origin = f"calibrated: R = {radius_nm:g} nm after {time_s:g} s of growth, TEM"
    provenance = dict(parameters.provenance) | dict.fromkeys(rates, origin)
    return dataclasses.replace(parameters, **{name: values[name]() for name in rates}, provenance=provenance)


@dataclasses.dataclass(frozen=True)
class DropletTier:
    """What the tier gives: inputs, the mean-field droplet, the realisations, numbers and reasons.

    current: mean over realisations, between the save times that hold every end of a half cycle too; grains: (half
    cycle, droplet, its grains) at the end of each reduction.
    """

    parameters: KineticParameters
    protocol: tuple[PotentialStep, ...]
    mean: DropletSolution
    realisations: DropletSolution
    estimates: dict[str, Estimate]
    missing: dict[str, str]
    facts: dict[str, Any]
    current: CurrentRecord
    grains: list[tuple[int, int, Grains]]


def _spread(values: np.ndarray, unit: str, method: str) -> Estimate:
    """Mean over independent realisations."""
    good = values[np.isfinite(values)]
    if len(good) < 2:
        raise AnalysisError(f"{len(good)} of {len(values)} realisations have the event")
    error = float(good.std(ddof=1) / math.sqrt(len(good)))
    return Estimate(float(good.mean()), error, unit, float(len(good)), f"{method}; {len(good)} realisations")


def _combined(estimates: list[Estimate]) -> Estimate:
    if not estimates:
        raise AnalysisError("no realisation allowed the fit")
    return combine_replicas(estimates)


def measure_droplets(
    droplets: DropletSolution, parameters: KineticParameters, temperature_K: float, *, until_s: float = math.inf
) -> tuple[dict[str, Estimate], dict[str, str], dict[str, Any]]:
    """What a microscope would report of the realisations: (estimates, missing, facts).

    Growth: each area from the seed to its grown share, exponents joined over droplets. Conversion: from the
    nucleation of Li2S until 90 % of the units are solid. Area ratio: 5 s later over the last frame before. Only what
    happens up to until_s counts: the end of the first reduction, after which the droplet is another.
    """
    shown = np.flatnonzero(droplets.time_s <= until_s * (1.0 + 1e-9))
    droplets = at_saves(droplets, shown)
    time, centroid = droplets.time_s, droplets.centroid_nm
    if centroid is None:
        raise AnalysisError("these droplets have no tracks: take them from simulate_droplets")
    n_droplets = len(droplets.area_nm2)
    nucleation = np.where(droplets.nucleation_time_s <= until_s, droplets.nucleation_time_s, np.nan)
    estimates: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    converted, ratio, diameter, growth_time = (np.full(n_droplets, np.nan) for _ in range(4))
    exponents: dict[str, list[Estimate]] = {"growth_exponent": [], "growth_exponent_from_rate": []}
    motion: dict[str, list[Estimate]] = {k: [] for k in (
        "centroid_diffusivity", "centroid_diffusivity_gls", "centroid_diffusivity_straight_line", "mean_force",
        "brownian_force_null")}  # fmt: skip
    failures: dict[str, str] = {}
    for k in range(n_droplets):
        area, solid, liquid = droplets.area_nm2[k], droplets.n_solid[k], droplets.n_liquid[k]
        until = nucleation[k] if np.isfinite(nucleation[k]) else time[-1]
        alive = np.flatnonzero((liquid > 0) & (time <= until))
        if len(alive) < 12:
            continue
        diameter[k] = 2.0 * droplets.radius_nm[k, alive[-1]]
        growth_time[k] = time[alive[-1]] - time[alive[0]]
        total = solid + liquid
        after = np.flatnonzero((time > until) & (solid >= 0.9 * total) & (total > 0))
        if len(after):
            converted[k] = time[after[0]] - until
            late = after[time[after] <= time[after[0]] + 5.0][-1]
            ratio[k] = area[late] / area[alive[-1]]
        if k >= FITTED_DROPLETS:
            continue
        grown = alive[: int(np.argmax(area[alive] >= GROWN_SHARE * area[alive].max())) + 1]
        step = float(time[1] - time[0])
        window = (time[grown[0]] - ONSET_UNCERTAINTY_FRAMES * step, time[grown[0]])
        fits = {
            "growth_exponent": lambda t=time[grown], a=area[grown], w=window: (
                fit_power_law(t, a, onset_window=w).exponent
            ),
            "growth_exponent_from_rate": lambda t=time[grown], a=area[grown]: exponent_from_rate(t, a),
        }
        for key, fit in fits.items():
            try:
                exponents[key].append(fit())
            except AnalysisError as error:
                failures[key] = str(error)
        track = centroid[k][alive]
        try:
            gls = gls_diffusivity(track, step, localisation_variance=0.0).D
            force = force_summary(track, step, gls.value, temperature_K)
            found = {
                "centroid_diffusivity": covariance_estimator(track, step).D,
                "centroid_diffusivity_gls": gls,
                "centroid_diffusivity_straight_line": ordinary_msd_fit(track, step),
                "mean_force": force.mean_magnitude,
                "brownian_force_null": force.null.mean_force,
            }
        except AnalysisError as error:
            failures |= dict.fromkeys(motion, str(error))
        else:
            for key, value in found.items():
                motion[key].append(value)
    for key, values in {**exponents, **motion}.items():
        try:
            estimates[key] = _combined(values)
        except AnalysisError as error:
            missing[key] = failures.get(key, str(error))
    for key, values, unit, method in (
        ("conversion_time", converted, "s", "nucleation to 90 % solid"),
        ("droplet_diameter", diameter, "nm", "2 R at nucleation or at the end of reduction"),
        ("growth_time", growth_time, "s", "seed to nucleation"),
        ("conversion_to_growth_ratio", converted / growth_time, "1", "per realisation"),
        ("area_ratio_after_conversion", ratio, "1", "5 s after conversion over the frame before nucleation"),
    ):
        try:
            estimates[key] = _spread(values, unit, method)
        except AnalysisError as error:
            missing[key] = str(error)
    facts: dict[str, Any] = {
        "nucleated": int(np.isfinite(nucleation).sum()),
        "realisations": n_droplets,
        "ledger": ledger(droplets),
        "expected_exponent": parameters.derived()["expected_exponent"],
        "closure_note": droplets.closure_note,
    }
    if "growth_exponent" in estimates:
        facts["growth_verdict"] = growth_verdict(estimates["growth_exponent"])
    return estimates, missing, facts


def ledger(droplets: DropletSolution) -> dict[str, int]:
    """Largest errors of the whole numbers of sulfur, lithium and electrons, over all realisations and times."""
    return {
        "sulfur_error": int(np.abs(droplets.sulfur_residual).max()),
        "lithium_error": int(np.abs(droplets.lithium_residual).max()),
        "electron_error": int(np.abs(droplets.electron_residual).max()),
    }


def run_droplet_tier(config: Config, measured: Mapping[str, Estimate], source: str) -> DropletTier:
    """Solve the tier for a configuration; see `kinetic_parameters` and `measure_droplets`."""
    table = config.kinetics
    parameters, protocol, unused = kinetic_parameters(config, measured, source)
    end = sum(s.duration_s for s in protocol)
    saves = join_save_times(np.arange(0.0, end + 1e-9, table.frame_s), protocol, parameters.standard_potential_V)
    # Both spend most of their time in the compiler, which two threads share out.
    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(simulate_droplets, table.seed, parameters, protocol, saves.time_s, table.realisations)
        mean = at_saves(solve_droplet(parameters, protocol, saves.time_s), saves.frames)
        whole = drawing.result()
    droplets = at_saves(whole, saves.frames)
    first = next((part.end_s for part in saves.parts if part.kind == "reduction"), math.inf)
    estimates, missing, facts = measure_droplets(droplets, parameters, config.electrolyte.temperature_K, until_s=first)
    facts["ledger"] = ledger(whole)
    grains = draw_all_grains(table.seed, whole, saves, parameters)
    facts |= {
        "measurements_not_used": unused,
        "half_cycles": half_cycle_rows(whole, saves, protocol, parameters),
        "cycles": cycle_rows(whole, saves),
        "grains": grain_facts([found for _, _, found in grains]),
        "grains_note": "number, shares and orientations are drawn, not simulated",
    }
    current = mean_current(whole, protocol, parameters.droplets_per_um2)
    return DropletTier(parameters, protocol, mean, droplets, estimates, missing, facts, current, grains)


def draw_all_grains(
    seed: int, droplets: DropletSolution, saves: SaveTimes, parameters: KineticParameters
) -> list[tuple[int, int, Grains]]:
    """Grains of the first realisations at the end of each reduction: (half cycle, droplet, grains).

    The draw depends on the seed, the half cycle and the droplet alone.
    """
    found: list[tuple[int, int, Grains]] = []
    for k, part in enumerate(saves.parts):
        if part.kind != "reduction":
            continue
        solid = droplets.n_solid[:, saves.ends[k + 1]]
        for droplet, units in enumerate(solid[:GRAIN_DROPLETS].tolist()):
            if units >= 1:
                drawn = draw_grains(
                    np.random.default_rng([seed, k, droplet]),
                    int(units),
                    parameters.grains_per_unit,
                    amorphous_below_nm=parameters.amorphous_below_nm,
                    unit_volume_nm3=parameters.solid_volume_nm3,
                    contact_angle_deg=parameters.contact_angle_deg,
                )
                found.append((k, droplet, drawn))
    return found


def tier_summary(tier: DropletTier, source: str) -> dict[str, Any]:
    """What droplet_tier.json holds."""
    from_run = [k for k, v in tier.parameters.provenance.items() if v.startswith("particle run")]
    from_file = [k for k, v in tier.parameters.provenance.items() if v == "config"]
    fitted = [k for k, v in tier.parameters.provenance.items() if v.startswith("calibrated")]
    return {
        "title": "one droplet, seconds",
        "particle_run": source,
        "inputs": {
            name: {"value": getattr(tier.parameters, name), "from": origin}
            for name, origin in sorted(tier.parameters.provenance.items())
        },
        "inputs_note": f"from the particle run: {', '.join(from_run) or 'none'}; from the file: "
        f"{len(from_file)} keys; calibrated to the TEM's 30 nm and 20 s: {', '.join(fitted) or 'none'}; the rest are "
        "defaults",
        "protocol": [dataclasses.asdict(s) for s in tier.protocol],
        "derived": tier.parameters.derived(first_reduction_potential(tier.parameters, tier.protocol)),
        "estimates": {k: e.to_dict() for k, e in sorted(tier.estimates.items())},
        "missing": dict(sorted(tier.missing.items())),
        "facts": tier.facts,
    }


def write_table(path: Path, droplets: DropletSolution, n_droplets: int = TABLE_DROPLETS) -> None:
    """The first realisations as a table of tracked droplets: frame, t_s, id, area_nm2, x_nm, y_nm."""
    if droplets.centroid_nm is None:
        raise AnalysisError("these droplets have no tracks: take them from simulate_droplets")
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "t_s", "id", "area_nm2", "x_nm", "y_nm"])
        for k in range(min(n_droplets, len(droplets.area_nm2))):
            for frame in np.flatnonzero(droplets.area_nm2[k] > 0):
                x, y = droplets.centroid_nm[k, frame]
                table.writerow(
                    [
                        frame,
                        f"{droplets.time_s[frame]:.6g}",
                        k,
                        f"{droplets.area_nm2[k, frame]:.6g}",
                        f"{x:.6g}",
                        f"{y:.6g}",
                    ]
                )


def write_current(path: Path, record: CurrentRecord) -> None:
    """The mean current of a droplet as a table: t_s, potential_V, current_fA, current_uA_per_cm2.

    Electrons in count as positive. A time is the middle of its interval; the potential is empty at open circuit.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["t_s", "potential_V", "current_fA", "current_uA_per_cm2"])
        rows = zip(record.time_s, record.potential_V, record.current_fA, record.current_uA_per_cm2, strict=True)
        for time, potential, current, density in rows:
            shown = "" if math.isnan(potential) else f"{potential:.6g}"
            table.writerow([f"{time:.9g}", shown, f"{current:.6g}", f"{density:.6g}"])


def write_grains(path: Path, grains: Sequence[tuple[int, int, Grains]]) -> None:
    """Grains as a table: half_cycle, droplet, grain, units, size_nm, label, and the quaternion qw, qx, qy, qz."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["half_cycle", "droplet", "grain", "units", "size_nm", "label", "qw", "qx", "qy", "qz"])
        for half_cycle, droplet, found in grains:
            for grain in range(found.units.size):
                label = "amorphous" if found.amorphous[grain] else "crystalline"
                turn = [f"{value:.6f}" for value in found.quaternion[grain]]
                size = f"{found.size_nm[grain]:.4g}"
                table.writerow([half_cycle, droplet, grain, int(found.units[grain]), size, label, *turn])


def write_droplet_tier(root: Path, tier: DropletTier, source: str) -> dict[str, Any]:
    """Write the tables, droplet_tier.json and the figures into a study's folder; returns the summary."""
    from dropsim.plots import plot_droplet_current, plot_droplet_tier

    root.mkdir(parents=True, exist_ok=True)
    summary = tier_summary(tier, source)
    write_json(root / "droplet_tier.json", summary)
    write_table(root / "droplets.csv", tier.realisations)
    write_current(root / "current.csv", tier.current)
    write_grains(root / "grains.csv", tier.grains)
    plot_droplet_tier(root, tier.mean, tier.realisations, summary)
    plot_droplet_current(root, tier.current, summary)
    return summary
