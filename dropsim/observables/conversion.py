"""How droplets turn solid: when, how much of them, all together or unit by unit, and what appears first.

Everything is read from the record of the reaction: the table of events (one row per check, droplet and kind) and
the ledger (one row per check).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import LI2S, is_sulfur
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import proportion_estimate

SLOTS = 10
NINETY = 0.9


@dataclasses.dataclass(frozen=True)
class EventTable:
    """Events in order of time, each field (E,): time; kind; droplet (its name); members; count; electrons_before,
    electrons_after (of the whole droplet)."""

    time: NDArray[np.float64]
    kind: NDArray[np.int64]
    droplet: NDArray[np.int64]
    members: NDArray[np.int64]
    count: NDArray[np.int64]
    electrons_before: NDArray[np.int64]
    electrons_after: NDArray[np.int64]

    def of(self, kind: int) -> EventTable:
        """The rows of one kind."""
        rows = self.kind == kind
        return EventTable(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class ConversionTimes:
    """Times of the first conversion, in the unit of the events; None where it did not come to it.

    threshold: the droplet that nucleates first has crossed x_s; nucleation: of Li2S; ninety, full: 90 % and all of
    the largest number of solid units. solid: that number.
    """

    threshold: float | None
    nucleation: float | None
    ninety: float | None
    full: float | None
    solid: int


def conversion_times(
    events: EventTable, nucleation_kind: int, time: ArrayLike, units_converted: ArrayLike, threshold: float
) -> ConversionTimes:
    """When a droplet crossed the threshold, nucleated, and was 90 % and fully converted.

    x(t) = N_e / (M N),  t_s: the last upward crossing of x_s before the nucleation

    events: of the run; nucleation_kind: its number; time, units_converted: (C,) of the ledger; threshold: x_s. The
    last crossing counts, since a droplet that sheds electrons or takes up neutral units may fall below again. Full:
    the first time at which the units reach their largest number, before any of them is dissolved again. Raises
    AnalysisError for ledger columns of different length.
    Validity: resolved to the interval between two checks; with several droplets, full is that of the last.
    """
    clock, solid = np.asarray(time, dtype=np.float64), np.asarray(units_converted, dtype=np.int64)
    if clock.shape != solid.shape or clock.ndim != 1:
        raise AnalysisError(f"time {clock.shape} and units_converted {solid.shape} must be of one length")
    born = events.of(nucleation_kind)
    begin = float(born.time[0]) if born.time.size else None
    crossed = None if begin is None else _crossing(events, int(born.droplet[0]), begin, threshold)
    top = int(solid.max(initial=0))
    if top == 0:
        return ConversionTimes(crossed, begin, None, None, 0)
    return ConversionTimes(
        threshold=crossed,
        nucleation=begin,
        ninety=float(clock[np.argmax(solid >= NINETY * top)]),
        full=float(clock[np.argmax(solid)]),
        solid=top,
    )


def passing_times(
    time: ArrayLike, units_converted: ArrayLike, start: float, shares: tuple[float, ...] = (0.1, 0.5, 0.9)
) -> tuple[float, ...]:
    """How long after `start` the solid units reach these shares of their largest number, in the unit of time.

    time, units_converted: (C,) of the ledger; shares: of the largest number, above 0. Raises AnalysisError where
    nothing turned solid. Units that turn one by one, each by ten first-order steps of rate k, pass 0.1, 0.5 and 0.9 at
    1.58 / k, 2.70 / k and 4.56 / k: (1 - e^{-kt})^10. Validity: resolved to the interval between two checks.
    """
    clock, solid = np.asarray(time, dtype=np.float64), np.asarray(units_converted, dtype=np.int64)
    top = int(solid.max(initial=0))
    if top == 0:
        raise AnalysisError("no unit turned solid")
    return tuple(float(clock[np.argmax(solid >= share * top)]) - start for share in shares)


def _crossing(events: EventTable, droplet: int, until: float, threshold: float) -> float | None:
    """Last upward crossing of the reduced fraction by a droplet up to a time."""
    rows = np.flatnonzero((events.droplet == droplet) & (events.time <= until))
    if not rows.size:
        return None
    full = SLOTS * np.maximum(events.members[rows], 1)
    after = events.electrons_after[rows] / full >= threshold
    below = np.flatnonzero(~after)
    first = int(below[-1]) + 1 if below.size else 0
    if first == len(rows):
        return None
    # Held above the threshold in the first row already: it crossed there only if it came from below.
    if first == 0 and events.electrons_before[rows[0]] / full[0] >= threshold:
        return None
    return float(events.time[rows[first]])


def converted_share(
    labels: ArrayLike, species: ArrayLike, minimum_size: int, *, share: float = 0.5
) -> tuple[int, int, Estimate]:
    """How many of a frame's droplets are converted: (converted, droplets, fraction with Wilson's interval).

    A droplet (at least minimum_size sulfur beads) counts as converted where at least `share` of its units are solid.
    labels, species: (N,) of one frame. Raises AnalysisError where there is no droplet. Validity: droplets count as
    independent.
    """
    label, code = np.asarray(labels), np.asarray(species)
    inside = (label >= 0) & is_sulfur(code)
    size = np.bincount(label[inside])
    solid = np.bincount(label[inside], weights=(code[inside] == LI2S).astype(np.float64), minlength=size.size)
    droplet = size >= minimum_size
    n = int(droplet.sum())
    if n == 0:
        raise AnalysisError(f"no droplet of {minimum_size} or more sulfur beads is left to be converted")
    k = int((solid[droplet] >= share * size[droplet]).sum())
    text = f"{k} of {n} droplets with at least {100 * share:g} % of their units solid"
    return k, n, proportion_estimate(k, n, text)


def collective_share(events: EventTable, conversion_kind: int) -> tuple[int, int, Estimate]:
    """Share of the solid units that turned together in droplets: (in droplets, all, share).

    A unit that shares its electrons with no other is a droplet of one, and turned alone. events: of the run;
    conversion_kind: its number. Error: Wilson's; units of one droplet turn together, so that it is a lower bound.
    Raises AnalysisError where no unit turned.
    """
    turned = events.of(conversion_kind)
    total = int(turned.count.sum())
    if total == 0:
        raise AnalysisError("no unit turned solid")
    together = int(turned.count[turned.members > 1].sum())
    text = f"{together} of {total} solid units turned in a droplet of two or more; units count as independent"
    return together, total, proportion_estimate(together, total, text)


@dataclasses.dataclass(frozen=True)
class Appearance:
    """First times of the intermediate Li2S2 and of solid Li2S, None where it never came; verdict in words."""

    intermediate: float | None
    solid: float | None
    verdict: str


def order_of_appearance(events: EventTable, release_kind: int, conversion_kind: int) -> Appearance:
    """Which appeared first, soluble Li2S2 or solid Li2S.

    events: of the run; release_kind, conversion_kind: numbers of these events. The two-step path of single molecules
    shows Li2S2 first; collective conversion goes to Li2S without it (Zhou et al., Nature 621, 75 (2023),
    doi 10.1038/s41586-023-06326-8, Figs. 2 and 3).
    """
    first = [
        float(rows.time[0]) if rows.time.size else None for rows in map(events.of, (release_kind, conversion_kind))
    ]
    released, turned = first
    if released is None and turned is None:
        text = "neither Li2S2 nor Li2S appeared"
    elif released is None:
        text = "Li2S appeared without Li2S2: single-step"
    elif turned is None:
        text = "Li2S2 appeared, Li2S did not"
    elif released < turned:
        text = f"Li2S2 appeared {turned - released:g} before Li2S: two-step"
    elif released > turned:
        text = f"Li2S appeared {released - turned:g} before Li2S2"
    else:
        text = "Li2S2 and Li2S appeared within one check"
    return Appearance(released, turned, text)


def cumulative_events(events: EventTable, kinds: ArrayLike, time: ArrayLike) -> NDArray[np.int64]:
    """Number of events of each kind up to each time: counts summed, (K, C).

    kinds: (K,) numbers; time: (C,) increasing, of the ledger.
    """
    clock = np.asarray(time, dtype=np.float64)
    out = np.zeros((len(np.asarray(kinds)), clock.size), dtype=np.int64)
    for row, kind in zip(out, np.asarray(kinds), strict=True):
        rows = events.of(int(kind))
        reached = np.searchsorted(rows.time, clock, side="right")
        row[:] = np.concatenate([[0], np.cumsum(rows.count)])[reached]
    return out
