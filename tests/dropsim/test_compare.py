"""The comparison: each verdict by an example, its statistics against random numbers, its table complete."""

import math

import numpy as np
import pytest

from dropsim.compare import (
    COMPARISONS,
    KIND_LETTERS,
    Comparison,
    Reference,
    combined,
    compare,
    difference,
    estimate_from_dict,
    estimate_text,
    judge,
    load_references,
    number_text,
)
from dropsim.observables.estimate import Estimate
from dropsim.report import pathway_numbers

OUTCOME = Comparison("x", "x", "particle", "outcome of the particle tier")
LAW = Comparison("x", "x", "droplet", "follows from the rate law that was put in")
CALIBRATED = Comparison("x", "x", "droplet", "calibrated to this very value")
OTHER = Comparison("x", "x", "particle", "outcome of the particle tier", not_comparable="another box")


def estimate(value, error=0.1, interval=None, n=10.0, unit="1"):
    return Estimate(value, error, unit, n, "by hand", interval)


def reference(**values):
    return Reference("x", "title", "1", "a source", "measurement", **values)


@pytest.mark.parametrize(
    ("row", "found", "published", "verdict", "text"),
    [
        (OUTCOME, estimate(1.0), reference(value=1.15), "agrees", "within the 95 % interval"),
        (OUTCOME, estimate(1.0), reference(value=1.5), "differs", "5.0 standard errors, factor 0.667"),
        (OUTCOME, estimate(1.0, interval=(0.9, 1.6)), reference(value=1.5), "agrees", ""),
        (OUTCOME, estimate(1.0, math.nan), reference(value=0.5), "ambiguous", "without an error: ratio 2"),
        (OUTCOME, estimate(1.0, 0.0), reference(value=1.0), "ambiguous", "without an error"),
        (OUTCOME, estimate(1.5), reference(lower=1.0), "agrees", "whole interval >= 1"),
        (OUTCOME, estimate(1.1), reference(lower=1.0), "ambiguous", "both sides of >= 1"),
        (OUTCOME, estimate(0.5), reference(lower=1.0), "differs", "outside >= 1"),
        (OUTCOME, estimate(3.0), reference(upper=5.0), "agrees", "whole interval <= 5"),
        (OUTCOME, estimate(4.9), reference(upper=5.0), "ambiguous", "both sides of <= 5"),
        (OUTCOME, estimate(6.0), reference(upper=5.0), "differs", "outside <= 5"),
        (OUTCOME, estimate(3.0, math.nan), reference(upper=5.0), "ambiguous", "within <= 5, without an error"),
        (OUTCOME, estimate(7.0, math.nan), reference(upper=5.0), "ambiguous", "outside <= 5, without an error"),
        (OUTCOME, estimate(1.0), reference(statement="see the figure"), "not-comparable", "no number was published"),
        (OTHER, estimate(1.0), reference(value=1.0), "not-comparable", "another box"),
        (CALIBRATED, estimate(1.0), reference(value=1.0), "put-in", "tests nothing"),
        (LAW, estimate(1.0), reference(value=1.0), "put-in", "no finding"),
        (LAW, estimate(1.0), reference(value=9.0), "put-in", "no finding"),
        (LAW, estimate(1.0), reference(upper=5.0), "put-in", "no finding"),
    ],
)
def test_every_verdict(row, found, published, verdict, text):
    said, words = judge(found, published, row)
    assert said == verdict
    assert text in words


def test_references_are_complete():
    references = load_references()
    for row in COMPARISONS:
        assert row.reference in references, row
    for key, entry in references.items():
        assert entry.key == key
        assert entry.kind in ("measurement", "simulation", "derived")
        assert len(entry.source) > 10
        assert entry.text
        assert not (entry.lower is not None and entry.upper is not None), "judge reads one bound"
        if entry.value is not None:
            assert math.isfinite(entry.value)
            assert entry.value != 0
    assert {row.kind for row in COMPARISONS} <= set(KIND_LETTERS)
    assert len({(row.estimate, row.reference, row.tier, row.condition) for row in COMPARISONS}) == len(COMPARISONS)


def test_difference_covers():
    """The interval of two means of few normal samples, of unequal spread, holds the true difference 95 % of the
    time: 4000 draws, standard error 0.34 %. Welch's interval is a little wide at so few samples."""
    generator = np.random.default_rng(3)
    hits, n = 0, 4000
    for _ in range(n):
        a, b = generator.normal(5.0, 1.0, 6), generator.normal(3.0, 2.5, 4)
        d = difference(*(estimate(x.mean(), x.std(ddof=1) / math.sqrt(len(x)), n=len(x)) for x in (a, b)))
        low, high = d.interval_95
        hits += low <= 2.0 <= high
    assert abs(hits / n - 0.95) < 0.01 + 3 * 0.0034


