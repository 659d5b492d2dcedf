"""One configuration in LAMMPS: input files, a run of the executable, and what its log says."""

from __future__ import annotations

import math
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np


class Lammps:
    """LAMMPS under MPI on one configuration, in `units lj` with nm, ps, amu and kJ/mol.

    lmp, mpiexec: executables; given: arrays of `peer_systems.save`; folder: for its files; n_ranks: of MPI;
    force_accuracy: of the particle mesh, kJ/(mol nm); cutoff_nm: of the real-space sum.
    """

    def __init__(
        self,
        lmp: str,
        mpiexec: str,
        given: dict[str, np.ndarray],
        folder: Path,
        n_ranks: int,
        force_accuracy: float,
        cutoff_nm: float,
    ):
        self._command = [mpiexec, "-n", str(n_ranks), lmp, "-in", "in.lmp", "-log", "log.lmp", "-screen", "none"]
        self._given, self._folder = given, folder
        self._accuracy, self._cutoff = force_accuracy, cutoff_nm
        self._n_mobile = len(given["species"])
        kinds = np.concatenate([given["species"], given["site_species"]])
        self._kinds, index = np.unique(kinds, return_inverse=True)
        self._type = index + 1
        folder.mkdir(parents=True, exist_ok=True)
        self._write_data()

    def _write_data(self) -> None:
        given = self._given
        position = np.concatenate([given["position"], given["site_position"]])
        lengths = given["lengths"]
        periodic = 2 if given["slab"] else 3
        position[:, :periodic] %= lengths[:periodic]
        low = np.array([0.0, 0.0, -0.5 if given["slab"] else 0.0])
        high = lengths + np.array([0.0, 0.0, 0.1 if given["slab"] else 0.0])
        charge = given["charge"][self._kinds][self._type - 1] * math.sqrt(float(given["coulomb"]))
        number = np.arange(1, len(position) + 1)
        velocity = np.zeros_like(position)
        velocity[: self._n_mobile] = given["velocity"]
        with (self._folder / "data").open("w") as file:
            file.write(f"ions\n\n{len(position)} atoms\n{len(self._kinds)} atom types\n\n")
            for axis, name in enumerate("xyz"):
                file.write(f"{low[axis]:.10g} {high[axis]:.10g} {name}lo {name}hi\n")
            file.write("\nMasses\n\n")
            for number_of_type, kind in enumerate(self._kinds, start=1):
                file.write(f"{number_of_type} {given['mass'][kind]:.8g}\n")
            file.write("\nAtoms # charge\n\n")
            rows = np.column_stack([number, self._type, charge, position])
            np.savetxt(file, rows, fmt="%d %d %.10g %.9g %.9g %.9g")
            file.write("\nVelocities\n\n")
            np.savetxt(file, np.column_stack([number, velocity]), fmt="%d %.8g %.8g %.8g")

    def _head(self, coulomb_only: bool) -> list[str]:
        given = self._given
        slab = bool(given["slab"])
        lines = ["units lj", "atom_style charge", f"boundary p p {'f' if slab else 'p'}", "read_data data"]
        if coulomb_only:
            lines += [f"pair_style coul/long {self._cutoff}", "pair_coeff * *"]
        else:
            lines.append(f"pair_style lj/cut/coul/long {float(given['lennard_jones_cutoff']):.8g} {self._cutoff}")
            for i, a in enumerate(self._kinds, start=1):
                for j, b in enumerate(self._kinds[i - 1 :], start=i):
                    depth = math.sqrt(given["epsilon"][a] * given["epsilon"][b])
                    sigma = (given["sigma"][a] + given["sigma"][b]) / 2
                    lines.append(f"pair_coeff {i} {j} {depth:.9g} {sigma:.9g}")
        lines += ["kspace_style pppm 1e-3", f"kspace_modify force {self._accuracy:.6g}"]
        if slab:
            lines.append("kspace_modify slab 3.0")
        mobile = sorted({int(t) for t in self._type[: self._n_mobile]})
        fixed = [t for t in range(1, len(self._kinds) + 1) if t not in mobile]
        lines += ["neighbor 0.3 bin", "neigh_modify every 1 delay 0 check yes"]
        lines.append("group mobile type " + " ".join(map(str, mobile)))
        if fixed:
            lines.append("group fixed type " + " ".join(map(str, fixed)))
            if not coulomb_only:
                lines.append("neigh_modify exclude group fixed fixed")
        return lines

    def _walls(self) -> list[str]:
        """dropsim's walls: w (3 sqrt 3/2) [(s/z)^9 - (s/z)^3] in the form e [2/15 (S/z)^9 - (S/z)^3]."""
        given = self._given
        lines = []
        for kind in np.unique(given["species"]):
            number = int(np.searchsorted(self._kinds, kind)) + 1
            lines.append(f"group kind{number} type {number}")
            for side, sigma, depth, cutoff in (
                ("zlo 0.0", given["wall_sigma"][kind], given["wall_depth"][kind], float(given["lengths"][2])),
                (
                    f"zhi {given['lengths'][2]:.10g}",
                    given["top_sigma"][kind],
                    given["thermal_energy"],
                    3 ** (1 / 6) * given["top_sigma"][kind],
                ),
            ):
                wide = 7.5 ** (1 / 6) * sigma
                strength = 1.5 * math.sqrt(3) * depth / math.sqrt(7.5)
                name = f"wall{number}{side[:3]}"
                lines.append(f"fix {name} kind{number} wall/lj93 {side} {strength:.9g} {wide:.9g} {cutoff:.9g}")
        return lines

    def _run(self, lines: list[str]) -> str:
        (self._folder / "in.lmp").write_text("\n".join(lines) + "\n", encoding="ascii")
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        done = subprocess.run(
            self._command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False
        )
        log = self._folder / "log.lmp"
        text = log.read_text(encoding="utf-8") if log.exists() else ""
        if done.returncode or "ERROR" in text:
            raise RuntimeError(f"LAMMPS failed: {(done.stdout + done.stderr + text)[-1500:]}")
        return text

    def coulomb_forces(self) -> np.ndarray:
        """Coulomb forces on the mobile ions alone, (N, 3) kJ/(mol nm)."""
        dump = ["dump d all custom 1 forces.txt id fx fy fz", "dump_modify d format float %.12g", "run 0"]
        self._run([*self._head(coulomb_only=True), *dump])
        rows = np.loadtxt(self._folder / "forces.txt", skiprows=9)
        return rows[np.argsort(rows[:, 0])][: self._n_mobile, 1:]

    def speed(self, n_steps: int) -> dict[str, Any]:
        """Seconds of so many steps after a warm-up, and the settings that LAMMPS found."""
        given = self._given
        lines = [*self._head(coulomb_only=False), f"timestep {float(given['timestep']):.8g}", "fix move mobile nve"]
        kT = float(given["thermal_energy"])
        lines.append(f"fix bath mobile langevin {kT:.8g} {kT:.8g} {1 / float(given['friction']):.8g} 4711")
        if given["slab"]:
            lines += self._walls()
        warm = max(10, n_steps // 4)
        lines += ["compute t mobile temp", f"thermo {n_steps}", "thermo_style custom step c_t"]
        log = self._run([*lines, f"run {warm}", f"run {n_steps} pre no"])
        walls = re.findall(r"Loop time of ([0-9.eE+-]+) on", log)
        # Of each rank, on average; ranks that wait for each other count as busy.
        used = re.findall(r"([0-9.]+)% CPU use with (\d+) MPI", log)
        mesh = re.search(r"grid = (\d+) (\d+) (\d+)", log)
        alpha = re.search(r"G vector \(1/distance\) = ([0-9.eE+-]+)", log)
        order = re.search(r"stencil order = (\d+)", log)
        version = re.search(r"LAMMPS \(([^)]*)\)", log)
        temperature = re.findall(r"^\s*\d+\s+([0-9.]+)\s*$", log, re.MULTILINE)
        assert mesh is not None
        assert alpha is not None
        assert order is not None
        assert version is not None
        return {
            "version": version.group(1),
            "alpha": float(alpha.group(1)),
            "mesh": [int(n) for n in mesh.groups()],
            "order": int(order.group(1)),
            "cutoff_nm": self._cutoff,
            "wall_s": float(walls[-1]),
            "cpu_s": float(used[-1][0]) / 100 * int(used[-1][1]) * float(walls[-1]),
            "kinetic_kT": float(temperature[-1]) / kT,
        }
