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
    axes.set_ylim(bottom=0.0)
    axes.set_xlim(left=0.0)


def draw_thirds(axes: Axes, conditions: Sequence[Mapping[str, Any]]) -> None:
    """Electrons per S6 in each third of the droplet over their mean, against Theta; 0 and infinity at the sides."""
    shown = [c for c in conditions if all(known(c["estimates"].get(key)) for key in THIRDS) and c["theta"] is not None]
    finite = sorted(c["theta"] for c in shown if 0 < c["theta"] < math.inf)
    low, high = (finite[0], finite[-1]) if finite else (1.0, 1.0)
    side = {0.0: low / 30.0, math.inf: high * 30.0}
    place = [side.get(c["theta"], c["theta"]) for c in shown]
    order = np.argsort(place)
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
    axes.axhline(1.0, color=MUTED, linewidth=0.7, linestyle=":")
    axes.axvline(30.0, color=MUTED, linewidth=0.7, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlim(side[0.0] / 3, side[math.inf] * 3)
    axes.set_ylim(bottom=0.0)
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
    panels = ["charge", *(["scaled"] if scaled else []), "solid", *(["thirds"] if len(thetas) > 2 else [])]
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
            top = float(np.interp(tier["end_s"], time, area))
            left.plot(
                (time[growing] - tier["onset_s"]) / (tier["end_s"] - tier["onset_s"]), area[growing] / top,
                linewidth=1.2, label=tier["label"], **_line(number),
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
