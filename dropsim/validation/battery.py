"""The battery of known answers: joins the rows, runs them, and writes what they found as a report.

A row that fails, or that raises, never stops the others. Rows that cannot run here are listed with the reason.
"""

from __future__ import annotations

import datetime
import difflib
import importlib.metadata
import importlib.util
import math
import platform
import re
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from dropsim import __version__
from dropsim.analysis import write_json
from dropsim.errors import ConfigError, TrajectoryError
from dropsim.run import source_commit
from dropsim.validation import (
    charge_transfer,
    conservation,
    crosscheck,
    dynamics,
    electrolyte,
    electrostatics,
    force_error,
    ledger,
    nist,
    reactions,
    short_range,
)
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings

JSON_FILE, TEXT_FILE, SUMMARY_FIGURE = "validation.json", "validation.md", "summary.png"

TABLES: tuple[tuple[Row, ...], ...] = (
    electrostatics.ROWS,
    force_error.ROWS,
    short_range.ROWS,
    dynamics.ROWS,
    conservation.ROWS,
    electrolyte.ROWS,
    charge_transfer.ROWS,
    ledger.ROWS,
    reactions.ROWS,
    crosscheck.ROWS,
)
"""The tables of rows; the report has them in the order of their keys."""

Status = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class RowReport:
    """What became of one row.

    reason: why it was not run, or the text of the exception that ended it; seconds: wall time with compilation.
    """

    row: Row
    status: Status
    results: tuple[Result, ...] = ()
    curves: tuple[Curve, ...] = ()
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """What became of the battery; stamp: versions, device, precision, size, seed, date and commit."""

    rows: tuple[RowReport, ...]
    stamp: dict[str, Any]

    def count(self, status: Status) -> int:
        """How many rows ended so."""
        return sum(row.status == status for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether no row failed; rows that were not run do not count."""
        return self.count("failed") == 0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, without the curves."""
        return {
            **self.stamp,
            "passed": self.passed,
            "counts": {status: self.count(status) for status in ("passed", "failed", "not run")},
            "rows": [_row_dict(row) for row in self.rows],
        }


def all_rows(nist_folder: Path | None = None) -> tuple[Row, ...]:
    """Every row of the battery, by letter and number; nist_folder: where NIST's coordinates are, if anywhere."""
    rows = [row for table in (*TABLES, nist.rows(nist_folder)) for row in table]
    # Stable: keys that differ by what follows the number keep the order of their table.
    return tuple(sorted(rows, key=lambda row: (row.key[0], int("0" + re.sub(r"\D", "", row.key)))))


def select_rows(keys: Sequence[str] | None, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with these keys (any case), in the order of the battery; all of them for None.

    Raises ConfigError for a key that no row has, with the nearest ones.
    """
    if keys is None:
        return tuple(rows)
    known = {row.key.upper(): row for row in rows}
    wanted = [key.strip().upper() for key in keys if key.strip()]
    for key in wanted:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(f"no row {key!r}: {hint}there are {', '.join(known)}")
    if not wanted:
        raise ConfigError(f"no row named: give keys of {', '.join(known)}")
    return tuple(row for key, row in known.items() if key in wanted)


def obstacle(row: Row, settings: Settings) -> str:
    """Why a row is not run with these settings; empty where it is."""
    if row.run is None:
        return row.reason
    missing = [name for name in row.requires if importlib.util.find_spec(name.replace("-", "_")) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if row.full_only and not settings.full:
        return "too long for the quick battery: run with --full"
    return ""


def run_row(row: Row, settings: Settings) -> RowReport:
    """Run one row; an exception becomes a failed row with its text and place."""
    reason = obstacle(row, settings)
    if reason or row.run is None:
        return RowReport(row, "not run", reason=reason)
    began = time.perf_counter()
    try:
        outcome: Outcome = row.run(settings)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
        text = f"{type(error).__name__} at {place}: {error}"
        return RowReport(row, "failed", reason=text, seconds=time.perf_counter() - began)
    seconds = time.perf_counter() - began
    if not outcome.results:
        return RowReport(row, "failed", curves=outcome.curves, reason="the row gave no result", seconds=seconds)
    passed = all(result.passed for result in outcome.results)
    return RowReport(row, "passed" if passed else "failed", outcome.results, outcome.curves, "", seconds)


def run_battery(
    settings: Settings,
    keys: Sequence[str] | None = None,
    echo: Callable[[str], None] = print,
    rows: Sequence[Row] | None = None,
) -> Report:
    """Run the battery, or the rows with the given keys, one after the other.

    settings: precision, size and seed; keys: of the rows wanted, None for all; echo: gets lines of text as rows
    end; rows: instead of the battery's own. Returns the `Report`. Raises ConfigError for an unknown key.
    float64 turns jax's x64 mode on for the process.
    """
    chosen = select_rows(keys, all_rows() if rows is None else rows)
    if settings.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    reports = []
    for row in chosen:
        report = run_row(row, settings)
        reports.append(report)
        for line in row_lines(report):
            echo(line)
    whole = Report(tuple(reports), stamp(settings))
    echo(counts_text(whole))
    return whole


def stamp(settings: Settings) -> dict[str, Any]:
    """What a number of the report depends on beside the code: versions, device, settings, date and commit."""
    return {
        "dropsim": __version__,
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{jax.default_backend()}: {jax.devices()[0].device_kind}",
        "precision": settings.precision,
        "size": "full" if settings.full else "quick",
        "seed": settings.seed,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": source_commit(),
    }


def report_folder(path: Path) -> Path:
    """The folder for a report, made if it is not there. Raises TrajectoryError where it cannot be.

    Asked for before the rows run: a battery of half an hour is not to end without a place for its report.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TEXT_FILE).touch()
    except OSError as error:
        raise TrajectoryError(f"{folder} cannot be written ({error.strerror}): check the disk and --out") from error
    return folder


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write validation.json, validation.md and the figures into a folder; returns the paths.

    Raises TrajectoryError where the folder cannot be written.
    """
    from dropsim.plots_validation import plot_curves, plot_summary

    folder = report_folder(folder)
    try:
        figures = {
            row.row.key: plot_curves(folder / f"{row.row.key}.png", f"{row.row.key}  {row.row.title}", row.curves)
            for row in report.rows
            if row.curves
        }
        shown = [(row.row.key, share_of_tolerance(x), x.passed) for row in report.rows for x in row.results]
        summary = [plot_summary(folder / SUMMARY_FIGURE, shown)] if shown else []
        write_json(folder / JSON_FILE, report.to_dict())
        (folder / TEXT_FILE).write_text(report_text(report, set(figures), bool(summary)), encoding="utf-8")
    except OSError as error:
        raise TrajectoryError(f"{folder} cannot be written ({error.strerror}): check the disk and --out") from error
    return [folder / JSON_FILE, folder / TEXT_FILE, *summary, *figures.values()]


# --- text --------------------------------------------------------------------------------------------------------


def share_of_tolerance(result: Result) -> float:
    """How much of what is allowed a result uses: 1 is the limit; negative on the safe side of a one-sided bound."""
    allowed = result.tolerance if result.standard_error is None else result.tolerance * result.standard_error
    difference = result.value - result.reference
    if result.relation == "equal":
        difference = abs(difference)
    elif result.relation == "at least":
        difference = -difference
    if allowed > 0:
        return difference / allowed
    return 0.0 if difference <= 0 else math.inf


def tolerance_text(result: Result) -> str:
    """The tolerance as it is written in tables: "4 SE (SE 0.012)", or "1e-06"."""
    if result.standard_error is None:
        return f"{result.tolerance:.2g}"
    return f"{result.tolerance:g} SE (SE {result.standard_error:.2g})"


def reference_text(result: Result) -> str:
    """The reference with the relation, as in "at most 0.001"."""
    sign = {"equal": "", "at most": "at most ", "at least": "at least "}[result.relation]
    return f"{sign}{result.reference:.10g}"


def row_lines(report: RowReport) -> list[str]:
    """A row in the terminal: its verdict, then a line for each of its numbers."""
    row = report.row
    if report.status == "not run":
        return [f"{row.key:<4} not run  {row.title}: {report.reason}"]
    lines = [f"{row.key:<4} {report.status}   {row.title} ({report.seconds:.1f} s)"]
    if report.reason:
        lines.append(f"     {report.reason}")
    for result in report.results:
        unit = "" if result.unit == "1" else f" {result.unit}"
        lines.append(
            f"     {'ok    ' if result.passed else 'FAILED'} {result.quantity}: {result.value:.10g}{unit}; "
            f"reference {reference_text(result)}, tolerance {tolerance_text(result)}"
        )
    return lines


def counts_text(report: Report) -> str:
    """The last line: how many passed, failed and were not run, and in what time."""
    seconds = sum(row.seconds for row in report.rows)
    counts = ", ".join(f"{report.count(status)} {status}" for status in ("passed", "failed", "not run"))
    return f"{counts} ({report.stamp['precision']}, {report.stamp['size']}, {seconds:.0f} s)"


def report_text(report: Report, figures: set[str], summary: bool) -> str:
    """The report as Markdown; figures: keys of the rows that have one beside the text."""
    lines = ["# Validation report", "", counts_text(report), ""]
    lines += ["| | |", "|---|---|", *(f"| {key} | {_cell(str(value))} |" for key, value in report.stamp.items()), ""]
    lines += ["Every tolerance is absolute and in the unit of the value, or a number of standard errors (SE) where",
              "the value is sampled. The last column says where it comes from.", ""]  # fmt: skip
    if summary:
        lines += [f"![How much of its tolerance each number uses]({SUMMARY_FIGURE})", ""]
    lines += ["| row | question | verdict | numbers | seconds |", "|---|---|---|---|---|"]
    ran = [row for row in report.rows if row.status != "not run"]
    lines += [f"| {r.row.key} | {_cell(r.row.title)} | {r.status} | {len(r.results)} | {r.seconds:.1f} |" for r in ran]
    for r in ran:
        lines += ["", f"## {r.row.key}. {r.row.title}", "", f"Reference: {r.row.source}", ""]
        if r.reason:
            lines += [f"Failed: {_cell(r.reason)}", ""]
        if r.results:
            lines += ["| quantity | value | reference | tolerance | unit | verdict | basis of the tolerance |",
                      "|---|---|---|---|---|---|---|"]  # fmt: skip
        for x in r.results:
            lines.append(
                f"| {_cell(x.quantity)} | {x.value:.10g} | {reference_text(x)} | {tolerance_text(x)} | {_cell(x.unit)} "
                f"| {'passed' if x.passed else '**failed**'} | {_cell(x.basis)} |"
            )
        if r.row.key in figures:
            lines += ["", f"![{_cell(r.row.title)}]({r.row.key}.png)"]
    idle = [row for row in report.rows if row.status == "not run"]
    if idle:
        lines += ["", "## Not run", "", "| row | question | why |", "|---|---|---|"]
        lines += [f"| {r.row.key} | {_cell(r.row.title)} | {_cell(r.reason)} |" for r in idle]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row_dict(report: RowReport) -> dict[str, Any]:
    return {
        "key": report.row.key,
        "title": report.row.title,
        "source": report.row.source,
        "status": report.status,
        "reason": report.reason,
        "seconds": round(report.seconds, 3),
        "results": [
            {**asdict(result), "passed": result.passed, "share_of_tolerance": share_of_tolerance(result)}
            for result in report.results
        ],
        "curves": [curve.name for curve in report.curves],
    }
