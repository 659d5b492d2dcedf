"""The figures of the validation report: curves beside their references, and how much of its tolerance each number uses.

PNG files without dates or versions in them, so that equal results give equal files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dropsim.plots_style import (
    FITTED,
    INK,
    MEASURED,
    MUTED,
    PNG_DPI,
    REFERENCE,
    figure_style,
    headline,
    new_figure,
)
from dropsim.validation.rows import Curve

# Below this share of its tolerance a number is drawn at the edge: exact to rounding.
SMALLEST_SHARE = 1e-4


def plot_curves(path: Path, title: str, curves: Sequence[Curve]) -> Path:
    """Draw the curves of a row, each in a panel with its reference, two panels to a line; returns the path.

    Bars are one standard error where the curve has one.
    """
    columns = 1 if len(curves) == 1 else 2
    lines = math.ceil(len(curves) / columns)
    with figure_style():
        figure = new_figure(0.5 + 2.6 * lines)
        for index, curve in enumerate(curves):
            axes = figure.add_subplot(lines, columns, index + 1)
            order = np.argsort(np.asarray(curve.x, float))
            x = np.asarray(curve.x, float)[order]
            value, reference = (np.asarray(a, float)[order] for a in (curve.value, curve.reference))
            error = None if curve.standard_error is None else np.asarray(curve.standard_error, float)[order]
            axes.plot(x, reference, color=REFERENCE, label="reference", zorder=1)
            axes.errorbar(
                x, value, yerr=error, fmt="o", markersize=3.0, color=MEASURED, elinewidth=0.8, label="dropsim", zorder=2
            )
            if curve.log_y:
                axes.set_yscale("log")
            axes.set_title(curve.name)
            axes.set_xlabel(curve.x_label)
            axes.set_ylabel(curve.y_label)
            if index == 0:
                axes.legend()
        headline(figure, title)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=PNG_DPI, metadata={"Software": None})
    return path


def plot_summary(path: Path, numbers: Sequence[tuple[str, float, bool]]) -> Path:
    """Draw every number's deviation as a share of its tolerance, one line for each row; returns the path.

    numbers: (key of the row, share, whether it passed). Past the line at 1 a number fails.
    """
    keys = list(dict.fromkeys(key for key, _, _ in numbers))
    with figure_style():
        figure = new_figure(0.9 + 0.18 * len(keys))
        axes = figure.add_subplot()
        for passed, colour, label in ((True, MEASURED, "within tolerance"), (False, FITTED, "failed")):
            chosen = [(share, keys.index(key)) for key, share, ok in numbers if ok == passed]
            if not chosen:
                continue
            shares = [min(max(s, SMALLEST_SHARE), 100.0) if math.isfinite(s) else 100.0 for s, _ in chosen]
            axes.scatter(shares, [row for _, row in chosen], s=9, color=colour, alpha=0.7, linewidths=0, label=label)
        axes.axvline(1.0, color=INK, linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlim(0.7 * SMALLEST_SHARE, 150.0)
        axes.set_yticks(range(len(keys)), keys)
        axes.set_ylim(len(keys) - 0.4, -0.6)
        axes.grid(axis="x", color=MUTED, alpha=0.25, linewidth=0.5)
        axes.set_xlabel("deviation / tolerance (numbers closer than 10⁻⁴ stand at the left edge)")
        headline(figure, "How much of its tolerance each number uses")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=PNG_DPI, metadata={"Software": None})
    return path
