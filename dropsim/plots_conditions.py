"""Figures that lay the conditions of a study over each other: charging, conversion, where the electrons sit, growth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dropsim.plots_reaction import ELECTRONS_PER_UNIT, THIRD_COLOURS
from dropsim.plots_style import (
    CENTRE,
    FITTED,
    INK,
    INTERMEDIATE,
    LIQUID,
    MEASURED,
    MUTED,
    REFERENCE,
    SOLID,
    figure_style,
    footnote,
    headline,
    interval_of,
    known,
    legend_above,
    new_figure,
    save_figure,
)

COLOURS = (INK, FITTED, MEASURED, LIQUID, CENTRE, INTERMEDIATE, REFERENCE, "#8E86A8", SOLID, "#56B4E9")
DASHES = ("-", (0, (5, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1.5, 1.5)))
THIRDS = ("charge_inner", "charge_middle", "charge_outer")
THIRD_NAMES = ("inner", "middle", "outer")


def _line(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // 2 % len(DASHES)]}


def mean_over_replicas(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], n_points: int = 300
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(time, mean, lowest, highest) of curves (time, value) up to the end of the shortest, each (n_points,).

    Between its times a curve keeps its last value, as a count does; before its first it is 0.
    """
    end = min(float(time[-1]) for time, _ in curves)
    time = np.linspace(0.0, end, n_points)
    rows = np.stack([np.append(0.0, v)[np.searchsorted(t, time * (1 + 1e-12), side="right")] for t, v in curves])
    return time, rows.mean(axis=0), rows.min(axis=0), rows.max(axis=0)


def _reaction_curves(condition: Mapping[str, Any], key: str, scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """(time since the reaction began, counts of the ledger times scale) of every replica."""
    found = []
    for curves in condition["curves"]:
        time = np.asarray(curves["ledger_time"], float)
        interval = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
        found.append((time - time[0] + interval, scale * np.asarray(curves[key], float)))
    return found


def draw_counts(
    axes: Axes, conditions: Sequence[Mapping[str, Any]], key: str, per: int, taus: Sequence[float] | None
) -> None:
    """A column of the ledger per S6 (and per `per`) against time, or against time over each condition's tau."""
    for number, condition in enumerate(conditions):
        curves = _reaction_curves(condition, key, 1.0 / (per * condition["n_sulfur"]))
        time, mean, low, high = mean_over_replicas(curves)
        time = time if taus is None else time / taus[number]
        style = _line(number)
        axes.plot(time, mean, linewidth=1.2, label=condition["label"], **style)
        axes.fill_between(time, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])  # a line at zero is seen too
    axes.set_xlim(left=0.0)


