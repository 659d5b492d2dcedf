"""A run that was killed, cut anywhere and resumed has the bits of one that was not; and so has a repeated one."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from dropsim_kernels.neighbors import allocate
from dropsim_kernels.neighbors import build as build_list

import dropsim.build
import dropsim.run
from dropsim.build import build
from dropsim.checkpoint import load_checkpoint
from dropsim.config_load import load_config_text
from dropsim.run import resume_replica, run_replica
from dropsim.run_folder import CHECKPOINT, TRAJECTORY
from dropsim.simulate import advance, simulate

REPOSITORY = Path(__file__).resolve().parents[2]
# Chunks of the small experiment: three of each of the first two stages, four of the last.
N_CHUNKS = 10


def datasets(folder: Path) -> dict[str, bytes]:
    """Every dataset of a trajectory, as bytes."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[...]
            found[name] = repr(value).encode() if value.dtype == object else value.tobytes()

    with h5py.File(folder / TRAJECTORY, "r", locking=False) as file:
        file.visititems(visit)
    return found


def assert_same(first: Path, second: Path) -> None:
    """All datasets of two run folders agree bit for bit, and there is something in each kind of them."""
    one, two = datasets(first), datasets(second)
    assert one.keys() == two.keys()
    frames = [f"particles/trajectory/{kind}/value" for kind in ("position", "image", "species", "electrons")]
    tables = [f"dropsim/{name}" for name in ("events/step", "events/electrons_after", "ledger/current", "series/step")]
    for name in [*frames, *tables, "observables/dt/time"]:
        assert one[name], name
    assert [name for name in one if one[name] != two[name]] == []


class Cut(Exception):  # noqa: N818
    """Stands for the end of the process."""


def cut_after(chunks: int):
    """A progress callback that ends a run after so many chunks."""
    left = iter(range(chunks - 1))

    def progress(_: object) -> None:
        if next(left, None) is None:
            raise Cut

    return progress


@pytest.fixture(scope="module")
def config(experiment_text):
    """The small experiment."""
    return load_config_text(experiment_text)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Its uninterrupted run."""
    return run_replica(config, 0, tmp_path_factory.mktemp("whole"))


def test_the_run_is_one_worth_comparing(whole):
    """Electrons came and went, units were converted, beads crossed the boundary, three programs were compiled."""
    with h5py.File(whole / TRAJECTORY, "r", locking=False) as file:
        assert set(file["dropsim/events/kind"][...]) >= {0, 2, 3}
        assert file["dropsim/ledger/units_converted"][-1] > 0
        assert np.abs(file["particles/trajectory/image/value"][...]).max() > 0
        assert len(set(file["observables/stage/value"][...])) == 3


@pytest.mark.parametrize("chunks", [1, 3, 5, 6, 8])
def test_cut_after_a_chunk(config, whole, tmp_path, chunks):
    """Within each kind of stage (1, 5, 8) and between two stages (3, 6)."""
    with pytest.raises(Cut):
        run_replica(config, 0, tmp_path, progress=cut_after(chunks))
    folder = tmp_path / whole.name
    assert resume_replica(folder) is None
    assert_same(folder, whole)


def test_cut_again_and_again(config, whole, tmp_path):
    folder = tmp_path / whole.name
    with pytest.raises(Cut):
        run_replica(config, 0, tmp_path, progress=cut_after(2))
    for _ in range(4):
        with pytest.raises(Cut):
            resume_replica(folder, progress=cut_after(2))
    assert "complete" in str(resume_replica(folder))
    assert_same(folder, whole)


@pytest.mark.parametrize("chunks", [1, 4, 9])
def test_cut_between_the_frames_and_their_checkpoint(config, whole, tmp_path, monkeypatch, chunks):
    """The frames of the chunk are in the file already: they are dropped, and come again."""
    calls = []

    def stop(path, arrays, metadata):
        calls.append(path)
        if len(calls) == chunks:
            raise Cut
        return save(path, arrays, metadata)

    save = dropsim.run.save_checkpoint
    monkeypatch.setattr(dropsim.run, "save_checkpoint", stop)
    with pytest.raises(Cut):
        run_replica(config, 0, tmp_path)
    folder = tmp_path / whole.name
    note = resume_replica(folder)
    assert (note is None) == (chunks > 1)  # before the first checkpoint the run starts again, and says so
    assert_same(folder, whole)


def test_a_damaged_checkpoint_costs_a_chunk_and_no_bit(config, whole, tmp_path):
    with pytest.raises(Cut):
        run_replica(config, 0, tmp_path, progress=cut_after(5))
    folder = tmp_path / whole.name
    with open(folder / CHECKPOINT, "r+b") as file:
        file.truncate(1000)
    assert "damaged" in str(resume_replica(folder))
    assert_same(folder, whole)


# Chunks are slowed down so that a kill from outside lands inside the run, wherever it is then.
SLOW_RUN = """
import sys, time
from pathlib import Path
from dropsim.config_load import load_config
from dropsim.run import run_replica
from dropsim.study import prepare_jax
prepare_jax()
run_replica(load_config(sys.argv[1]), 0, Path(sys.argv[2]), progress=lambda _: time.sleep(0.3))
"""


def environment() -> dict[str, str]:
    """Of a process that finds the packages of this source tree."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "kernels")])}


