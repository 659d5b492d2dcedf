"""What an electrochemist reads off a current: charges of half cycles, peaks, capacity, balance, coverage.

Pure functions of arrays, for either tier. A row k stands for the interval that ends at time[k]: current[k] is the
mean over it, so that sums of current times interval are exact charges. Electrons into the sulfur count as positive
(reduction); the convention in which cathodic currents are negative is the other sign.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dropsim.errors import AnalysisError
from dropsim.observables.droplets import LI2S, Floats, Integers, checked_frames, is_sulfur, projected_area
from dropsim.units import AVOGADRO_PER_MOL, ELEMENTARY_CHARGE_C

HalfCycleKind = Literal["reduction", "oxidation", "rest"]
FARADAY_C_PER_MOL = ELEMENTARY_CHARGE_C * AVOGADRO_PER_MOL
SULFUR_G_PER_MOL = 32.06
SULFUR_ATOMS_PER_UNIT = 6
PS_PER_S = 1.0e12
FEMTO = 1.0e15
CM2_PER_NM2 = 1.0e-14


def current_fA(electrons_per_ps: ArrayLike) -> Floats:
    """Current in fA of a rate in electrons per ps: 1 e/ps is 1.602e8 fA."""
    return np.asarray(electrons_per_ps, dtype=np.float64) * ELEMENTARY_CHARGE_C * PS_PER_S * FEMTO


def current_density_uA_per_cm2(electrons_per_ps: ArrayLike, area_nm2: float) -> Floats:
    """Current density in uA/cm^2 of a rate in electrons per ps over an electrode of area_nm2.

    Raises AnalysisError for an area that is not positive.
    """
    if not area_nm2 > 0:
        raise AnalysisError(f"area_nm2 is {area_nm2}; give the area of the electrode")
    return current_fA(electrons_per_ps) / FEMTO * 1e6 / (area_nm2 * CM2_PER_NM2)


def charge_mC_per_cm2(electrons: float, area_nm2: float) -> float:
    """Charge density in mC/cm^2 of a number of electrons over an electrode of area_nm2."""
    if not area_nm2 > 0:
        raise AnalysisError(f"area_nm2 is {area_nm2}; give the area of the electrode")
    return electrons * ELEMENTARY_CHARGE_C * 1e3 / (area_nm2 * CM2_PER_NM2)


def capacity_mAh_per_g(electrons: float, n_units: int) -> float:
    """Charge per mass of sulfur: electrons e over n_units of six S atoms, in mAh/g.

    Ten electrons a unit, S6^2- to 6 Li2S, are 1393 mAh/g of sulfur; the 1672 mAh/g of elemental sulfur are sixteen
    for S8. Raises AnalysisError without units.
    """
    if n_units < 1:
        raise AnalysisError("capacity: there is no sulfur to refer the charge to")
    per_mol = electrons / n_units * FARADAY_C_PER_MOL / 3.6
    return per_mol / (SULFUR_ATOMS_PER_UNIT * SULFUR_G_PER_MOL)


@dataclasses.dataclass(frozen=True)
class HalfCycle:
    """A stretch of rows of one kind.

    rows: slice of the arrays; start, end: times of its ends; charge: net through the electrode (current times time);
    peak_current: largest in the direction of the half cycle, of the smoothed current, nan at rest and without current;
    peak_time, peak_potential: of that row (nan where there is none).
    """

    kind: HalfCycleKind
    rows: slice
    start: float
    end: float
    charge: float
    peak_current: float
    peak_time: float
    peak_potential: float


def interval_widths(time: ArrayLike, first: float | None = None) -> Floats:
    """Length of the interval that each row stands for, where rows follow each other without gaps.

    time: (T,) increasing; first: length of the first interval, None for that of the second (time[0] where there is one
    row only). Raises AnalysisError for times that do not increase or a length that is not positive.
    """
    t = np.asarray(time, dtype=np.float64)
    if t.ndim != 1 or t.size == 0 or np.any(np.diff(t) <= 0):
        raise AnalysisError(f"time has shape {t.shape}; give one increasing column with at least one row")
    guess = float(t[1] - t[0]) if t.size > 1 else float(t[0])
    width = guess if first is None else float(first)
    if not width > 0:
        raise AnalysisError(f"the first interval is {width} long; give a positive length")
    return np.concatenate([[width], np.diff(t)])


def passed_charge(time: ArrayLike, current: ArrayLike, width: ArrayLike | None = None) -> Floats:
    """Net charge up to each row: Q_k = sum_{j <= k} I_j w_j, exact for interval means. Returns (T,).

    width: (T,) lengths w of the intervals, None for `interval_widths`.
    """
    w = interval_widths(time) if width is None else np.asarray(width, dtype=np.float64)
    return np.cumsum(np.asarray(current, dtype=np.float64) * w)


def running_mean(values: ArrayLike, rows: int) -> Floats:
    """Centred mean over an odd number of rows, over fewer at the ends. rows = 1: the values themselves."""
    x = np.asarray(values, dtype=np.float64)
    if rows < 1 or rows % 2 == 0:
        raise AnalysisError(f"rows is {rows}; give an odd number of at least 1")
    if rows == 1:
        return x.copy()
    total = np.concatenate([[0.0], np.cumsum(x)])
    index = np.arange(x.size)
    low, high = np.maximum(index - rows // 2, 0), np.minimum(index + rows // 2 + 1, x.size)
    return (total[high] - total[low]) / (high - low)


def half_cycles(
    time: ArrayLike,
    current: ArrayLike,
    potential: ArrayLike,
    *,
    standard_potential: float = 0.0,
    smooth_rows: int = 1,
    width: ArrayLike | None = None,
) -> list[HalfCycle]:
    """Cut a record where the potential crosses E0 or the circuit opens, and read charge and peak of each part.

    Q = sum I w;  peak: extremum of the smoothed current, maximum in reduction (E <= E0), minimum in oxidation

    time, current, potential: (T,), potential nan at open circuit; standard_potential: E0 in V; smooth_rows: odd width
    of the mean that the peak is taken of, within the half cycle; width: (T,) lengths of the intervals, None where rows
    follow each other without gaps. Returns the half cycles in order, with charge in units of current times time. Raises
    AnalysisError for columns of different length.
    Validity: the largest of noisy values lies above the largest mean, by about the noise: smooth over several
    electrons, and compare runs at equal smoothing.
    """
    t, i = np.asarray(time, dtype=np.float64), np.asarray(current, dtype=np.float64)
    e = np.asarray(potential, dtype=np.float64)
    if not (t.shape == i.shape == e.shape):
        raise AnalysisError(f"time {t.shape}, current {i.shape} and potential {e.shape} must be of one length")
    w = interval_widths(t) if width is None else np.asarray(width, dtype=np.float64)
    kind = np.where(np.isnan(e), 2, np.where(e > standard_potential, 1, 0))
    names: tuple[HalfCycleKind, ...] = ("reduction", "oxidation", "rest")
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(kind)) + 1, [t.size]])
    found = []
    for low, high in itertools.pairwise(cuts):
        rows = slice(int(low), int(high))
        name = names[int(kind[low])]
        charge = float(np.sum(i[rows] * w[rows]))
        peak, at, where = math.nan, math.nan, math.nan
        if name != "rest":
            sign = 1.0 if name == "reduction" else -1.0
            smooth = running_mean(i[rows], smooth_rows)
            top = int(np.argmax(sign * smooth))
            # Where no current flows in the direction of the half cycle there is no peak.
            if sign * smooth[top] > 0:
                peak, at, where = float(smooth[top]), float(t[rows][top]), float(e[rows][top])
        found.append(HalfCycle(name, rows, float(t[low] - w[low]), float(t[high - 1]), charge, peak, at, where))
    return found


@dataclasses.dataclass(frozen=True)
class Cycle:
    """A reduction and the oxidation after it.

    reduced, oxidised: charge of each, both positive, in units of current times time; balance: oxidised / reduced
    (coulombic efficiency), nan where nothing was reduced; peak_gap: peak potential of the oxidation minus that of the
    reduction, V, of a ramp (nan at held potentials, where it means nothing).
    """

    reduced: float
    oxidised: float
    balance: float
    peak_gap: float


def cycles(parts: list[HalfCycle], potential: ArrayLike) -> list[Cycle]:
    """Pair every reduction with the next oxidation; rests belong to neither.

    parts: of `half_cycles`; potential: the column that they were cut from. Half cycles of one kind with only rests
    between them count as one, with the larger of their peaks. A last reduction without an oxidation is no cycle.
    """
    e = np.asarray(potential, dtype=np.float64)
    connected = (part for part in parts if part.kind != "rest")
    groups = [list(same) for _, same in itertools.groupby(connected, key=lambda part: part.kind)]
    found: list[Cycle] = []
    for first, second in itertools.pairwise(groups):
        if first[0].kind != "reduction":
            continue
        ramped = all(np.ptp(e[part.rows]) > 0 for part in (*first, *second))
        reduced, oxidised = sum(part.charge for part in first), 0.0 - sum(part.charge for part in second)
        highest, lowest = _highest(first), _highest(second)
        found.append(
            Cycle(
                reduced=reduced,
                oxidised=oxidised,
                balance=oxidised / reduced if reduced > 0 else math.nan,
                peak_gap=lowest.peak_potential - highest.peak_potential if ramped else math.nan,
            )
        )
    return found


def _highest(parts: list[HalfCycle]) -> HalfCycle:
    """The one with the largest peak; those without a peak come last."""
    return max(parts, key=lambda part: 0.0 if math.isnan(part.peak_current) else abs(part.peak_current))


def charge_times(time: ArrayLike, width: ArrayLike, current: ArrayLike, shares: ArrayLike) -> Floats:
    """When shares of a half cycle's net charge have passed, counted from its start.

    t_s = min {t_k : Q_k / Q_end >= s} - (t_0 - w_0),  Q_k = sum_{j <= k} I_j w_j

    time, width, current: (T,) rows of one half cycle, lengths of intervals; shares: (S,), above 0, up to 1. Returns
    (S,); nan where no net charge passed.
    """
    t, w = np.asarray(time, dtype=np.float64), np.asarray(width, dtype=np.float64)
    passed = passed_charge(t, current, w)
    wanted = np.asarray(shares, dtype=np.float64)
    if t.size == 0 or passed[-1] == 0.0:
        return np.full(wanted.shape, np.nan)
    # Back and forth: the first time counts; the slack is for sums of interval means.
    reached = passed[None, :] / passed[-1] >= wanted[:, None] * (1.0 - 1e-9)
    return t[np.argmax(reached, axis=1)] - (t[0] - w[0])


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Share of the electrode's area under sulfur and under solid Li2S, each (T,), 0 to 1."""

    sulfur: Floats
    solid: Floats


