"""`dropsim validate`: list, run, report, exit status, and bad arguments."""

import json

import pytest
import typer.testing

from dropsim.cli import app
from dropsim.validation import battery, rows


def shell(*arguments):
    return typer.testing.CliRunner().invoke(app, ["validate", *map(str, arguments)])


def test_rows_are_listed():
    listed = json.loads(shell("--list", "--json").stdout)
    assert [row["key"] for row in listed] == [row.key for row in battery.all_rows()]
    assert shell("--list", "--rows", "E1").exit_code == 0


def test_a_row_runs_and_leaves_its_report(tmp_path):
    result = shell("--rows", "e1", "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert "E1   passed" in result.output
    values = json.loads((tmp_path / "report" / "validation.json").read_text())
    assert [row["key"] for row in values["rows"]] == ["E1"]
    assert values["precision"] == "float64"
    assert values["rows"][0]["results"][0]["value"] == pytest.approx(-1.3862943611)
    assert (tmp_path / "report" / "validation.md").exists()


@pytest.mark.parametrize("wrong", ["value", "exception"])
def test_a_failed_row_is_exit_status_1(wrong, tmp_path, monkeypatch):
    def run(settings):
        if wrong == "exception":
            raise ArithmeticError("lost a charge")
        return rows.Outcome((rows.Result("charge", 1.0, 0.0, 0.1),))

    monkeypatch.setattr(battery, "TABLES", ((rows.Row("Z1", "wrong", "by hand", run),),))
    result = shell("--rows", "Z1", "--out", tmp_path, "--json")
    assert result.exit_code == 1
    values = json.loads(result.stdout)
    assert values["passed"] is False
    assert values["rows"][0]["status"] == "failed"
    if wrong == "exception":
        assert "lost a charge" in values["rows"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--rows", "E111"), "did you mean E1"),
        (("--rows", ","), "no row named"),
        (("--precision", "float16"), "float32 or float64"),
        (("--nist", "nowhere"), "--nist is nowhere, which is no folder"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, text):
    result = shell(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output


def test_a_report_without_a_place_is_refused_before_any_row_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(battery, "run_battery", lambda *_: pytest.fail("the rows ran"))
    (tmp_path / "file").write_text("")
    result = shell("--rows", "E7", "--out", str(tmp_path / "file"))
    assert result.exit_code == 5
    assert "cannot be written" in result.stderr
    # Nor does a wrong key leave a folder behind.
    assert shell("--rows", "Z9", "--out", str(tmp_path / "new")).exit_code == 2
    assert not (tmp_path / "new").exists()
