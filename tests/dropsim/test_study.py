"""Studies: which files belong to one, what is run again, and what a worker that dies leaves behind."""

import contextlib
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

import dropsim.study
from dropsim.config import config_hash
from dropsim.errors import ConfigError, TrajectoryError
from dropsim.study import (
    Message,
    available_cores,
    carry_out_all,
    load_study,
    study_manifest,
    write_manifest,
)


@pytest.fixture
def files(tmp_path, experiment_text):
    """A folder with a main run and two controls, in an order that is not theirs."""
    folder = tmp_path / "gathering"
    folder.mkdir()
    runs = {"a.toml": ("no_centres", "control"), "b.toml": ("main", "main"), "c.toml": ("dim", "control")}
    for file, (name, role) in runs.items():
        text = experiment_text.replace('name = "tiny"', f'name = "{name}"\nrole = "{role}"\nreplicas = 2')
        (folder / file).write_text(text)
    (folder / "README.md").write_text("no experiment")
    return folder


def test_the_main_run_comes_first_then_the_controls_by_name(files, tmp_path):
    study = load_study(files, [], tmp_path / "runs")
    assert (study.name, study.root) == ("gathering", tmp_path / "runs" / "gathering")
    assert [c.run.name for c in study.configs] == ["main", "dim", "no_centres"]
    # First one replica of everything: a study cut short can compare its conditions.
    names = ["main", "dim", "no_centres"]
    assert [(j.config.run.name, j.replica) for j in study.jobs] == [(n, r) for r in (0, 1) for n in names]
    assert study.jobs[4].label == "dim r1"
    assert study.jobs[4].folder == study.root / f"dim-{config_hash(study.configs[1])}-r1"
    assert len({job.folder for job in study.jobs}) == 6


def test_replicas_and_overrides_reach_every_file(files, tmp_path):
    study = load_study(files, ["run.seed=77"], tmp_path, replicas=3)
    assert sorted(j.replica for j in study.jobs) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert {c.run.seed for c in study.configs} == {77}


def test_one_file_is_a_study_of_its_own(files, tmp_path):
    study = load_study(files / "c.toml", [], tmp_path / "runs")
    assert (study.name, study.root, len(study.jobs)) == ("dim", tmp_path / "runs", 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "b.toml").unlink(), "exactly one file with run.role = 'main'"),
        (lambda folder: (folder / "c.toml").write_text(
            (folder / "b.toml").read_text().replace('name = "main"', 'name = "two"')), "exactly one file"),
        (lambda folder: (folder / "c.toml").write_text((folder / "a.toml").read_text()), "same run.name"),
        (lambda folder: [file.unlink() for file in folder.glob("*.toml")], r"no \*.toml"),
    ],
)  # fmt: skip
def test_what_is_no_study(files, tmp_path, change, message):
    change(files)
    with pytest.raises(ConfigError, match=message):
        load_study(files, [], tmp_path)


def test_the_manifest_names_what_belongs_together(files, tmp_path):
    study = load_study(files, [], tmp_path / "runs")
    path = write_manifest(study)
    manifest = json.loads(path.read_text())
    assert path == study.root / "gathering.study.json"
    assert [run["folder"] for run in manifest["runs"]] == [job.folder.name for job in study.jobs]
    assert manifest["runs"][0]["role"] == "main"
    assert study_manifest(study)["runs"] == manifest["runs"]


# --- carrying out -----------------------------------------------------------------------------------------
# The simulation itself is tested elsewhere; here a worker is a stand-in, so that its fate can be chosen.


def chatty(values, replica, root, number, core, messages):
    """A worker that talks without a pause of half a second until all others have been here; or for a minute."""
    here = Path(root)
    here.mkdir(parents=True, exist_ok=True)
    if number == 0:
        until = time.monotonic() + 60.0
        while time.monotonic() < until and len(list(here.glob("*.was"))) < 3:
            messages.put(Message(number, "stage", "talk"))
            time.sleep(0.05)
    (here / f"{number}.was").touch()
    messages.put(Message(number, "done", len(list(here.glob("*.was")))))


def dying(values, replica, root, number, core, messages):
    """A worker of which one is killed by the system before it has said anything."""
    if number == 1:
        os._exit(9)
    messages.put(Message(number, "done", core))


@pytest.fixture
def jobs(files, tmp_path):
    return load_study(files, [], tmp_path / "runs").jobs


def test_a_worker_that_dies_is_told_and_the_others_finish(jobs, monkeypatch):
    monkeypatch.setattr(dropsim.study, "_worker", dying)
    messages = list(carry_out_all(jobs[:4], workers=2))
    assert sorted(m.job for m in messages if m.kind == "done") == [0, 2, 3]
    (failed,) = (m for m in messages if m.kind == "failed")
    assert failed.job == 1
    text, status = failed.value
    assert "ended with code 9" in text
    assert status == 4


def test_a_core_that_is_free_takes_the_next_job_at_once(jobs, monkeypatch):
    """Though another worker never pauses."""
    monkeypatch.setattr(dropsim.study, "_worker", chatty)
    done = {m.job: m.value for m in carry_out_all(jobs[:4], workers=2) if m.kind == "done"}
    assert sorted(done) == [0, 1, 2, 3]
    assert done[0] == 4  # the others had come and gone while it was talking


def test_closing_ends_the_workers(jobs, monkeypatch):
    monkeypatch.setattr(dropsim.study, "_worker", chatty)
    before = {p.pid for p in multiprocessing.active_children()}
    with contextlib.closing(carry_out_all(jobs[:2], workers=2)) as messages:
        next(messages)
    deadline = time.monotonic() + 10
    while {p.pid for p in multiprocessing.active_children()} - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not {p.pid for p in multiprocessing.active_children()} - before


def test_one_by_one_reports_a_failure_and_goes_on(jobs, monkeypatch):
    def carry_out(job, tell):
        tell("stage", "begun")
        if job is jobs[0]:
            raise TrajectoryError("the disk is full")
        tell("done", str(job.folder))

    monkeypatch.setattr(dropsim.study, "carry_out", carry_out)
    messages = list(carry_out_all(jobs[:2], workers=1))
    assert [(m.job, m.kind) for m in messages] == [(0, "stage"), (0, "failed"), (1, "stage"), (1, "done")]
    assert messages[1].value == ("the disk is full", 5)


def test_a_defect_is_not_taken_for_a_failed_run(jobs, monkeypatch):
    def carry_out(job, tell):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(dropsim.study, "carry_out", carry_out)
    with pytest.raises(ZeroDivisionError):
        list(carry_out_all(jobs[:1]))


def test_cores_are_those_of_this_process():
    assert available_cores()
    assert all(core >= 0 for core in available_cores())
