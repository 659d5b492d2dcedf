"""The commands that simulate, on a small study: run, run again, resume, analyze, compare, plot, export, as JSON too."""

import json
import shutil

import h5py
import numpy as np
import pytest
import typer.testing

from dropsim.cli import app
from dropsim.run_folder import CHECKPOINT, CONFIG, SUMMARY, TRAJECTORY, read_config
from dropsim.trajectory import open_trajectory


def shell(*arguments):
    """A command line carried out in this process; must succeed."""
    result = typer.testing.CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def study(experiment_text, tmp_path_factory):
    """A study of two conditions, one replica each instead of two: (experiment folder, results folder, its JSON)."""
    folder = tmp_path_factory.mktemp("study") / "pair"
    folder.mkdir()
    text = experiment_text.replace('name = "tiny"', 'name = "tiny"\nreplicas = 2')
    (folder / "main.toml").write_text(text)
    bare = text.replace("spacing_nm = 2.75", 'spacing_nm = 2.75\narrangement = "none"')
    (folder / "bare.toml").write_text(bare.replace('name = "tiny"', 'name = "no_centres"\nrole = "control"'))
    runs = folder.parent / "runs"
    result = shell("run", folder, "--out", runs, "--replicas", 1, "--workers", 1, "--json")
    return folder, runs / "pair", json.loads(result.stdout)


def test_a_study_leaves_its_numbers(study):
    _, root, printed = study
    assert printed["study"] == "pair"
    assert printed["main"] == "tiny"
    assert printed["replicas"] == {"tiny": 1, "no_centres": 1}
    assert json.loads((root / "comparison.json").read_text())["rows"] == printed["rows"]
    assert printed["rows"]
    for row in printed["rows"]:
        assert row["verdict"]
        assert row["source"]
    folders = sorted(p for p in root.iterdir() if (p / TRAJECTORY).exists())
    assert len(folders) == 2
    for one in folders:
        assert {CONFIG, TRAJECTORY, CHECKPOINT, SUMMARY} <= {p.name for p in one.iterdir()}
        summary = json.loads((one / SUMMARY).read_text())
        assert summary["frames"] == 20
        ledger = summary["facts"]["ledger"]
        errors = {k: v for k, v in ledger.items() if k.endswith("_error") or k == "charge_drift_e"}
        assert len(errors) == 4
        assert set(errors.values()) == {0}
        assert read_config(one).run.name == one.name.rsplit("-", 2)[0]
    # Without centres no current flows.
    quiet = [json.loads((p / SUMMARY).read_text()) for p in folders if p.name.startswith("no_centres")]
    assert {s["facts"]["ledger"]["electrons_injected"] for s in quiet} == {0}


def test_a_second_run_reuses_what_is_there(study):
    folder, root, printed = study
    files = sorted(root.glob(f"*/{TRAJECTORY}"))
    before = [(f.stat().st_mtime_ns, f.read_bytes()) for f in files]
    again = json.loads(shell("run", folder, "--out", root.parent, "--replicas", 1, "--workers", 1, "--json").stdout)
    assert again["rows"] == printed["rows"]
    assert [(f.stat().st_mtime_ns, f.read_bytes()) for f in files] == before


def test_resume_of_finished_runs_says_so_and_changes_nothing(study):
    _, root, printed = study
    assert json.loads(shell("resume", root, "--json").stdout)["rows"] == printed["rows"]


def test_analyze_writes_the_numbers_anew(study):
    _, root, _ = study
    one = sorted(root.glob("tiny-*-r0"))[0]
    before = json.loads((one / SUMMARY).read_text())
    (one / SUMMARY).unlink()
    (summary,) = json.loads(shell("analyze", one, "--json").stdout)
    assert summary["estimates"] == before["estimates"]
    assert json.loads((one / SUMMARY).read_text()) == before
    for estimate in summary["estimates"].values():
        assert set(estimate) == {"value", "standard_error", "interval_95", "unit", "n_effective", "method"}
    assert not set(summary["estimates"]) & set(summary["missing"])
    text = shell("analyze", one).output
    assert "tiny" in text


def test_compare_and_plot(study):
    _, root, printed = study
    result = shell("compare", root, "--json")
    assert json.loads(result.stdout)["rows"] == printed["rows"]
    assert "no_centres" in shell("compare", root).output
    one = sorted(root.glob("tiny-*-r0"))[0]
    assert shell("plot", one).output.strip()


def test_export(study, tmp_path):
    _, root, _ = study
    one = sorted(root.glob("tiny-*-r0"))[0]
    target = tmp_path / "frames.xyz"
    result = shell("export", one, "--to", "extxyz", "-o", target, "--every", 5)
    assert "4 frames" in result.output.replace("\n", " ")
    n_atoms = 48 + 20
    lines = target.read_text().splitlines()
    assert len(lines) == 4 * (n_atoms + 2)
    with open_trajectory(one / TRAJECTORY) as trajectory:
        first = trajectory.position([0])[0, 0]
    # Extended XYZ is in angstrom.
    np.testing.assert_allclose([float(x) for x in lines[2].split()[1:4]], 10 * first, atol=1e-3)


def test_a_copied_folder_is_read_where_it_lies(study, tmp_path):
    """Results may be moved: nothing in them names their place."""
    _, root, printed = study
    shutil.copytree(root, tmp_path / "elsewhere")
    assert json.loads(shell("compare", tmp_path / "elsewhere", "--json").stdout)["rows"] == printed["rows"]
    with h5py.File(sorted((tmp_path / "elsewhere").glob(f"*/{TRAJECTORY}"))[0], "r") as file:
        assert str(root) not in str(file["dropsim/config"][()])
