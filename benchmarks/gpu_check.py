"""Whether a GPU gives the same physics as the CPU, and how fast it is.

    PYTHONPATH=.:kernels python benchmarks/gpu_check.py [--quick]

One process holds both devices, so both run the same code. On a machine without a GPU it says so and compares
float32 with float64 on the CPU instead. Exit status 0: every check passed; 1: one failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)  # float32 arrays stay so; float64 is the reference
jax.config.update("jax_enable_compilation_cache", False)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from dropsim_kernels.box import minimum_image  # noqa: E402
from dropsim_kernels.electrostatics.coulomb import fixed_charges  # noqa: E402
from measure import peak_rss_MB, table  # noqa: E402
from scipy import stats  # noqa: E402
from workload import (  # noqa: E402
    Stretch,
    built_with,
    machine,
    main_config,
    path_of,
    scaled_config,
    size_record,
    stretch_steps,
    timed,
)

from dropsim.config import Config  # noqa: E402
from dropsim.observables.droplets import cluster_labels_series, largest_clusters  # noqa: E402
from dropsim.observables.profiles import surface_count  # noqa: E402
from dropsim.simulate import Stage, advance, react, renewed_neighbors, thermalise, with_forces  # noqa: E402
from dropsim.system import State, System  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two things compared: a device and a precision."""

    device: Any
    dtype: np.dtype

    @property
    def name(self) -> str:
        return f"{self.device.platform} {self.dtype.name}"

    def place(self, state: State, system: System) -> tuple[State, System]:
        """The same numbers in this precision on this device, with what is derived from them made anew."""

        def placed(leaf: Any) -> Any:
            if not hasattr(leaf, "dtype"):
                return leaf
            # Rounded to float32 first: both precisions then start from equal numbers.
            host = np.asarray(leaf)
            if host.dtype.kind == "f":
                host = host.astype(np.float32).astype(self.dtype)
            return jax.device_put(host, self.device)

        state, system = jax.tree.map(placed, (state, system))
        charge = system.force_field.charge[system.site_species]
        fixed = fixed_charges(system.site_position, charge, system.box, system.splitting)
        return renewed_neighbors(state, dataclasses.replace(system, fixed_charges=fixed))


def host_build(config: Config, path: str, replica: int = 0) -> tuple[State, System, tuple[Stage, ...]]:
    """A built system, made on the CPU whatever else there is: the start is then the same for both sides."""
    with jax.default_device(jax.devices("cpu")[0]):
        built = built_with(config, path, replica)
    return built.state, built.system, built.plan


def gathered(state: State, system: System, stage: Stage, duration_ps: float) -> tuple[State, System]:
    """The state some picoseconds on, computed on the CPU: beads in contact instead of a relaxed random start."""
    cpu = Side(jax.devices("cpu")[0], np.dtype(np.float32))
    made = Stretch(*cpu.place(state, system), stage, 1, max(1, round(duration_ps / stage.timestep_ps)), 0)
    return made.state, made.system


# --- the checks ---------------------------------------------------------------------------------------------


def compare_forces(first: Side, second: Side, state: State, system: System, limit: float) -> dict[str, Any]:
    """Forces and energy at one configuration.

    Difference of a bead's force relative to the larger of that force and the rms force; the limit is a tenth
    of the force error that the run asks of its Ewald sum, which is all that the physics can notice.
    """
    results = []
    for side in (first, second):
        after = jax.jit(with_forces)(*side.place(state, system))
        results.append((np.asarray(after.force, np.float64), float(after.energy)))
    (force, energy), (reference, reference_energy) = results
    size = np.linalg.norm(reference, axis=1)
    rms = math.sqrt(float(np.mean(size**2)))
    difference = np.linalg.norm(force - reference, axis=1) / np.maximum(size, rms)
    worst = float(difference.max())
    return {
        "check": f"forces, {path_of(system)}, {type(system.splitting).__name__}, {len(size)} beads",
        "max_relative_difference": worst,
        "rms_relative_difference": float(np.sqrt(np.mean(difference**2))),
        "relative_energy_difference": abs(energy - reference_energy) / abs(reference_energy),
        "limit": limit,
        "shown": f"max {worst:.2g} of limit {limit:.2g}",
        "passed": bool(np.all(np.isfinite(force)) and worst < limit),
    }


