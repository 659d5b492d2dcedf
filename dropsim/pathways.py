"""With and without centres: the same electrolyte, film and protocol, reduced by droplets that share their electrons,
and by single ions on bare metal. Numbers beside the paper's, with what was put in, calibrated, and came out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropsim.analysis import write_json
from dropsim.errors import AnalysisError
from dropsim.kinetics.droplet import FEMTOAMPERE_PER_ELECTRON_PER_S, DropletSolution
from dropsim.kinetics.parameters import ELECTRONS_PER_UNIT, KineticParameters
from dropsim.kinetics.protocol import PotentialStep, half_cycles, protocol_duration
from dropsim.kinetics.single_molecule import SingleMoleculeSolution, simulate_single_molecules
from dropsim.kinetics.single_molecule_parameters import NM2_PER_UM2, SingleMoleculeParameters
from dropsim.kinetics.stochastic import simulate_droplets
from dropsim.observables.estimate import Estimate

Floats = NDArray[np.float64]
BOOTSTRAPS = 400
# A peak of current is the largest mean over this.
PEAK_WINDOW_S = 10.0
# Electrons per slot at E0 in equilibrium: half of the slots are filled, and as many go in as out.
_EXCHANGED_SLOTS = 0.5 * ELECTRONS_PER_UNIT


@dataclasses.dataclass(frozen=True)
class PaperRatio:
    """A published number: quantity, with centres over without (or before), low and high, unit, and where it stands."""

    quantity: str
    low: float
    high: float
    unit: str
    source: str


# Symmetric cells, impedance and deposition at 2.05 V; Zhou et al., Nature 621, 75 (2023).
PAPER_RATIOS = {
    "peak_current_ratio": PaperRatio("peak current", 10.0, 19.2, "1", "10 in symmetric cells; 19.2 as inverse of Rct"),
    "exchange_rate_ratio": PaperRatio("exchange rate at E0", 10.0, 19.2, "1", "Rct 6.9 and 132.7 ohm after deposition"),
    "capacity_ratio": PaperRatio("charge of the first reduction", 2.4, 2.4, "1", "deposited capacity at 2.05 V"),
    "peak_earlier": PaperRatio("peak current earlier by", 1410.0, 1410.0, "s", "deposition at 2.05 V in coin cells"),
}


@dataclasses.dataclass(frozen=True)
class PathwayCurves:
    """One pathway: time_s (T,); current_uA_per_cm2 and charge_uC_per_cm2 of each realisation (K, T); exchange_e_per_s:
    electrons each way per second and um^2 at E0, (K, T)."""

    time_s: Floats
    current_uA_per_cm2: Floats
    charge_uC_per_cm2: Floats
    exchange_e_per_s: Floats


@dataclasses.dataclass(frozen=True)
class Pathways:
    """Both pathways, their numbers and ratios, and what they rest on."""

    with_centres: PathwayCurves
    without_centres: PathwayCurves
    collective: KineticParameters
    single: SingleMoleculeParameters
    protocol: tuple[PotentialStep, ...]
    estimates: dict[str, Estimate]
    missing: dict[str, str]
    rows: list[dict[str, Any]]
    notes: list[str]


def film_per_droplet(parameters: KineticParameters) -> KineticParameters:
    """The parameters with each droplet fed by its own share of the closed film, R = (pi n)^(-1/2).

    Raises ValueError without droplets.
    """
    if not parameters.droplets_per_um2 > 0:
        raise ValueError("kinetics.droplets_per_um2 is 0: the pathway with centres has no droplets")
    radius = math.sqrt(NM2_PER_UM2 / (math.pi * parameters.droplets_per_um2))
    origin = f"closed film shared by {parameters.droplets_per_um2:g} droplets per um^2, as without centres"
    return dataclasses.replace(
        parameters, supply_radius_nm=radius, provenance={**parameters.provenance, "supply_radius_nm": origin}
    )


def droplet_curves(droplets: DropletSolution, parameters: KineticParameters) -> PathwayCurves:
    """Currents and charges per area of an electrode with droplets_per_um2 droplets, each like a realisation."""
    per_um2 = parameters.droplets_per_um2
    scale = per_um2 * 1e-15 * 1e6 / 1e-8  # fA per droplet -> uA/cm^2
    net = np.asarray(droplets.injected_e - droplets.ejected_e, dtype=np.float64)
    contacts = parameters.contact_coefficient * droplets.radius_nm**parameters.contact_power
    contacts = np.where(droplets.radius_nm > 0, contacts, 0.0)
    return PathwayCurves(
        time_s=droplets.time_s,
        current_uA_per_cm2=droplets.current_fA * scale,
        charge_uC_per_cm2=np.asarray(net * (FEMTOAMPERE_PER_ELECTRON_PER_S * scale), dtype=np.float64),
        exchange_e_per_s=per_um2 * contacts * parameters.rate_constant_per_s * _EXCHANGED_SLOTS,
    )


def patch_curves(solution: SingleMoleculeSolution) -> PathwayCurves:
    """Currents and charges per area of the bare patch."""
    p = solution.parameters
    per_area = p.current_uA_per_cm2(1.0)
    return PathwayCurves(
        time_s=solution.time_s,
        current_uA_per_cm2=solution.current_uA_per_cm2,
        charge_uC_per_cm2=np.asarray(solution.net_e * per_area, dtype=np.float64),
        exchange_e_per_s=solution.n_adsorbed / p.area_um2 * p.surface_rate_constant_per_s * _EXCHANGED_SLOTS,
    )


def pathway_numbers(curves: PathwayCurves, rows: NDArray[np.int64], start: int, end: int) -> dict[str, float]:
    """Numbers of the mean over some realisations, within a reduction from save `start` to save `end`.

    peak current (uA/cm^2, largest mean over 10 s) and its time after the start (s); mean current; capacity: charge
    passed (uC/cm^2); exchange rate (e/s each way per um^2 at E0, in the state at the peak); half time: until half of
    the charge has passed (s).
    """
    time = curves.time_s[start : end + 1]
    charge = curves.charge_uC_per_cm2[rows, start : end + 1].mean(axis=0)
    charge = charge - charge[0]
    # The largest of many noisy frames would lie high; over a window droplets that nucleate one by one add up.
    window = max(1, min(round(PEAK_WINDOW_S / (time[1] - time[0])), time.size - 1))
    current = (charge[window:] - charge[:-window]) / (time[window:] - time[:-window])
    at = int(np.argmax(current))
    half = int(np.argmax(charge >= 0.5 * charge[-1]))
    return {
        "peak_current": float(current[at]),
        "peak_time": float(0.5 * (time[at] + time[at + window]) - time[0]),
        "mean_current": float(charge[-1] / (time[-1] - time[0])),
        "capacity": float(charge[-1]),
        "exchange_rate": float(curves.exchange_e_per_s[rows, start + at + window // 2].mean()),
        "half_time": float(time[half] - time[0]),
    }


_UNITS = {
    "peak_current": "uA/cm^2",
    "peak_time": "s",
    "mean_current": "uA/cm^2",
    "capacity": "uC/cm^2",
    "exchange_rate": "1/(s um^2)",
    "half_time": "s",
}
_RATIOS: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "peak_current_ratio": ("peak_current", lambda a, b: a / b if b > 0 else math.nan),
    "mean_current_ratio": ("mean_current", lambda a, b: a / b if b > 0 else math.nan),
    "exchange_rate_ratio": ("exchange_rate", lambda a, b: a / b if b > 0 else math.nan),
    "capacity_ratio": ("capacity", lambda a, b: a / b if b > 0 else math.nan),
    "peak_earlier": ("peak_time", lambda a, b: b - a),
    "half_time_earlier": ("half_time", lambda a, b: b - a),
}


def compare_curves(
    with_centres: PathwayCurves, without_centres: PathwayCurves, start_s: float, end_s: float, seed: int
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Numbers of both pathways within one reduction, and their ratios, with errors from resampled realisations.

    Ratios are with over without; "earlier" is the time without less that with. Errors: standard deviation over 400
    bootstraps of the realisations, intervals their 2.5 and 97.5 %. Returns (estimates, missing).
    """
    rng = np.random.default_rng([seed, 7])
    both = (with_centres, without_centres)
    ends = [tuple(int(np.argmin(np.abs(c.time_s - t))) for t in (start_s, end_s)) for c in both]

    def numbers(rows: list[NDArray[np.int64]]) -> dict[str, float]:
        pair = [pathway_numbers(c, r, *e) for c, r, e in zip(both, rows, ends, strict=True)]
        found = {f"{key}_with": value for key, value in pair[0].items()}
        found |= {f"{key}_without": value for key, value in pair[1].items()}
        found |= {name: rule(pair[0][key], pair[1][key]) for name, (key, rule) in _RATIOS.items()}
        return found

    sizes = [len(c.current_uA_per_cm2) for c in both]
    central = numbers([np.arange(n) for n in sizes])
    draws = [numbers([rng.integers(0, n, n) for n in sizes]) for _ in range(BOOTSTRAPS)]
    estimates: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    for name, value in central.items():
        if not math.isfinite(value):
            missing[name] = "no current without centres"
            continue
        unit = _UNITS.get(name.removesuffix("_without").removesuffix("_with"), "s" if "earlier" in name else "1")
        sample = np.array([d[name] for d in draws])
        sample = sample[np.isfinite(sample)]
        low, high = np.quantile(sample, [0.025, 0.975])
        n = float(min(sizes)) if not name.endswith(("_with", "_without")) else float(sizes[name.endswith("_without")])
        estimates[name] = Estimate(
            value, float(sample.std(ddof=1)), unit, n, "mean over realisations; bootstrap", (float(low), float(high))
        )
    return estimates, missing


