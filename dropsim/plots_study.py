"""Figures over several runs: the comparison table and the contrast between conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from dropsim.plots_style import (
    INK,
    MEASURED,
    MUTED,
    PAGE_WIDTH_IN,
    STYLE,
    figure_style,
    footnote,
    headline,
    interval_of,
    known,
    new_figure,
    save_figure,
)

# Key of an estimate, and the label of its axis.
CONTRASTED = (
    ("surface_count", "S atoms within 1.5 nm\nof the electrode"),
    ("largest_clusters", "mean of the five largest\nclusters (S atoms)"),
    ("largest_cluster", "largest cluster\n(S atoms)"),
)

VERDICT_COLOURS = {
    "agrees": "#CFE8CF",
    "differs": "#F8CDB8",
    "ambiguous": "#FBEBA6",
    "not-comparable": "#E3E3E3",
    "put-in": "#E3E3E3",
    "missing": "#F4F4F4",
}
# Title, share of the width, and the keys of a row whose texts stand in the column (the later ones smaller, grey).
TABLE_COLUMNS = (
    ("quantity", 0.18, ("quantity", "condition")),
    ("dropsim", 0.225, ("dropsim", "tier")),
    ("paper or reference", 0.25, ("reference", "source")),
    ("kind of number", 0.13, ("kind",)),
    ("verdict", 0.215, ("verdict",)),
)
ROW_KEYS = frozenset(key for _, _, keys in TABLE_COLUMNS for key in keys) | {"verdict_class"}
# What a table writes in plain letters, and how it is printed.
PRINTED = {"nm^2": "nm²", "e/angstrom^3": "e/Å³", ">=": "≥", "<=": "≤"}
# Replicas stand this much under the bar's middle, in rows.
DOTS_BELOW = 0.19
TEXT_PT, NOTE_PT = 7.4, 6.6
LINE_IN = 1.28 / 72.0
PAD_IN = 0.055

_Measure = Callable[[str, float], float]


def wrap_text(text: str, width_in: float, size_pt: float, measure: _Measure) -> list[str]:
    """Lines no wider than width_in inches at size_pt, broken at spaces, and inside words that are too long.

    measure(text, size_pt) -> width in inches.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            while measure(word, size_pt) > width_in and len(word) > 1:
                cut = next((n for n in range(len(word) - 1, 1, -1) if measure(word[:n], size_pt) <= width_in), 1)
                lines += [line] if line else []
                lines.append(word[:cut])
                line, word = "", word[cut:]
            longer = f"{line} {word}" if line else word
            if measure(longer, size_pt) <= width_in:
                line = longer
            else:
                lines.append(line)
                line = word
        lines.append(line)
    return lines


def _measure() -> _Measure:
    # At a high resolution, since widths rounded to the pixels of the screen would let lines run over.
    canvas = FigureCanvasAgg(Figure(dpi=600))
    renderer = canvas.get_renderer()

    def measure(text: str, size_pt: float) -> float:
        font = FontProperties(family=STYLE["font.family"], size=size_pt)
        return 1.01 * renderer.get_text_width_height_descent(text, font, False)[0] / 600.0

    return measure


def plot_comparison(path_stem: Path, rows: Sequence[Mapping[str, str]], title: str) -> list[Path]:
    """Draw the comparison table as <path_stem>.png and .svg, 7.2 inches wide; returns both paths.

    rows: texts under quantity, condition, tier, dropsim (value with interval and unit), reference, source, kind,
    verdict, and verdict_class, a key of VERDICT_COLOURS. Texts are wrapped and never read as mathematics. Raises
    ValueError for no rows, a row that lacks a key, or another verdict_class.
    """
    if not rows:
        raise ValueError("rows is empty: there is nothing to compare")
    for number, row in enumerate(rows):
        if lacking := sorted(ROW_KEYS - set(row)):
            raise ValueError(f"row {number} of the comparison lacks {', '.join(lacking)}")
        if row["verdict_class"] not in VERDICT_COLOURS:
            allowed = ", ".join(VERDICT_COLOURS)
            raise ValueError(f"row {number}: verdict_class is {row['verdict_class']!r}; allowed: {allowed}")
    with figure_style():
        figure = Figure(figsize=(PAGE_WIDTH_IN, 1.0))
        FigureCanvasAgg(figure)
        measure = _measure()
        widths = [PAGE_WIDTH_IN * share for _, share, _ in TABLE_COLUMNS]
        table = [
            [_cell(row, keys, width, measure) for (_, _, keys), width in zip(TABLE_COLUMNS, widths, strict=True)]
            for row in rows
        ]
        heights = [max(_height(cell) for cell in cells) + 2 * PAD_IN for cells in table]
        head = [wrap_text(title, PAGE_WIDTH_IN - 0.1, 9.5, measure), 0.24]
        top = 0.17 * len(head[0]) + 0.08
        total = top + head[1] + sum(heights) + 0.06
        figure.set_size_inches(PAGE_WIDTH_IN, total)
        _draw_table(figure, rows, table, widths, heights, head[0], top, total)
        return save_figure(figure, Path(path_stem))


_Cell = list[tuple[str, float, str]]


def _cell(row: Mapping[str, str], keys: Sequence[str], width: float, measure: _Measure) -> _Cell:
    """Lines of a cell: (text, size in points, colour)."""
    lines: _Cell = []
    for number, key in enumerate(keys):
        size, colour = (TEXT_PT, INK) if number == 0 else (NOTE_PT, "#5A5A5A")
        text = str(row[key]).strip()
        for plain, printed in PRINTED.items():
            text = text.replace(plain, printed)
        if number == 0 and not text:
            text = "–"
        if text:
            lines += [(line, size, colour) for line in wrap_text(text, width - 2 * PAD_IN, size, measure)]
    return lines


