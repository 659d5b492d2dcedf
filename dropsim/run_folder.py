"""The folder of one replica: its name, its files, and the configuration that it holds. No jax here."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from dropsim.config import Config, config_hash
from dropsim.config_load import config_from_values
from dropsim.errors import TrajectoryError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
TRAJECTORY, CHECKPOINT, CONFIG, SUMMARY = "trajectory.h5md", "checkpoint.npz", "config.json", "summary.json"


def run_folder(root: Path, config: Config, replica: int) -> Path:
    """Where a replica lives: <name>-<hash of the resolved parameters>-r<replica>."""
    return Path(root) / f"{config.run.name}-{config_hash(config)}-r{replica}"


def replica_of(folder: Path) -> int:
    """The replica that a run folder's name tells. Raises TrajectoryError for a folder that was renamed."""
    name = Path(folder).resolve().name
    match = re.search(r"-r(\d+)$", name)
    if match is None:
        raise TrajectoryError(f"{name} is no run folder's name: give it back the one that ended in -r0, -r1, ...")
    return int(match[1])


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold a run folder for writing; the lock goes with the process, however that ends.

    Raises TrajectoryError if another process writes there, or if the folder cannot be made. Where the system has
    no file locks, nothing is locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / LOCK, "w", encoding="utf-8")  # noqa: SIM115 (closed by the with below)
    except OSError as error:
        raise TrajectoryError(f"{folder} cannot be written ({error.strerror}): check the disk and --out") from error
    with handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TrajectoryError(
                    f"{folder} is being written by another process: wait for it, or end it"
                ) from error
        yield


def read_config(folder: Path) -> Config:
    """The configuration of a run folder. Raises TrajectoryError where it is none."""
    path = Path(folder) / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrajectoryError(f"{folder} is no run folder ({path} cannot be read): name one under runs/") from error
    except json.JSONDecodeError as error:
        raise TrajectoryError(f"{path} is damaged ({error}): start the run again") from error
    return config_from_values(values, str(path))
