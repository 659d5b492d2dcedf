"""What is imposed on the electrode over seconds: held potentials, linear ramps, and open circuit.

A protocol is a sequence of `PotentialStep`. Reduction is E <= E0, oxidation E > E0; a rest is a stretch at open
circuit, where no potential is imposed and no current flows. No jax here: the laws read the numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

HalfCycleKind = Literal["reduction", "oxidation", "rest"]

# Relative slack of times that were made by multiplication, as frame times are.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class PotentialStep:
    """One entry of a protocol: a held potential, a linear ramp, or open circuit.

    potential_V: at its start; duration_s: > 0; potential_end_V: at its end (None: held); open_circuit: no potential is
    imposed, and both potentials mean nothing. Raises ValueError for a duration that is not positive or a potential
    that is not finite.
    """

    potential_V: float
    duration_s: float
    potential_end_V: float | None = None
    open_circuit: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ValueError(f"duration_s is {self.duration_s}: > 0 is allowed")
        for name in ("potential_V", "potential_end_V"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} is {value}: finite is allowed")

    @property
    def end_V(self) -> float:
        """Potential at its end."""
        return self.potential_V if self.potential_end_V is None else self.potential_end_V


class Stretch(NamedTuple):
    """A part of a protocol on one side of E0: the potential is linear from start_V to end_V."""

    start_s: float
    end_s: float
    start_V: float
    end_V: float
    kind: HalfCycleKind


class HalfCycle(NamedTuple):
    """Consecutive stretches of one kind."""

    start_s: float
    end_s: float
    kind: HalfCycleKind


def protocol_duration(protocol: Sequence[PotentialStep]) -> float:
    """End of a protocol that starts at 0, s. Raises ValueError where it is empty."""
    return step_ends(protocol)[-1]


def step_ends(protocol: Sequence[PotentialStep]) -> list[float]:
    """End of each step, s: the running sum of the durations. Raises ValueError for an empty protocol."""
    if not protocol:
        raise ValueError("protocol is empty: give at least one PotentialStep")
    ends, total = [], 0.0
    for step in protocol:
        total += step.duration_s
        ends.append(total)
    return ends


def potential_at(protocol: Sequence[PotentialStep], time_s: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Potential and connection of the electrode at given times.

        E(t) = E_a + (E_b - E_a) (t - t_a) / (t_b - t_a)   within the step from t_a to t_b

    time_s: any shape, s, from 0 to the protocol's end. Returns (potential, V; connected), of that shape; a time at
    which two steps meet belongs to the later one. Where connected is False the potential is the number that the step
    was given, and is imposed on nothing. Raises ValueError for a time outside the protocol.
    """
    times = np.asarray(time_s, dtype=np.float64)
    ends = np.asarray(step_ends(protocol))
    if times.size and not (times.min() >= 0.0 and times.max() <= ends[-1] * (1.0 + _ROUNDING)):
        raise ValueError(f"times run from {times.min()} to {times.max()} s: 0 to {ends[-1]} s is allowed")
    index = np.minimum(np.searchsorted(ends, times, side="right"), len(protocol) - 1)
    duration = np.asarray([step.duration_s for step in protocol])
    first = np.asarray([step.potential_V for step in protocol])
    last = np.asarray([step.end_V for step in protocol])
    share = np.clip((times - (ends - duration)[index]) / duration[index], 0.0, 1.0)
    # Both ends of a ramp, and a held potential, come out to the last bit.
    ramp = (1.0 - share) * first[index] + share * last[index]
    potential = np.where(first[index] == last[index], first[index], ramp)
    connected = ~np.asarray([step.open_circuit for step in protocol])
    return potential, connected[index]


def stretches(protocol: Sequence[PotentialStep], standard_potential_V: float) -> list[Stretch]:
    """Cut a protocol at its steps and where a ramp crosses the standard potential E0.

    Returns stretches in order, from 0 to the end, on none of which E - E0 changes sign; E = E0 counts as reduction.
    Raises ValueError for an empty protocol.
    """
    parts: list[Stretch] = []
    start = 0.0
    for step, end in zip(protocol, step_ends(protocol), strict=True):
        first, last = step.potential_V, step.end_V
        if step.open_circuit:
            parts.append(Stretch(start, end, first, last, "rest"))
        elif (first - standard_potential_V) * (last - standard_potential_V) < 0.0:
            crossing = start + (end - start) * (standard_potential_V - first) / (last - first)
            # A ramp that leaves E0 within a rounding error of its end does not cross it.
            if start < crossing < end:
                parts.append(Stretch(start, crossing, first, standard_potential_V, _kind(first, standard_potential_V)))
                parts.append(Stretch(crossing, end, standard_potential_V, last, _kind(last, standard_potential_V)))
            else:
                middle = 0.5 * (first + last)
                parts.append(Stretch(start, end, first, last, _kind(middle, standard_potential_V)))
        else:
            parts.append(Stretch(start, end, first, last, _kind(0.5 * (first + last), standard_potential_V)))
        start = end
    return parts


def half_cycles(protocol: Sequence[PotentialStep], standard_potential_V: float) -> list[HalfCycle]:
    """Runs of reduction (E <= E0), oxidation (E > E0) and rest (open circuit), in order, from 0 to the end.

    Steps of one kind that follow each other are one half cycle; a ramp is cut where it crosses E0. Raises ValueError
    for an empty protocol.
    """
    found: list[HalfCycle] = []
    for part in stretches(protocol, standard_potential_V):
        if found and found[-1].kind == part.kind:
            found[-1] = HalfCycle(found[-1].start_s, part.end_s, part.kind)
        else:
            found.append(HalfCycle(part.start_s, part.end_s, part.kind))
    return found


def cyclic_voltammetry(
    start_V: float, vertex_V: float, scan_rate_V_per_s: float, n_cycles: int = 1
) -> tuple[PotentialStep, ...]:
    """Ramps from a potential to a vertex and back, n_cycles times, at one scan rate (V/s, > 0).

    Raises ValueError where the potentials are equal, the rate is not positive, or there is no cycle.
    """
    if not (scan_rate_V_per_s > 0 and start_V != vertex_V and n_cycles >= 1):
        raise ValueError("a scan needs two different potentials, a positive scan_rate_V_per_s and at least one cycle")
    duration = abs(vertex_V - start_V) / scan_rate_V_per_s
    there = PotentialStep(start_V, duration, potential_end_V=vertex_V)
    back = PotentialStep(vertex_V, duration, potential_end_V=start_V)
    return (there, back) * n_cycles


def as_step(entry: Any) -> PotentialStep:
    """A step from any object with the same four attributes (an entry of the experiment file)."""
    return PotentialStep(entry.potential_V, entry.duration_s, entry.potential_end_V, entry.open_circuit)


def _kind(potential_V: float, standard_potential_V: float) -> HalfCycleKind:
    return "oxidation" if potential_V > standard_potential_V else "reduction"