def _height(cell: _Cell) -> float:
    return sum(LINE_IN * size for _, size, _ in cell)


def _draw_table(
    figure: Figure,
    rows: Sequence[Mapping[str, str]],
    table: Sequence[Sequence[_Cell]],
    widths: Sequence[float],
    heights: Sequence[float],
    title: Sequence[str],
    top: float,
    total: float,
) -> None:
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, PAGE_WIDTH_IN)
    axes.set_ylim(total, 0.0)
    left = np.concatenate([[0.0], np.cumsum(widths)])
    for number, line in enumerate(title):
        axes.text(PAD_IN, 0.05 + 0.17 * number, line, fontsize=9.5, fontweight="bold", va="top", parse_math=False)
    axes.add_patch(Rectangle((0.0, top), PAGE_WIDTH_IN, 0.24, facecolor="#EEF2F6", linewidth=0))
    for x, (name, _, _) in zip(left, TABLE_COLUMNS, strict=False):
        axes.text(x + PAD_IN, top + 0.12, name, fontsize=TEXT_PT, fontweight="bold", va="center")
    y = top + 0.24
    for row, cells, height in zip(rows, table, heights, strict=True):
        colour = VERDICT_COLOURS[row["verdict_class"]]
        axes.add_patch(Rectangle((left[-2], y), widths[-1], height, facecolor=colour, linewidth=0))
        for x, cell in zip(left, cells, strict=False):
            at = y + PAD_IN
            for text, size, ink in cell:
                axes.text(x + PAD_IN, at, text, fontsize=size, color=ink, va="top", parse_math=False)
                at += LINE_IN * size
        y += height
        axes.plot([0.0, PAGE_WIDTH_IN], [y, y], color="#C9C9C9", linewidth=0.5)


def _wrapped_name(condition: Mapping[str, Any]) -> str:
    words = str(condition.get("title") or condition["name"]).split()
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > 19:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def draw_contrast(axes: Axes, conditions: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    """One quantity of every condition as a bar from zero with its 95 % interval; replicas as small dots.

    A condition that lacks the quantity is marked as not measured. Equally many replicas of neighbouring conditions
    are paired by thin lines.
    """
    estimates = [c.get("estimates", {}).get(key) for c in conditions]
    replicas = [[float(v) for v in c.get("replica_values", {}).get(key) or [] if v is not None] for c in conditions]
    # One replica is the mean itself.
    replicas = [values if len(values) > 1 else [] for values in replicas]
    places = np.arange(len(conditions))
    for place, first, second in zip(places, replicas, replicas[1:], strict=False):
        if first and len(first) == len(second):
            ends = [place + DOTS_BELOW, place + 1 + DOTS_BELOW]
            for pair in zip(first, second, strict=True):
                axes.plot(pair, ends, color=MUTED, linewidth=0.5, alpha=0.6, zorder=2)
    top = 0.0
    for place, estimate, dots in zip(places, estimates, replicas, strict=True):
        if not known(estimate):
            axes.annotate(
                "not measured",
                (0, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
                fontsize=7.0,
            )
            continue
        value, interval = float(estimate["value"]), interval_of(estimate)
        axes.barh(place, value, height=0.56, color="#C4D6E8", zorder=1)
        shown = [value, *dots]
        if interval:
            shown += interval
            axes.plot(interval, [place, place], color=INK, linewidth=1.4, zorder=3)
        axes.plot([value], [place], "o", color=MEASURED, markersize=4.5, zorder=4)
        if dots:
            axes.plot(dots, np.full(len(dots), place + DOTS_BELOW), ".", color=MUTED, markersize=3.5, zorder=3)
        axes.annotate(
            f"{value:.3g}",
            # In a column at the right, where no bar or pairing line runs through it.
            (1.0, place),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=7.4,
        )
        top = max(top, *shown)
    axes.set_xlim(0.0, 1.28 * top if top > 0 else 1.0)
    axes.set_ylim(len(conditions) - 0.5, -0.5)
    axes.set_yticks(places, [_wrapped_name(c) for c in conditions], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(label)
    axes.locator_params(axis="x", nbins=4)


def plot_contrast(path_stem: Path, conditions: Sequence[Mapping[str, Any]], title: str) -> list[Path]:
    """Draw what conditions do to the sulfur near the electrode and to its clusters, as PNG and SVG.

    conditions: in the order of the rows, each with name, title, `estimates` (key of CONTRASTED -> estimate as
    `Estimate.to_dict` gives it) and `replica_values` (the same keys -> single values in the order of the replicas).
    Quantities that no condition has get no panel. Returns the paths. Raises ValueError where
    nothing is left to draw.
    """
    panels = [
        (key, label) for key, label in CONTRASTED if any(known(c.get("estimates", {}).get(key)) for c in conditions)
    ]
    if not panels:
        raise ValueError("no condition has any of " + ", ".join(key for key, _ in CONTRASTED))
    with figure_style():
        figure = new_figure(1.35 + 0.44 * len(conditions))
        rows = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
        for axes, (key, label) in zip(rows, panels, strict=True):
            draw_contrast(axes, conditions, key, label)
        headline(figure, title)
        footnote(figure, "bars: means; lines: 95 % intervals; small dots: single replicas, joined where paired")
        return save_figure(figure, Path(path_stem))
