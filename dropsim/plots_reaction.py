"""The figures of a reacting run: charge transfer, sharing of the electrons, half cycles, events and grains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
    fact_of,
    footnote,
    has_curves,
    headline,
    known_estimate,
    legend_above,
    new_figure,
    number_text,
    run_title,
)
from dropsim.units import ELEMENTARY_CHARGE_C

Curves = Mapping[str, np.ndarray]
Summary = Mapping[str, Any]

ELECTRONS_PER_UNIT = 10
CONVERSION_CLOCK = "time (ps, compressed reaction clock)"
# Bins of the ledger's current: enough to see the conversion, few enough to average the single electrons.
CURRENT_BINS = 60
# Parts of a ramp that the current of a voltammogram is averaged over.
RAMP_BINS = 25
KIND_NAMES = ("reduction", "oxidation", "open circuit")
KIND_COLOURS = ("#DCE8F5", "#F8E0D3", "#EDEDED")
THIRD_COLOURS = (CENTRE, LIQUID, MEASURED)
EVENT_STYLES = {
    "injection": (MEASURED, "-"),
    "ejection": (FITTED, "-"),
    "nucleation": (INK, ":"),
    "conversion": (SOLID, "-"),
    "release": (INTERMEDIATE, "-"),
    "opening": (LIQUID, "-"),
    "oxidation": (INTERMEDIATE, "--"),
    "surface_injection": (MEASURED, "--"),
    "surface_ejection": (FITTED, "--"),
    "insertion": (REFERENCE, "-"),
    "removal": (REFERENCE, "--"),
}
# A/cm^2 of 1 e/ps on 1 nm^2.
A_PER_CM2 = ELEMENTARY_CHARGE_C * 1e12 / 1e-14
GRAIN_COLOURS = (SOLID, LIQUID, CENTRE, FITTED, INTERMEDIATE, "#56B4E9", "#8E86A8", REFERENCE)


def binned_mean(time: np.ndarray, value: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over at most n_bins runs of equally many neighbouring rows: edges (B + 1,), means (B,).

    Rows at equal spacing are meant; the last bin takes what is left over. Each row stands for the interval that
    ends at its time.
    """
    rows = max(1, -(-len(time) // n_bins))
    start = np.arange(0, len(time), rows)
    count = np.diff(np.append(start, len(time)))
    interval = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    edges = np.append(time[start] - interval, time[-1])
    return edges, np.add.reduceat(np.asarray(value, float), start) / count


def shade_half_cycles(axes: Axes, curves: Curves, *, label: bool) -> None:
    """Colour the background by reduction, oxidation and open circuit, where a run has more than one of them."""
    names = ("cycle_start_ps", "cycle_end_ps", "cycle_kind")
    if not has_curves(curves, *names) or len(curves["cycle_end_ps"]) < 2:
        return
    # The names stand once in the legend, although the stretches come again.
    named: set[int] = set()
    for start, end, kind in zip(*(curves[name] for name in names), strict=True):
        text = KIND_NAMES[int(kind)] if label and int(kind) not in named else None
        axes.axvspan(float(start), float(end), facecolor=KIND_COLOURS[int(kind)], linewidth=0, zorder=0, label=text)
        named.add(int(kind))


def _potential_changes(curves: Curves) -> bool:
    if not has_curves(curves, "ledger_potential"):
        return False
    potential = np.asarray(curves["ledger_potential"], float)
    return bool(np.isnan(potential).any() or np.ptp(potential) > 0)


def ledger_figure(summary: Summary, curves: Curves) -> Figure | None:
    """Potential where it changes, current, and electrons beside converted units, against time."""
    names = ("ledger_time", "ledger_current", "ledger_electrons_through_centres", "ledger_units_converted")
    if not has_curves(curves, *names):
        return None
    time, current, electrons, units = (np.asarray(curves[name], float) for name in names)
    if has_curves(curves, "ledger_electrons", "ledger_current_total"):
        electrons, current = (np.asarray(curves[k], float) for k in ("ledger_electrons", "ledger_current_total"))
    changing = _potential_changes(curves)
    figure = new_figure(5.2 if changing else 4.2)
    heights = (0.6, 1.0, 1.3) if changing else (1.0, 1.3)
    rows = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for axes in rows:
        shade_half_cycles(axes, curves, label=axes is rows[-1])
    if changing:
        rows[0].plot(time, curves["ledger_potential"], color=INK, linewidth=1.2)
        rows[0].set_ylabel("E (V)")
        rows[0].margins(y=0.2)
        rows[0].set_title("potential of the electrode; no line: open circuit", loc="left")
    above, below = rows[-2], rows[-1]
    edges, mean = binned_mean(time, current, CURRENT_BINS)
    above.stairs(mean, edges, color=MEASURED, fill=True, alpha=0.35, linewidth=0)
    above.stairs(mean, edges, color=MEASURED, linewidth=1.0)
    above.axhline(0.0, color=MUTED, linewidth=0.7)
    above.set_ylabel("current (e/ps)")
    above.set_title(f"electrons into the sulfur, mean over {edges[1] - edges[0]:.3g} ps", loc="left")
    _density_axis(above, curves)
    below.plot(time, electrons, color=MEASURED, drawstyle="steps-post", label="electrons passed, net")
    below.plot(
        time,
        ELECTRONS_PER_UNIT * units,
        color=FITTED,
        linestyle="--",
        drawstyle="steps-post",
        label="10 × converted units (6 Li₂S each)",
    )
    below.set_ylabel("electrons (e)")
    below.set_xlabel(CONVERSION_CLOCK)
    begin = fact_of(summary, "nucleation_time_ps")
    if begin is not None:
        for axes in rows:
            axes.axvline(float(begin), color=INK, linestyle=":", linewidth=1.3)
        below.plot([], [], color=INK, linestyle=":", linewidth=1.3, label=f"nucleation of Li₂S, {begin:g} ps")
    legend_above(below, 3)
    headline(figure, f"{run_title(summary)}: charge transfer")
    return figure


def _density_axis(axes: Axes, curves: Curves) -> None:
    """The current over the box's area on the right."""
    if not has_curves(curves, "lengths"):
        return
    per_ps = A_PER_CM2 / float(curves["lengths"][0] * curves["lengths"][1])
    top = per_ps * max(abs(x) for x in axes.get_ylim())
    scale, unit = next((x for x in ((1e6, "MA/cm²"), (1e3, "kA/cm²")) if top > x[0]), (1.0, "A/cm²"))
    factor = per_ps / scale
    right = axes.secondary_yaxis("right", functions=(lambda i: np.multiply(i, factor), lambda j: np.divide(j, factor)))
    right.set_ylabel(unit)


def with_gaps(time: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times (T,) and rows (T, K) with a row of nan wherever frames are missing, so that no line crosses it.

    Frames are missing where a step is longer than one and a half times both its neighbours.
    """
    steps = np.diff(time)
    if steps.size < 2:
        return time, rows
    around = np.pad(steps, 1, mode="reflect")
    missing = np.flatnonzero(steps > 1.5 * np.maximum(around[:-2], around[2:])) + 1
    return np.insert(time, missing, np.nan), np.insert(rows, missing, np.nan, axis=0)


def charge_sharing_figure(summary: Summary, curves: Curves) -> Figure | None:
    """Electrons per S6 in the thirds of the droplet against time, and against the distance from its centre."""
    if not has_curves(curves, "thirds_time_ps", "thirds_electrons"):
        return None
    time, held = np.asarray(curves["thirds_time_ps"], float), np.asarray(curves["thirds_electrons"], float)
    radial = has_curves(curves, "radial_charge_nm", "radial_charge")
    shown_time, shown = with_gaps(time, held)
    figure = new_figure(3.5)
    panels = figure.subplots(1, 2 if radial else 1, width_ratios=(1.7, 1.0) if radial else None, squeeze=False)[0]
    left = panels[0]
    shade_half_cycles(left, curves, label=False)
    for k, (name, colour) in enumerate(zip(("inner", "middle", "outer"), THIRD_COLOURS, strict=True)):
        estimate = known_estimate(summary, f"charge_{name}")
        text = f"{name} third"
        if estimate is not None:
            text += f", mean {number_text(float(estimate['value']), None)}"
        left.plot(shown_time, shown[:, k], color=colour, linewidth=1.0, marker=".", markersize=2.5, label=text)
    left.set_xlabel(CONVERSION_CLOCK)
    left.set_ylabel("electrons per S₆")
    left.set_ylim(0.0, 1.35 * float(held.max()) or 1.0)
    margin = 0.02 * float(np.ptp(time)) or 1.0
    left.set_xlim(float(time.min()) - margin, float(time.max()) + margin)
    left.legend(loc="upper left")
    if radial:
        right = panels[1]
        r, n = np.asarray(curves["radial_charge_nm"], float), np.asarray(curves["radial_charge"], float)
        error = 1.96 * np.asarray(curves["radial_charge_error"], float)
        right.errorbar(
            r, n, np.where(np.isfinite(error), error, 0.0), color=MEASURED, marker="o", markersize=3.5, capsize=2
        )
        right.axhline(1.0, color=MUTED, linewidth=0.7)
        right.set_xlabel("distance from its centre (nm)")
        right.set_ylabel("electrons over the droplet's mean")
        right.set_ylim(bottom=0)
        right.set_xlim(left=0)
    headline(figure, f"{run_title(summary)}: where the electrons sit")
    sharing = fact_of(summary, "charge_sharing") or {}
    note = "Thirds by number of liquid S₆, ranked by the distance to the nearest wired centre"
    note += "; bars: 95 %" if radial else ""
    footnote(figure, note + (f"; {sharing['verdict']}." if sharing else "."))
    return figure


def events_figure(summary: Summary, curves: Curves) -> Figure | None:
    """How often each kind of event has happened, against time."""
    kinds = [k for k in EVENT_STYLES if has_curves(curves, f"events_{k}") and curves[f"events_{k}"][-1] > 0]
    if not kinds or not has_curves(curves, "ledger_time"):
        return None
    figure = new_figure(3.6)
    axes = figure.subplots()
    shade_half_cycles(axes, curves, label=False)
    time = np.asarray(curves["ledger_time"], float)
    for name in kinds:
        colour, line = EVENT_STYLES[name]
        count = np.asarray(curves[f"events_{name}"], float)
        text = f"{name.replace('_', ' ')} ({int(count[-1])})"
        # Zero has no place on a logarithmic axis: a kind begins with its first event.
        axes.plot(
            time, np.where(count > 0, count, np.nan), color=colour, linestyle=line, drawstyle="steps-post", label=text
        )
        if count[-1] == count[0]:
            axes.plot(time[:1], count[:1], color=colour, marker=".", linestyle="none")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.set_xlabel(CONVERSION_CLOCK)
    axes.set_ylabel("events so far")
    axes.margins(x=0.01)
    legend_above(axes, 4)
    headline(figure, f"{run_title(summary)}: events of the reaction")
    appeared = fact_of(summary, "appearance") or {}
    footnote(figure, f"{appeared['verdict']}." if appeared else None)
    return figure


def cycles_figure(summary: Summary, curves: Curves) -> Figure | None:
    """Charge and discharge: current against potential (ramps) or charge against time, and what each half cycle left."""
    names = ("cycle_end_ps", "cycle_charge_e", "cycle_kind", "cycle_sulfur_coverage", "cycle_solid_coverage")
    if not has_curves(curves, *names, "ledger_potential", "ledger_charge"):
        return None
    kind = curves["cycle_kind"].astype(int)
    potential = np.asarray(curves["ledger_potential"], float)
    ramped = bool(np.sum(np.abs(np.diff(potential[np.isfinite(potential)])) > 0) > 3)
    if len(set(kind.tolist()) & {0, 1}) < 2 and not ramped:
        return None
    figure = new_figure(3.4)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.35, 1.0, 1.0))
    if ramped:
        _voltammogram(left, curves, potential)
    else:
        _charge_against_time(left, curves)
    number = np.arange(1, len(kind) + 1)
    charge = np.asarray(curves["cycle_charge_e"], float)
    middle.bar(number, charge, color=[(MEASURED, FITTED, REFERENCE)[k] for k in kind], width=0.7)
    middle.axhline(0.0, color=MUTED, linewidth=0.7)
    middle.set_ylabel("charge of the half cycle (e)")
    middle.set_title("in: reduction, out: oxidation", loc="left")
    right.plot(number, curves["cycle_sulfur_coverage"], color=LIQUID, marker="o", markersize=4, label="all sulfur")
    right.plot(number, curves["cycle_solid_coverage"], color=SOLID, marker="s", markersize=4, label="Li₂S")
    right.set_ylim(bottom=0)
    right.set_ylabel("share of the electrode covered")
    right.legend(loc="best")
    right.set_title("at its end", loc="left")
    for axes in (middle, right):
        axes.set_xlabel("half cycle")
        axes.set_xticks(number[:: max(1, len(number) // 8)])
        axes.set_xlim(0.4, len(number) + 0.6)
    headline(figure, f"{run_title(summary)}: charge and discharge")
    footnote(figure, _cycle_note(summary))
    return figure


def _voltammogram(axes: Axes, curves: Curves, potential: np.ndarray) -> None:
    """Current against potential on every ramp, means over neighbouring checks; colour: direction of the ramp."""
    current = np.asarray(curves["ledger_current_total"], float)
    # Every check of a ramp has a tread of its own; held potentials and open circuit have no direction.
    step = np.diff(potential, prepend=np.nan)
    direction = np.where(np.isfinite(step), np.sign(step), 0.0)
    cuts = np.flatnonzero(np.diff(direction)) + 1
    named: set[float] = set()
    for piece in np.split(np.arange(len(potential)), cuts):
        way = float(direction[piece[0]])
        if way == 0.0 or len(piece) < 4:
            continue
        rows = max(1, -(-len(piece) // RAMP_BINS))
        start = np.arange(0, len(piece), rows)
        count = np.diff(np.append(start, len(piece)))
        e, i = (np.add.reduceat(x[piece], start) / count for x in (potential, current))
        text = None if way in named else "E rises" if way > 0 else "E falls"
        axes.plot(e, i, color=FITTED if way > 0 else MEASURED, marker=".", markersize=3, linewidth=1.0, label=text)
        named.add(way)
    axes.axhline(0.0, color=MUTED, linewidth=0.7)
    axes.set_xlabel("E (V)")
    axes.set_ylabel("current into the sulfur (e/ps)")
    if named:
        axes.legend(loc="best")
    axes.set_title(f"ramps, means of {RAMP_BINS} parts", loc="left")


def _charge_against_time(axes: Axes, curves: Curves) -> None:
    time = np.asarray(curves["ledger_time"], float)
    shade_half_cycles(axes, curves, label=False)
    axes.plot(time, curves["ledger_charge"], color=MEASURED, drawstyle="steps-post")
    axes.set_ylabel("net charge passed (e)")
    axes.set_xlabel("time (ps, compressed clock)")
    axes.margins(x=0.01)
    present = sorted(set(curves["cycle_kind"].astype(int).tolist()))
    handles = [Rectangle((0, 0), 1, 1, facecolor=KIND_COLOURS[k], label=KIND_NAMES[k]) for k in present]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, columnspacing=1.0,
                handlelength=1.0, borderaxespad=0.2)  # fmt: skip


def _cycle_note(summary: Summary) -> str | None:
    found = fact_of(summary, "cycles") or []
    if not found:
        return None
    parts = []
    for k, cycle in enumerate(found[:4], 1):
        balance = cycle["balance"]
        text = f"cycle {k}: {cycle['reduced']:.0f} e in, {cycle['oxidised']:.0f} e out"
        if balance is not None and np.isfinite(balance):
            text += f" ({100 * balance:.0f} %)"
        gap = cycle["peak_gap"]
        if gap is not None and np.isfinite(gap):
            text += f", peaks {1000 * gap:.0f} mV apart"
        parts.append(text)
    return "; ".join(parts) + "."


def grains_figure(summary: Summary, curves: Curves) -> Figure | None:
    """Solid units from above, coloured by grain, and the sizes of the grains."""
    if not has_curves(curves, "grain_position", "grain_label", "grain_size_nm", "lengths"):
        return None
    place, label = np.asarray(curves["grain_position"], float), curves["grain_label"].astype(int)
    nuclei = np.asarray(curves["grain_nucleus_position"], float)
    size = np.asarray(curves["grain_size_nm"], float)
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.1))
    for grain in range(len(size)):
        mine = label == grain
        colour = GRAIN_COLOURS[grain % len(GRAIN_COLOURS)]
        left.scatter(place[mine, 0], place[mine, 1], s=26, color=colour, linewidth=0.3, edgecolor=INK)
    left.plot(nuclei[:, 0], nuclei[:, 1], "*", color="white", markeredgecolor=INK, markersize=10, label="nucleus")
    left.set_xlim(0, float(curves["lengths"][0]))
    left.set_ylim(0, float(curves["lengths"][1]))
    left.set_aspect("equal")
    left.set_xlabel("x (nm)")
    left.set_ylabel("y (nm)")
    left.legend(loc="best")
    left.set_title("Li₂S units from above, one colour a grain", loc="left")
    order = np.argsort(-size, kind="stable")
    colours = [GRAIN_COLOURS[g % len(GRAIN_COLOURS)] for g in order]
    right.bar(np.arange(1, len(size) + 1), size[order], color=colours, width=0.7)
    right.axhline(1.5, color=INK, linestyle="--", linewidth=1.0, label="below: labelled amorphous")
    right.set_xlabel("grain, largest first")
    right.set_ylabel("size l (nm)")
    right.set_xticks(np.arange(1, len(size) + 1, max(1, len(size) // 8)))
    right.set_xlim(0.3, max(len(size), 3) + 0.7)
    right.set_ylim(0.0, 1.3 * max(float(size.max()), 1.5))
    right.legend(loc="upper right")
    headline(figure, f"{run_title(summary)}: grains of Li₂S")
    footnote(
        figure,
        "Each unit belongs to the nearest nucleus of its droplet; l is the edge of a cube of the grain's volume. "
        "Orientations are drawn at random, the beads have none.",
    )
    return figure
