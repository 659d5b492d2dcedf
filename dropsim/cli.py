"""The command line: reads arguments, calls the library, prints; no physics here.

A command is a function under `@command`, which turns errors into one line and an exit status. It imports
what it needs inside its body, so that `--help` stays fast.
"""

import contextvars
import functools
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dropsim import __version__
from dropsim.errors import DropsimError

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_FAILED_ROW = 1  # of `validate`: a known answer was missed

app = typer.Typer(
    name="dropsim",
    help="Mesoscale simulation of lithium-polysulfide droplets on charged active centres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_debug: contextvars.ContextVar[bool] = contextvars.ContextVar("debug", default=False)

ConfigFile = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file (TOML).")]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a key of the file, e.g. run.seed=2. Repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def main() -> None:
    """Entry point of `dropsim` and of `python -m dropsim`."""
    app(prog_name="dropsim")


def command(name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a subcommand whose DropsimErrors end in one line on stderr.

    Exit status: that of the error's class; 130 when interrupted. `--debug` lets tracebacks through.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                function(*args, **kwargs)
            except DropsimError as error:
                if _debug.get():
                    raise
                print(error, file=sys.stderr)
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt:
                if _debug.get():
                    raise
                print("dropsim: interrupted", file=sys.stderr)
                raise typer.Exit(EXIT_INTERRUPTED) from None

        app.command(name)(guarded)
        return guarded

    return register


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dropsim {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _debug.set(debug)


@command()
def check(file: ConfigFile, overrides: Overrides = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Read an experiment file and print what follows from it: numbers, limits, cost, warnings."""
    from dropsim.check import derived_quantities, warnings
    from dropsim.config import config_hash
    from dropsim.config_load import load_config

    config = load_config(file, overrides)
    rows, doubts = derived_quantities(config), warnings(config)
    if as_json:
        _print_json(
            {
                "file": str(file),
                "name": config.run.name,
                "hash": config_hash(config),
                "config": config.model_dump(mode="json"),
                "derived": [row.to_dict() for row in rows],
                "warnings": doubts,
            }
        )
        return
    title = f"{config.run.name} ({config.run.role}, {config_hash(config)})"
    _print_groups(
        f"{title}: {config.run.title}" if config.run.title else title,
        ("quantity", "value", "unit", "from"),
        [(row.group, (row.name, f"{row.value:.4g}" if isinstance(row.value, float) else str(row.value),
                      "" if row.unit == "1" else row.unit, row.how)) for row in rows],
    )  # fmt: skip
    for doubt in doubts:
        _print_wrapped(f"warning: {doubt}")
    if not doubts:
        print("no warnings")


@command()
def schema(
    table: Annotated[bool, typer.Option("--table", help="A readable list instead of JSON.")] = False,
) -> None:
    """Print the JSON schema of experiment files, for editors, or a list of every key."""
    from dropsim.config_schema import allowed_text, json_schema, leaf_entries

    if not table:
        _print_json(json_schema())
        return
    rows = []
    for name, entry in leaf_entries().items():
        *sections, key = name.split(".")
        if "default" not in entry:
            default = "(required)"
        else:
            value = entry["default"]
            default = value if isinstance(value, str) else "" if value is None else json.dumps(value)
            default = default if len(default) <= 20 else "(see the schema)"
        meaning = allowed_text(entry, (key,))
        if "description" in entry and "properties" not in entry:
            meaning += f"; {entry['description']}"
        rows.append((".".join(sections) or "top level", (key, default, meaning)))
    _print_groups("keys of an experiment file", ("key", "default", "allowed, meaning"), rows)


@command()
def info(
    devices: Annotated[bool, typer.Option("--devices", help="Also start jax and list its devices.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print versions, presets and the machine, for reports of problems."""
    import importlib.metadata
    import os
    import platform

    from dropsim.presets import PRESETS

    versions: dict[str, str | None] = {}
    for package in (
        "jax",
        "jaxlib",
        "numpy",
        "scipy",
        "h5py",
        "pydantic",
        "diffrax",
        "pint",
        "gsd",
        "MDAnalysis",
    ):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    found: list[str] = []
    if devices:
        import jax

        found = [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()]
    if as_json:
        _print_json(
            {
                "dropsim": __version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "cores": os.cpu_count(),
                "packages": versions,
                "presets": {name: preset.reason for name, preset in PRESETS.items()},
                "devices": found if devices else None,
            }
        )
        return
    machine = [("dropsim", __version__), ("python", platform.python_version()),
               ("platform", platform.platform()), ("cores", str(os.cpu_count()))]  # fmt: skip
    rows = [("machine", row) for row in machine]
    rows += [("devices", (str(i), device)) for i, device in enumerate(found)]
    rows += [("packages", (name, version or "not installed")) for name, version in versions.items()]
    rows += [("presets", (name, f"{preset.reason}; {preset.source}")) for name, preset in PRESETS.items()]
    _print_groups("dropsim", ("", ""), rows)


RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of one run, as 'dropsim run' wrote it.")]
StudyFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study, or of one run.")]


@command()
def run(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Experiment file, or folder of them (a study).")],
    overrides: Overrides = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", help="Where run folders go.")] = Path("runs"),
    replicas: Annotated[int | None, typer.Option("--replicas", min=1, help="Instead of the files' own.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes at a time; default: one per core.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate, analyse and compare: a file or a whole study. Goes on with what is there already."""
    from dropsim.study import load_study, write_manifest

    study = load_study(path, overrides, out, replicas)
    write_manifest(study)
    _carry_out(study.jobs, workers, quiet=as_json)
    folders = [job.folder for job in study.jobs]
    _report(folders[0] if len(folders) == 1 else study.root, as_json)


@command()
def tune(file: ConfigFile, overrides: Overrides = [], as_json: AsJson = False) -> None:  # noqa: B006
    """Measure ways to split the Coulomb sum on this very system, in time and in error; print the lines for the file."""
    from dropsim.config_load import load_config
    from dropsim.study import prepare_jax

    config = load_config(file, overrides)
    prepare_jax()
    from dropsim.tune import fastest, lines_for_the_file
    from dropsim.tune import tune as candidates

    tolerance = config.electrostatics.force_tolerance
    measured = []
    row = "{:<6} {:>9} {:>9} {:>14} {:>5}  {:>9} {:>9} {:>9} {:>9}"
    if not as_json:
        print(f"{config.run.name}: relative force error asked for {tolerance:g}")
        print(row.format("", "alpha", "cutoff", "mesh/waves", "order", "error", "force", "of it far", "list"))
        print(row.format("", "nm^-1", "nm", "", "", "", "ms", "ms", "ms"))
    for found in candidates(config):
        measured.append(found)
        if not as_json:
            s = found.splitting
            print(
                row.format(
                    s.method, f"{s.splitting_per_nm:.4g}", f"{s.cutoff_nm:.4g}", "x".join(map(str, s.waves)),
                    s.order or "-", f"{found.error:.1e}" + ("" if found.error <= tolerance else "!"),
                    f"{1e3 * found.force_s:.3g}", f"{1e3 * found.long_range_s:.3g}",
                    f"{1e3 * found.list_s:.3g}" if found.list_s else "-",
                ),
                flush=True,
            )  # fmt: skip
    best = fastest(measured, tolerance)
    if as_json:
        _print_json(
            {"tolerance": tolerance, "candidates": [m.to_dict() for m in measured], "best": best and best.to_dict()}
        )
        return
    print("!: misses what was asked for. A list is built anew every few steps.")
    if best is None:
        print("no candidate reaches it: raise electrostatics.force_tolerance, or set run.precision = 'float64'")
        return
    print(f"\nfastest; put into {file}:\n\n{lines_for_the_file(best.splitting)}")


@command()
def resume(folder: StudyFolder, as_json: AsJson = False) -> None:
    """Go on with interrupted runs, to the same bits as if they had not been interrupted."""
    from dropsim.errors import TrajectoryError
    from dropsim.run_folder import CONFIG, read_config, replica_of
    from dropsim.study import Job, prepare_jax

    prepare_jax()
    from dropsim.report import study_folders

    jobs = []
    for one in study_folders(folder.resolve())[2]:
        job = Job(read_config(one), replica_of(one), one.parent)
        if job.folder != one:
            raise TrajectoryError(
                f"{one / CONFIG} was changed since the run began, or the folder renamed (it should be "
                f"{job.folder.name}): restore it, or start the run anew with 'dropsim run'"
            )
        jobs.append(job)
    _carry_out(jobs, None, quiet=as_json)
    _report(folder, as_json)


@command()
def analyze(folder: StudyFolder, as_json: AsJson = False) -> None:
    """Compute the numbers of finished or running simulations anew: summary.json, curves.npz, figures."""
    from dropsim.study import prepare_jax

    prepare_jax()
    from dropsim.analysis import analyse_run
    from dropsim.report import study_folders

    summaries = [analyse_run(one) for one in study_folders(folder)[2]]
    if as_json:
        _print_json(summaries)
        return
    for summary in summaries:
        rows = [("estimates", (key, f"{_short(e['value'])} +- {_short(e['standard_error'])}", e["unit"], e["method"]))
                for key, e in summary["estimates"].items()]  # fmt: skip
        rows += [("not available", (key, "-", "", why)) for key, why in summary["missing"].items()]
        _print_groups(f"{summary['name']} r{summary['replica']}", ("quantity", "value", "unit", "method"), rows)


@command()
def compare(folder: StudyFolder, as_json: AsJson = False) -> None:
    """Print dropsim's numbers beside the published ones, with a verdict for each."""
    _report(folder, as_json)


@command()
def plot(folder: StudyFolder) -> None:
    """Draw the figures of a run or a study anew."""
    import numpy as np

    from dropsim.analysis import CURVES
    from dropsim.plots import plot_run
    from dropsim.report import read_summary, study_folders

    for one in study_folders(folder)[2]:
        summary = read_summary(one)
        with np.load(one / CURVES) as curves:
            for figure in plot_run(one, summary, dict(curves)):
                print(figure)


@command()
def export(
    folder: RunFolder,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="gsd or extxyz, both of which OVITO opens.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Keep one frame in so many.")] = 1,
    unwrap: Annotated[bool, typer.Option("--unwrap", help="Positions without the periodic jumps.")] = False,
) -> None:
    """Write the trajectory of a run in a format of other programs."""
    from dropsim.export import export as write
    from dropsim.run_folder import TRAJECTORY

    source = folder / TRAJECTORY if folder.is_dir() else folder
    target = output or source.with_suffix(f".{to}")
    n = write(source, target, to, frames=slice(None, None, every), unwrap=unwrap)
    print(f"{target}: {n} frames")


@command()
def validate(
    full: Annotated[bool, typer.Option("--full", help="Longer samples, larger systems, smaller errors.")] = False,
    precision: Annotated[str, typer.Option("--precision", help="float64 or float32.")] = "float64",
    rows: Annotated[str | None, typer.Option("--rows", metavar="KEYS", help="Only these, as in E1,E2.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the report goes.")] = Path("validation"),
    listed: Annotated[bool, typer.Option("--list", help="Print the rows and run none.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every random number.")] = 1,
    nist: Annotated[Path | None, typer.Option("--nist", metavar="DIR", help="NIST's reference coordinates.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the battery of known answers and write a report; exit status 1 if a row fails."""
    from dropsim.errors import ConfigError
    from dropsim.study import prepare_jax

    if precision not in ("float32", "float64"):
        raise ConfigError(f"--precision is {precision!r}: give float32 or float64")
    if nist is not None and not nist.is_dir():
        raise ConfigError(f"--nist is {nist}, which is no folder: give the one that holds NIST's coordinates")
    prepare_jax()
    from dropsim.validation.battery import all_rows, obstacle, report_folder, run_battery, select_rows, write_report
    from dropsim.validation.rows import Settings

    settings = Settings(precision, full, seed)
    keys = None if rows is None else rows.split(",")
    if listed:
        chosen = [(row, obstacle(row, settings)) for row in select_rows(keys, all_rows(nist))]
        if as_json:
            _print_json([{"key": r.key, "title": r.title, "source": r.source, "not_run": why} for r, why in chosen])
            return
        for row, why in chosen:
            _print_wrapped(f"{row.key:<4} {row.title} [{f'not run: {why}' if why else row.source}]")
        return
    select_rows(keys, all_rows(nist))  # a wrong key before anything is written
    report_folder(out)
    report = run_battery(settings, keys, (lambda line: None) if as_json else print, all_rows(nist))
    written = write_report(report, out)
    if as_json:
        _print_json(json.loads(written[0].read_text(encoding="utf-8")))
    else:
        print(f"report: {written[1]}")
    if not report.passed:
        raise typer.Exit(EXIT_FAILED_ROW)


def _carry_out(jobs: Sequence[Any], workers: int | None, *, quiet: bool) -> None:
    """Carry out jobs with a progress line each; the first failure's exit status ends the command."""
    from contextlib import closing

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from dropsim.study import carry_out_all, leave_at_once_if_running

    failures: list[tuple[str, str, int]] = []
    console = Console(stderr=True, quiet=quiet)
    with Progress(
        TextColumn("{task.description:<22}"), BarColumn(bar_width=20), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=console,
    ) as bars:  # fmt: skip
        tasks = [bars.add_task(job.label, total=None, note="waiting") for job in jobs]
        try:
            with closing(carry_out_all(jobs, workers)) as messages:
                for message in messages:
                    task = tasks[message.job]
                    if message.kind == "progress":
                        p = message.value
                        note = f"{p.stage}: {p.steps_per_s:.0f} steps/s, {p.ns_per_day:.3g} ns/day"
                        bars.update(task, total=p.total_steps, completed=p.done_steps, note=note)
                    elif message.kind == "done":
                        bars.update(task, total=1, completed=1, note="done")
                    elif message.kind == "failed":
                        text, code = message.value
                        failures.append((jobs[message.job].label, text, code))
                        bars.update(task, note="failed")
                    else:
                        bars.update(task, note=message.value)
        except KeyboardInterrupt:
            bars.stop()
            print(
                "dropsim: interrupted; nothing written is lost: the same command goes on from there, "
                f"'dropsim resume {jobs[0].root}' finishes only what had begun",
                file=sys.stderr,
            )
            leave_at_once_if_running(EXIT_INTERRUPTED)
            raise typer.Exit(EXIT_INTERRUPTED) from None
    for label, text, _ in failures:
        print(f"dropsim: {label}: {text}", file=sys.stderr)
    if failures:
        raise typer.Exit(failures[0][2])


def _report(folder: Path, as_json: bool) -> None:
    from dropsim.study import prepare_jax

    prepare_jax()  # before anything imports jax
    from dropsim.report import print_report, print_temperatures, report_study, study_folders

    result = report_study(folder)
    if as_json:
        _print_json(json.loads(json.dumps(result, default=str)))
        return
    print_report(result)
    print_temperatures(study_folders(folder)[2])
    root = study_folders(folder)[0]
    print(f"figures, numbers and tables: {root}" + ("" if root == folder else f" and {folder}"))


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _print_wrapped(text: str) -> None:
    """A paragraph at the width of the terminal, continued under an indent."""
    width = shutil.get_terminal_size().columns
    print(textwrap.fill(text, width=max(width, 40), subsequent_indent="  ", break_on_hyphens=False))


def _print_groups(title: str, columns: tuple[str, ...], rows: list[tuple[str, tuple[str, ...]]]) -> None:
    """A table whose rows stand under the name of their group; the last column takes what room is left."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=any(columns))
    for index, name in enumerate(columns):
        last = index == len(columns) - 1
        numeric = name == "value"
        table.add_column(
            name, justify="right" if numeric else "left", ratio=1 if last else None, overflow="fold",
            no_wrap=not last,
        )  # fmt: skip
    group = None
    for row_group, cells in rows:
        if row_group != group:
            group = row_group
            table.add_row(Text(row_group, style="bold"), *[""] * (len(columns) - 1))
        # Text, not markup: brackets in values and file names stay as they are.
        table.add_row(Text("  " + cells[0]), *(Text(cell) for cell in cells[1:]))
    Console(soft_wrap=False).print(table)


if __name__ == "__main__":
    main()
