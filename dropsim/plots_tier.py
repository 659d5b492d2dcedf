"""The figures of the droplet tier: one droplet through a potential protocol, its realisations, and their current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from dropsim.kinetics.protocol import HalfCycle, PotentialStep, half_cycles, potential_at
from dropsim.observables.diffusion import mean_squared_displacement
from dropsim.plots_style import (
    FITTED,
    INK,
    LIQUID,
    MEASURED,
    MUTED,
    REFERENCE,
    estimate_text,
    figure_style,
    footnote,
    headline,
    known,
    legend_above,
    new_figure,
    number_text,
    save_figure,
)
from dropsim.units import ELEMENTARY_CHARGE_C

FOLDER = "figures"
ELECTRONS_PER_UNIT = 10
# Single realisations drawn as lines; the band is over all of them.
DRAWN = 24
TRACK = "#5B8DB8"
# Weak fills of the half cycles: driving electrons in, and out.
REDUCING, OXIDISING = "#E3ECF5", "#FBE9DD"


class Current(Protocol):
    """What is read of a current: the fields of `CurrentRecord` of the same names."""

    @property
    def time_s(self) -> NDArray[Any]: ...
    @property
    def potential_V(self) -> NDArray[Any]: ...
    @property
    def current_fA(self) -> NDArray[Any]: ...
    @property
    def standard_error_fA(self) -> NDArray[Any]: ...


class Solution(Protocol):
    """What is read of a droplet's history: the fields of `DropletSolution` of the same names."""

    @property
    def time_s(self) -> NDArray[Any]: ...
    @property
    def area_nm2(self) -> NDArray[Any]: ...
    @property
    def n_liquid(self) -> NDArray[Any]: ...
    @property
    def n_electrons(self) -> NDArray[Any]: ...
    @property
    def n_solid(self) -> NDArray[Any]: ...
    @property
    def injected_e(self) -> NDArray[Any]: ...
    @property
    def ejected_e(self) -> NDArray[Any]: ...
    @property
    def nucleation_time_s(self) -> NDArray[Any]: ...
    @property
    def centroid_nm(self) -> NDArray[Any] | None: ...


def electrons_per_unit(solution: Solution) -> NDArray[np.float64]:
    """Electrons per S6 that the droplet holds, (N_e + 10 N_s)/(N + N_s); nan where it holds less than one S6."""
    units = np.asarray(solution.n_liquid, float) + np.asarray(solution.n_solid, float)
    electrons = np.asarray(solution.n_electrons, float) + ELECTRONS_PER_UNIT * np.asarray(solution.n_solid, float)
    return np.where(units >= 1.0, electrons / np.where(units >= 1.0, units, 1.0), np.nan)


def frame_current_fA(solution: Solution) -> NDArray[np.float64]:
    """Current averaged between saves, fA, with the leading axes of the solution: (..., T - 1), from counts.

    A mean field's current at an instant is not used: charging of a small seed is a spike far narrower than a frame.
    """
    net = np.asarray(solution.injected_e, float) - np.asarray(solution.ejected_e, float)
    return np.diff(net, axis=-1) / np.diff(np.asarray(solution.time_s, float)) * ELEMENTARY_CHARGE_C * 1e15


def conversion_end(solution: Solution, share: float = 0.9) -> float | None:
    """First saved time (s) at which `share` of a droplet's units are solid, None if that never is."""
    solid = np.asarray(solution.n_solid, float)
    units = solid + np.asarray(solution.n_liquid, float)
    done = (units >= 1.0) & (solid >= share * units)
    return float(solution.time_s[np.argmax(done)]) if done.any() else None


def event_window(mean: Solution, realisations: Solution | None = None) -> tuple[float, float]:
    """From shortly before the droplet appears to shortly after it has converted (or the end), s."""
    time = np.asarray(mean.time_s, float)
    present = np.flatnonzero(np.asarray(mean.area_nm2, float) > 0)
    if not present.size:
        return float(time[0]), float(time[-1])
    start = float(time[present[0]])
    end = conversion_end(mean)
    if realisations is not None:
        nucleated = np.atleast_1d(np.asarray(realisations.nucleation_time_s, float))
        if np.isfinite(nucleated).any():
            end = max(end or 0.0, float(np.nanmax(nucleated)))
    end = float(time[-1]) if end is None else end
    pad = 0.35 * max(end - start, 4.0 * float(np.median(np.diff(time))))
    return max(start - pad, float(time[0])), min(end + pad, float(time[-1]))


