"""Every row of the battery of known answers, in both precisions at the quick size; and that a miss is noticed."""

import json
import re

import numpy as np
import pytest

from dropsim.errors import ConfigError
from dropsim.validation import nist
from dropsim.validation.battery import all_rows, obstacle, run_battery, select_rows, write_report
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings

ROWS = all_rows()
# The comparison with independent programs has keys of its own, X1 and on.
EXPECTED = [*(f"E{i}" for i in (1, 2, 3, 4, 5, 6, 7, 8, 10)), "S1", "S2", "S3", *(f"B{i}" for i in range(1, 10)),
            "D1", "D2", "C1", "C2", "C3", "C4", "R1", "R2", "R3", *(f"X{i}" for i in range(1, 5))]  # fmt: skip


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])
def test_row(row, precision):
    settings = Settings(precision=precision)
    reason = obstacle(row, settings)
    if reason:
        pytest.skip(reason)
    outcome = row.run(settings)
    assert outcome.results
    missed = [result for result in outcome.results if not result.passed]
    assert not missed, missed


def test_rows_are_told_apart_and_say_where_their_answer_comes_from():
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len(keys)
    for row in ROWS:
        assert re.fullmatch(r"[A-Z]\d+[a-z]?", row.key)
        assert row.title
        assert row.source
        # A row that cannot run says why.
        assert row.run is not None or row.reason


def test_every_known_answer_is_there():
    assert set(EXPECTED) <= {row.key for row in ROWS}


# --- coordinates from a folder ------------------------------------------------------------------------------------


def test_published_coordinates_are_read_and_wrong_ones_noticed(tmp_path):
    assert [bool(row.run) for row in nist.rows(None)] == [False, False]
    assert all("--nist" in row.reason for row in nist.rows(None))
    assert all("holds none" in row.reason for row in nist.rows(tmp_path))
    file = tmp_path / "lj_sample_config_periodic4.txt"
    x = np.random.default_rng(1).random((30, 3)) * 8 - 4
    body = "\n".join(f"{i} {a:.12E} {b:.12E} {c:.12E}" for i, (a, b, c) in enumerate(x, 1))
    file.write_text(f"8.0E+00 8.0E+00 8.0E+00\n30\n{body}\n")
    found = nist.read_configuration(file)
    np.testing.assert_allclose(found.position, x, atol=1e-11)
    np.testing.assert_array_equal(found.lengths, 8.0)
    # Other coordinates than the published ones: the energies differ.
    report = run_battery(Settings(), keys=["S1"], echo=lambda line: None, rows=nist.rows(tmp_path))
    assert report.count("failed") == 1
    assert len(report.rows[0].results) == 8
    file.write_text("8.0 8.0 8.0\n30\n1 0.0 0.0 0.0\n")
    report = run_battery(Settings(), keys=["S1"], echo=lambda line: None, rows=nist.rows(tmp_path))
    assert "names 30 molecules and has 1 lines" in report.rows[0].reason


# --- that a miss is noticed ---------------------------------------------------------------------------------------


def outcome(value, **fields):
    return Outcome((Result("speed", value, 2.0, 0.5, "nm/ps", **fields),))


def raising(settings):
    raise ZeroDivisionError("no beads")


def with_curve(settings):
    x = np.arange(1.0, 4.0)
    return Outcome(outcome(2.1).results, (Curve("line", x, x, x, "time (ps)", "msd (nm²)", 0.1 * x, True),))


RIGHT = Row("X1", "right", "by hand", lambda settings: outcome(2.4))
WRONG = Row("X2", "wrong", "by hand", lambda settings: outcome(2.6))
RAISES = Row("X3", "raises", "by hand", raising)
ABSENT = Row("X4", "absent", "by hand", None, reason="no coordinates")
LONG = Row("X5", "long", "by hand", with_curve, full_only=True)
FOREIGN = Row("X6", "needs another code", "by hand", with_curve, requires=("no_such_package_anywhere",))
EMPTY = Row("X7", "empty", "by hand", lambda settings: Outcome(()))
NONE_FINITE = Row("X8", "not finite", "by hand", lambda settings: outcome(float("nan")))


def test_a_miss_an_exception_and_an_empty_row_fail_and_stop_nothing(tmp_path):
    lines = []
    rows = (WRONG, RAISES, EMPTY, NONE_FINITE, ABSENT, LONG, FOREIGN, RIGHT)
    report = run_battery(Settings(), echo=lines.append, rows=rows)
    status = {r.row.key: r.status for r in report.rows}
    assert status == {"X1": "passed", "X2": "failed", "X3": "failed", "X4": "not run", "X5": "not run",
                      "X6": "not run", "X7": "failed", "X8": "failed"}  # fmt: skip
    assert not report.passed
    reasons = {r.row.key: r.reason for r in report.rows}
    assert "ZeroDivisionError" in reasons["X3"]
    assert "no beads" in reasons["X3"]
    assert reasons["X4"] == "no coordinates"
    assert "--full" in reasons["X5"]
    assert "no_such_package_anywhere" in reasons["X6"]
    assert any("FAILED speed: 2.6 nm/ps; reference 2, tolerance 0.5" in line for line in lines)
    written = write_report(report, tmp_path)
    values = json.loads(written[0].read_text())
    assert values["passed"] is False
    assert values["counts"] == {"passed": 1, "failed": 4, "not run": 3}
    assert {"jax", "jaxlib", "numpy", "python", "device", "precision", "size", "seed", "date", "commit"} <= set(values)
    text = written[1].read_text()
    assert "**failed**" in text
    assert "no beads" in text


def test_long_rows_run_when_asked_for_and_curves_are_drawn(tmp_path):
    report = run_battery(Settings(full=True), echo=lambda line: None, rows=(LONG, RIGHT))
    assert report.passed
    names = {path.name for path in write_report(report, tmp_path)}
    assert names == {"validation.json", "validation.md", "summary.png", "X5.png"}
    assert all((tmp_path / name).stat().st_size > 0 for name in names)
    assert "(X5.png)" in (tmp_path / "validation.md").read_text()


@pytest.mark.parametrize(
    ("relation", "value", "standard_error", "passed"),
    [
        ("equal", 2.5, None, True), ("equal", 1.4, None, False), ("at most", -9.0, None, True),
        ("at most", 2.6, None, False), ("at least", 1.5, None, True), ("at least", 1.4, None, False),
        ("equal", 2.04, 0.1, True), ("equal", 2.06, 0.1, False),
    ],
)  # fmt: skip
def test_verdict(relation, value, standard_error, passed):
    (result,) = outcome(value, relation=relation, standard_error=standard_error).results
    assert result.passed is passed


def test_a_wrong_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no row 'E77': did you mean .*E7"):
        select_rows(["E77"], ROWS)
    assert [row.key for row in select_rows(["e2", "E1"], ROWS)] == ["E1", "E2"]
