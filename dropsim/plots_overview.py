"""The project's one picture: the two runs of a study, a droplet through time, and the contrast in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Circle

from dropsim.plots_frame import centred, draw_view, legend_handles, scene_from_curves
from dropsim.plots_study import draw_contrast
from dropsim.plots_style import INK, MUTED, figure_style, headline, new_figure, save_figure
from dropsim.plots_tier import Solution, conversion_end, draw_area, event_window

Curves = Mapping[str, np.ndarray]

# Grey levels of a bright-field image: thin electrolyte, dense liquid, crystal.
FILM, LIQUID, CRYSTAL = "#D6D6D6", "#8C8C8C", "#3C3C3C"
N_FRAMES = 5


def _placeholder(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, transform=axes.transAxes)


def _name_panel(figure: SubFigure, letter: str, title: str) -> None:
    figure.suptitle(title, fontsize=8.5, parse_math=False)
    figure.text(0.005, 0.985, letter, fontsize=9.5, fontweight="bold", va="top")


def _run_panel(figure: SubFigure, curves: Curves | None, letter: str, title: str) -> None:
    """A final frame from above and from the side, the sulfur moved to the middle of the periodic box."""
    top, side = figure.subplots(1, 2)
    scene = None if curves is None else scene_from_curves(curves)
    if scene is None:
        _placeholder(top, "no such run")
        side.set_axis_off()
    else:
        scene = centred(scene)
        draw_view(top, scene, "top", ticks=False)
        draw_view(side, scene, "side", ticks=False)
        for axes in (top, side):
            axes.set_anchor("N")
        top.set_xlabel("from above")
        side.set_xlabel("from the side")
        figure.legend(
            handles=[h for h in legend_handles(scene) if "charge only" not in str(h.get_label())],
            loc="outside lower center",
            ncols=5,
            fontsize=6.8,
            columnspacing=0.7,
            handletextpad=0.1,
        )
    _name_panel(figure, letter, title)


def frame_times(mean: Solution, n_frames: int = N_FRAMES) -> np.ndarray:
    """Indices of the saves to show: evenly from the droplet's appearance to the first save after its conversion."""
    present = np.flatnonzero(np.asarray(mean.area_nm2, float) > 0)
    if not present.size:
        return np.array([], dtype=int)
    end = conversion_end(mean)
    last = int(present[-1]) if end is None else int(np.searchsorted(mean.time_s, end))
    return np.unique(np.linspace(present[0], last, n_frames).round().astype(int))


def draw_micrographs(axes: Sequence[Axes], mean: Solution, frames: np.ndarray) -> None:
    """The mean-field droplet as a disc of its projected area, darker where crystal; one scale for all.

    A rendering in the greys of a bright-field image, not an image: no contrast transfer, no noise.
    """
    radius = np.sqrt(np.asarray(mean.area_nm2, float) / np.pi)
    half = 1.35 * float(radius[frames].max())
    for place, frame in zip(axes, frames, strict=True):
        units = float(mean.n_liquid[frame]) + float(mean.n_solid[frame])
        solid = units > 0 and float(mean.n_solid[frame]) > 0.5 * units
        place.set_facecolor(FILM)
        place.add_patch(Circle((0, 0), float(radius[frame]), color=CRYSTAL if solid else LIQUID, linewidth=0))
        place.set_xlim(-half, half)
        place.set_ylim(-half, half)
        place.set_aspect("equal")
        place.set_xticks([])
        place.set_yticks([])
        for spine in place.spines.values():
            spine.set_visible(False)
        place.set_title(f"{float(mean.time_s[frame]):.1f} s", fontsize=6.8, pad=2)
    bar = next(x for x in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if x < 1.1 * half or x == 0.1)
    # In the first image, whose disc is the smallest.
    x, y = -0.9 * half, -0.84 * half
    axes[0].plot([x, x + bar], [y, y], color=INK, linewidth=1.8, solid_capstyle="butt")
    axes[0].text(x, y + 0.08 * half, f"{bar:g} nm", fontsize=6.5, ha="left", va="bottom")


def _tier_panel(
    figure: SubFigure,
    mean: Solution | None,
    realisations: Solution | None,
    protocol: Sequence[Mapping[str, float]],
) -> None:
    _name_panel(figure, "c", "one droplet in seconds (rate model; discs to scale)")
    if mean is None or not frame_times(mean).size:
        _placeholder(figure.subplots(), "no droplet tier" if mean is None else "no droplet formed")
        return
    frames = frame_times(mean)
    grid = figure.add_gridspec(2, len(frames), height_ratios=(1.0, 2.6))
    shots = [figure.add_subplot(grid[0, k]) for k in range(len(frames))]
    draw_micrographs(shots, mean, frames)
    curve = figure.add_subplot(grid[1, :])
    draw_area(curve, mean, realisations, protocol, event_window(mean, realisations))
    time = np.asarray(mean.time_s, float)[frames]
    curve.plot(time, np.asarray(mean.area_nm2, float)[frames], "o", color=INK, markersize=3.5)
    curve.legend(loc="upper left", bbox_to_anchor=(0.0, 0.93), handlelength=1.4)


def plot_overview(
    path_stem: Path,
    curves_main: Curves,
    curves_control: Curves | None,
    tier_mean: Solution | None,
    tier_realisations: Solution | None,
    conditions: Sequence[Mapping[str, Any]],
    *,
    protocol: Sequence[Mapping[str, float]] = (),
    title: str = "",
    title_main: str = "with charged Mo centres",
    title_control: str = "control without centres",
) -> list[Path]:
    """Draw the overview of a study, 2 x 2 panels, legible at 900 pixels, as PNG and SVG; returns both paths.

    curves_main, curves_control: curves of the two runs (final frames, nm); tier_mean, tier_realisations: of the
    droplet tier (see `plot_droplet_tier`); protocol: rows of potential_V and duration_s; conditions: as for
    `plot_contrast`, of which the sulfur near the electrode is shown. What is None is said to be absent. Raises
    ValueError where the main run has no final frame.
    """
    if scene_from_curves(curves_main) is None:
        raise ValueError("curves_main has no final frame: analyse the run again")
    with figure_style():
        figure = new_figure(5.7)
        grid = figure.add_gridspec(2, 2, height_ratios=(0.9, 1.0))
        parts = [figure.add_subfigure(grid[row, column]) for row in (0, 1) for column in (0, 1)]
        _run_panel(parts[0], curves_main, "a", title_main)
        _run_panel(parts[1], curves_control, "b", title_control)
        _tier_panel(parts[2], tier_mean, tier_realisations, protocol)
        last = parts[3].subplots()
        measured = [c for c in conditions if c.get("estimates", {}).get("surface_count")]
        if measured:
            draw_contrast(last, measured, "surface_count", "S atoms within 1.5 nm of the electrode")
        else:
            _placeholder(last, "not measured")
        _name_panel(parts[3], "d", "sulfur near the electrode")
        if title:
            headline(figure, title)
        return save_figure(figure, Path(path_stem))