def compare_paths(first: Side, second: Side, state: State, system: System, stage: Stage) -> dict[str, Any]:
    """The first steps from one state with one key: the noise is the same bits on every device.

    Each step rounds a coordinate of the size of the box some four times, by at most half a unit in the last
    place. The limit for the first 10 steps is the sum of all those roundings on both sides; what 100 steps
    give, where chaos amplifies, is stated without a limit.
    """
    differences = {}
    for n_steps in (1, 10, 100):
        ends = []
        for side in (first, second):
            placed, moved = side.place(state, system)
            placed = jax.jit(with_forces)(placed, moved)
            after, _, _ = advance(placed, stage.of(moved), 1, n_steps, 0)
            ends.append(np.asarray(after.position, np.float64))
        apart = minimum_image(jnp.asarray(ends[0] - ends[1]), _host_box(system))
        differences[n_steps] = float(jnp.max(jnp.abs(apart)))
    unit = float(np.spacing(np.float32(np.max(np.asarray(system.box.lengths)))))
    limit = 2 * 10 * 4 * 0.5 * unit
    return {
        "check": "first 10 steps",
        "max_difference_nm": {str(n): value for n, value in differences.items()},
        "limit_nm": limit,
        "shown": f"after 1, 10, 100 steps: {', '.join(f'{v:.1e}' for v in differences.values())} nm; "
        f"limit at 10: {limit:.1e} nm",
        "passed": differences[10] < limit,
    }


def _host_box(system: System) -> Any:
    return dataclasses.replace(system.box, lengths=jnp.asarray(np.asarray(system.box.lengths, np.float64)))


def compare_reaction(first: Side, second: Side, state: State, system: System) -> dict[str, Any]:
    """One look at the reaction: the droplets are the same ones, and the ledger closes on both sides."""
    droplets, balances, electrons = [], [], []
    for side in (first, second):
        after, record = jax.jit(react)(*side.place(state, system))
        droplets.append(np.asarray(record.info.droplet))
        electrons.append(np.asarray(after.reaction.electrons))
        balances.append(int(electrons[-1].sum()) - int(after.reaction.injected))
    same = bool(np.array_equal(*droplets))
    equal = int((electrons[0] != electrons[1]).sum())
    return {
        "check": "one reaction check",
        "same_droplets": same,
        "ledger_imbalance": balances,
        "beads_with_other_electrons": equal,
        "shown": f"same droplets: {same}; imbalance {balances}; {equal} beads with another electron count",
        "passed": same and balances == [0, 0],
    }