@pytest.mark.parametrize("delay_s", [0.05, 1.1])
def test_kill_9(experiment, whole, tmp_path, delay_s):
    """SIGKILL after the first checkpoint; `dropsim resume` in another process goes on to the same bits.

    Those processes run jax without double precision, this one with it: that does not matter either.
    """
    command = [sys.executable, "-c", SLOW_RUN, str(experiment), str(tmp_path)]
    folder = tmp_path / whole.name
    with subprocess.Popen(command, env=environment(), cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not (folder / CHECKPOINT).exists():
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    rows = load_checkpoint(folder / CHECKPOINT).metadata["rows"]["frames"]
    assert 0 < rows < 2 * N_CHUNKS
    if delay_s < 1:
        resume_replica(folder)
    else:
        resumed = subprocess.run(
            [sys.executable, "-m", "dropsim", "resume", str(folder)],
            env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert resumed.returncode == 0, resumed.stderr
    assert_same(folder, whole)


def test_the_same_numbers_twice_and_others_for_another_replica(config, whole, tmp_path):
    n_programs = advance._cache_size()
    assert_same(run_replica(config, 0, tmp_path), whole)
    first, second = datasets(run_replica(config, 1, tmp_path)), datasets(whole)
    # A second run and a second replica are the programs of the first: nothing is compiled anew.
    assert advance._cache_size() == n_programs
    for name in ("particles/trajectory/position/value", "dropsim/series/potential_energy"):
        assert first[name] != second[name]
    start = [np.asarray(build(config, replica).state.position) for replica in (0, 1)]
    assert np.abs(start[0] - start[1]).max() > 0.1


def frames_and_checks(built, plan):
    """All frames and reaction records of a plan, joined."""
    chunks = list(simulate(built.system, built.state, plan))

    def joined(*parts):
        return np.concatenate([np.asarray(part) for part in parts])

    frames = jax.tree.map(joined, *[chunk.frames for chunk in chunks])
    checks = jax.tree.map(joined, *[chunk.checks for chunk in chunks if chunk.checks is not None])
    return jax.tree.leaves((frames, checks)), chunks[-1].system


def reacting_only(text: str, duration_ps: float) -> str:
    """The small experiment with its last stage alone."""
    head, *stages = text.split("[[stages]]")
    return head + "[[stages]]" + stages[-1].replace("duration_ps = 3.2", f"duration_ps = {duration_ps}")


@pytest.fixture
def listed(monkeypatch, experiment_text):
    """A configuration on neighbour lists, which small systems do not take by themselves."""
    monkeypatch.setattr(dropsim.build, "ALL_PAIRS_BELOW", 0)
    monkeypatch.setattr(dropsim.build, "list_pays", lambda *_: True)
    monkeypatch.setattr(dropsim.build, "allocate", lambda *given: dataclasses.replace(allocate(*given), capacity=24))
    return load_config_text(reacting_only(experiment_text, 12.0), overrides=["electrostatics.cutoff_nm=1.2"])


@pytest.mark.parametrize("lists", [False, True])
def test_chunks_of_any_length_are_the_same_run(config, request, lists):
    built = build(request.getfixturevalue("listed") if lists else config)
    assert bool(built.system.neighbors.capacity) == lists
    stage = built.plan[-1]
    short = (dataclasses.replace(stage, chunk_frames=2),)
    long = (dataclasses.replace(stage, chunk_frames=stage.n_steps // stage.record_steps),)
    (one, system), (other, _) = frames_and_checks(built, short), frames_and_checks(built, long)
    # Where lists are given more room, sums round otherwise: that is the next test, and must not be this one.
    assert system.neighbors == built.system.neighbors
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lists_that_overflow_are_given_room_and_lose_no_pair(listed, tmp_path, monkeypatch):
    """Cut before and after the overflow, the resumed run has the bits of the uninterrupted one."""

    def without_room(config, replica, position=None, splitting=None):
        """As built, but with rows as wide as the fullest one of the first list."""
        built = build(config, replica, position=position, splitting=splitting)
        neighbors = built.state.neighbors
        n_columns = built.state.position.shape[0] + built.system.site_position.shape[0]
        capacity = int((neighbors.index < n_columns).sum(axis=1).max())
        cut = dataclasses.replace(neighbors, index=neighbors.index[:, :capacity])
        settings = dataclasses.replace(built.system.neighbors, capacity=capacity)
        return dataclasses.replace(
            built,
            state=dataclasses.replace(built.state, neighbors=cut),
            system=dataclasses.replace(built.system, neighbors=settings),
        )

    monkeypatch.setattr(dropsim.run, "build", without_room)
    built = without_room(listed, 0)
    chunks = list(simulate(built.system, built.state, built.plan))
    capacities = [chunk.system.neighbors.capacity for chunk in chunks]
    grown = next(i for i, c in enumerate(capacities) if c > built.system.neighbors.capacity)
    # The list at the end holds what a fresh one would: no pair was lost on the way.
    last = chunks[-1]
    fresh = build_list(
        last.state.neighbors.reference_position, last.system.site_position, last.system.box, last.system.neighbors
    )
    np.testing.assert_array_equal(last.state.neighbors.index, fresh.index)
    whole = run_replica(listed, 0, tmp_path / "whole")
    for n_chunks in {max(grown, 1), grown + 1}:
        root = tmp_path / str(n_chunks)
        with pytest.raises(Cut):
            run_replica(listed, 0, root, progress=cut_after(n_chunks))
        resume_replica(root / whole.name)
        assert_same(root / whole.name, whole)


def test_double_precision(experiment_text, tmp_path):
    config = load_config_text(reacting_only(experiment_text, 3.2), overrides=["run.precision=float64"])
    whole = run_replica(config, 0, tmp_path / "whole")
    with pytest.raises(Cut):
        run_replica(config, 0, tmp_path, progress=cut_after(2))
    resume_replica(tmp_path / whole.name)
    assert_same(tmp_path / whole.name, whole)
    state = load_checkpoint(whole / CHECKPOINT).arrays
    assert state["position"].dtype == state["force"].dtype == np.float64
