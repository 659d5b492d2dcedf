"""dropsim's numbers beside the experiment's: one row each, with what kind of number it is, and a verdict.

Nothing here is adjusted to a verdict. A row whose two numbers are not the same quantity says why instead.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import math
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import combine_replicas

Kind = Literal[
    "outcome of the particle tier",
    "outcome of the droplet tier, given its inputs",
    "follows from the rate law that was put in",
    "an input was estimated from this value",
    "calibrated to this very value",
]
# One letter for each, for narrow tables.
KIND_LETTERS: dict[str, str] = {
    "outcome of the particle tier": "P",
    "outcome of the droplet tier, given its inputs": "D",
    "follows from the rate law that was put in": "L",
    "an input was estimated from this value": "E",
    "calibrated to this very value": "C",
}
VerdictClass = Literal["agrees", "differs", "ambiguous", "not-comparable", "put-in", "missing"]


@dataclasses.dataclass(frozen=True)
class Reference:
    """A published value: value, or a bound (lower, upper), or only a statement; source; kind of number."""

    key: str
    title: str
    unit: str
    source: str
    kind: str
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    statement: str = ""

    @property
    def text(self) -> str:
        """As printed: the value with its unit, or the statement."""
        if self.value is not None:
            return with_unit(number_text(self.value), self.unit)
        return self.statement


def load_references() -> dict[str, Reference]:
    """The reference values of dropsim/data/reference.toml by key."""
    text = importlib.resources.files("dropsim").joinpath("data/reference.toml").read_text(encoding="utf-8")
    return {key: Reference(key=key, **values) for key, values in tomllib.loads(text)["quantity"].items()}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What one row compares. estimate: key of an Estimate; reference: key of a Reference; condition: name of a
    run of the study, or "a - b" for the difference of two; tier: "particle", "droplet", or "pathways" (the droplet tier
    over the electrode without centres); kind: what sort of number dropsim's is; not_comparable: why the two are not
    the same quantity, empty if they are; optional: whether the row is left out where the number was not computed."""

    estimate: str
    reference: str
    tier: Literal["particle", "droplet", "pathways"]
    kind: Kind
    condition: str = "main"
    not_comparable: str = ""
    optional: bool = False


SIZE_AND_TIME = "a 3 nm droplet over a fraction of a nanosecond, no solvent and no window friction"

OUTCOME_OF_TIER: Kind = "outcome of the droplet tier, given its inputs"

COMPARISONS: tuple[Comparison, ...] = (
    Comparison("growth_exponent", "growth_exponent", "particle", "outcome of the particle tier"),
    Comparison("growth_exponent_from_rate", "growth_exponent", "particle", "outcome of the particle tier"),
    Comparison("growth_exponent", "growth_exponent", "droplet", "follows from the rate law that was put in"),
    Comparison("centroid_diffusivity_gls", "centroid_diffusivity", "particle", "outcome of the particle tier",
               not_comparable=SIZE_AND_TIME),
    Comparison("outline_diffusivity", "centroid_diffusivity", "particle", "outcome of the particle tier",
               not_comparable="the outline of 50 ions jumps with every one that joins or leaves"),
    Comparison("centroid_diffusivity_gls", "centroid_diffusivity", "droplet", "calibrated to this very value"),
    Comparison("centroid_diffusivity_straight_line", "centroid_diffusivity", "droplet",
               "calibrated to this very value"),
    Comparison("mean_force", "interaction_force", "particle", "outcome of the particle tier",
               not_comparable="the force read off a velocity scales as 1/sqrt(D dt): " + SIZE_AND_TIME),
    Comparison("mean_force", "brownian_force_null", "droplet", "follows from the rate law that was put in",
               not_comparable="no force acts on the droplet tier's centroid: this is the null at its frame time"),
    Comparison("droplet_diameter", "droplet_diameter", "droplet", "calibrated to this very value"),
    Comparison(
        "conversion_time",
        "conversion_time",
        "droplet",
        "an input was estimated from this value"),
    Comparison(
        "conversion_to_growth_ratio",
        "conversion_to_growth_ratio",
        "droplet",
        "an input was estimated from this value"),
    Comparison("conversion_time", "conversion_time", "particle", "outcome of the particle tier",
               not_comparable="the reaction's clock is compressed"),
    Comparison("area_ratio_after_conversion", "area_ratio_after_conversion", "particle",
               "outcome of the particle tier"),
    Comparison("area_ratio_after_conversion", "area_ratio_after_conversion", "droplet",
               "follows from the rate law that was put in"),
    Comparison("surface_count", "surface_count_difference", "particle", "outcome of the particle tier",
               condition="main - no_centres"),
    Comparison("surface_count", "surface_count", "particle", "outcome of the particle tier",
               not_comparable="other box, composition and number of S; the figure gives no numbers"),
    Comparison("surface_count", "surface_count", "particle", "outcome of the particle tier", condition="titanium",
               not_comparable="other box, composition and number of S; the figure gives no numbers"),
    Comparison("largest_clusters", "largest_clusters", "particle", "outcome of the particle tier",
               not_comparable="clusters of beads, not of S atoms within 3.5 A; grows with the number of S6"),
    Comparison("largest_clusters", "largest_clusters", "particle", "outcome of the particle tier",
               condition="no_centres",
               not_comparable="clusters of beads, not of S atoms within 3.5 A; grows with the number of S6"),
    Comparison("cluster_monomer_fraction", "cluster_monomer_fraction", "particle", "outcome of the particle tier",
               condition="dispersed"),
    Comparison("dense_diffusivity", "dense_diffusivity", "particle", "outcome of the particle tier",
               not_comparable="the paper's is along z at 350 K, drift not removed; this is about the droplet's centre"),
    Comparison("charge_inner_minus_outer", "charge_sharing", "particle", "follows from the rate law that was put in",
               not_comparable="how fast electrons hop is put in; three S6 over 8 ps have no thirds", optional=True),
    Comparison("peak_gap", "peak_gap", "particle", "outcome of the particle tier",
               not_comparable="the reaction's clock is compressed, and with it the scan", optional=True),
    Comparison("exchange_rate_ratio", "exchange_rate_ratio", "pathways", OUTCOME_OF_TIER),
    Comparison("peak_current_ratio", "current_ratio", "pathways", OUTCOME_OF_TIER),
    Comparison("capacity_ratio", "capacity_ratio", "pathways", OUTCOME_OF_TIER),
    Comparison("peak_earlier", "peak_earlier", "pathways", OUTCOME_OF_TIER),
    Comparison("peak_charge_density", "peak_charge_density", "particle", "outcome of the particle tier",
               not_comparable="the figure gives no number that could be read"),
)  # fmt: skip