def protocol_steps(protocol: Sequence[Mapping[str, Any]]) -> tuple[PotentialStep, ...]:
    """Steps from rows of potential_V, duration_s and, where they have them, potential_end_V and open_circuit."""
    return tuple(
        PotentialStep(
            float(row["potential_V"]),
            float(row["duration_s"]),
            None if row.get("potential_end_V") is None else float(row["potential_end_V"]),
            bool(row.get("open_circuit", False)),
        )
        for row in protocol
    )


def _potential_text(protocol: Sequence[PotentialStep], part: HalfCycle) -> str:
    """What is imposed during a half cycle, for a label."""
    if part.kind == "rest":
        return "open circuit"
    # Not at the ends, which belong to the neighbours too.
    inside = np.linspace(part.start_s, part.end_s, 402)[1:-1]
    potential = potential_at(protocol, inside)[0]
    low, high = float(potential.min()), float(potential.max())
    values = [low] if high - low < 1e-9 else [low, high]
    # No sign on a zero.
    numbers = [f"{value:+.2f}" if abs(value) >= 0.005 else "0.00" for value in values]
    return f"E = {' to '.join(numbers)} V".replace("-", "−")


def shade_protocol(
    axes: Axes, protocol: Sequence[Mapping[str, Any]], standard_V: float = 0.0, *, named: bool = True
) -> None:
    """Shade the half cycles over a time axis in s, with what is imposed on top of the panel; rests stay white."""
    low, high = axes.get_xlim()
    steps = protocol_steps(protocol)
    for part in half_cycles(steps, standard_V) if steps else ():
        if part.kind != "rest":
            colour = REDUCING if part.kind == "reduction" else OXIDISING
            axes.axvspan(part.start_s, part.end_s, color=colour, linewidth=0, zorder=0)
        left, right = max(part.start_s, low), min(part.end_s, high)
        text = _potential_text(steps, part)
        if named and right - left > 0.0085 * len(text) * (high - low):
            axes.annotate(
                text,
                (0.5 * (left + right), 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, -3),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7.0,
                color=MUTED,
            )
    axes.set_xlim(low, high)


def _band(axes: Axes, time: np.ndarray, values: np.ndarray, colour: str, *, lines: bool = True) -> None:
    """Realisations (K, T): thin lines of the first ones, and the band from 16 to 84 % of all."""
    good = np.isfinite(values).any(axis=0)
    if not good.any():
        return
    if lines:
        paths = [np.column_stack([time, row]) for row in values[:DRAWN]]
        # Many points: as an image inside the SVG, or that would be megabytes.
        axes.add_collection(LineCollection(paths, colors=colour, linewidths=0.4, alpha=0.35, rasterized=True))
    low, high = np.nanquantile(values[:, good], [0.16, 0.84], axis=0)
    axes.fill_between(
        time[good],
        low,
        high,
        color=colour,
        alpha=0.28,
        linewidth=0,
        label=f"16 to 84 % of {len(values)}" if lines else None,
    )


def draw_area(
    axes: Axes,
    mean: Solution,
    realisations: Solution | None,
    protocol: Sequence[Mapping[str, Any]],
    window: tuple[float, float],
    *,
    standard_V: float = 0.0,
    named: bool = True,
) -> None:
    """Projected area against time in a window of the protocol, with the plateaus shaded."""
    time = np.asarray(mean.time_s, float)
    axes.set_xlim(*window)
    top = float(np.max(mean.area_nm2))
    if realisations is not None:
        area = np.asarray(realisations.area_nm2, float)
        _band(axes, time, area, TRACK)
        top = max(top, float(area.max()))
    axes.plot(time, mean.area_nm2, color=INK, linewidth=1.3, label="mean field")
    axes.set_ylim(0.0, 1.3 * top if top > 0 else 1.0)
    axes.set_ylabel("projected area (nm²)")
    axes.set_xlabel("time (s)")
    shade_protocol(axes, protocol, standard_V, named=named)


