"""Half cycles of many droplets: charge, current, what is left, and how much of the electrode it covers.

Electrons into the droplet count as positive (reduction). Per area of electrode all scales with the number of droplets
on it, which is put in: 1 fA per um^2 is 0.1 uA/cm^2.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim.kinetics.droplet import FEMTOAMPERE_PER_ELECTRON_PER_S, DropletSolution
from dropsim.kinetics.parameters import KineticParameters
from dropsim.kinetics.protocol import HalfCycle, PotentialStep, half_cycles, potential_at

# Of fA per um^2, and of fC per um^2.
UA_PER_CM2 = 0.1
MC_PER_CM2 = 1e-4
UM2_PER_NM2 = 1e-6


@dataclasses.dataclass(frozen=True)
class SaveTimes:
    """Frames joined with the ends of half cycles.

    time_s: (T,) increasing; frames: (F,) where the frames stand in it; parts: the half cycles; ends: (H + 1,) where
    their starts and the last end stand in it.
    """

    time_s: NDArray[np.float64]
    frames: NDArray[np.int64]
    parts: tuple[HalfCycle, ...]
    ends: NDArray[np.int64]


def join_save_times(frame_s: ArrayLike, protocol: Sequence[PotentialStep], standard_potential_V: float) -> SaveTimes:
    """Save times from which both films and exact charges of half cycles can be read.

    frame_s: (F,) increasing from 0, s. An end that is a frame but for rounding is that frame.
    """
    frames = np.asarray(frame_s, dtype=np.float64)
    parts = tuple(half_cycles(protocol, standard_potential_V))
    ends = np.array([0.0, *(part.end_s for part in parts)])
    slack = 1e-9 * ends[-1]
    nearest = frames[np.abs(frames[:, None] - ends[None, :]).argmin(axis=0)]
    ends = np.where(np.abs(nearest - ends) < slack, nearest, ends)
    times = np.unique(np.concatenate([frames, ends]))
    return SaveTimes(times, np.searchsorted(times, frames), parts, np.searchsorted(times, ends))


@dataclasses.dataclass(frozen=True)
class CurrentRecord:
    """Mean current of a droplet over intervals between saves.

    time_s: (T,) middle of each; potential_V: there, nan at open circuit; current_fA: per droplet, mean over
    realisations; standard_error_fA: of that mean; current_uA_per_cm2: of all droplets on the electrode.
    """

    time_s: NDArray[np.float64]
    potential_V: NDArray[np.float64]
    current_fA: NDArray[np.float64]
    standard_error_fA: NDArray[np.float64]
    current_uA_per_cm2: NDArray[np.float64]


def imposed_potential(protocol: Sequence[PotentialStep], time_s: ArrayLike) -> NDArray[np.float64]:
    """E at times, V, nan at open circuit."""
    potential, connected = potential_at(protocol, time_s)
    return np.where(connected, potential, np.nan)


def mean_current(
    droplets: DropletSolution, protocol: Sequence[PotentialStep], droplets_per_um2: float
) -> CurrentRecord:
    """I = e d(injected - ejected)/dt between saves, averaged over realisations.

    droplets: of `simulate_droplets`, counts (K, T + 1); droplets_per_um2: on the electrode, each alike.
    """
    time = droplets.time_s
    net = (droplets.injected_e - droplets.ejected_e).astype(np.float64)
    flow = np.diff(net, axis=-1) / np.diff(time) * FEMTOAMPERE_PER_ELECTRON_PER_S
    middle = 0.5 * (time[1:] + time[:-1])
    mean = flow.mean(axis=0)
    error = flow.std(axis=0, ddof=1) / math.sqrt(len(flow)) if len(flow) > 1 else np.full(mean.shape, np.nan)
    return CurrentRecord(middle, imposed_potential(protocol, middle), mean, error, mean * droplets_per_um2 * UA_PER_CM2)


def half_cycle_rows(
    droplets: DropletSolution, saves: SaveTimes, protocol: Sequence[PotentialStep], parameters: KineticParameters
) -> list[dict[str, Any]]:
    """One row for each half cycle, means over realisations with standard errors.

    kind, start_s, end_s; charge_fC of a droplet and its standard error (exact in each realisation); charge_mC_per_cm2;
    peak_current_fA with peak_time_s and peak_potential_V, of the mean current between saves (None where none flows);
    tenth_time_s and half_time_s, from the start until a tenth and half of a droplet's net charge of the half cycle have
    passed, to a save time, with errors (None where fewer than two droplets passed any); solid_units_at_end and its
    error, droplets_with_solid; covered_share: of the electrode under droplets at the end, if they lie at random,
    1 - exp(-n A) of n droplets per area with the mean projected area A. droplets: saved at
    saves.time_s, counts (K, T).
    """
    net = (droplets.injected_e - droplets.ejected_e).astype(np.float64)
    charge = np.diff(net[:, saves.ends], axis=1) * FEMTOAMPERE_PER_ELECTRON_PER_S
    record = mean_current(droplets, protocol, parameters.droplets_per_um2)
    rows: list[dict[str, Any]] = []
    for k, part in enumerate(saves.parts):
        at = saves.ends[k + 1]
        solid, area = droplets.n_solid[:, at].astype(np.float64), droplets.area_nm2[:, at]
        inside = np.flatnonzero((record.time_s > part.start_s) & (record.time_s < part.end_s))
        peak = None
        if part.kind != "rest" and inside.size:
            forward = record.current_fA[inside] * (1.0 if part.kind == "reduction" else -1.0)
            if forward.max() > 0:
                peak = int(inside[np.argmax(forward)])
        rows.append(
            {
                "kind": part.kind,
                "start_s": part.start_s,
                "end_s": part.end_s,
                "charge_fC": float(charge[:, k].mean()),
                "charge_fC_error": _error(charge[:, k]),
                "charge_mC_per_cm2": float(charge[:, k].mean()) * parameters.droplets_per_um2 * MC_PER_CM2,
                "peak_current_fA": None if peak is None else float(record.current_fA[peak]),
                "peak_time_s": None if peak is None else float(record.time_s[peak]),
                "peak_potential_V": None if peak is None else float(record.potential_V[peak]),
                **_passing(droplets.time_s, net, saves.ends[k], at),
                "solid_units_at_end": float(solid.mean()),
                "solid_units_at_end_error": _error(solid),
                "droplets_with_solid": int((solid > 0).sum()),
                "covered_share": -math.expm1(-float(area.mean()) * parameters.droplets_per_um2 * UM2_PER_NM2),
            }
        )
    return rows


def cycle_rows(droplets: DropletSolution, saves: SaveTimes) -> list[dict[str, Any]]:
    """One row for each reduction and the oxidation after it: charges, and the balance oxidised / reduced.

    reduced_fC, oxidised_fC: both positive, means over realisations; balance: ratio of these means (coulombic
    efficiency) with its standard error, None where nothing was reduced. Rests belong to neither: half cycles of one
    kind with only rests between them count as one.
    """
    net = (droplets.injected_e - droplets.ejected_e).astype(np.float64)
    charge = np.diff(net[:, saves.ends], axis=1) * FEMTOAMPERE_PER_ELECTRON_PER_S
    connected = ((part.kind, k) for k, part in enumerate(saves.parts) if part.kind != "rest")
    groups = [(kind, [k for _, k in same]) for kind, same in itertools.groupby(connected, key=lambda pair: pair[0])]
    rows: list[dict[str, Any]] = []
    for (kind, first), (_, second) in itertools.pairwise(groups):
        if kind != "reduction":
            continue
        reduced, oxidised = charge[:, first].sum(axis=1), -charge[:, second].sum(axis=1)
        mean = float(reduced.mean())
        balance, error = None, None
        if mean > 0:
            balance = float(oxidised.mean()) / mean
            # Of a ratio of means, to first order.
            error = _error((oxidised - balance * reduced) / mean)
        rows.append(
            {
                "cycle": len(rows) + 1,
                "reduced_fC": mean,
                "oxidised_fC": float(oxidised.mean()),
                "balance": balance,
                "balance_error": error,
            }
        )
    return rows


def at_saves(solution: DropletSolution, index: NDArray[np.int64]) -> DropletSolution:
    """The same history at some of its save times. index: (F,) increasing.

    The current of realisations is the mean since the save before, and so is worked out anew.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(solution):
        value = getattr(solution, field.name)
        if field.name == "centroid_nm":
            values[field.name] = None if value is None else value[..., index, :]
        elif field.name in ("nucleation_time_s", "closure_note"):
            values[field.name] = value
        else:
            values[field.name] = value[..., index]
    if solution.current_fA.ndim > 1:
        net = (values["injected_e"] - values["ejected_e"]).astype(np.float64)
        current = np.zeros(net.shape)
        current[..., 1:] = np.diff(net, axis=-1) / np.diff(values["time_s"]) * FEMTOAMPERE_PER_ELECTRON_PER_S
        values["current_fA"] = current
    return DropletSolution(**values)


def _error(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else None


def _passing(time_s: NDArray[np.float64], net: NDArray[np.float64], start: int, end: int) -> dict[str, float | None]:
    """When a tenth and half of each droplet's charge between two saves have passed: means and errors."""
    passed = net[:, start : end + 1] - net[:, start : start + 1]
    moved = passed[:, -1] != 0
    found: dict[str, float | None] = {}
    for name, share in (("tenth", 0.1), ("half", 0.5)):
        few = moved.sum() < 2
        at = np.argmax(passed[moved] / passed[moved, -1:] >= share, axis=1)
        since = time_s[start : end + 1][at] - time_s[start]
        found |= {
            f"{name}_time_s": None if few else float(since.mean()),
            f"{name}_time_s_error": None if few else _error(since),
        }
    return found
