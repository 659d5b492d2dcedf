"""What all figures share: the style, the palette, how numbers are written on them, and the files.

Figures are made without pyplot and without a global backend, so that they may be drawn in any process; the SVG
of equal input is equal byte by byte.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PAGE_WIDTH_IN = 7.2
PNG_DPI = 200

# Colours that stay apart for the common colour deficiencies (by lightness as well as by hue).
INK = "#222222"
MUTED = "#777777"
MEASURED = "#1F5A94"
FITTED = "#C8501E"
REFERENCE = "#7A7A7A"
SOLID = "#0B3C74"
LIQUID = "#E69F00"
INTERMEDIATE = "#CC79A7"
CENTRE = "#00897B"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.2,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "dropsim",
    "svg.fonttype": "path",
    "path.simplify": True,
    "text.usetex": False,
}

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNIT_TEXT = {
    "1": "",
    "nm^2/s": "nm²/s",
    "nm^2/ps": "nm²/ps",
    "nm^2": "nm²",
    "e/angstrom^3": "e/Å³",
    "e/A^3": "e/Å³",
}


def figure_style() -> AbstractContextManager[None]:
    """The settings under which a figure is made and saved; the caller's own come back afterwards."""
    settings: Any = STYLE
    return matplotlib.rc_context(settings)


def new_figure(height_in: float, width_in: float = PAGE_WIDTH_IN) -> Figure:
    """An empty figure of page width whose panels make room for their labels."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.png (200 dpi) and <stem>.svg, without dates or versions in them; returns both paths."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, svg = figure_files(stem)
    figure.savefig(png, dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None})
    return [png, svg]


def figure_files(stem: Path) -> list[Path]:
    """The paths under which a figure is kept; a stem may hold dots."""
    stem = Path(stem)
    return [stem.with_name(stem.name + end) for end in (".png", ".svg")]


def remove_figure(stem: Path) -> None:
    """Remove both files of a figure that no longer stands for anything."""
    for path in figure_files(stem):
        path.unlink(missing_ok=True)


def time_axis(accelerated: bool) -> str:
    """Label of a time axis in ps that says which clock it is."""
    return "time (ps, accelerated clock)" if accelerated else "time (ps, physical clock)"


def known(estimate: Mapping[str, Any] | None) -> bool:
    """Whether an estimate of summary.json has a value."""
    return estimate is not None and estimate.get("value") is not None


def known_estimate(summary: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """An estimate of a run's summary, None where it has no value."""
    estimate = summary.get("estimates", {}).get(key)
    return estimate if known(estimate) else None


def fact_of(summary: Mapping[str, Any], key: str) -> Any:
    """A fact of a run's summary, None where it is not there."""
    return summary.get("facts", {}).get(key)


def run_title(summary: Mapping[str, Any]) -> str:
    """What a run is called on its figures."""
    return str(summary.get("title") or summary.get("name") or "run")


def has_curves(curves: Mapping[str, np.ndarray], *names: str) -> bool:
    """Whether all of these arrays are there and not empty."""
    return all(name in curves and np.size(curves[name]) for name in names)


def interval_of(estimate: Mapping[str, Any]) -> tuple[float, float] | None:
    """The 95 % interval of an estimate of summary.json, or None where it has none."""
    low, high = estimate.get("interval_95") or (None, None)
    return None if low is None or high is None else (float(low), float(high))


def number_text(value: float, interval: tuple[float, float] | None = None, unit: str = "1") -> str:
    """A number with its interval and unit, as "3.1 [2.4, 4.0] × 10⁷ nm²/s".

    The digits follow the interval, two of whose half width are shown; without one, three significant digits.
    """
    size = max(abs(x) for x in (value, *(interval or ())))
    # The power of the value itself, unless the interval dwarfs it.
    size = max(abs(value), 0.1 * size)
    power = math.floor(math.log10(size)) if size > 0 else 0
    power = power if power >= 4 or power <= -3 else 0
    scale = 10.0**power
    spread = (interval[1] - interval[0]) / 2.0 / scale if interval else 0.0
    if spread > 0:
        places = 1 - math.floor(math.log10(spread))
    else:
        places = 2 - (math.floor(math.log10(abs(value) / scale)) if value else 0)
    places = min(max(places, 0), 6)
    text = f"{value / scale:.{places}f}"
    if interval:
        text += f" [{interval[0] / scale:.{places}f}, {interval[1] / scale:.{places}f}]"
    if power:
        text += " × 10" + str(power).translate(_SUPERSCRIPTS)
    unit = unit_text(unit)
    return f"{text} {unit}".rstrip().replace("-", "−")


def unit_text(unit: str) -> str:
    """A unit as it is printed on a figure; the pure number has none."""
    return _UNIT_TEXT.get(unit, unit)


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """An estimate of summary.json as text with its 95 % interval."""
    return number_text(float(estimate["value"]), interval_of(estimate), str(estimate["unit"]))


def wall_strip(axes: Axes, low: float, high: float, *, vertical: bool) -> None:
    """Hatch the electrode between two heights, as a column (height along x) or a row (height along y)."""
    span = axes.axvspan if vertical else axes.axhspan
    span(low, high, facecolor="#D9D9D9", edgecolor="#8C8C8C", hatch="////", linewidth=0.0, zorder=0)


def headline(figure: Figure, text: str) -> None:
    """The bold line at the top; a title from an experiment file is never read as mathematics."""
    figure.suptitle(text, fontsize=9.5, fontweight="bold", parse_math=False)


def footnote(figure: Figure, text: str | None, width: int = 112) -> None:
    """A sentence under the panels, in lines of about equal length; the layout makes room for it."""
    if not text:
        return
    lines = -(-len(text) // width)
    even = min(width, len(text) // lines + 12)
    wrapped = textwrap.fill(text[0].upper() + text[1:], even)
    figure.supxlabel(wrapped, fontsize=7.4, color=INK, parse_math=False)


def legend_above(axes: Axes, n_columns: int) -> None:
    """The legend of a panel as a row over it, where it hides no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=n_columns, columnspacing=1.3, borderaxespad=0.2)