def replica_observables(side: Side, config: Config, replicas: range, n_frames: int) -> np.ndarray:
    """(R, 3): potential energy per bead (kJ/mol), surface count and largest cluster, means of the second half."""
    rows = []
    for replica in replicas:
        state, system, plan = host_build(config, "chosen", replica)
        stage = plan[0]
        placed, system = side.place(state, system)
        placed = jax.jit(with_forces)(thermalise(placed, system), system)
        after, frames, _ = advance(placed, stage.of(system), n_frames, stage.record_steps, 0)
        if int(after.error):
            raise RuntimeError(f"{side.name}, replica {replica}: error bits {int(after.error)}")
        half = slice(n_frames // 2, None)
        position, species = np.asarray(frames.position)[half], np.asarray(frames.species)[half]
        lengths = np.asarray(system.box.lengths, np.float64)
        labels = cluster_labels_series(position, species, lengths)
        rows.append(
            (
                float(np.mean(np.asarray(frames.energy)[half])) / position.shape[1],
                float(np.mean(surface_count(position, species, lengths).beads)),
                float(np.mean([largest_clusters(frame, 1)[0] for frame in labels])),
            )
        )
    return np.array(rows)


def compare_statistics(
    first: Side, second: Side, config: Config, n_replicas: int, n_frames: int
) -> list[dict[str, Any]]:
    """Means over independent replicas (other starts and other noise on either side), by Welch's test.

    t = (m1 - m2) / sqrt(s1^2/R + s2^2/R); the limit on |t| is the two-sided quantile at which one of the three
    observables would exceed it by chance once in a hundred such checks.
    """
    one = replica_observables(first, config, range(n_replicas), n_frames)
    other = replica_observables(second, config, range(n_replicas, 2 * n_replicas), n_frames)
    names = ("potential energy per bead, kJ/mol", "sulfur beads below 1.5 nm", "largest cluster, beads")
    records = []
    for column, name in enumerate(names):
        a, b = one[:, column], other[:, column]
        variances = np.array([a.var(ddof=1), b.var(ddof=1)]) / n_replicas
        error = math.sqrt(float(variances.sum()))
        freedom = (n_replicas - 1) * float(variances.sum() ** 2 / (variances**2).sum())
        limit = float(stats.t.ppf(1 - 0.01 / len(names) / 2, freedom))
        t = float(a.mean() - b.mean()) / error
        records.append(
            {
                "check": name,
                "means": [float(a.mean()), float(b.mean())],
                "combined_standard_error": error,
                "difference_in_standard_errors": t,
                "limit": limit,
                "replicas": n_replicas,
                "shown": f"{a.mean():.4g} and {b.mean():.4g}, standard error {error:.2g}: {t:+.2f} of +-{limit:.2f}",
                "passed": abs(t) < limit,
            }
        )
    return records


# --- speed and memory ---------------------------------------------------------------------------------------


def measure_speed(side: Side, n_charges: int, seconds: float) -> dict[str, Any]:
    """Langevin steps per second of about n_charges at the main run's density."""
    with jax.default_device(jax.devices("cpu")[0]):
        built = built_with(scaled_config(n_charges, "float32"), "chosen")
    stage = built.plan[0]
    placed, system = side.place(built.state, built.system)
    short = Stretch(placed, system, stage, 1, 20, 0)
    whole = built.composition
    guess = stretch_steps(whole.n_mobile, whole.n_mobile + whole.n_sites, path_of(system), seconds)
    steps = max(20, min(20 * guess, round(20 * seconds / short.advance())))
    made = Stretch(short.state, short.system, stage, 1, steps, 0)
    figures = timed(made, 3)
    memory = side.device.memory_stats() or {}
    return {
        "side": side.name,
        **size_record(built, made.system),
        **figures,
        "device_peak_MB_so_far": round(memory["peak_bytes_in_use"] / 1e6) if "peak_bytes_in_use" in memory else None,
        "process_peak_rss_MB_so_far": round(peak_rss_MB()),
    }


def report(result: dict[str, Any]) -> str:
    """The result as text for a screen and a file."""
    checks = [[c["check"], c["shown"], "passed" if c["passed"] else "FAILED"] for c in result["checks"]]
    columns = {
        "side": "side",
        "path": "path",
        "steps/s": "steps_per_s",
        "spread": "spread",
        "compile s": "compile_s",
        "device peak MB": "device_peak_MB_so_far",
        "disturbed": "disturbed",
    }
    speeds = [[f"{s['n_mobile']} + {s['n_sites']}", *(s[key] for key in columns.values())] for s in result["speed"]]
    headings = ["beads + sites", *columns]
    return "\n\n".join(
        [
            f"# {result['first']} against {result['second']}",
            result["statement"],
            table(["check", "found", "verdict"], checks),
            table(headings, speeds),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 short replicas a side, small systems")
    parser.add_argument("--replicas", type=int, help="replicas a side (16; quick: 4)")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_check.json")
    arguments = parser.parse_args()
    quick = arguments.quick
    n_replicas = arguments.replicas or (4 if quick else 16)
    if n_replicas < 3:
        parser.error(f"--replicas {n_replicas}: a standard error needs 3 replicas or more")
    began = time.perf_counter()
    cpu = jax.devices("cpu")[0]
    gpu = next((device for device in jax.devices() if device.platform != "cpu"), None)
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    if gpu is None:
        first, second = Side(cpu, single), Side(cpu, double)
        statement = "No GPU was present: float32 is compared with float64 on the CPU. This says nothing about a GPU."
    else:
        first, second = Side(gpu, single), Side(cpu, single)
        statement = f"{gpu.device_kind} against the CPU of the same machine, both in float32."
    print(statement, flush=True)

    config = main_config("float32")
    limit = 0.1 * config.electrostatics.force_tolerance
    state, system, plan = host_build(config, "chosen")
    state, system = gathered(state, system, plan[0], 36.0)
    large_state, large_system, _ = host_build(scaled_config(1000, "float32"), "chosen")
    mesh_state, mesh_system, _ = host_build(main_config("float32", "mesh"), "chosen")
    checks = [
        compare_forces(first, second, state, system, limit),
        compare_forces(first, second, large_state, large_system, limit),
        compare_forces(first, second, mesh_state, mesh_system, limit),
        compare_paths(first, second, state, system, plan[0]),
        compare_reaction(first, second, state, system),
    ]
    if gpu is not None:
        reference = compare_forces(first, Side(cpu, double), state, system, limit)
        checks.append({**reference, "check": reference["check"] + ", against float64"})
    for check in checks:
        print(f"{check['check']}: {check['shown']}: {'passed' if check['passed'] else 'FAILED'}", flush=True)
    n_frames = 6 if quick else 40
    checks += compare_statistics(first, second, config, n_replicas, n_frames)
    sizes = (300,) if quick else (100, 300, 1000, 3000, 10000) if gpu is not None else (100, 300, 1000)
    sides = (first,) if gpu is None else (first, second)
    speed = [
        measure_speed(side, n, 0.5 if quick else 3.0)
        for n in sizes
        for side in sides
        if n <= 3000 or side.device.platform != "cpu"
    ]
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    result = {
        "gpu": None if gpu is None else gpu.device_kind,
        "statement": statement,
        "first": first.name,
        "second": second.name,
        "quick": quick,
        "passed": all(check["passed"] for check in checks),
        "checks": checks,
        "speed": speed,
        "machine": machine(usable, gpu or cpu),
        "wall_s": round(time.perf_counter() - began, 1),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(report(result))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
