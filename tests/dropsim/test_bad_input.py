"""What goes wrong is told in one line with a remedy, has its exit status, and leaves the files readable."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import typer.testing

import dropsim.initial
import dropsim.run
import dropsim.trajectory
from dropsim.build import build, check_sites
from dropsim.checkpoint import CheckpointMismatch
from dropsim.cli import app
from dropsim.config_load import load_config_text
from dropsim.errors import BuildError, SimulationError, TrajectoryError
from dropsim.run import resume_replica, run_replica
from dropsim.run_folder import CHECKPOINT, CONFIG, TRAJECTORY, owned, replica_of
from dropsim.simulate import simulate, with_forces
from dropsim.system import NOT_FINITE
from dropsim.trajectory import open_trajectory

REPOSITORY = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Of a process that finds the packages of this source tree."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "kernels")])}


def shell(*arguments: str | Path):
    """A command line carried out in this process."""
    return typer.testing.CliRunner().invoke(app, [str(a) for a in arguments])


# --- before anything is built -----------------------------------------------------------------------------

BAD = {
    "unknown key": ("box.depth_nm=3", 2, ["box.depth_nm", "lateral_nm"]),
    "wrong type": ("box.height_nm=high", 2, ["box.height_nm", "number"]),
    "negative length": ("box.height_nm=-6.0", 2, ["box.height_nm", "-6"]),
    "zero particles": ("electrolyte.li2s6_count=0", 2, ["li2s6_count", "no particles"]),
    "cutoff": ("electrostatics.cutoff_nm=2.8", 2, ["cutoff_nm", "2.75"]),
    "overlapping rings": ("centres.ring_radius_nm=1.4", 2, ["ring_radius_nm", "1.375"]),
    "net charge": ("centres.slab_net_charge_e=-2.0", 2, ["net_charge", "electrode"]),
    "no room": ("electrolyte.li2s6_count=2000", 3, ["no room", "li2s6_mM"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_experiment_ends_in_a_line_and_its_status(experiment, tmp_path, monkeypatch, case):
    monkeypatch.setattr(dropsim.initial, "INSERTION_TRIES", 100)  # enough to see that there is no room
    override, status, words = BAD[case]
    result = shell("run", experiment, "--set", override, "--out", tmp_path / "runs")
    assert result.exit_code == status, result.output
    for word in words:
        assert word in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_a_file_that_is_not_there(tmp_path):
    result = shell("run", tmp_path / "nothing.toml", "--out", tmp_path)
    assert result.exit_code == 2
    assert "no such file" in result.output


def test_sites_on_top_of_each_other():
    with pytest.raises(BuildError, match="fixed sites 0 and 1 overlap"):
        check_sites(np.array([[0.01, 1.0, 0.0], [5.49, 1.0, 0.0]]), np.array([5.5, 5.5, 6.0]))
    check_sites(np.array([[0.1, 1.0, 0.0], [5.4, 1.0, 0.0]]), np.array([5.5, 5.5, 6.0]))


def test_a_box_too_low_for_its_beads(experiment_text):
    config = load_config_text(experiment_text, overrides=["box.height_nm=0.7"])
    with pytest.raises(BuildError, match="leaves no room"):
        build(config)


# --- in the middle of a run -------------------------------------------------------------------------------


def test_a_time_step_too_large_is_told_and_the_frames_before_it_stay(experiment_text, tmp_path):
    text = experiment_text.replace("timestep_fs = 40.0", "timestep_fs = 400000.0")
    text = text.replace("duration_ps = 2.4\nrecord_every_ps = 0.4\n\n[[stages]]\nname = \"react\"",
                        "duration_ps = 1600.0\nrecord_every_ps = 400.0\n\n[[stages]]\nname = \"react\"")  # fmt: skip
    text = text.replace("chunk_ps = 0.8", "chunk_ps = 400.0").replace("duration_ps = 2.4", "duration_ps = 400.0")
    text = text.replace("record_every_ps = 0.4\n\n[[stages]]\nname = \"measure\"",
                        "record_every_ps = 50.0\n\n[[stages]]\nname = \"measure\"")  # fmt: skip
    text = text[: text.index('[[stages]]\nname = "react"')] + "[kinetics]\nenabled = false\n"
    config = load_config_text(text)
    with pytest.raises(SimulationError, match=r"stage 'measure', between steps .* reduce timestep_fs"):
        run_replica(config, 0, tmp_path)
    (folder,) = tmp_path.iterdir()
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        assert trajectory.n_frames == 8
        assert np.isfinite(trajectory.position()).all()


@pytest.mark.parametrize("height", [-0.1, 6.05, np.nan])
def test_a_bead_beyond_a_wall_is_an_error(experiment_text, monkeypatch, height):
    """The wall's potential is finite there: without a check, the bead would be lost in silence."""
    monkeypatch.setattr(dropsim.build, "relaxed", lambda state, system: (state, system))
    built = build(load_config_text(experiment_text))
    assert not int(with_forces(built.state, built.system).error)
    moved = built.state.position.at[7, 2].set(jnp.float32(height))
    state = with_forces(dataclasses.replace(built.state, position=moved), built.system)
    assert int(state.error) == NOT_FINITE