def _mark_events(axes: Axes, mean: Solution, onset_s: float | None) -> None:
    """Vertical lines at onset, nucleation and 90 % conversion of the mean field."""
    nucleation = float(np.asarray(mean.nucleation_time_s))
    marks = [
        ("onset", onset_s, ":", MUTED),
        ("nucleation", nucleation if np.isfinite(nucleation) else None, "--", FITTED),
        ("90 % solid (next frame)", conversion_end(mean), "-.", LIQUID),
    ]
    for name, at, style, colour in marks:
        if at is not None:
            axes.axvline(at, color=colour, linestyle=style, linewidth=1.1, label=f"{name}, {number_text(at)} s")


def _motion(track_axes: Axes, msd_axes: Axes, realisations: Solution, summary: Mapping[str, Any]) -> None:
    """One centroid track while the droplet is there, its MSD, and that of all tracks together."""
    assert realisations.centroid_nm is not None
    time = np.asarray(realisations.time_s, float)
    liquid = (np.asarray(realisations.n_liquid) > 0) & (np.asarray(realisations.n_solid) == 0)
    dt = float(np.median(np.diff(time)))
    runs = [_longest(row) for row in liquid]
    long = [k for k, run in enumerate(runs) if run.stop - run.start >= 3]
    if not long:
        for axes in (track_axes, msd_axes):
            axes.text(0.5, 0.5, "liquid in fewer than\nthree saved frames", ha="center", va="center", color=MUTED)
            axes.set_axis_off()
        return
    first = long[0]
    track = np.asarray(realisations.centroid_nm, float)[first, runs[first]]
    track_axes.plot(*track.T, color=MEASURED, linewidth=0.9)
    track_axes.plot(*track[0], "o", color=INK, markerfacecolor="white", markersize=4.5, label="seed")
    track_axes.plot(*track[-1], "s", color=INK, markersize=4, label="last liquid frame")
    middle = 0.5 * (track.max(axis=0) + track.min(axis=0))
    half = 0.65 * float(np.ptp(track, axis=0).max()) or 1.0
    track_axes.set_xlim(middle[0] - half, middle[0] + half)
    track_axes.set_ylim(middle[1] - half, middle[1] + half)
    track_axes.set_aspect("equal")
    track_axes.set_xlabel("x (nm)")
    track_axes.set_ylabel("y (nm)")
    legend_above(track_axes, 1)

    curves, moving = [], []
    longest = max(runs[k].stop - runs[k].start for k in long)
    for k in long:
        path = np.asarray(realisations.centroid_nm, float)[k, runs[k]]
        if np.ptp(path, axis=0).min() > 0:
            moving.append(k)
            curves.append(np.pad(mean_squared_displacement(path), (0, longest - len(path)), constant_values=np.nan))
    if curves:
        table = np.array(curves)
        # Each track weighs as much as it has displacements of that lag.
        weight = np.array([[max(runs[k].stop - runs[k].start - i, 0) for i in range(longest)] for k in moving])
        lag = dt * np.arange(longest)
        msd_axes.plot(lag, table[0], color=MEASURED, linewidth=1.0, label="this track")
        # A mean over tracks counts only where most of them are that long.
        common = np.isfinite(table).sum(axis=0) >= max(2, 0.5 * len(table))
        if common.sum() > 1:
            share = (weight / weight.sum(axis=0))[:, common]
            mean = np.nansum(table[:, common] * share, axis=0)
            # Tracks are independent of each other, the windows within one are not.
            error = np.sqrt(np.nansum((share * (table[:, common] - mean)) ** 2, axis=0))
            at = lag[common]
            msd_axes.fill_between(at, mean - 1.96 * error, mean + 1.96 * error, color=INK, alpha=0.15, linewidth=0)
            msd_axes.plot(at, mean, color=INK, linewidth=1.3, label=f"{len(table)} tracks, 95 % band")
        put_in = _input(summary, "centroid_diffusivity_nm2_per_s")
        if put_in is not None:
            msd_axes.plot(
                lag,
                4.0 * put_in * lag,
                "--",
                color=REFERENCE,
                label=f"4 D t, D put in:\n{number_text(put_in)} nm²/s",
            )
    estimate = summary.get("estimates", {}).get("centroid_diffusivity_gls")
    if known(estimate):
        text = f"D read off the tracks:\n{estimate_text(estimate)}"
        msd_axes.set_title(text, loc="left", fontsize=7.2)
    msd_axes.set_xlabel("lag time (s)")
    msd_axes.set_ylabel("MSD (nm²)")
    msd_axes.set_xlim(left=0)
    msd_axes.set_ylim(0.0, 1.5 * msd_axes.get_ylim()[1])
    msd_axes.legend(loc="upper left", handlelength=1.5)


