"""Checkpoints: exact round trip, damage found, the previous one taken, another run refused, kills."""

import errno
import os
import random
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from dropsim.checkpoint import CheckpointMismatch, load_checkpoint, previous_path, save_checkpoint
from dropsim.errors import TrajectoryError

IDENTITY = {"config_hash": "ab12", "dropsim": "0.1.0", "jax": "0.10.1", "precision": "float64"}


def make_arrays(k: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(k)
    return {
        "position": draw.normal(size=(30, 3)),
        "velocity": draw.normal(size=(30, 3)).astype(np.float32),
        "image": draw.integers(-5, 5, (30, 3), dtype=np.int32),
        "neighbors/key": draw.integers(0, 2**32, 2, dtype=np.uint32),
        "overflow": np.array([True, False]),
        "step": np.array(k, dtype=np.int64),
        "empty": np.zeros((0, 3)),
    }


def assert_same(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        assert left[name].shape == right[name].shape
        assert left[name].tobytes() == right[name].tobytes()


def test_every_bit_comes_back(tmp_path):
    path = tmp_path / "state.npz"
    arrays = make_arrays()
    arrays["odd"] = np.array([np.nan, -0.0, np.inf, 5e-324])
    metadata = {**IDENTITY, "rows": {"frames": 12, "series/energy": 400}, "stage": 1}
    save_checkpoint(path, arrays, metadata)
    checkpoint = load_checkpoint(path, IDENTITY)
    assert_same(checkpoint.arrays, arrays)
    assert {key: checkpoint.metadata[key] for key in metadata} == metadata
    assert checkpoint.path == path
    assert checkpoint.note is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.npz"]


def test_the_previous_one_is_kept_and_taken_when_the_last_is_damaged(tmp_path):
    path = tmp_path / "state.npz"
    for k in range(3):
        save_checkpoint(path, make_arrays(k), {**IDENTITY, "k": k})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["state.npz", "state_prev.npz"]
    whole = path.read_bytes()
    damages = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"nothing of the kind",
        "flipped": whole[: len(whole) // 3] + bytes([whole[len(whole) // 3] ^ 1]) + whole[len(whole) // 3 + 1 :],
    }
    for name, data in damages.items():
        path.write_bytes(data)
        checkpoint = load_checkpoint(path, IDENTITY)
        assert checkpoint.metadata["k"] == 1, name
        assert_same(checkpoint.arrays, make_arrays(1))
        assert checkpoint.note is not None
        assert "state.npz is damaged" in checkpoint.note
        assert "state_prev.npz" in checkpoint.note
    path.unlink()
    checkpoint = load_checkpoint(path, IDENTITY)
    assert checkpoint.path == previous_path(path)
    assert checkpoint.note is not None
    assert "is missing" in checkpoint.note


def test_any_flipped_byte_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "state.npz"
    save_checkpoint(path, make_arrays(), IDENTITY)
    whole = path.read_bytes()
    where = np.random.default_rng(3).integers(0, len(whole), 150)
    noticed = 0
    for position in where:
        data = bytearray(whole)
        data[position] ^= 0x10
        path.write_bytes(data)
        try:
            checkpoint = load_checkpoint(path, IDENTITY)
        except TrajectoryError:
            noticed += 1
        else:  # a byte of the archive's own bookkeeping, such as a time stamp
            assert_same(checkpoint.arrays, make_arrays())
    assert noticed > 75


def test_contents_that_do_not_belong_together_are_damage(tmp_path):
    path = tmp_path / "state.npz"
    save_checkpoint(path, make_arrays(), IDENTITY)
    with np.load(path) as archive:
        contents = dict(archive)
    contents["array/position"] = contents["array/position"] + 1e-12  # a valid archive with other contents
    np.savez(path, **contents)
    with pytest.raises(TrajectoryError, match=r"no whole checkpoint.*checksum.*state_prev\.npz is missing"):
        load_checkpoint(path, IDENTITY)


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("config_hash", "ff00", "configuration was changed"),
        ("dropsim", "0.2.0", "install the version"),
        ("jax", "0.11.2", "random numbers differ"),
        ("precision", "float32", r"run\.precision"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, key, value, remedy):
    path = tmp_path / "state.npz"
    save_checkpoint(path, make_arrays(), IDENTITY)
    pattern = rf"state\.npz was written with {key} = '{IDENTITY[key]}', this run has '{value}'; .*{remedy}"
    with pytest.raises(CheckpointMismatch, match=pattern) as caught:
        load_checkpoint(path, {**IDENTITY, key: value})
    assert isinstance(caught.value, TrajectoryError)
    assert isinstance(caught.value, OSError)


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    with monkeypatch.context() as patch:
        patch.setattr("dropsim.checkpoint.FORMAT_VERSION", 2)
        save_checkpoint(path, make_arrays(), IDENTITY)
    with pytest.raises(CheckpointMismatch, match="format_version = 2, this run has 1"):
        load_checkpoint(path)


def test_what_cannot_be_kept_is_refused_before_anything_is_touched(tmp_path):
    path = tmp_path / "state.npz"
    save_checkpoint(path, make_arrays(1), IDENTITY)
    with pytest.raises(ValueError, match="'names' has dtype object"):
        save_checkpoint(path, {"names": np.array([{}], dtype=object)}, IDENTITY)
    with pytest.raises(ValueError, match="lacks jax, precision"):
        save_checkpoint(path, make_arrays(), {"config_hash": "", "dropsim": ""})
    with pytest.raises(ValueError, match="Out of range float values"):
        save_checkpoint(path, make_arrays(), {**IDENTITY, "energy": float("nan")})
    assert_same(load_checkpoint(path).arrays, make_arrays(1))
    assert not previous_path(path).exists()


def test_no_pickle_is_ever_loaded(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, metadata=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TrajectoryError, match="no whole checkpoint"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    for k in range(2):
        save_checkpoint(path, make_arrays(k), IDENTITY)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrajectoryError, match=r"No space left on device.*checkpoints before it are unchanged"):
        save_checkpoint(path, make_arrays(2), IDENTITY)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["state.npz", "state_prev.npz"]
    assert_same(load_checkpoint(path).arrays, make_arrays(1))
    assert_same(load_checkpoint(previous_path(path)).arrays, make_arrays(0))


WRITER = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from test_checkpoint import *
    k = 0
    while True:
        save_checkpoint(sys.argv[1], make_arrays(k), {**IDENTITY, "k": k})
        if k == 0:
            print("go", flush=True)
        k += 1
"""


def test_a_whole_checkpoint_is_there_whenever_the_writer_is_killed(tmp_path):
    moments = random.Random(86)
    last = []
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for trial in range(6):
        path = tmp_path / f"{trial}.npz"
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path), os.path.dirname(__file__)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        time.sleep(moments.uniform(0, 0.2))
        child.kill()
        child.wait()
        child.stdout.close()
        checkpoint = load_checkpoint(path, IDENTITY)
        assert_same(checkpoint.arrays, make_arrays(checkpoint.metadata["k"]))
        last.append(checkpoint.metadata["k"])
    assert len(set(last)) > 2