def electrode_coverage(
    position: ArrayLike,
    species: ArrayLike,
    lengths: ArrayLike,
    *,
    z_max_nm: float = 1.5,
    sigma_s6_nm: float = 0.60,
    sigma_li2s_nm: float = 0.50,
    grid_spacing_nm: float = 0.08,
) -> Coverage:
    """Share of the electrode that lies under beads whose centres are below z_max_nm.

    theta = (area of the union of discs of radius sigma / 2) / (L_x L_y)

    position: (T, N, 3) nm; species: (T, N); lengths: (3,) nm; small holes between touching beads are filled, see
    `projected_area`. Intermediates count as sulfur. Raises AnalysisError for bad shapes.
    """
    where, code, box = checked_frames(position, species, lengths)
    area = float(box[0] * box[1])
    out = np.zeros((2, len(where)))
    for k, (p, s) in enumerate(zip(where, code, strict=True)):
        near = is_sulfur(s) & (p[:, 2] < z_max_nm)
        for row, mask in zip(out, (near, near & (s == LI2S)), strict=True):
            if mask.any():
                radius = np.where(s[mask] == LI2S, sigma_li2s_nm, sigma_s6_nm) / 2
                row[k] = projected_area(p[mask, :2], box, radius, grid_spacing_nm=grid_spacing_nm) / area
    return Coverage(np.minimum(out[0], 1.0), np.minimum(out[1], 1.0))


def frames_at(frame_time: ArrayLike, times: ArrayLike) -> Integers:
    """Index of the last frame up to each time (the first frame where there is none)."""
    clock = np.asarray(frame_time, dtype=np.float64)
    index = np.searchsorted(clock, np.asarray(times, dtype=np.float64) * (1 + 1e-12), side="right") - 1
    return np.asarray(np.maximum(index, 0), dtype=np.int64)