def test_difference_of_single_values_has_no_error():
    d = difference(estimate(3.0, math.nan, n=1.0), estimate(1.0, 0.1))
    assert d.value == 2.0
    assert not math.isfinite(d.standard_error)
    assert judge(d, reference(lower=1.0), OUTCOME)[0] == "ambiguous"


def test_texts():
    assert number_text(4.712) == "4.71"
    assert number_text(123456.0) == "1.23e+05"
    assert number_text(0.0) == "0"
    assert number_text(math.nan) == "-"
    assert estimate_text(estimate(2.0, 0.5, unit="nm")) == "2 [1.02, 2.98] nm"
    assert "no error" in estimate_text(estimate(2.0, math.nan))


def test_estimates_survive_their_file():
    for e in (estimate(1.0), estimate(1.0, interval=(0.5, 3.0)), estimate(2.0, math.nan)):
        back = estimate_from_dict(e.to_dict())
        assert (back.value, back.unit, back.n_effective, back.method) == (e.value, e.unit, e.n_effective, e.method)
        np.testing.assert_array_equal(back.standard_error, e.standard_error)
        np.testing.assert_allclose(back.interval_95, e.interval_95)


def summary(**estimates):
    return {
        "estimates": {key: e.to_dict() for key, e in estimates.items()},
        "missing": {key: "not seen" for key in ("a", "b", "c") if key not in estimates},
    }


def test_replicas_are_joined_and_gaps_are_told():
    estimates, missing = combined([summary(a=estimate(1.0), b=estimate(4.0)), summary(a=estimate(1.4))])
    assert estimates["a"].value == pytest.approx(1.2)
    assert estimates["b"].value == 4.0
    assert estimates["b"].method.startswith("1 of 2 replicas")
    assert missing == {"c": "not seen"}
    # A number with an error ten times itself says nothing.
    estimates, missing = combined([summary(a=estimate(1.0, 50.0))])
    assert "a" not in estimates
    assert "do not bound it" in missing["a"]


FIELDS = {"quantity", "estimate", "tier", "condition", "dropsim", "value", "reference", "reference_kind", "source",
          "kind", "verdict_class", "verdict"}  # fmt: skip


def test_the_table():
    keys = {row.estimate for row in COMPARISONS}
    everything = ({key: estimate(1.0 + 0.01 * len(key)) for key in keys}, {})
    names = {n for row in COMPARISONS if row.tier == "particle" for n in row.condition.split(" - ")}
    conditions = {("centres" if n == "main" else n): everything for n in names}
    rows = compare(conditions, "centres", everything, everything)
    assert len(rows) == len(COMPARISONS)
    assert {r["condition"] for r in rows if r["tier"] == "pathways"} == {"both pathways"}
    assert len(compare(conditions, "centres", everything)) < len(rows)
    for row in rows:
        assert set(row) == FIELDS
        assert row["verdict_class"] != "missing"
        assert row["value"] is not None
        assert all(row[field] for field in FIELDS - {"value"})
    # Without its controls and the droplet tier a study speaks of the main run only, and says what it lacks.
    rows = compare({"centres": ({}, {"growth_exponent": "no droplet"})}, "centres", None)
    assert 0 < len(rows) < len(COMPARISONS)
    assert {row["verdict_class"] for row in rows} == {"missing"}
    assert {row["tier"] for row in rows} == {"particle"}
    by_key = {row["estimate"]: row["verdict"] for row in rows}
    assert by_key["growth_exponent"] == "no value: no droplet"
    assert "it was not computed" in by_key["surface_count"]


def test_a_lower_bound_is_not_set_beside_a_measured_value():
    """The later peak of a protocol that is too short is a reason, not a number; the other ratios are judged."""
    pathways = {
        "estimates": {k: estimate(v, unit=u).to_dict() for k, v, u in (("peak_earlier", 80.0, "s"),
                                                                       ("capacity_ratio", 2.3, "1"))},
        "missing": {"exchange_rate_ratio": "no current without centres"},
        "rows": [{"name": "peak_earlier", "lower_bound": True}, {"name": "capacity_ratio", "lower_bound": False}],
    }  # fmt: skip
    rows = {r["estimate"]: r for r in compare({}, "centres", None, pathway_numbers(pathways))}
    assert set(rows) == {"peak_earlier", "capacity_ratio", "exchange_rate_ratio", "peak_current_ratio"}
    assert rows["peak_earlier"]["verdict_class"] == "missing"
    assert "at least 80 s" in rows["peak_earlier"]["verdict"]
    assert rows["capacity_ratio"]["verdict_class"] == "agrees"
    assert "no current" in rows["exchange_rate_ratio"]["verdict"]
    assert pathway_numbers(None) is None
