"""How far a run is, as a worker tells it. No jax here: the process that only listens need not import it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is: steps of all stages, the rate of the last chunk, and the stage's clock."""

    stage: str
    done_steps: int
    total_steps: int
    steps_per_s: float
    ns_per_day: float


ProgressCallback = Callable[[Progress], None]