def draw_thirds(axes: Axes, conditions: Sequence[Mapping[str, Any]]) -> None:
    """Electrons per S6 in each third of the droplet over their mean, against Theta; 0 and infinity at the sides."""
    shown = [c for c in conditions if all(known(c["estimates"].get(key)) for key in THIRDS) and c["theta"] is not None]
    finite = sorted(c["theta"] for c in shown if 0 < c["theta"] < math.inf)
    low, high = (finite[0], finite[-1]) if finite else (1.0, 1.0)
    side = {0.0: low / 30.0, math.inf: high * 30.0}
    place = [side.get(c["theta"], c["theta"]) for c in shown]
    order = np.argsort(place)
    top = 1.0
    for third, (key, name) in enumerate(zip(THIRDS, THIRD_NAMES, strict=True)):
        values, errors = [], []
        for k in order:
            mean = float(np.mean([shown[k]["estimates"][t]["value"] for t in THIRDS]))
            interval = interval_of(shown[k]["estimates"][key])
            value = shown[k]["estimates"][key]["value"]
            values.append(value / mean)
            errors.append(
                (0.0, 0.0) if interval is None else ((value - interval[0]) / mean, (interval[1] - value) / mean)
            )
        x = np.array(place)[order] * (1.0 + 0.06 * (third - 1))
        down, up = np.maximum(np.array(errors).T, 0.0)
        axes.errorbar(
            x, values, yerr=np.array([down, up]), fmt="o-", color=THIRD_COLOURS[third], markersize=3.5,
            linewidth=0.9, elinewidth=0.8, label=name,
        )  # fmt: skip
        top = max(top, *values)
    axes.axhline(1.0, color=MUTED, linewidth=0.7, linestyle=":")
    axes.axvline(30.0, color=MUTED, linewidth=0.7, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlim(side[0.0] / 3, side[math.inf] * 3)
    # An interval from two replicas may be ten times the value: the values set the scale.
    axes.set_ylim(0.0, 1.5 * top)
    ticks = [10.0**k for k in range(math.ceil(math.log10(low)) - 1, math.floor(math.log10(high)) + 2)]
    ticks = [t for t in ticks if side[0.0] * 2 < t < side[math.inf] / 2][:: max(1, len(ticks) // 5)]
    names = [f"$10^{{{round(math.log10(t))}}}$" for t in ticks]
    ends = [(side[c["theta"]], "0" if c["theta"] == 0 else "∞") for c in shown if c["theta"] in side]
    extra = sorted(set(ends))
    axes.set_xticks([*ticks, *(x for x, _ in extra)], [*names, *(n for _, n in extra)])
    axes.minorticks_off()
    axes.set_xlabel("Θ = M k_hop λ₂ τ")
    axes.set_ylabel("electrons per S₆ over the droplet's mean")
    axes.legend(loc="best", title="third by distance\nto a centre", title_fontsize=7.0)


def plot_reactions(path_stem: Path, conditions: Sequence[Mapping[str, Any]], title: str) -> list[Path]:
    """Draw how the reacting conditions of a study charge and convert, as PNG and SVG; returns both paths.

    conditions: the main one first, each with label, n_sulfur, curves (of its replicas, with the ledger), estimates
    (see `Estimate.to_dict`), theta (Theta, infinite or None) and tau_ps (mean charging time N / [N_c (k_in + k_out)],
    or None). A panel of the thirds is drawn where conditions differ in Theta; charging against t / tau where they
    differ in tau by a half or more. Raises ValueError where there is no condition.
    """
    if not conditions:
        raise ValueError("conditions is empty: no run has a reaction")
    thetas = {c["theta"] for c in conditions if all(known(c["estimates"].get(k)) for k in THIRDS)} - {None}
    taus = [c["tau_ps"] for c in conditions if c["tau_ps"] is not None]
    scaled = len(taus) == len(conditions) and max(taus) > 1.5 * min(taus)
    solid = any(np.any(curves["ledger_units_converted"]) for c in conditions for curves in c["curves"])
    asked = {"charge": True, "scaled": scaled, "solid": solid, "thirds": len(thetas) > 2}
    panels = [panel for panel, wanted in asked.items() if wanted]
    rows = -(-len(panels) // 2)
    with figure_style():
        figure = new_figure(0.75 + 2.55 * rows)
        grid = np.atleast_1d(figure.subplots(rows, 2)).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            if panel == "thirds":
                draw_thirds(axes, conditions)
                continue
            key, per = ("ledger_units_converted", 1) if panel == "solid" else ("ledger_electrons", ELECTRONS_PER_UNIT)
            draw_counts(axes, conditions, key, per, taus if panel == "scaled" else None)
            axes.set_ylabel("units solid, of all S₆" if panel == "solid" else "electrons taken, of 10 per S₆")
            axes.set_xlabel(
                "time over charging time τ" if panel == "scaled" else "time from the start of the reaction (ps)"
            )
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        handles, labels = grid[0].get_legend_handles_labels()
        if len(panels) < len(grid):
            grid[-1].legend(handles, labels, loc="center left")
        else:
            figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))
        headline(figure, title)
        if len(panels) < len(grid):
            footnote(
                figure, "lines: means of replicas; bands: from the lowest to the highest replica; compressed clock"
            )
        return save_figure(figure, Path(path_stem))


def plot_growth(path_stem: Path, tiers: Sequence[Mapping[str, Any]], title: str) -> list[Path]:
    """Draw the droplet tiers of several conditions over each other, as PNG and SVG; returns both paths.

    tiers: each with label, time_s, area_nm2 (mean field), onset_s, end_s (of growth), exponent (an estimate, or None)
    and damkohler (at 15 nm). Left: area over its value at the end of growth against time over the time of growth;
    right: exponents with their 95 % intervals against Da, beside n = 1 + 1/(1 + Da).
    """
    if not tiers:
        raise ValueError("tiers is empty: no condition has a droplet tier")
    with figure_style():
        figure = new_figure(3.3)
        left, right = figure.subplots(1, 2)
        for number, tier in enumerate(tiers):
            time, area = (np.asarray(tier[key], float) for key in ("time_s", "area_nm2"))
            growing = (time >= tier["onset_s"]) & (time <= tier["end_s"])
            # Conversion falls between two frames: the last one before it is the largest.
            lag, grown = time[growing] - tier["onset_s"], area[growing]
            left.plot(
                lag / lag[-1], grown / grown[-1], linewidth=1.2, label=tier["label"], **_line(number),
            )  # fmt: skip
        left.set_xlabel("time from the seed over the time of growth")
        left.set_ylabel("projected area over its largest")
        left.legend(loc="upper left")
        numbers = np.geomspace(1e-6, 10.0, 200)
        right.plot(numbers, 1.0 + 1.0 / (1.0 + numbers), color=MUTED, linewidth=0.9, label="1 + 1/(1 + Da)")
        for number, tier in enumerate(tiers):
            if tier["exponent"] is None:
                continue
            value, interval = tier["exponent"]["value"], interval_of(tier["exponent"])
            colour = _line(number)["color"]
            right.plot([tier["damkohler"]], [value], "o", color=colour, markersize=4)
            if interval:
                right.plot([tier["damkohler"]] * 2, interval, color=colour, linewidth=1.2)
        right.axvline(0.1, color=MUTED, linewidth=0.7, linestyle="--")
        right.set_xscale("log")
        right.set_ylim(0.9, 2.2)
        right.set_xlabel("Da = k R / D at 15 nm")
        right.set_ylabel("exponent n of area against time")
        right.legend(loc="lower left")
        headline(figure, title)
        footnote(figure, "left: mean field; right: joint fits to virtual micrographs, 95 % intervals; dashed: Da = 0.1")
        return save_figure(figure, Path(path_stem))


# First times of a bare electrode: key, name, colour.
FIRST_TIMES = (
    ("first_particle", "Li₂S₂ particle", LIQUID),
    ("first_single_step_rod", "Li₂S in one step", SOLID),
    ("first_two_step_rod", "Li₂S out of Li₂S₂", FITTED),
)


def _dots(axes: Axes, rows: Sequence[Mapping[str, Any]], keys: Sequence[tuple[str, str, str]]) -> None:
    """Numbers of each condition with their 95 % intervals, one line of dots per condition."""
    for number, (key, name, colour) in enumerate(keys):
        shift = 0.18 * (number - (len(keys) - 1) / 2)
        axes.plot([], [], "o", color=colour, markersize=4, label=name)
        for at, row in enumerate(rows):
            found = row["estimates"].get(key)
            if not known(found):
                continue
            interval = interval_of(found)
            if interval is not None:
                axes.plot(interval, [at + shift] * 2, color=colour, linewidth=1.1)
            axes.plot(found["value"], at + shift, "o", color=colour, markersize=4)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


def plot_patches(path_stem: Path, patches: Sequence[Mapping[str, Any]], title: str) -> list[Path]:
    """Draw the bare electrodes of several conditions over each other, as PNG and SVG; returns both paths.

    patches: the main one first, each with label, time_s (T,), current_uA_per_cm2 and single_step_share (K, T) of its
    realisations, and estimates of the first reduction (see `Estimate.to_dict`). Raises ValueError where there is none.
    """
    if not patches:
        raise ValueError("patches is empty: no condition has a bare electrode")
    with figure_style():
        figure = new_figure(4.9 + 0.2 * len(patches))
        grid = figure.subplots(2, 2)
        current, share, first, mean = grid.ravel()
        top = 0.0
        for number, patch in enumerate(patches):
            time, flow = np.asarray(patch["time_s"], float), np.asarray(patch["current_uA_per_cm2"], float)
            average = flow[:, 1:].mean(axis=0)
            top = max(top, float(np.abs(average).max()))
            current.plot(time[1:], np.abs(average), linewidth=1.0, label=patch["label"], **_line(number))
            values = np.asarray(patch["single_step_share"], float)
            counted = np.isfinite(values).all(axis=0)
            if counted.any():
                share.plot(time[counted], values[:, counted].mean(axis=0), linewidth=1.0, **_line(number))
        current.set_yscale("log")
        if top > 0:
            current.set_ylim(1e-3 * top, 2.0 * top)
        current.set_ylabel("|current|, mean of realisations (µA/cm²)")
        share.set_ylim(0.0, 1.0)
        share.set_ylabel("share of Li₂S that never was Li₂S₂")
        for axes in (current, share):
            axes.set_xlabel("time (s)")
            axes.set_xlim(left=0.0)
        _dots(first, patches, FIRST_TIMES)
        first.set_xlabel("first seen after (s)")
        first.set_xlim(left=0.0)
        legend_above(first, 2)
        _dots(mean, patches, (("mean_reduction_current", "", MEASURED),))
        mean.set_xlabel("mean current of the reduction (µA/cm²)")
        mean.set_xlim(left=0.0)
        mean.set_yticklabels([])
        handles, labels = current.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))
        headline(figure, title)
        return save_figure(figure, Path(path_stem))