# What stands for the condition of a row that is not of the particle tier.
TIER_CONDITIONS = {"droplet": "droplet tier", "pathways": "both pathways"}

# What distinguishes two estimates of one published quantity.
LABELS = {
    "growth_exponent": ", joint fit",
    "growth_exponent_from_rate": ", without t0",
    "centroid_diffusivity_gls": ", likelihood",
    "centroid_diffusivity_straight_line": ", straight line over all lags",
    "outline_diffusivity": ", outline",
    "area_ratio_after_conversion": ", given the volumes put in",
}


def number_text(value: float) -> str:
    """Three significant digits; exponents only where they are shorter to read."""
    if not math.isfinite(value):
        return "-"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def with_unit(text: str, unit: str) -> str:
    """A number's text with its unit; pure numbers have none."""
    return text if unit == "1" else f"{text} {unit}"


def estimate_text(estimate: Estimate) -> str:
    """Value with its 95 % interval, or with the note that it has none."""
    low, high = estimate.interval_95
    value = number_text(estimate.value)
    if not (math.isfinite(low) and math.isfinite(high)):
        return with_unit(f"{value} (no error: n = {number_text(estimate.n_effective)})", estimate.unit)
    return with_unit(f"{value} [{number_text(low)}, {number_text(high)}]", estimate.unit)


def judge(estimate: Estimate, reference: Reference, row: Comparison) -> tuple[VerdictClass, str]:
    """Verdict of one row.

    Against a value: agrees if it lies in the 95 % interval, else differs by how many standard errors. Against a
    bound: agrees or differs if the whole interval lies on one side, else ambiguous. A number that was put in
    gets no verdict, whatever its value.
    """
    if row.kind == "calibrated to this very value":
        return "put-in", "put in: recovers its input, tests nothing"
    if row.not_comparable:
        return "not-comparable", f"not comparable: {row.not_comparable}"
    low, high = estimate.interval_95
    notes = {
        "follows from the rate law that was put in": " (the law was put in: no finding)",
        "an input was estimated from this value": " (consistent with its own input: no finding)",
    }
    law = notes.get(row.kind, "")
    cls: VerdictClass
    if reference.value is not None:
        if not math.isfinite(estimate.standard_error) or estimate.standard_error <= 0:
            return "ambiguous", f"a single value without an error: ratio {estimate.value / reference.value:.3g}"
        if low <= reference.value <= high:
            cls, text = "agrees", "agrees within the 95 % interval"
        else:
            away = abs(estimate.value - reference.value) / estimate.standard_error
            cls, text = (
                "differs",
                f"differs by {away:.1f} standard errors, factor {estimate.value / reference.value:.3g}",
            )
    else:
        bounds = [(f">= {reference.lower:g}", reference.lower, math.inf)] if reference.lower is not None else []
        bounds += [(f"<= {reference.upper:g}", -math.inf, reference.upper)] if reference.upper is not None else []
        if not bounds:
            return "not-comparable", "not comparable: no number was published"
        name, least, most = bounds[0]
        if not (math.isfinite(low) and math.isfinite(high)):
            inside = least <= estimate.value <= most
            return "ambiguous", f"a single value, {'within' if inside else 'outside'} {name}, without an error"
        if least <= low and high <= most:
            cls, text = "agrees", f"whole interval {name}"
        elif high < least or low > most:
            cls, text = "differs", f"whole interval outside {name}"
        else:
            cls, text = "ambiguous", f"the interval lies on both sides of {name}"
    return ("put-in" if law else cls), text + law


