#!/usr/bin/env python3
"""Set dropsim up and use it, on a machine that has nothing but Python 3.11 or later.

    python3 start.py run  [ARGUMENTS]   the main job: experiments/droplet, or what the arguments name
    python3 start.py test [ARGUMENTS]   style, types and all tests; arguments go to pytest

Both make the environment .venv beside this file on first use, with the versions of constraints.txt, and keep it
up to date with pyproject.toml. Nothing outside this folder is changed but pip's and jax's caches.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
SCRIPTS = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")
LEAST = (3, 11)


def wanted(extras: str) -> str:
    """A mark of what the environment must hold."""
    parts = [
        extras,
        sys.version,
        *((HERE / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def has_nvidia_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU answers."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def prepare(extras: str) -> None:
    """Make .venv, or bring it up to date, unless it is already as wanted."""
    mark, stamp = wanted(extras), ENVIRONMENT / f"dropsim-{extras or 'plain'}.stamp"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == mark and PYTHON.exists():
        return
    print(f"setting up {ENVIRONMENT} (some minutes, once)", flush=True)
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    gpu = "cuda13" if has_nvidia_gpu() else ""
    named = ",".join(name for name in (extras, gpu) if name)
    target = f"{HERE}[{named}]" if named else str(HERE)
    subprocess.run(
        [
            str(PYTHON),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--constraint",
            str(HERE / "constraints.txt"),
            "--editable",
            target,
        ],
        check=True,
    )
    stamp.write_text(mark, encoding="utf-8")


def run(arguments: list[str]) -> int:
    """The main job, or `dropsim` with the given arguments."""
    prepare("")
    command = arguments or ["run", "experiments/droplet"]
    return subprocess.run([str(PYTHON), "-m", "dropsim", *command], cwd=HERE).returncode


def test(arguments: list[str]) -> int:
    """Style, types, tests: all are run, and the first that failed gives the exit status."""
    prepare("test")
    pieces = [
        [str(PYTHON), "-m", "ruff", "check", "."],
        [str(PYTHON), "-m", "ruff", "format", "--check", "."],
        [str(PYTHON), "-m", "pyright", "--pythonpath", str(PYTHON)],
        [str(PYTHON), "-m", "pytest", *(arguments or ["-n", str(min(os.cpu_count() or 1, 8)), "--durations=10"])],
    ]
    codes = [subprocess.run(piece, cwd=HERE).returncode for piece in pieces]
    return next((code for code in codes if code), 0)


def main() -> int:
    if sys.version_info < LEAST:
        print(f"dropsim needs Python {LEAST[0]}.{LEAST[1]} or later; this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    commands = {"run": run, "test": test}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[sys.argv[1]](sys.argv[2:])
    except subprocess.CalledProcessError as error:
        print(f"setting up failed: {' '.join(map(str, error.cmd))} ended with {error.returncode}", file=sys.stderr)
        return error.returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
