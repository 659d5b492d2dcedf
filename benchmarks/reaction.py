"""What a look at the reaction costs beside the time steps between two looks: no, finite and fast hopping.

    PYTHONPATH=.:kernels python benchmarks/reaction.py [--quick]

Each system has a process of its own, in which steps and looks take turns.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import DISTURBED_CORES, Load, peak_rss_MB, pin, spread, table, write_json_lines

HERE = Path(__file__).resolve().parent
SIZES = (1000, 10_000, 100_000)
DENSITIES = {"dense": 2.0, "dilute": 0.06}  # Li2S6 per nm^3: of a droplet, and of 100 mM
SHARINGS = ("mixed", "finite", "none")
STEPS_BETWEEN_LOOKS = 10  # of the droplet study: a look every 0.36 ps, steps of 36 fs
HOPS_PER_LOOK = 100.0
FILLING = 0.15  # of the electron slots, below the threshold of nucleation
GOAL = 0.10  # of the run's time

CONFIG = """
preset = "condensing-100mM"
[run]
name = "reaction"
precision = "{precision}"
chunk_ps = 36.0
[box]
lateral_nm = [{edge!r}, {edge!r}]
height_nm = {edge!r}
[electrolyte]
li2s6_count = {n_salt}
[centres]
arrangement = "lattice"
spacing_nm = {spacing!r}
compensation = "ring"
wired = true
[reaction]
rate_constant_per_ps = 0.0006
check_every_ps = 0.36
[[stages]]
name = "react"
integrator = "baoab"
timestep_fs = 36.0
friction_per_ps = 0.1
duration_ps = 36.0
record_every_ps = 3.6
reaction = true
[kinetics]
enabled = false
"""


# --- in a process of its own, with jax ----------------------------------------------------------------------


def lattice_start(n_salt: int, edge: float):
    """Beads on a lattice, the species mixed at random, moved a little: (3 n_salt, 3) nm, sulfur first."""
    import numpy as np

    random = np.random.default_rng(1)
    low = np.array([0.0, 0.0, 0.6])
    length = np.full(3, edge) - 2 * low
    points = np.ceil(length / (length.prod() / (3 * n_salt)) ** (1 / 3)).astype(int)
    site = random.permutation(int(points.prod()))[: 3 * n_salt]
    place = np.stack(np.unravel_index(site, points), axis=1)
    return low + (place + 0.5) * length / points + random.uniform(-0.02, 0.02, (3 * n_salt, 3))


def built_system(kind: str, n_beads: int, precision: str):
    """The system and its state after some steps, ions having met."""
    from workload import Stretch

    from dropsim.build import build, relaxed
    from dropsim.config_load import load_config_text

    n_salt = n_beads // 3
    edge = (n_salt / DENSITIES[kind]) ** (1 / 3)
    spacing = edge / max(1, round(edge / 2.75))
    text = CONFIG.format(precision=precision, edge=edge, n_salt=n_salt, spacing=spacing)
    built = build(load_config_text(text), position=lattice_start(n_salt, edge))
    state, system = relaxed(built.state, built.system)
    return built, Stretch(state, system, built.plan[0], 1, STEPS_BETWEEN_LOOKS * 5, 0)


def measure_system(kind: str, n_beads: int, precision: str, repeats: int, seconds: float) -> list[dict[str, Any]]:
    """Steps, looks and parts of looks in turns; one record for each kind of look and one for each part."""
    from reaction_looks import looks_of
    from workload import size_record

    built, stretch = built_system(kind, n_beads, precision)
    for _ in range(6 if n_beads <= 10_000 else 2):
        stretch.advance()
    looks, facts = looks_of(stretch.state, stretch.system, SHARINGS, FILLING, HOPS_PER_LOOK)
    calls: dict[str, int] = {}
    for name, look in looks.items():
        look.loop(2)
        calls[name] = repetitions(look.loop, seconds)
    step_walls: list[float] = []
    walls: dict[str, list[float]] = {name: [] for name in looks}
    loads: dict[str, list[float | None]] = {name: [] for name in looks}
    for _ in range(repeats):
        for name, look in looks.items():
            with Load() as load:
                step_walls.append(stretch.advance() / stretch.n_steps)
                began = time.perf_counter()
                look.loop(calls[name])
                walls[name].append((time.perf_counter() - began) / calls[name])
            loads[name].append(load.foreign_cores)
    step_s = statistics.median(step_walls)
    records = []
    for name, look in looks.items():
        look_s = statistics.median(walls[name])
        foreign = [x for x in loads[name] if x is not None]
        records.append(
            {
                "what": look.what,
                "system": kind,
                "look": name,
                "sharing": look.sharing,
                "ms_per_call": float(f"{1e3 * look_s:.4g}"),
                "least_ms_per_call": float(f"{1e3 * min(walls[name]):.4g}"),
                "spread": round(spread(walls[name]), 3),
                "ms_per_step": float(f"{1e3 * step_s:.4g}"),
                "least_ms_per_step": float(f"{1e3 * min(step_walls):.4g}"),
                "step_spread": round(spread(step_walls), 3),
                "look_over_step": float(f"{look_s / step_s:.4g}"),
                "share_of_run": float(f"{look_s / (look_s + STEPS_BETWEEN_LOOKS * step_s):.4g}"),
                "events_per_look": look.events,
                **facts,
                **size_record(built, stretch.system),
                "foreign_cores": round(max(foreign), 2) if foreign else None,
                "disturbed": max(foreign) >= DISTURBED_CORES if foreign else None,
            }
        )
    return records


def repetitions(loop: Callable[[int], None], seconds: float) -> int:
    """How many calls take about so many seconds."""
    n_calls = 2
    while True:
        began = time.perf_counter()
        loop(n_calls)
        wall = time.perf_counter() - began
        if wall > 0.2 * seconds or n_calls > 10**6:
            return max(1, round(n_calls * seconds / wall))
        n_calls *= 4


def work(arguments: argparse.Namespace) -> None:
    """One system in this process; prints its records as JSON lines."""
    cores = pin(arguments.cores)
    import jax
    from workload import machine

    if arguments.precision == "float64":
        jax.config.update("jax_enable_x64", True)
    records = measure_system(arguments.task, arguments.n, arguments.precision, arguments.repeats, arguments.seconds)
    common = {
        "precision": arguments.precision,
        "peak_rss_MB": round(peak_rss_MB()),
        "machine": machine(cores, jax.devices()[0]),
    }
    for record in records:
        print(json.dumps({**record, **common}, allow_nan=False), flush=True)


# --- the one that starts them and writes the tables ---------------------------------------------------------


def start(kind: str, n: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The records of one process. Raises RuntimeError with what it printed where it fails."""
    command = [sys.executable, str(HERE / "reaction.py"), "--task", kind, "--n", str(n)]
    command += ["--cores", str(arguments.cores), "--precision", arguments.precision]
    command += ["--repeats", str(arguments.repeats), "--seconds", str(arguments.seconds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{kind}, {n} beads:\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _goal(record: dict[str, Any]) -> str:
    return "met" if record["share_of_run"] < GOAL else "missed"


def _size(r: dict[str, Any]) -> str:
    return f"{r['n_mobile']} + {r['n_sites']}"


LOOK_COLUMNS: dict[str, Any] = {
    "system": "system",
    "beads + sites": _size,
    "sharing": "sharing",
    "electrons": lambda r: "none" if r["look"].endswith("idle") else "15 % of slots",
    "events per look": "events_per_look",
    "look ms": "ms_per_call",
    "step ms": "ms_per_step",
    "look over step": "look_over_step",
    "share of the run's time": "share_of_run",
    "10 %": _goal,
    "spread": "spread",
    "disturbed": "disturbed",
}
PART_COLUMNS: dict[str, Any] = {
    "system": "system",
    "beads + sites": _size,
    "part": "look",
    "ms": "ms_per_call",
    "spread": "spread",
    "disturbed": "disturbed",
}


def markdown(records: list[dict[str, Any]]) -> str:
    """The records as two tables."""
    where = records[0]["machine"]
    disturbed = sum(r["disturbed"] is not False for r in records)
    cores = where["cores_used"] or where["cores_of_machine"]
    out = [
        "# What the reaction costs",
        "",
        f"{where['cpu']}, {cores} of {where['cores_of_machine']} cores, {where['platform']} ({where['device']}), "
        f"jax {where['jax']}, Python {where['python']}, {records[0]['precision']}, commit {where['commit'][:12]}.",
        "",
        f"{disturbed} of {len(records)} lines are marked as disturbed: other processes kept more than "
        f"{DISTURBED_CORES:g} cores busy meanwhile, or the system does not tell. Such a line is no figure of the cost.",
        "",
        "A look at the reaction (contacts, droplets, events, sharing) and a step of the same system, in turns. "
        f"Share of the run's time: look over look and {STEPS_BETWEEN_LOOKS} steps, as in the droplet study; the goal "
        f"is below {GOAL:.0%}. `dense` has {DENSITIES['dense']:g} Li2S6 per nm^3, as a droplet; `dilute` "
        f"{DENSITIES['dilute']:g}, as 100 mM. Finite hopping has a hop rate of {HOPS_PER_LOOK:g} hops per look: events "
        "are counted one by one, so that its cost grows with their number.",
    ]
    for title, what, columns in (("Looks", "look", LOOK_COLUMNS), ("Parts of a look", "part", PART_COLUMNS)):
        rows = [r for r in records if r["what"] == what]
        cells = [[r[c] if isinstance(c, str) else c(r) for c in columns.values()] for r in rows]
        out += ["", f"## {title}", "", table(list(columns), cells)]
    facts = {(r["system"], r["n_mobile"]): r for r in records}.values()
    columns = ["system", "beads + sites", "contacts of centres", "edges per sulfur bead", "droplets", "largest"]
    names = ("n_contacts", "edges_per_bead", "n_droplets", "largest_droplet")
    cells = [[r["system"], _size(r), *(r[name] for name in names)] for r in facts]
    out += ["", "## The systems", "", table(columns, cells)]
    return "\n".join(out) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a thousand beads, short stretches")
    parser.add_argument("--sizes", type=int, nargs="+", help=f"beads ({', '.join(map(str, SIZES))})")
    parser.add_argument("--systems", choices=tuple(DENSITIES), nargs="+", default=list(DENSITIES))
    parser.add_argument("--cores", type=int, default=0, help="0: all")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=int, help="timed turns (7; quick: 3)")
    parser.add_argument("--seconds", type=float, help="of a loop of looks (0.5; quick: 0.1)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reaction", help="without its ending")
    parser.add_argument("--task", choices=tuple(DENSITIES), help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.repeats = arguments.repeats or (3 if arguments.quick else 7)
    arguments.seconds = arguments.seconds or (0.1 if arguments.quick else 0.5)
    if arguments.task:
        work(arguments)
        return 0
    records: list[dict[str, Any]] = []
    for n in arguments.sizes or (SIZES[:1] if arguments.quick else SIZES):
        for kind in arguments.systems:
            began = time.perf_counter()
            found = start(kind, n, arguments)
            records += found
            worst = max((r["share_of_run"] for r in found if r["what"] == "look"), default=math.nan)
            print(f"{kind} n={n}: {time.perf_counter() - began:.0f} s, largest share {worst:.3f}", flush=True)
            write_json_lines(arguments.out.with_suffix(".jsonl"), records)
    text = markdown(records)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    raise SystemExit(main())