def difference(first: Estimate, second: Estimate) -> Estimate:
    """first - second of two independent estimates of one unit; interval: Student's t with the degrees of freedom
    of Welch and Satterthwaite, se^2 = se_1^2 + se_2^2."""
    errors = np.array([first.standard_error, second.standard_error])
    freedom = np.array([max(e.n_effective - 1.0, 1.0) for e in (first, second)])
    se = float(np.hypot(*errors))
    fourth = float((errors**4 / freedom).sum())
    value = first.value - second.value
    half = float(stats.t.ppf(0.975, se**4 / fourth)) * se if fourth > 0 else se
    n = min(first.n_effective, second.n_effective)
    return Estimate(
        value, se, first.unit, n, f"difference of means (Welch); {first.method}", (value - half, value + half)
    )


Estimates = Mapping[str, Estimate]

# Differences, for which zero is an answer: an error far above the value does not make it unknown.
NONE_IS_A_VALUE = frozenset({"charge_inner_minus_outer"})


def estimate_from_dict(values: Mapping[str, Any]) -> Estimate:
    """An Estimate back from `Estimate.to_dict`."""

    def number(x: Any) -> float:
        return math.nan if x is None else float(x)

    low, high = (number(x) for x in values["interval_95"])
    return Estimate(
        number(values["value"]), number(values["standard_error"]), values["unit"], number(values["n_effective"]),
        values["method"], (low, high) if math.isfinite(low) and math.isfinite(high) else None,
    )  # fmt: skip


def combined(summaries: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Replicas of one condition joined: (estimates, reasons of what is missing).

    A number that some replicas lack is combined over those that have it, and its method says how many.
    """
    keys = sorted({k for s in summaries for k in s["estimates"]})
    estimates, missing = {}, {}
    for s in summaries:
        missing |= s["missing"]
    for key in keys:
        found = [estimate_from_dict(s["estimates"][key]) for s in summaries if key in s["estimates"]]
        found = [e for e in found if math.isfinite(e.value)]
        if not found:
            missing[key] = "the data do not bound it"
            continue
        if len(found) == 1:
            joined = found[0]
        else:
            try:
                joined = combine_replicas(found)
            except AnalysisError as error:
                missing[key] = str(error)
                continue
        unbounded = joined.standard_error > 10.0 * abs(joined.value) and key not in NONE_IS_A_VALUE
        if unbounded and math.isfinite(joined.standard_error):
            missing[key] = f"the data do not bound it: {estimate_text(joined)}"
            continue
        if len(found) < len(summaries):
            note = f"{len(found)} of {len(summaries)} replicas; {joined.method}"
            joined = dataclasses.replace(joined, method=note)
        estimates[key] = joined
    return estimates, {k: v for k, v in missing.items() if k not in estimates}


def compare(
    conditions: Mapping[str, tuple[Estimates, Mapping[str, str]]],
    main: str,
    droplet: tuple[Estimates, Mapping[str, str]] | None,
    pathways: tuple[Estimates, Mapping[str, str]] | None = None,
) -> list[dict[str, Any]]:
    """The table: one dict per row of COMPARISONS that the study can speak about.

    conditions: run name -> (estimates, missing); main: which of them is the main run; droplet: those of the
    droplet tier, pathways: of both pathways, or None. Rows of conditions that the study does not have are left out.
    """
    references = load_references()
    rows = []
    for row in COMPARISONS:
        reference = references[row.reference]
        names = [main if n == "main" else n for n in row.condition.split(" - ")]
        if row.tier != "particle":
            found = droplet if row.tier == "droplet" else pathways
            if found is None:
                continue
            sources = [found]
        elif any(n not in conditions for n in names):
            continue
        else:
            sources = [conditions[n] for n in names]
        estimate, reason = _pick(row, sources)
        if estimate is None and row.optional:
            continue
        if estimate is None:
            cls, verdict = "missing", f"no value: {reason}"
        else:
            cls, verdict = judge(estimate, reference, row)
        rows.append(
            {
                "quantity": reference.title + (LABELS.get(row.estimate, "")),
                "estimate": row.estimate,
                "tier": row.tier,
                "condition": TIER_CONDITIONS.get(row.tier, " - ".join(names)),
                "dropsim": "-" if estimate is None else estimate_text(estimate),
                "value": None if estimate is None else estimate.to_dict(),
                "reference": reference.text,
                "reference_kind": reference.kind,
                "source": reference.source,
                "kind": row.kind,
                "verdict_class": cls,
                "verdict": verdict,
            }
        )
    return rows


def _pick(row: Comparison, sources: Sequence[tuple[Estimates, Mapping[str, str]]]) -> tuple[Estimate | None, str]:
    found = []
    for estimates, missing in sources:
        if row.estimate not in estimates:
            return None, missing.get(row.estimate, "it was not computed")
        found.append(estimates[row.estimate])
    if len(found) == 1:
        return found[0], ""
    return difference(found[0], found[1]), ""