def compare_pathways(
    collective: KineticParameters,
    single: SingleMoleculeParameters,
    protocol: tuple[PotentialStep, ...],
    *,
    seed: int,
    frame_s: float = 0.4,
    n_droplets: int = 64,
    n_patches: int = 16,
    leap_s: float = 0.1,
    solution: SingleMoleculeSolution | None = None,
) -> Pathways:
    """Carry both pathways through the same protocol in the same closed film, and set their ratios beside the paper's.

    collective, single: inputs, whose electrolyte, film, temperature and E0 must agree; solution: realisations of the
    bare patch that are there already, at the same frames. Raises ValueError where the two do not agree or there are no
    droplets, AnalysisError where the protocol does not reduce.
    """
    for name in ("bulk_density_per_nm3", "film_height_nm", "temperature_K", "standard_potential_V"):
        a, b = getattr(collective, name), getattr(single, name)
        if not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12):
            raise ValueError(f"{name} is {a} with centres and {b} without: the same electrolyte is needed")
    reductions = [c for c in half_cycles(protocol, single.standard_potential_V) if c.kind == "reduction"]
    if not reductions:
        raise AnalysisError("the protocol does not reduce: nothing to compare")
    collective = film_per_droplet(collective)
    times = np.arange(0.0, protocol_duration(protocol) + 1e-9, frame_s)
    droplets = simulate_droplets(seed, collective, protocol, times, n_droplets)
    if solution is None:
        solution = simulate_single_molecules(seed, single, protocol, times, n_patches, leap_s=leap_s)
    curves = droplet_curves(droplets, collective), patch_curves(solution)
    estimates, missing = compare_curves(*curves, reductions[0].start_s, reductions[0].end_s, seed)
    lasts_s = float(reductions[0].end_s - reductions[0].start_s)
    rising = "peak_time_without" in estimates and estimates["peak_time_without"].value + PEAK_WINDOW_S > lasts_s
    return Pathways(
        *curves,
        collective=collective,
        single=solution.parameters,
        protocol=tuple(protocol),
        estimates=estimates,
        missing=missing,
        rows=_rows(estimates, missing, rising),
        notes=_notes(collective, solution.parameters, estimates, lasts_s, rising),
    )


