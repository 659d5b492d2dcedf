"""What the parts of the analysis share: the numbers of one run while they are gathered, and frames in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate
from dropsim.trajectory import Trajectory

Floats = NDArray[np.float64]

# Sulfur beads that make a cluster a droplet worth following; the reaction has its own, larger size.
DROPLET_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Observed:
    """The numbers of one run. estimates: by key; missing: key -> why; curves: arrays for figures, by name;
    facts: plain values (verdicts, counts, ledger errors); timescales: what `timescales.as_summary` makes."""

    estimates: dict[str, Estimate]
    missing: dict[str, str]
    curves: dict[str, np.ndarray]
    facts: dict[str, Any]
    timescales: dict[str, Any]


class Collector:
    """Gathers estimates; what cannot be had is noted with its reason instead of stopping the rest."""

    def __init__(self) -> None:
        self.estimates: dict[str, Estimate] = {}
        self.missing: dict[str, str] = {}
        self.curves: dict[str, np.ndarray] = {}
        self.facts: dict[str, Any] = {}

    def add(self, key: str, estimate: Callable[[], Estimate]) -> Estimate | None:
        """Keep an estimate under a key, or the reason why there is none."""
        try:
            self.estimates[key] = estimate()
        except AnalysisError as error:
            self.missing[key] = str(error)
            return None
        return self.estimates[key]

    def attempt(self, keys: Sequence[str], action: Callable[[], None]) -> None:
        """Run an action that fills several keys; if it cannot, each of them gets the reason."""
        try:
            action()
        except AnalysisError as error:
            for key in keys:
                self.missing[key] = str(error)

    def value(self, key: str) -> float | None:
        """Value of an estimate that is there, else None."""
        found = self.estimates.get(key)
        return None if found is None else found.value


@dataclasses.dataclass(frozen=True)
class Frames:
    """Some frames of a trajectory, in memory. time: (T,) ps; position: (T, N, 3) nm; species: (T, N)."""

    time: Floats
    position: Floats
    species: np.ndarray


def read_frames(trajectory: Trajectory, frames: np.ndarray) -> Frames:
    """The mobile beads of the given frame numbers."""
    return Frames(
        trajectory.time_ps[frames], trajectory.position(frames).astype(np.float64), trajectory.species(frames)
    )
