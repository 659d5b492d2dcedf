"""Steps per second, compile time and memory of dropsim's main job, and where the time goes.

    PYTHONPATH=.:kernels python benchmarks/engine.py [--quick]

Each figure comes from a process of its own: pinned before jax starts, with a peak memory that is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measure import DISTURBED_CORES, Load, peak_rss_MB, pin, spread, table, write_json_lines

HERE = Path(__file__).resolve().parent
TASKS = ("job", "parts", "scale", "paths")
SIZES = (100, 300, 1000, 3000)


# --- in a process of its own, with jax ----------------------------------------------------------------------


def measure_job(precision: str, repeats: int, quick: bool) -> list[dict[str, Any]]:
    """The stages of the main run one after the other, in chunks as the run makes them (quick: a quarter of one)."""
    from workload import Stretch, built_with, main_config, size_record, timed

    began = time.perf_counter()
    built = built_with(main_config(precision), "chosen")
    build_s = time.perf_counter() - began
    state, system = built.state, built.system
    records = []
    for stage in built.plan:
        n_frames = min(stage.chunk_frames, stage.n_steps // stage.record_steps)
        n_frames = max(1, n_frames // 4) if quick else n_frames
        made = Stretch(state, system, stage, n_frames, stage.record_steps, stage.check_steps)
        figures = timed(made, repeats)
        state, system = made.state, made.system
        records.append(
            {
                "what": "job",
                "stage": stage.name,
                "integrator": stage.integrator,
                "steps_of_stage": stage.n_steps,
                "build_s": round(build_s, 2),
                **size_record(built, made.system),
                **figures,
            }
        )
    return records


def measure_scale(precision: str, repeats: int, n_charges: int, seconds: float) -> list[dict[str, Any]]:
    """Langevin steps of a system of about n_charges at the main run's density, as `build` sets it up."""
    from workload import Stretch, built_with, path_of, scaled_config, size_record, stretch_steps, timed

    began = time.perf_counter()
    built = built_with(scaled_config(n_charges, precision), "chosen")
    build_s = time.perf_counter() - began
    whole = built.composition
    steps = stretch_steps(whole.n_mobile, whole.n_mobile + whole.n_sites, path_of(built.system), seconds)
    made = Stretch(built.state, built.system, built.plan[0], 1, steps, 0)
    figures = timed(made, repeats)
    return [{"what": "scale", "build_s": round(build_s, 2), **size_record(built, made.system), **figures}]


def measure_paths(precision: str, repeats: int, n_charges: int, seconds: float) -> list[dict[str, Any]]:
    """The list against all pairs, in alternation: whatever disturbs one stretch disturbs its neighbour too."""
    from workload import Stretch, built_with, path_of, scaled_config, size_record, speed_record, stretch_steps

    made, built = {}, {}
    for path in ("all pairs", "list"):
        built[path] = built_with(scaled_config(n_charges, precision), path)
        if path_of(built[path].system) != path:
            return [
                {
                    "what": "paths",
                    "n_charges_asked": n_charges,
                    "ratio": None,
                    "note": f"build makes no {path}",
                }
            ]
        whole = built[path].composition
        steps = stretch_steps(whole.n_mobile, whole.n_mobile + whole.n_sites, path, seconds)
        made[path] = Stretch(built[path].state, built[path].system, built[path].plan[0], 1, steps, 0)
    walls: dict[str, list[float]] = {path: [] for path in made}
    with Load() as load:
        for _ in range(repeats):
            for path, one in made.items():
                walls[path].append(one.advance())
    per_step = {path: [wall / made[path].n_steps for wall in walls[path]] for path in made}
    ratios = [a / b for a, b in zip(per_step["all pairs"], per_step["list"], strict=True)]
    records = [
        {
            "what": "paths",
            **size_record(built[path], made[path].system),
            **speed_record(made[path], walls[path], load),
        }
        for path in made
    ]
    for record in records:
        record["list_over_all_pairs"] = round(statistics.median(ratios), 3)
        record["ratio_spread"] = round(spread(ratios), 3)
    return records


