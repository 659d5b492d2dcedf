"""The systems that are timed, and how a stretch of steps is timed: compilation apart, buffers checked."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from dropsim_kernels.integrators import INTEGRATORS
from measure import Load, cpu_model, spread

import dropsim.build
from dropsim import __version__
from dropsim.build import Built, build
from dropsim.config import Config
from dropsim.config_load import load_config
from dropsim.run import source_commit
from dropsim.simulate import Stage, advance, thermalise, with_more_room
from dropsim.system import NEIGHBOR_OVERFLOW, State, System
from dropsim.units import number_density_per_nm3

MAIN_STUDY = Path(__file__).resolve().parents[1] / "experiments" / "droplet" / "centres.toml"
# Nine centres on 11 x 11 nm^2, as a lattice that fills a box of any size.
SCALED_SPACING_NM = 11.0 / 3.0


def machine(cores: list[int], device: Any) -> dict[str, Any]:
    """What a figure depends on besides the code."""
    return {
        "cpu": cpu_model(),
        "cores_of_machine": os.cpu_count(),
        "cores_used": len(cores) or None,
        "platform": device.platform,
        "device": device.device_kind,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "dropsim": __version__,
        "commit": source_commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def main_config(precision: str, method: str = "auto") -> Config:
    """The main run of the droplet study; method: of its Coulomb sum."""
    return load_config(MAIN_STUDY, [f"run.precision={precision}", f"electrostatics.method={method}"])


def scaled_config(n_charges: int, precision: str) -> Config:
    """The main run's electrolyte, permittivity, height and areal density of centres, in a box of another width.

    n_charges: beads and fixed sites together, met to within whole rows of centres.
    """
    # 100 mM Li2S6 over 10 nm, and a centre with its ring of four on each square of the lattice.
    per_square = 3 * number_density_per_nm3(100.0) * 10.0 * SCALED_SPACING_NM**2 + 5
    rows = max(1, round(math.sqrt(n_charges / per_square)))
    lateral = rows * SCALED_SPACING_NM
    return load_config(
        MAIN_STUDY,
        [
            f"run.precision={precision}",
            "run.name=scaled",
            f"box.lateral_nm=[{lateral!r}, {lateral!r}]",
            "centres.arrangement=lattice",
            f"centres.spacing_nm={SCALED_SPACING_NM!r}",
        ],
    )


def built_with(config: Config, path: str, replica: int = 0) -> Built:
    """The built system, with its pairs met as `build` decides ("chosen"), or forced to "all pairs" or "list".

    A forced list still needs `list_pays`, without which a list is no option at that size.
    """
    kept = dropsim.build.ALL_PAIRS_BELOW
    dropsim.build.ALL_PAIRS_BELOW = {"chosen": kept, "all pairs": 10**9, "list": 0}[path]
    try:
        return build(config, replica)
    finally:
        dropsim.build.ALL_PAIRS_BELOW = kept


def path_of(system: System) -> str:
    """How the system meets its pairs."""
    return "list" if system.neighbors.capacity else "all pairs"


class Stretch:
    """A stretch of steps, compiled apart from its timing, that goes on from where it stopped.

    compile_s: seconds of the last compilation; regrown: how often a neighbour list was too small. A stretch
    whose list overflows is repeated with more room, as a run does it, and only the good one is timed.
    """

    def __init__(self, state: State, system: System, stage: Stage, n_frames: int, record_steps: int, check_steps: int):
        self.system = stage.of(system)
        # As at the start of a stage; how long a list lasts depends on the velocities.
        overdamped = INTEGRATORS[stage.integrator].overdamped
        self.state = state if overdamped else thermalise(state, self.system)
        self._shape = (n_frames, record_steps, check_steps)
        self.n_steps = n_frames * record_steps
        self.regrown = 0
        self._compile()
        self.advance()  # warm-up

    def _compile(self) -> None:
        began = time.perf_counter()
        self._run = advance.lower(self.state, self.system, *self._shape).compile()
        self.compile_s = time.perf_counter() - began

    def advance(self) -> float:
        """Seconds of one stretch. Raises RuntimeError where the run breaks: then there is nothing to time."""
        while True:
            began = time.perf_counter()
            after, _, _ = jax.block_until_ready(self._run(self.state, self.system))
            wall = time.perf_counter() - began
            error = int(after.error)
            if error & ~NEIGHBOR_OVERFLOW or self.regrown > 8:
                raise RuntimeError(f"error bits {error} after step {int(self.state.step)}: nothing can be timed")
            if not error:
                self.state = after
                return wall
            self.state, self.system = with_more_room(self.state, self.system)
            self.regrown += 1
            self._compile()


def timed(made: Stretch, repeats: int) -> dict[str, Any]:
    """Median speed of `repeats` stretches, their spread, and what other processes did meanwhile."""
    with Load() as load:
        walls = [made.advance() for _ in range(repeats)]
    return speed_record(made, walls, load)


def speed_record(made: Stretch, walls: list[float], load: Load) -> dict[str, Any]:
    """The timing of a stretch as it stands in a result line."""
    rate = made.n_steps / statistics.median(walls)
    n_mobile = made.state.position.shape[0]
    ns_per_step = float(made.system.timestep) * 1e-3
    return {
        "steps_per_stretch": made.n_steps,
        "walls_s": [round(w, 4) for w in walls],
        "steps_per_s": float(f"{rate:.4g}"),
        "particle_steps_per_s": float(f"{rate * n_mobile:.4g}"),
        "ns_per_day": float(f"{rate * ns_per_step * 86400:.4g}"),
        "spread": round(spread(walls), 3),
        "compile_s": round(made.compile_s, 2),
        "list_regrown": made.regrown,
        **load.record(),
    }


def size_record(built: Built, system: System) -> dict[str, Any]:
    """How large the system is, and how its forces are evaluated."""
    return {
        "n_mobile": built.composition.n_mobile,
        "n_sites": built.composition.n_sites,
        "lateral_nm": round(float(system.box.lengths[0]), 3),
        "path": path_of(system),
        "capacity": system.neighbors.capacity,
        "cutoff_nm": round(float(system.splitting.cutoff), 3),
        "coulomb": built.splitting.method,
        "n_max": list(built.splitting.waves),
    }


def stretch_steps(n_mobile: int, n_charges: int, path: str, seconds: float) -> int:
    """Steps that take about so many seconds on one core; a guess that only sets how long a stretch is."""
    per_step = 5e-5 + n_mobile * (4e-9 * n_charges if path == "all pairs" else 4e-6)
    return max(1, round(seconds / per_step))
