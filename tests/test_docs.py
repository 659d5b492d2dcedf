"""The pages are held to the program: examples run, commands parse, links lead somewhere, tables tell the truth."""

import ast
import doctest
import importlib
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer

from dropsim import errors
from dropsim.cli import EXIT_INTERRUPTED, app
from dropsim.compare import estimate_from_dict, estimate_text
from dropsim.config_schema import leaf_entries
from dropsim.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").glob("*/README.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
FENCE = re.compile(r"^```(\w*)\s*$")
LONGEST_RUN_S = 600


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def fenced(page, *languages):
    """(first line, text) of the page's fenced blocks in one of the languages."""
    blocks, language, first, lines = [], None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if fence and language is None:
            language, first, lines = fence[1], number + 1, []
        elif line.startswith("```") and language is not None:
            if language in languages:
                blocks.append((first, "\n".join(lines) + "\n"))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{name_of(page)}:{first}: a fence is not closed"
    return blocks


def prose(page):
    """The page without its fenced blocks."""
    kept, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def table_rows(text):
    """Cells of every row of the pipe tables, headings and rules included."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def tables(text, heading):
    """Rows of the pipe tables whose first column has this heading, without heading and rule."""
    kept, inside = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            inside = False
        elif inside and not set(cells[0]) <= {"-", ":"}:
            kept.append(cells)
        elif cells[0] == heading:
            inside = True
    return kept


def code(cell):
    """The first `code` of a cell, or None."""
    found = re.match(r"`([^`]+)`", cell)
    return found[1] if found else None


# --- examples ------------------------------------------------------------------------------------------------


def run_tutorial(folder):
    """Run the tutorial's own file as its reader would; returns the error text, empty if all went well."""
    text = fenced(ROOT / "docs" / "tutorial.md", "toml")[0][1]
    (folder / "first.toml").write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "dropsim", "run", "first.toml", "--out", "runs"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN_S,
    )
    return done.stderr or f"status {done.returncode}" if done.returncode else ""


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """The folder in which the tutorial's `runs` lies; made once, by whichever test process comes first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tutorial"
    outcome = folder / "outcome"
    try:
        folder.mkdir()
    except FileExistsError:
        patience = time.monotonic() + LONGEST_RUN_S
        while not outcome.exists() and time.monotonic() < patience:
            time.sleep(0.5)
    else:
        error = "the run was broken off"
        try:
            error = run_tutorial(folder)
        finally:
            (folder / "outcome.tmp").write_text(error, encoding="utf-8")
            (folder / "outcome.tmp").rename(outcome)
    assert outcome.exists(), "another process did not finish the tutorial's run"
    assert outcome.read_text(encoding="utf-8") == ""
    return folder


@pytest.mark.parametrize("page", [p for p in PAGES if fenced(p, "python")], ids=name_of)
def test_python_examples_run(page, request, tmp_path, monkeypatch):
    """The blocks of a page share their names, as for a reader who types them in order."""
    blocks = fenced(page, "python")
    needs_a_run = any('"runs' in text for _, text in blocks)
    monkeypatch.chdir(request.getfixturevalue("first_run") if needs_a_run else tmp_path)
    names = {"__name__": "example"}
    for first, text in blocks:
        # Blank lines in front: a traceback then tells the page's own line.
        exec(compile("\n" * (first - 1) + text, name_of(page), "exec"), names)


def test_docstring_examples_run():
    sources = [*(ROOT / "dropsim").rglob("*.py"), *(ROOT / "kernels" / "dropsim_kernels").rglob("*.py")]
    assert sources
    for source in sources:
        if ">>>" not in source.read_text(encoding="utf-8"):
            continue
        base = ROOT / "kernels" if "dropsim_kernels" in source.parts else ROOT
        module = ".".join(source.relative_to(base).with_suffix("").parts).removesuffix(".__init__")
        result = doctest.testmod(importlib.import_module(module))
        assert result.failed == 0, module


# --- commands and keys -----------------------------------------------------------------------------------------


def parse(arguments):
    """Parse a command line without carrying it out; a usage error is raised."""
    group = typer.main.get_command(app)
    for command in group.commands.values():
        command.callback = None
    group.main(list(arguments), prog_name="dropsim", standalone_mode=False)


def checked_keys(arguments):
    """The keys that --set replaces, with list indices as the schema writes them."""
    for option, value in itertools.pairwise(arguments):
        if option == "--set":
            yield re.sub(r"\.\d+\.", ".0.", value.split("=", 1)[0])


def command_lines(page):
    """(line, arguments) of every dropsim command in the console blocks."""
    for first, text in fenced(page, "console", "sh", "bash", "shell"):
        for number, line in enumerate(text.splitlines(), first):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:3] == ["python", "-m", "dropsim"]:
                yield number, words[3:]
            elif words[:1] == ["dropsim"]:
                yield number, words[1:]


@pytest.mark.parametrize("page", [p for p in PAGES if list(command_lines(p))], ids=name_of)
def test_commands_parse_and_their_keys_exist(page):
    for number, arguments in command_lines(page):
        try:
            parse(arguments)
        except Exception as error:
            pytest.fail(f"{name_of(page)}:{number}: dropsim {shlex.join(arguments)}: {error}")
        for key in checked_keys(arguments):
            assert key in leaf_entries(), f"{name_of(page)}:{number}: no key {key}"


def test_a_wrong_command_would_be_noticed():
    for wrong in (["rnu", "x.toml"], ["run", "x.toml", "--sets", "a=1"], ["export", "runs/x"], ["check"]):
        with pytest.raises(Exception, match=r"[Nn]o such|[Mm]issing"):
            parse(wrong)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_exist(page):
    commands = typer.main.get_command(app).commands
    for words in re.findall(r"`dropsim ([^`]+)`", prose(page)):
        name, *rest = shlex.split(words)
        if name.startswith("-"):
            continue
        assert name in commands, f"{name_of(page)}: dropsim {words}"
        known = {option for p in commands[name].params for option in (*p.opts, *p.secondary_opts)}
        for word in rest:
            assert not word.startswith("-") or word in known, f"{name_of(page)}: dropsim {words}"


def keys_of(values, path=""):
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict) and here in leaf_entries():
            yield here  # a table of the user's own names
        elif isinstance(value, dict):
            yield from keys_of(value, here)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                yield from keys_of(item, f"{here}.0")
        else:
            yield here


@pytest.mark.parametrize("page", [p for p in PAGES if fenced(p, "toml")], ids=name_of)
def test_keys_of_toml_examples_exist(page):
    for first, text in fenced(page, "toml"):
        unknown = set(keys_of(tomllib.loads(text))) - set(leaf_entries())
        assert not unknown, f"{name_of(page)}:{first}: {sorted(unknown)}"


# --- tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["docs/model.md", "docs/droplet-tier.md", "docs/single-molecule.md"])
def test_tables_of_defaults_are_those_of_the_program(page):
    entries, seen = leaf_entries(), 0
    for cells in tables((ROOT / page).read_text(encoding="utf-8"), "key"):
        key = code(cells[0])
        assert key in entries, f"{page}: no key {key}"
        default = entries[key]["default"]
        written = json.loads(cells[1]) if isinstance(default, (int, float)) else cells[1]
        assert written == default, f"{page}: {key} is {cells[1]} here, {default} in the program"
        seen += 1
    assert seen > 10


def test_presets_are_those_of_the_program():
    text = (ROOT / "docs" / "model.md").read_text(encoding="utf-8").split("### Presets")[1].split("\n## ")[0]
    rows = {code(cells[0]): cells[1] for cells in table_rows(text) if code(cells[0]) in PRESETS}
    assert set(rows) == set(PRESETS)
    for name, cell in rows.items():
        values = PRESETS[name].values["electrolyte"]
        assert f"{values['li2s6_mM']:g} mM" in cell
        assert cell.endswith(f" {values['relative_permittivity_300K']:g}")
        assert ("1 M LiTFSI" in cell) == (values["litfsi_mM"] == 1000.0)


def test_datasets_are_those_of_a_file(first_run):
    documented = {}
    for cells in table_rows((ROOT / "docs" / "files.md").read_text(encoding="utf-8")):
        name = code(cells[0])
        if name and name.startswith(("particles/", "observables/", "dropsim/")):
            documented[name] = cells[-2]
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item.attrs.get("unit", "")

    path = next((first_run / "runs").glob("first-*-r0")) / "trajectory.h5md"
    with h5py.File(path, "r") as file:
        file.visititems(visit)
        attributes = set(file["dropsim"].attrs)
    for element in ("observables/dt", "observables/stage"):  # the page says that these are shared
        found.pop(f"{element}/step", None)
        found.pop(f"{element}/time", None)
    shared = ("particles/trajectory/position/step", "particles/trajectory/position/time")
    assert documented[shared[1]] == "ps"
    # One object under several names is visited once, under any of them.
    for rows in (documented, found):
        for name in shared:
            rows.pop(name, None)
    assert documented == found
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in attributes)


def keys_under(heading):
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    return {key for cells in table_rows(text) for key in re.findall(r"`(\w+)`", cells[0])}


def test_keys_of_the_json_files_are_those_of_a_run(first_run):
    folder = next((first_run / "runs").glob("first-*-r0"))
    summary = json.loads((folder / "summary.json").read_text())
    missing = set(summary) - keys_under("## summary.json")
    assert not missing, f"docs/files.md does not name {missing}"
    assert keys_under("## summary.json") <= set(summary)
    comparison = json.loads((first_run / "runs" / "comparison.json").read_text())
    assert keys_under("## comparison.json") == set(comparison) | set(comparison["rows"][0])
    names = (first_run / "runs" / "droplets.csv").read_text().splitlines()[0].split(",")
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").split("## droplets.csv")[1].split("\n## ")[0]
    assert re.findall(r"`(\w+)`", text) == names
    with np.load(folder / "curves.npz") as curves:
        assert len(curves.files) > 5


def test_exit_statuses_are_those_of_the_errors():
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8").split("## Exit status")[1]
    documented = {int(cells[0]) for cells in table_rows(text) if cells[0].isdigit()}
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.DropsimError)]
    assert documented == {0, EXIT_INTERRUPTED} | {c.exit_code for c in classes}


# --- references ------------------------------------------------------------------------------------------------


def slug(heading):
    """The anchor that GitHub gives to a heading."""
    plain = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).strip().lower())
    return plain.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|mailto:)([^()\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(there), re.M)
            assert anchor in map(slug, headings), f"{name_of(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_tests_exist(page):
    for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text(encoding="utf-8")):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in defined, f"{name_of(page)}: {path}::{name}"
    if page.name == "files.md":
        return  # its slashes are those of a file's datasets
    for path in re.findall(r"`((?:tests|dropsim|kernels|experiments|docs)/[\w/.-]+)`", prose(page)):
        assert (ROOT / path).exists(), f"{name_of(page)}: {path}"


def texts_and_estimates(value):
    """Every text, and every estimate as a table, that a JSON value holds; key beside key_error is such a text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        if {"value", "standard_error", "interval_95"} <= set(value):
            yield value
        for key, item in value.items():
            if value.get(f"{key}_error") is not None:
                yield f"{item:.3g} ± {value[f'{key}_error']:.2g}"
        for item in value.values():
            yield from texts_and_estimates(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_and_estimates(item)


def numbers_of(study):
    """(values with interval, values with standard error) of a study's committed results, as texts."""
    intervals, errors = set(), set()
    for file in sorted((study / "results").glob("*.json")):
        for found in texts_and_estimates(json.loads(file.read_text(encoding="utf-8"))):
            if isinstance(found, str):
                # A number that was measured and not used is told with its reason.
                errors |= set(VALUE_AND_ERROR.findall(found))
            elif found["value"] is not None:
                estimate = estimate_from_dict(found)
                intervals.add(estimate_text(estimate).split("]")[0] + "]")
                errors.add(f"{estimate.value:.3g} ± {estimate.standard_error:.2g}")
    return intervals, errors


VALUE_AND_INTERVAL = re.compile(r"-?\d[\d.e+-]* \[[^\]]+, [^\]]+\]")
VALUE_AND_ERROR = re.compile(r"-?\d[\d.e+-]* ± [\d.e+-]*\d")
STUDIES = {
    ROOT / "README.md": ROOT / "experiments" / "droplet",
    **{page: page.parent for page in sorted((ROOT / "experiments").glob("*/README.md"))},
}


@pytest.mark.parametrize("page", STUDIES, ids=name_of)
def test_numbers_of_a_study_are_those_of_its_committed_results(page):
    """Every "value [low, high]" and "value ± error" after the results mark stands so in a file of results/."""
    text = page.read_text(encoding="utf-8")
    assert "<!-- results:" in text, "the section with the numbers begins with <!-- results: from where they are -->"
    text = re.split(r"\n## ", text[text.index("<!-- results:") :])[0]
    intervals, errors = numbers_of(STUDIES[page])
    shown = set(VALUE_AND_INTERVAL.findall(text))
    with_error = set(VALUE_AND_ERROR.findall(text))
    assert shown | with_error
    assert shown <= intervals, shown - intervals
    assert with_error <= errors, with_error - errors
