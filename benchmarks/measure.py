"""What the benchmarks share before and around jax: pinning, the load of other processes, memory, tables.

Nothing here imports jax: a process has to be pinned before jax sizes its thread pools.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# More foreign work than this many cores, on average over the timed stretch, marks a figure as disturbed.
DISTURBED_CORES = 0.15


def pin(n_cores: int) -> list[int]:
    """Keep this process on its last `n_cores` cores (0: all it may use); returns the cores it now has.

    Threads that are started later inherit the mask, so jax makes its pools that large. An empty list: the
    system cannot pin, and the figures are those of all cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    usable = sorted(os.sched_getaffinity(0))
    if 0 < n_cores < len(usable):
        os.sched_setaffinity(0, usable[-n_cores:])
    return sorted(os.sched_getaffinity(0))


def _busy_seconds() -> float | None:
    """Seconds that all cores together were busy since the machine started; None where it cannot be read."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, *interrupts = (float(x) for x in first.split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Load:
    """The mean number of cores that this process and all others kept busy while the block ran.

    After the block: wall_s; own_cores; foreign_cores, None where the system does not tell. Other processes
    share caches and memory bandwidth too, so a figure with foreign work is marked even on a core of its own.
    """

    def __enter__(self) -> Load:
        self._began, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        busy, own = _busy_seconds(), _own_seconds()
        self.wall_s = time.perf_counter() - self._began
        self.own_cores = (own - self._own) / self.wall_s
        self.foreign_cores = None
        if busy is not None and self._busy is not None:
            self.foreign_cores = max(0.0, (busy - self._busy) / self.wall_s - self.own_cores)

    def record(self) -> dict[str, Any]:
        """The load as it stands in a result line."""
        foreign = self.foreign_cores
        return {
            "own_cores": round(self.own_cores, 2),
            "foreign_cores": None if foreign is None else round(foreign, 2),
            "disturbed": None if foreign is None else foreign >= DISTURBED_CORES,
        }


def peak_rss_MB() -> float:
    """The largest resident memory of this process so far, in 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1.0 if platform.system() == "Darwin" else 1024.0) / 1e6


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median: what repeated timings differ by."""
    return (max(values) - min(values)) / statistics.median(values)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; None is shown as a dash."""

    def shown(value: Any) -> str:
        if value is None:
            return "-"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return str(value)

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(shown(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def write_json_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """One record a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")