def measure_parts(precision: str, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Microseconds of each part of a step of the main run; loops on the device, so no dispatch is counted."""
    from parts import part_loops

    records = []
    for part, per_step, size, loop in part_loops(precision):
        loop(2)  # compilation and warm-up
        n_calls = 8
        while True:
            began = time.perf_counter()
            loop(n_calls)
            wall = time.perf_counter() - began
            if wall > 0.2 * seconds:
                break
            n_calls *= 4
        n_calls = max(1, round(n_calls * seconds / wall))
        with Load() as load:
            walls = []
            for _ in range(repeats):
                began = time.perf_counter()
                loop(n_calls)
                walls.append(time.perf_counter() - began)
        records.append(
            {
                "what": "parts",
                "part": part,
                "us_per_call": float(f"{1e6 * statistics.median(walls) / n_calls:.4g}"),
                "calls_per_step": round(per_step, 4),
                "spread": round(spread(walls), 3),
                **size,
                **load.record(),
            }
        )
    return records


def work(arguments: argparse.Namespace) -> None:
    """One task in this process; prints its records as JSON lines."""
    cores = pin(arguments.cores)
    import jax

    # The time of a compilation is a result here, so none may come from a cache.
    jax.config.update("jax_enable_compilation_cache", False)
    rss_at_start = peak_rss_MB()
    from workload import machine

    precision, repeats, seconds = arguments.precision, arguments.repeats, arguments.seconds
    if arguments.task == "job":
        records = measure_job(precision, repeats, arguments.quick)
    elif arguments.task == "parts":
        records = measure_parts(precision, repeats, seconds / 3)
    elif arguments.task == "scale":
        records = measure_scale(precision, repeats, arguments.n, seconds)
    else:
        records = measure_paths(precision, repeats, arguments.n, seconds)
    common = {
        "precision": precision,
        "peak_rss_MB": round(peak_rss_MB()),
        "rss_of_jax_MB": round(rss_at_start),
        "machine": machine(cores, jax.devices()[0]),
    }
    for record in records:
        print(json.dumps({**record, **common}, allow_nan=False), flush=True)


# --- the one that starts them and writes the tables ---------------------------------------------------------


def plan(quick: bool, n_all: int) -> list[tuple[str, int, int]]:
    """(task, cores, charges) of every process, the most wanted first; cores 0: all."""
    if quick:
        rows = [("job", 1, 0), ("parts", 1, 0), ("paths", 1, 1000)]
        return [*rows, ("scale", 0, 300)] if n_all > 1 else rows
    rows = [("job", 1, 0), ("parts", 1, 0)]
    rows += [("scale", 1, n) for n in SIZES] + [("paths", 1, n) for n in SIZES[1:]]
    if n_all > 1:
        rows += [("job", 0, 0), *(("scale", 0, n) for n in SIZES)]
    return rows


def start(task: str, cores: int, n: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The records of one process. Raises RuntimeError with what it printed where it fails."""
    command = [sys.executable, str(HERE / "engine.py"), "--task", task, "--cores", str(cores), "--n", str(n)]
    command += ["--precision", arguments.precision, "--repeats", str(arguments.repeats)]
    command += ["--seconds", str(arguments.seconds), *(["--quick"] if arguments.quick else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{task}, {n} charges, {cores} cores:\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _size(r: dict[str, Any]) -> str:
    return f"{r['n_mobile']} + {r['n_sites']}"


# Of each table: title, note, which records, and its columns: a heading with a key of the record or a function.
TABLES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "The main run, stage by stage",
        "Stretches of chunks as the run makes them; compilation apart.",
        "job",
        {
            "stage": "stage",
            "cores": lambda r: r["machine"]["cores_used"],
            "beads + sites": _size,
            "path": "path",
            "steps/s": "steps_per_s",
            "ns/day": "ns_per_day",
            "spread": "spread",
            "compile s": "compile_s",
            "peak RSS MB": "peak_rss_MB",
            "disturbed": "disturbed",
        },
    ),
    (
        "Where a step's time goes",
        "Each part alone, in a loop on the device, on one core. Alone and fused they need not add up.",
        "parts",
        {
            "part": "part",
            "us per call": "us_per_call",
            "calls per step": "calls_per_step",
            "us per step": lambda r: r["us_per_call"] * r["calls_per_step"],
            "spread": "spread",
            "disturbed": "disturbed",
        },
    ),
    (
        "Scaling at the main run's density and permittivity",
        "Langevin steps of the first stage without reaction, from the relaxed start.",
        "scale",
        {
            "beads + sites": _size,
            "cores": lambda r: r["machine"]["cores_used"],
            "path": "path",
            "cutoff nm": "cutoff_nm",
            "steps/s": "steps_per_s",
            "10^6 bead-steps/s": lambda r: r["particle_steps_per_s"] / 1e6,
            "spread": "spread",
            "build s": "build_s",
            "compile s": "compile_s",
            "peak RSS MB": "peak_rss_MB",
            "disturbed": "disturbed",
        },
    ),
    (
        "The neighbour list against all pairs",
        "Stretches in alternation; the ratio (above 1: the list is faster) is the median over neighbouring stretches. "
        "Each path has the cutoff and wave vectors that `build` chooses for it.",
        "paths",
        {
            "beads + sites": _size,
            "path": "path",
            "cutoff nm": "cutoff_nm",
            "steps/s": "steps_per_s",
            "list over all pairs": "list_over_all_pairs",
            "spread of ratio": "ratio_spread",
            "disturbed": "disturbed",
        },
    ),
)


def markdown(records: list[dict[str, Any]]) -> str:
    """The records as tables, one for each question."""
    where = records[0]["machine"]
    timings = [r for r in records if "disturbed" in r]
    quiet = [r for r in timings if r["disturbed"] is False]
    out = [
        "# dropsim's own speed",
        "",
        f"{where['cpu']}, {where['cores_of_machine']} cores, {where['platform']} ({where['device']}), "
        f"jax {where['jax']}, Python {where['python']}, {records[0]['precision']}, commit {where['commit'][:12]}.",
        "",
        f"{len(timings) - len(quiet)} of {len(timings)} lines are marked as disturbed: other processes kept more than "
        f"{DISTURBED_CORES:g} cores busy meanwhile, or the system does not tell. Such a line is no figure of "
        "dropsim's speed.",
    ]
    for title, note, what, columns in TABLES:
        rows = [r for r in records if r["what"] == what and "note" not in r]
        if not rows:
            continue
        cells = [[r[c] if isinstance(c, str) else c(r) for c in columns.values()] for r in rows]
        out += ["", f"## {title}", "", note, "", table(list(columns), cells)]
    absent = [f"{r['n_charges_asked']} charges: {r['note']}" for r in records if "note" in r]
    if absent:
        out += ["", "Not compared: " + "; ".join(absent) + "."]
    return "\n".join(out) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="short stretches, few sizes: under 90 s on a quiet machine"
    )
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=int, help="timed stretches (5; quick: 3)")
    parser.add_argument("--seconds", type=float, help="of a stretch (3; quick: 0.5)")
    parser.add_argument("--only", choices=TASKS, action="append", help="these tasks only")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "engine", help="without its ending")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.repeats = arguments.repeats or (3 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (0.5 if arguments.quick else 3.0)
    if arguments.repeats < 3:
        parser.error(f"--repeats {arguments.repeats}: a median and a spread need 3 stretches or more")
    if arguments.task:
        work(arguments)
        return 0
    n_all = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    records: list[dict[str, Any]] = []
    for task, cores, n in plan(arguments.quick, n_all):
        if arguments.only and task not in arguments.only:
            continue
        began = time.perf_counter()
        found = start(task, cores, n, arguments)
        records += found
        marks = ", ".join(f"{r['foreign_cores']}" for r in found if "foreign_cores" in r)
        print(
            f"{task} n={n} cores={cores or 'all'}: {time.perf_counter() - began:.0f} s, foreign cores {marks}",
            flush=True,
        )
        write_json_lines(arguments.out.with_suffix(".jsonl"), records)
    text = markdown(records)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
