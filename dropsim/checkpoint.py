"""The state of a run in a file of its own, from which a killed run goes on.

A checkpoint is a numpy archive (no pickle) with a checksum of its contents. It is written under a temporary
name and then renamed, so the named file is always whole; the one before it is kept as `<name>_prev`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dropsim.errors import TrajectoryError

FORMAT_VERSION = 1
# What must agree for a resumed run to continue the same numbers, and what to do where it does not.
_IDENTITY = {
    "format_version": "use the version of dropsim that wrote it, or start the run again",
    "config_hash": "the configuration was changed: restore it, or start the run in another folder",
    "dropsim": "install the version that wrote it, or start the run again",
    "jax": "random numbers differ between its versions: install the one that wrote it, or start again",
    "precision": "set run.precision as it was, or start the run again",
}
_PREFIX, _METADATA, _CHECKSUM = "array/", "metadata", "sha256"


class CheckpointMismatch(TrajectoryError):  # noqa: N818
    """A whole checkpoint, but of another run, version or precision than the one that wants to go on."""


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """What `load_checkpoint` returns.

    arrays: name -> array as saved; metadata: plain values as saved; path: the file that was read; note:
    None, or why it was the previous checkpoint (to be shown to the user).
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]
    path: Path
    note: str | None = None


def previous_path(path: str | os.PathLike[str]) -> Path:
    """Where the checkpoint before this one is kept: run/state.npz -> run/state_prev.npz."""
    path = Path(path)
    return path.with_name(f"{path.stem}_prev{path.suffix}")


def save_checkpoint(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write a checkpoint so that at every moment a whole one is on the disk.

    path: its name, ending in .npz; arrays: name -> numeric array of any shape; metadata: JSON values, among
    them "config_hash", "dropsim", "jax" and "precision" (strings), which `load_checkpoint` compares.
    Raises ValueError for object arrays, missing metadata or what JSON cannot hold; TrajectoryError if the
    disk does not take the file (the checkpoints before it stay as they were).
    """
    path = Path(path)
    missing = [key for key in _IDENTITY if key != "format_version" and key not in metadata]
    if missing:
        raise ValueError(f"checkpoint metadata lacks {', '.join(missing)}")
    contents: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            raise ValueError(f"checkpoint array {name!r} has dtype {array.dtype}; numbers and booleans only")
        contents[_PREFIX + name] = array
    text = json.dumps({**metadata, "format_version": FORMAT_VERSION}, allow_nan=False, sort_keys=True)
    contents[_METADATA] = np.frombuffer(text.encode(), dtype=np.uint8)
    contents[_CHECKSUM] = np.frombuffer(_digest(contents), dtype=np.uint8)

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **contents)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous_path(path))
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise TrajectoryError(
            f"{path} could not be written ({reason}); the checkpoints before it are unchanged: "
            "free space or raise the quota, then resume the run"
        ) from error


def load_checkpoint(path: str | os.PathLike[str], expected: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a checkpoint back, or the previous one where it is damaged or missing.

    path: as given to `save_checkpoint`; expected: values that the metadata must have, any of "config_hash",
    "dropsim", "jax", "precision" (and whatever else was saved).
    Returns a `Checkpoint`, with a note if it is the previous one. Raises TrajectoryError if neither file is
    whole, CheckpointMismatch if a whole one is of another run.
    """
    path = Path(path)
    troubles = []
    for candidate in (path, previous_path(path)):
        try:
            arrays, metadata = _read(candidate)
        except Exception as error:  # a damaged archive makes its readers raise nearly anything
            reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
            troubles.append(f"{candidate} {reason}")
            continue
        _compare(candidate, metadata, {"format_version": FORMAT_VERSION, **(expected or {})})
        note = f"{troubles[0]}; going on from {candidate}, the checkpoint before it" if troubles else None
        return Checkpoint(arrays, metadata, candidate, note)
    raise TrajectoryError(f"no whole checkpoint: {'; '.join(troubles)}; start the run again")


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        contents = {name: archive[name] for name in archive.files}  # reading checks the archive's own CRC
    checksum = contents.pop(_CHECKSUM).tobytes()
    if checksum != _digest(contents):
        raise ValueError("its checksum does not agree with its contents")
    metadata = json.loads(contents.pop(_METADATA).tobytes())
    return {name.removeprefix(_PREFIX): array for name, array in contents.items()}, metadata


def _compare(path: Path, metadata: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        if metadata.get(key) != value:
            remedy = _IDENTITY.get(key, "resume the run that wrote it, or start the run again")
            raise CheckpointMismatch(
                f"{path} was written with {key} = {metadata.get(key)!r}, this run has {value!r}; {remedy}"
            )


def _digest(contents: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(contents):
        array = contents[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.digest()


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut; Windows cannot and need not."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