def _rows(estimates: dict[str, Estimate], missing: dict[str, str], rising: bool) -> list[dict[str, Any]]:
    """The paper's numbers with dropsim's; rising: the current without centres has no peak within the reduction."""
    rows = []
    for name, paper in PAPER_RATIOS.items():
        row: dict[str, Any] = {"name": name, "quantity": paper.quantity, "unit": paper.unit, "source": paper.source}
        row |= {"paper_low": paper.low, "paper_high": paper.high, "lower_bound": rising and name == "peak_earlier"}
        estimate = estimates.get(name)
        if estimate is None:
            row |= {"dropsim": None, "verdict": missing.get(name, "not available")}
        elif row["lower_bound"] and estimate.value <= paper.high:
            row |= {"dropsim": estimate.to_dict(), "verdict": "a lower bound: the protocol is too short"}
        else:
            low, high = estimate.interval_95
            inside = low <= paper.high and high >= paper.low
            row |= {"dropsim": estimate.to_dict(), "verdict": "within the paper's range" if inside else "differs"}
        rows.append(row)
    return rows


def _notes(
    collective: KineticParameters,
    single: SingleMoleculeParameters,
    estimates: dict[str, Estimate],
    lasts_s: float,
    rising: bool,
) -> list[str]:
    """Which inputs set the ratios, and what limits them, in sentences."""
    calibrated = [k for k, v in collective.provenance.items() if v.startswith("calibrated")]
    full = 10.0 * single.current_uA_per_cm2(single.total_units)
    notes = [
        "calibrated with centres: " + (", ".join(calibrated) or "nothing") + " (size and time of growth, TEM); "
        "put in: droplets_per_um2, onset_s, rate_constant_per_s (conversion within five seconds)",
        "put in without centres: surface_rate_constant_per_s (particles by 25 s, TEM of bare metal) and the choices "
        "named in single_molecule.json; no ratio of the paper was used",
        "every ratio of currents is proportional to droplets_per_um2, and inversely to the adsorbed ions",
        f"the closed film holds {full:.3g} uC/cm^2: no capacity can exceed it; the paper's cells hold far more "
        f"electrolyte, and its peak times belong to hours, not to the {lasts_s:g} s of this protocol",
        f"peak currents are means over {PEAK_WINDOW_S:g} s: droplets nucleate one by one, and a shorter window counts "
        "fewer of them at once",
    ]
    if rising:
        notes.append(
            "without centres the current still rises when the reduction ends: its peak, and how much earlier that with "
            "centres is, are lower bounds"
        )
    ratio = estimates.get("exchange_rate_ratio")
    if ratio is not None and ratio.value > 0:
        values = ", ".join(
            f"{single.surface_rate_constant_per_s * ratio.value / goal:.3g}/s for {goal:g}" for goal in (10.0, 19.2)
        )
        notes.append(f"at this coverage the paper's ratio of exchange rates asks for k0 without centres of {values}")
    return notes


def pathways_summary(result: Pathways) -> dict[str, Any]:
    """What pathways.json holds."""
    return {
        "title": "the same electrolyte with and without centres",
        "protocol": [dataclasses.asdict(s) for s in result.protocol],
        "rows": result.rows,
        "estimates": {k: e.to_dict() for k, e in sorted(result.estimates.items())},
        "missing": dict(sorted(result.missing.items())),
        "notes": result.notes,
        "inputs_with_centres": {
            k: {"value": getattr(result.collective, k), "from": v}
            for k, v in sorted(result.collective.provenance.items())
        },
        "inputs_without_centres": {
            k: {"value": getattr(result.single, k), "from": v} for k, v in sorted(result.single.provenance.items())
        },
    }


def write_pathways(root: Path, result: Pathways) -> dict[str, Any]:
    """Write pathways.json and the figure into a study's folder; returns the summary."""
    from dropsim.plots_pathways import plot_pathways

    root.mkdir(parents=True, exist_ok=True)
    summary = pathways_summary(result)
    write_json(root / "pathways.json", summary)
    plot_pathways(root, result, summary)
    return summary
