"""dropsim beside LAMMPS and OpenMM: the same configuration, the error of the Coulomb forces measured, then the speed.

PYTHONPATH=.:kernels python benchmarks/peers.py --lmp LMP --mpiexec MPIEXEC --openmm-python PYTHON

One equilibrated configuration for each workload is made with dropsim and kept in --scratch, as is what its tuner found.
Every program's Coulomb forces on it are compared with an exact sum; dropsim's splitting is the fastest one that its
tuner finds at an error no larger than the least of its peers. Then the programs take turns, so that what disturbs one
disturbs all.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measure import Load, pin, spread, table

HERE = Path(__file__).resolve().parent
# Splittings whose forces are timed at each tolerance, tolerances, and splittings that are timed in whole steps.
N_CANDIDATES = 5
N_ROUNDS = 2
N_TRIED = 3


def openmm_record(arguments: argparse.Namespace, configuration: Path, *extra: str) -> dict[str, Any]:
    """One run of OpenMM, as its script reports it."""
    command = [
        arguments.openmm_python, str(HERE / "peer_openmm.py"), str(configuration), "--cutoff", str(arguments.cutoff),
        "--tolerance", str(arguments.openmm_tolerance), "--threads", str(arguments.cores), *extra,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"OpenMM failed: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def tuned(workload: str, n_ions: int, position: Any, error: float, targets: Any, exact: Any):
    """Candidates of dropsim whose measured error is at most `error`, those of least time per step first.

    The estimate of the error keeps a margin, so the tolerance that is asked for is raised until the measured error
    is used up. A list's cost is shared by the steps that it lasts, here five. Returns [(Measured, ms per step)].
    """
    from peer_systems import built_peer, splittings

    from dropsim.tune import measure

    # The estimate's own margin is sqrt(2), of which the choice of whole mesh sizes leaves a part.
    asked = 1.25 * error
    found: dict[Any, tuple[Any, float]] = {}
    for _ in range(N_ROUNDS):
        ratios = []
        for splitting in splittings(workload, n_ions, asked)[:N_CANDIDATES]:
            key = (splitting.cutoff_nm, splitting.order, splitting.waves)
            if key in found:
                continue
            got = measure(splitting, built_peer(workload, n_ions, position, splitting), targets, exact)
            ratios.append(got.error / error)
            found[key] = got, 1e3 * (got.force_s + got.list_s / 5)
            print(
                f"  tried r_c {splitting.cutoff_nm:.2f} mesh {splitting.waves} order {splitting.order}: "
                f"error {got.error:.2e}, {found[key][1]:.1f} ms",
                flush=True,
            )
        if not ratios or min(abs(r - 1) for r in ratios) < 0.03:
            break
        asked /= statistics.median(ratios)
    good = [pair for pair in found.values() if pair[0].error <= error]
    return sorted(good, key=lambda pair: pair[1])


def compare(workload: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One record for each program."""
    import jax
    import numpy as np
    from peer_lammps import Lammps
    from peer_systems import built_peer, equilibrated, save, splittings
    from workload import Stretch, machine

    from dropsim.build import with_splitting
    from dropsim.coulomb_error import exact_coulomb_forces, relative_error, target_beads
    from dropsim.simulate import renewed_neighbors
    from dropsim.splitting import Splitting

    n_ions = arguments.ions
    configuration = arguments.scratch / f"{workload}-{n_ions}.npz"
    if not configuration.exists():
        print(f"{workload}: equilibrating {n_ions} ions", flush=True)
        arguments.scratch.mkdir(parents=True, exist_ok=True)
        save(configuration, equilibrated(workload, n_ions, arguments.equilibration))
    with np.load(configuration) as stored:
        given = dict(stored)
    slab = bool(given["slab"])

    first = splittings(workload, n_ions, 1e-3)[0]
    built = built_peer(workload, n_ions, given["position"], first)
    targets = target_beads(n_ions)
    # Forces on the same positions: float32, as dropsim has them.
    exact = exact_coulomb_forces(built.state, built.system, targets)
    rms = float(given["coulomb"]) * float(np.sqrt((exact**2).sum(1).mean()))

    def error_of(forces: Any) -> float:
        deviation = forces[targets] / float(given["coulomb"]) - exact
        return float(np.sqrt((deviation**2).sum() / (exact**2).sum()))

    runs: dict[str, Callable[[], dict[str, Any]]] = {}
    errors: dict[str, float] = {}
    if arguments.lmp:
        accuracy = arguments.lammps_accuracy * rms
        lammps = Lammps(
            arguments.lmp, arguments.mpiexec, given, arguments.scratch / f"lammps-{workload}", arguments.cores,
            accuracy, arguments.cutoff,
        )  # fmt: skip
        errors["LAMMPS"] = error_of(lammps.coulomb_forces())
        runs["LAMMPS"] = lambda: lammps.speed(arguments.steps // 4)
        print(f"{workload}: LAMMPS, error {errors['LAMMPS']:.2e}", flush=True)
    if arguments.openmm_python and not slab:  # OpenMM has no slab correction of its own
        out = arguments.scratch / "openmm-forces.npy"
        openmm_record(arguments, configuration, "--forces", str(out))
        errors["OpenMM"] = error_of(np.load(out))
        runs["OpenMM"] = lambda: openmm_record(arguments, configuration, "--steps", str(arguments.steps))
        print(f"{workload}: OpenMM, error {errors['OpenMM']:.2e}", flush=True)

    wanted = min(errors.values(), default=1e-3)
    kept = arguments.scratch / f"splitting-{workload}-{n_ions}.json"
    if kept.exists():
        candidates = [Splitting.from_dict(json.loads(kept.read_text(encoding="utf-8")))]
    else:
        measured = tuned(workload, n_ions, given["position"], wanted, targets, exact)[:N_TRIED]
        candidates = [one.splitting for one, _ in measured]
    best = None
    for splitting in candidates:
        start = built_peer(workload, n_ions, given["position"], splitting)
        stage = start.plan[0]
        stretch = Stretch(start.state, start.system, stage, 1, arguments.steps, 0)
        wall = min(stretch.advance() for _ in range(2))
        print(f"  {arguments.steps / wall:.1f} steps/s with {splitting.waves}", flush=True)
        if best is None or wall < best[0]:
            best = wall, splitting, stretch
    if best is None:
        raise RuntimeError(f"no splitting reaches an error of {wanted:.2e}")
    _, splitting, stretch = best
    kept.write_text(json.dumps(splitting.to_dict()), encoding="utf-8")
    # The error of the very list and splitting that are timed.
    state, system = with_splitting(built.state, built.system, splitting)
    state, system = renewed_neighbors(state, system)
    errors["dropsim"] = relative_error(state, system, targets, exact)
    if errors["dropsim"] > wanted:
        raise RuntimeError(f"the splitting of {kept} has an error of {errors['dropsim']:.2e}: delete it to tune again")

    def dropsim_speed() -> dict[str, Any]:
        busy = time.process_time()
        wall = stretch.advance()
        made = stretch.system
        mass = made.mass[stretch.state.species][:, None]
        return {
            "wall_s": wall,
            "cpu_s": time.process_time() - busy,
            "alpha": splitting.splitting_per_nm,
            "mesh": list(splitting.waves),
            "order": splitting.order,
            "cutoff_nm": splitting.cutoff_nm,
            "skin_nm": made.neighbors.skin,
            "capacity": made.neighbors.capacity,
            "kinetic_kT": float((mass * stretch.state.velocity**2).mean() / made.thermal_energy),
        }

    runs = {"dropsim": dropsim_speed, **runs}
    steps = {"dropsim": arguments.steps, "OpenMM": arguments.steps, "LAMMPS": arguments.steps // 4}
    walls: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    foreign: dict[str, list[float]] = {name: [] for name in runs}
    last: dict[str, dict[str, Any]] = {}
    for _ in range(arguments.segments):
        for name, run in runs.items():
            with Load() as load:
                last[name] = run()
            walls[name].append(last[name].pop("wall_s"))
            busy[name].append(last[name].pop("cpu_s"))
            foreign[name].append(-1.0 if load.foreign_cores is None else load.foreign_cores)
            print(f"{workload}: {name} {steps[name] / walls[name][-1]:.1f} steps/s", flush=True)
    about = machine(list(range(arguments.cores)), jax.devices()[0])
    records = []
    for name in runs:
        records.append(
            {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "node": platform.node(),
                "workload": workload,
                "program": name,
                "n_mobile": n_ions,
                "n_sites": len(given["site_species"]),
                "cores": arguments.cores,
                "steps_per_segment": steps[name],
                "walls_s": [round(w, 4) for w in walls[name]],
                "steps_per_s": round(steps[name] / statistics.median(walls[name]), 2),
                # Least, not median: on a shared machine the caches of others only add to it.
                "cpu_ms_per_step": round(1e3 * min(busy[name]) / steps[name], 2),
                "spread": round(spread(walls[name]), 3),
                "force_error": float(f"{errors[name]:.4g}"),
                "foreign_cores": [round(f, 2) for f in foreign[name]],
                **last[name],
                "machine": about,
            }
        )
    return records


def markdown(records: list[dict[str, Any]]) -> str:
    """The table of one session: speeds, errors, settings, and dropsim's speed over that of each peer."""
    own = {r["workload"]: r["steps_per_s"] for r in records if r["program"] == "dropsim"}
    columns = [
        "workload", "program", "steps/s", "dropsim / program", "CPU ms/step", "force error", "cutoff nm", "mesh",
        "order", "spread", "foreign cores",
    ]  # fmt: skip
    rows = [
        [
            r["workload"], r["program"], r["steps_per_s"], own[r["workload"]] / r["steps_per_s"],
            r["cpu_ms_per_step"], f"{r['force_error']:.2e}", r["cutoff_nm"], " x ".join(map(str, r["mesh"])),
            r["order"], r["spread"], ", ".join(f"{f:.2f}" for f in r["foreign_cores"]),
        ]
        for r in records
    ]  # fmt: skip
    return table(columns, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lmp", help="the LAMMPS executable, with KSPACE and MPI; left out: no LAMMPS")
    parser.add_argument("--mpiexec", default="mpiexec")
    parser.add_argument("--openmm-python", help="a Python that has openmm and numpy; left out: no OpenMM")
    parser.add_argument("--workload", choices=("bulk", "slab"), action="append", help="both if left out")
    parser.add_argument("--ions", type=int, default=30000, help="mobile ions, a multiple of 3")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--cutoff", type=float, default=1.5, help="of the peers, nm")
    parser.add_argument("--openmm-tolerance", type=float, default=1e-3)
    parser.add_argument("--lammps-accuracy", type=float, default=1e-3, help="over the rms Coulomb force")
    parser.add_argument("--steps", type=int, default=200, help="of a segment; LAMMPS takes a quarter of them")
    parser.add_argument("--segments", type=int, default=3)
    parser.add_argument("--equilibration", type=int, default=300, help="steps of each of three parts")
    parser.add_argument("--scratch", type=Path, default=Path("scratch-peers"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "peers.jsonl", help="lines are added to it")
    arguments = parser.parse_args()
    if arguments.ions % 3:
        parser.error(f"--ions {arguments.ions}: two Li for every S6, so a multiple of 3")
    arguments.scratch = arguments.scratch.resolve()
    if len(pin(arguments.cores)) < arguments.cores:
        parser.error(f"--cores {arguments.cores}: this process may not use so many")
    records: list[dict[str, Any]] = []
    for workload in arguments.workload or ("bulk", "slab"):
        found = compare(workload, arguments)
        records += found
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record, allow_nan=False) + "\n" for record in found)
    print(markdown(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