def _input(summary: Mapping[str, Any], name: str) -> float | None:
    """Value of an input of the tier, None where the summary does not list it."""
    value = summary.get("inputs", {}).get(name, {}).get("value")
    return None if value is None else float(value)


def _longest(present: np.ndarray) -> slice:
    """The longest run of consecutive true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(int)))
    if not edges.size:
        return slice(0, 0)
    starts, ends = edges[::2], edges[1::2]
    best = int(np.argmax(ends - starts))
    return slice(int(starts[best]), int(ends[best]))


def plot_droplet_tier(
    folder: Path, solution_mean: Solution, realisations: Solution, summary: Mapping[str, Any]
) -> list[Path]:
    """Draw the droplet tier into <folder>/figures/droplet_tier as PNG and SVG; returns both paths.

    solution_mean: the mean-field `DropletSolution`, fields (T,); realisations: of the jump process at the same
    times, fields (K, T), centroid_nm (K, T, 2). summary: `protocol`, rows as for `protocol_steps`;
    `inputs_note`, the sentence that says which inputs are put in; and, where known, `title`, `inputs` (name ->
    value; onset_s, standard_potential_V and centroid_diffusivity_nm2_per_s are read), `facts` with closure_note, and
    `estimates` with centroid_diffusivity_gls. Areas in nm², times in s, currents in fA. Raises ValueError
    where the two solutions have different times, KeyError without protocol or inputs_note.
    """
    time = np.asarray(solution_mean.time_s, float)
    if not np.array_equal(time, np.asarray(realisations.time_s, float)):
        raise ValueError("solution_mean and realisations must be saved at the same times")
    protocol, note = summary["protocol"], str(summary["inputs_note"])
    closure = summary.get("facts", {}).get("closure_note")
    note = "; ".join(text for text in (f"inputs {note}", closure) if text)
    standard, onset = _input(summary, "standard_potential_V") or 0.0, _input(summary, "onset_s")
    # The onset counts from where the first reduction begins.
    reductions = [part.start_s for part in half_cycles(protocol_steps(protocol), standard) if part.kind == "reduction"]
    if onset is not None:
        onset = onset + reductions[0] if reductions else None
    whole = (float(time[0]), float(time[-1]))
    window = event_window(solution_mean, realisations)
    with figure_style():
        figure = new_figure(8.0)
        panels = figure.subplot_mosaic(
            "aaaaaa;zzzccc;iittmm",
            height_ratios=(1.0, 1.15, 1.15),
        )
        area, zoom, charge, current = (panels[name] for name in "azci")
        for axes, span in ((area, whole), (zoom, window)):
            draw_area(axes, solution_mean, realisations, protocol, span, standard_V=standard, named=axes is area)
            _mark_events(axes, solution_mean, onset)
        legend_above(area, 5)
        zoom.set_title("the same, from onset to conversion", loc="left")

        charge.set_xlim(*window)
        _band(charge, time, electrons_per_unit(realisations), TRACK)
        charge.plot(time, electrons_per_unit(solution_mean), color=INK)
        charge.set_ylim(0.0, 11.5)
        charge.set_xlabel("time (s)")
        charge.set_ylabel("electrons per S₆ (e)")
        charge.set_title("charge; solid units count 10 e", loc="left")
        shade_protocol(charge, protocol, standard, named=False)

        current.set_xlim(*window)
        flow, middle = frame_current_fA(realisations), 0.5 * (time[1:] + time[:-1])
        _band(current, middle, flow, TRACK, lines=False)
        current.plot(middle, frame_current_fA(solution_mean), color=INK)
        current.plot(middle, flow.mean(axis=0), "--", color=MEASURED, linewidth=1.0, label="mean of realisations")
        seen = (middle >= window[0]) & (middle <= window[1])
        peak = np.concatenate([np.quantile(flow[:, seen], [0.0, 0.95], axis=0).ravel(), [0.0]])
        current.set_ylim(1.1 * float(peak.min()), 1.1 * float(peak.max()) or 1.0)
        current.set_xlabel("time (s)")
        current.set_ylabel("current, mean per frame (fA)")
        legend_above(current, 1)
        shade_protocol(current, protocol, standard, named=False)

        if realisations.centroid_nm is not None:
            _motion(panels["t"], panels["m"], realisations, summary)
        else:
            figure.delaxes(panels["t"])
            figure.delaxes(panels["m"])
        headline(figure, str(summary.get("title") or "one droplet, seconds"))
        footnote(figure, note)
        return save_figure(figure, Path(folder) / FOLDER / "droplet_tier")


# --- current ---------------------------------------------------------------------------------------------


def plot_droplet_current(
    folder: Path, record: Current, summary: Mapping[str, Any], name: str = "droplet_current"
) -> list[Path]:
    """Draw the current of the droplet tier into <folder>/figures/<name>; returns both paths.

    Potential and current against time; current against potential where the potential is ramped, else the charge of each
    half cycle; what is solid at the end of each half cycle, and the share of the electrode that droplets cover.
    record: fields (T,), s, V (nan at open circuit) and fA, electrons in positive; summary: as for `plot_droplet_tier`,
    with facts.half_cycles.
    """
    protocol, note = summary["protocol"], f"inputs {summary['inputs_note']}"
    standard = _input(summary, "standard_potential_V") or 0.0
    density = _input(summary, "droplets_per_um2") or 0.0
    steps = protocol_steps(protocol)
    end = sum(step.duration_s for step in steps)
    ramped = any(step.end_V != step.potential_V and not step.open_circuit for step in steps)
    time, current = np.asarray(record.time_s, float), np.asarray(record.current_fA, float)
    error = np.asarray(record.standard_error_fA, float)
    rows = list(summary.get("facts", {}).get("half_cycles", ()))
    with figure_style():
        figure = new_figure(6.2)
        panels = figure.subplot_mosaic("ee;ii;ls", height_ratios=(0.45, 1.15, 1.0))
        imposed, flow, left, solid = (panels[name] for name in "eils")

        imposed.set_xlim(0.0, end)
        fine = np.unique(np.concatenate([np.linspace(0.0, end, 2001), np.cumsum([s.duration_s for s in steps])[:-1]]))
        potential, connected = potential_at(steps, fine)
        imposed.plot(fine, np.where(connected, potential, np.nan), color=INK)
        imposed.axhline(standard, color=REFERENCE, linewidth=0.7, linestyle="--")
        imposed.set_ylabel("E (V)")
        imposed.margins(y=0.25)
        shade_protocol(imposed, protocol, standard, named=False)

        flow.set_xlim(0.0, end)
        flow.fill_between(time, current - error, current + error, color=TRACK, alpha=0.4, linewidth=0)
        flow.plot(time, current, color=INK, linewidth=0.9)
        flow.axhline(0.0, color=REFERENCE, linewidth=0.7)
        flow.set_xlabel("time (s)")
        _current_labels(flow, density)
        flow.margins(y=0.16)
        shade_protocol(flow, protocol, standard)

        if ramped:
            _draw_against_potential(left, record, steps, standard)
        else:
            _draw_charges(left, rows)
        _draw_remainders(solid, rows)
        headline(figure, f"{summary.get('title') or 'one droplet'}: current")
        footnote(figure, f"mean of the realisations, ± one standard error; positive: electrons enter; {note}")
        return save_figure(figure, Path(folder) / FOLDER / name)


def _current_labels(axes: Axes, droplets_per_um2: float) -> None:
    """Axis of the current of a droplet, and on the right that of the electrode where its droplets are counted."""
    axes.set_ylabel("current per droplet (fA)")
    if droplets_per_um2 > 0:
        scale = 0.1 * droplets_per_um2
        right = axes.secondary_yaxis(
            "right", functions=(lambda x: np.asarray(x) * scale, lambda x: np.asarray(x) / scale)
        )
        right.set_ylabel("µA/cm²")


def _draw_against_potential(axes: Axes, record: Current, steps: Sequence[PotentialStep], standard_V: float) -> None:
    """Current against potential, one line for each sweep, later ones darker."""
    time, potential = np.asarray(record.time_s, float), np.asarray(record.potential_V, float)
    current = np.asarray(record.current_fA, float)
    ends = np.cumsum([step.duration_s for step in steps])
    ramps = [k for k, step in enumerate(steps) if step.end_V != step.potential_V and not step.open_circuit]
    for number, k in enumerate(ramps):
        inside = (time > ends[k] - steps[k].duration_s) & (time < ends[k])
        share = number / max(len(ramps) - 1, 1)
        label = {0: "first sweep", len(ramps) - 1: "last sweep"}.get(number)
        colour = MEASURED if steps[k].end_V < steps[k].potential_V else FITTED
        axes.plot(
            potential[inside], current[inside], color=colour, alpha=0.35 + 0.65 * share, linewidth=0.9, label=label
        )
    axes.axhline(0.0, color=REFERENCE, linewidth=0.7)
    axes.axvline(standard_V, color=REFERENCE, linewidth=0.7, linestyle="--")
    axes.set_xlabel("potential (V); blue: falling, orange: rising")
    axes.set_ylabel("current per droplet (fA)")
    legend_above(axes, 2)


def _draw_charges(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Charge of each half cycle as bars with standard errors."""
    for k, row in enumerate(rows):
        colour = {"reduction": MEASURED, "oxidation": FITTED}.get(str(row["kind"]), MUTED)
        axes.bar(k + 1, row["charge_fC"], yerr=row["charge_fC_error"] or 0.0, color=colour, width=0.7, capsize=2)
    axes.axhline(0.0, color=REFERENCE, linewidth=0.7)
    axes.set_xlim(0.5, len(rows) + 0.5)
    axes.set_xlabel("half cycle")
    axes.set_xticks(_ticks(len(rows)))
    axes.set_ylabel("charge per droplet (fC)")


def _draw_remainders(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Solid units and covered share at the end of each half cycle."""
    number = np.arange(1, len(rows) + 1)
    units = np.array([row["solid_units_at_end"] for row in rows], float)
    covered = np.array([100.0 * row["covered_share"] for row in rows], float)
    axes.plot(number, units, "o-", color=INK, markersize=4, label="solid units (left)")
    axes.set_ylim(0.0, 1.15 * float(units.max(initial=0.0)) or 1.0)
    axes.set_xlabel("half cycle")
    axes.set_xticks(_ticks(len(rows)))
    axes.set_ylabel("solid units at its end")
    axes.set_xlim(0.5, len(rows) + 0.5)
    other = axes.twinx()
    other.plot(number, covered, "s--", color=LIQUID, markersize=4, label="covered share (right)")
    other.set_ylim(0.0, 1.15 * float(covered.max(initial=0.0)) or 1.0)
    other.set_ylabel("electrode under droplets (%)")
    other.spines["right"].set_visible(True)
    lines = [*axes.get_lines(), *other.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)


def _ticks(n: int) -> list[int]:
    """At most about ten of the numbers 1 to n."""
    return list(range(1, n + 1, -(-n // 10) if n else 1))