def test_a_ledger_that_does_not_close_stops_the_run(experiment_text):
    built = build(load_config_text(experiment_text))
    forged = dataclasses.replace(built.state.reaction, injected=jnp.asarray(3, jnp.int32))
    state = dataclasses.replace(built.state, reaction=forged)
    # The electrons are counted from the beads: a count of crossings that is not theirs is noticed at once.
    with pytest.raises(SimulationError, match="ledger does not close"):
        next(iter(simulate(built.system, state, built.plan, start=(2, 0))))


class Cut(Exception):  # noqa: N818
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def interrupted(experiment_text, tmp_path_factory):
    """A run that was cut after its second chunk, to be copied and spoilt."""
    root = tmp_path_factory.mktemp("interrupted")
    left = iter(range(1))

    def progress(_):
        if next(left, None) is None:
            raise Cut

    with pytest.raises(Cut):
        run_replica(load_config_text(experiment_text), 0, root, progress=progress)
    return next(root.iterdir())


@pytest.fixture
def folder(interrupted, tmp_path):
    """A copy of the interrupted run."""
    copy = tmp_path / interrupted.name
    copy.mkdir()
    for file in interrupted.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_a_trajectory_cut_short(folder):
    with open(folder / TRAJECTORY, "r+b") as file:
        file.truncate(3000)
    for command in ("analyze", "resume"):
        result = shell(command, folder)
        assert result.exit_code == 5, result.output
        assert "cut short" in result.output.replace("\n", " ")


def test_a_configuration_changed_since_the_checkpoint(folder):
    values = json.loads((folder / CONFIG).read_text())
    values["electrolyte"]["relative_permittivity_300K"] = 11.0
    (folder / CONFIG).write_text(json.dumps(values))
    before = sorted(folder.parent.iterdir())
    result = shell("resume", folder)
    assert result.exit_code == 5, result.output
    assert "was changed since the run began" in result.output.replace("\n", " ")
    # Nor has another run been started beside it.
    assert sorted(folder.parent.iterdir()) == before
    with pytest.raises(CheckpointMismatch, match="the configuration was changed"):
        resume_replica(folder)


def test_another_version_of_jax(folder, monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    result = shell("resume", folder)
    assert result.exit_code == 5, result.output
    text = result.output.replace("\n", " ")
    assert "jax = " in text
    assert "install the one that wrote it" in text


def test_a_finished_run_is_reused_by_any_version(experiment_text, tmp_path, monkeypatch):
    done = run_replica(load_config_text(experiment_text), 0, tmp_path)
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    assert "complete" in str(resume_replica(done))


def test_a_run_is_not_overwritten(folder, experiment_text):
    with pytest.raises(TrajectoryError, match="holds this run already"):
        run_replica(load_config_text(experiment_text), 0, folder.parent)


def test_a_renamed_folder(folder):
    other = folder.rename(folder.with_name("my-runs"))
    with pytest.raises(TrajectoryError, match="-r0, -r1"):
        replica_of(other)
    result = shell("resume", other)
    assert result.exit_code == 5, result.output
    assert replica_of(Path("a-r3b-00ff-r12")) == 12


def test_no_space_left(experiment, tmp_path, monkeypatch):
    """The third write is refused: one line, status 5, and what was written before opens."""
    writes = []
    write = dropsim.trajectory.TrajectoryWriter.write

    def limited(self, **tables):
        writes.append(1)
        if len(writes) == 3:

            def full(*_):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            monkeypatch.setattr(os, "posix_fallocate", full)
        return write(self, **tables)

    monkeypatch.setattr(dropsim.trajectory.TrajectoryWriter, "write", limited)
    result = shell("run", experiment, "--out", tmp_path / "runs")
    assert result.exit_code == 5, result.output
    assert "No space left" in result.output.replace("\n", " ")
    (folder,) = (p for p in (tmp_path / "runs").iterdir() if p.is_dir())
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        assert trajectory.n_frames == 4
    monkeypatch.undo()
    resume_replica(folder)
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        assert trajectory.n_frames == 20


def test_interrupt(experiment_text, tmp_path):
    """Ctrl-C: status 130, the message names the command that goes on, and it does."""
    file = tmp_path / "long.toml"
    long = experiment_text.replace("duration_ps = 2.4", "duration_ps = 4000.0", 1)
    file.write_text(long[: long.index('[[stages]]\nname = "measure"')] + "[kinetics]\nenabled = false\n")
    runs = tmp_path / "runs"
    # A background job of a shell begins with Ctrl-C ignored, and hands that on.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = f"{listening}; from dropsim.cli import main; main()"
    command = [sys.executable, "-c", start, "run", str(file), "--out", str(runs)]
    with subprocess.Popen(command, env=environment(), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(runs.glob(f"*/{CHECKPOINT}")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        text = process.stderr.read()
        assert process.wait(timeout=60) == 130, text
    assert "interrupted" in text
    assert f"dropsim resume {runs}" in text.replace("\n", " ")
    (folder,) = (p for p in runs.iterdir() if p.is_dir())
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        before = trajectory.n_frames
    reached = []

    def progress(value):
        reached.append(value.done_steps)
        raise Cut

    with pytest.raises(Cut):
        resume_replica(folder, progress=progress)
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        assert trajectory.n_frames >= before
    assert reached[0] > 40


def test_one_writer_at_a_time(tmp_path):
    with owned(tmp_path / "run"):
        second = owned(tmp_path / "run")
        with pytest.raises(TrajectoryError, match="written by another process"):
            second.__enter__()
    with owned(tmp_path / "run"):
        pass  # free again
