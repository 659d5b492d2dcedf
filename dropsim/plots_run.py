"""The figures of one particle run: its final frame, growth, motion, force, charge profiles and ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from dropsim.plots_frame import MO, draw_view, legend_handles, scene_from_curves
from dropsim.plots_reaction import (
    CONVERSION_CLOCK,
    charge_sharing_figure,
    cycles_figure,
    events_figure,
    grains_figure,
    ledger_figure,
)
from dropsim.plots_style import (
    CENTRE,
    FITTED,
    INK,
    LIQUID,
    MEASURED,
    MUTED,
    REFERENCE,
    SOLID,
    estimate_text,
    fact_of,
    figure_style,
    footnote,
    has_curves,
    headline,
    interval_of,
    known_estimate,
    legend_above,
    new_figure,
    number_text,
    remove_figure,
    run_title,
    save_figure,
    time_axis,
    wall_strip,
)
from dropsim.units import NM2_PER_PS_IN_NM2_PER_S

Curves = Mapping[str, np.ndarray]
Summary = Mapping[str, Any]

FOLDER = "figures"
NEAR_ELECTRODE_NM = 2.5
PAIR_COLOURS = (LIQUID, CENTRE, SOLID, MEASURED, FITTED, REFERENCE)


def _final_frame(summary: Summary, curves: Curves) -> Figure | None:
    scene = scene_from_curves(curves)
    if scene is None:
        return None
    figure = new_figure(4.5)
    # The panels share the nm on paper: their widths are equal, their heights follow from the box.
    top, side = figure.subplots(1, 2)
    draw_view(top, scene, "top")
    draw_view(side, scene, "side")
    for axes in (top, side):
        axes.set_anchor("N")
    top.set_title("from above", loc="left")
    side.set_title("from the side" if scene.periodic_z else "from the side, electrode below", loc="left")
    time = summary.get("time_ps")
    headline(figure, run_title(summary) + ("" if time is None else f", final frame at {time:g} ps"))
    handles = legend_handles(scene)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.3)
    return figure


def _area(summary: Summary, curves: Curves) -> Figure | None:
    if not has_curves(curves, "area_time_ps", "area_nm2", "area_size"):
        return None
    figure = new_figure(4.4)
    area, size = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1.0))
    area.plot(curves["area_time_ps"], curves["area_nm2"], ".", color=MEASURED, markersize=3.5, label="main droplet")
    if has_curves(curves, "growth_time_ps", "growth_curve", "growth_low", "growth_high"):
        time = curves["growth_time_ps"]
        n = known_estimate(summary, "growth_exponent")
        text = "fit A₀ + a (t − t₀)ⁿ" + (f", n = {estimate_text(n)}" if n else "")
        area.fill_between(time, curves["growth_low"], curves["growth_high"], color=FITTED, alpha=0.22, linewidth=0)
        area.plot(time, curves["growth_curve"], color=FITTED, label=text + "\n(bands: 95 %)")
    area.set_ylabel("projected area (nm²)")
    area.set_ylim(bottom=0)
    area.legend(loc="lower right")
    size.plot(curves["area_time_ps"], curves["area_size"], color=LIQUID, drawstyle="steps-mid")
    size.set_ylabel("S₆ in the droplet")
    size.set_ylim(bottom=0)
    size.set_xlabel(time_axis(bool(fact_of(summary, "accelerated_stages"))))
    headline(figure, f"{run_title(summary)}: growth of the main droplet")
    footnote(figure, fact_of(summary, "growth_verdict"))
    return figure


def _coloured_track(axes: Axes, time: np.ndarray, track: np.ndarray) -> LineCollection:
    """A path whose colour is time; equal scales."""
    pieces = np.stack([track[:-1], track[1:]], axis=1)
    line = LineCollection(list(pieces), array=0.5 * (time[1:] + time[:-1]), cmap="viridis", linewidths=1.3)
    axes.add_collection(line)
    axes.plot(*track[0], "o", color=INK, markersize=5, markerfacecolor="white", label="start")
    axes.plot(*track[-1], "s", color=INK, markersize=4.5, label="end")
    # A square field of view, so that equal aspect leaves the panel its shape.
    middle = 0.5 * (track.max(axis=0) + track.min(axis=0))
    half = 0.58 * float(np.ptp(track, axis=0).max()) or 1.0
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    axes.set_xlabel("x (nm)")
    axes.set_ylabel("y (nm)")
    axes.locator_params(nbins=6)
    return line


def _msd(axes: Axes, summary: Summary, lag: np.ndarray, msd: np.ndarray) -> None:
    """The MSD beside 4 D t of the likelihood estimate and the straight line through all lags."""
    axes.plot(lag, msd, color=MEASURED, label="MSD of the track")
    gls = known_estimate(summary, "centroid_diffusivity_gls")
    if gls:
        slope = 4.0 * float(gls["value"]) / NM2_PER_PS_IN_NM2_PER_S
        interval = interval_of(gls)
        if interval:
            low, high = (4.0 * x / NM2_PER_PS_IN_NM2_PER_S * lag for x in interval)
            axes.fill_between(lag, low, high, color=FITTED, alpha=0.2, linewidth=0)
        axes.plot(lag, slope * lag, color=FITTED, label=f"4 D t, likelihood of the steps\nD = {estimate_text(gls)}")
    line = known_estimate(summary, "centroid_diffusivity_straight_line")
    if line and len(lag) > 2:
        slope = 4.0 * float(line["value"]) / NM2_PER_PS_IN_NM2_PER_S
        # Least squares: the line of this slope passes through the mean of the lags that it was fitted to.
        offset = float(msd[1:].mean() - slope * lag[1:].mean())
        axes.plot(
            lag,
            offset + slope * lag,
            "--",
            color=REFERENCE,
            label=f"straight line, all lags (comparison)\nD = {estimate_text(line)}",
        )
    top = 1.25 * float(msd.max())
    axes.set_ylim(0.0, top if top > 0 else 1.0)
    axes.set_xlim(0.0, float(lag[-1]))
    axes.set_xlabel("lag " + time_axis(False))
    axes.set_ylabel("MSD (nm²)")
    axes.locator_params(axis="y", nbins=6)


def _motion(summary: Summary, curves: Curves) -> Figure | None:
    if not has_curves(curves, "track_time_ps", "track_xy_nm", "msd_nm2"):
        return None
    time, track, msd = (np.asarray(curves[k], float) for k in ("track_time_ps", "track_xy_nm", "msd_nm2"))
    figure = new_figure(3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.15))
    line = _coloured_track(left, time, track)
    # Below the axes, the bar leaves the square of the track its width.
    figure.colorbar(line, ax=left, label=time_axis(False), location="bottom", aspect=30, pad=0.03, shrink=0.8)
    left.legend(loc="best", handletextpad=0.2)
    lag = np.arange(len(msd)) * float(np.median(np.diff(time)))
    _msd(right, summary, lag, msd)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1.2)
    left.set_title("track of the matter of the main droplet", loc="left")
    right.set_title("mean squared displacement, [95 % interval]", loc="left")
    headline(figure, f"{run_title(summary)}: motion of the main droplet")
    return figure


def _force(summary: Summary, curves: Curves) -> Figure | None:
    if not has_curves(curves, "force_time_ps", "force_pN", "force_null_quantiles"):
        return None
    quantiles = np.asarray(curves["force_null_quantiles"], float)
    quantiles = quantiles[np.argsort(quantiles[:, 0])]
    (low_p, low), (high_p, high) = quantiles[0], quantiles[-1]
    figure = new_figure(3.5)
    axes = figure.subplots()
    band = f"free droplet, {100 * low_p:g} to {100 * high_p:g} % of the frames"
    axes.axhspan(low, high, color=REFERENCE, alpha=0.2, linewidth=0, label=band)
    null, mean = known_estimate(summary, "brownian_force_null"), known_estimate(summary, "mean_force")
    if null:
        text = f"free droplet, mean {number_text(float(null['value']), None, str(null['unit']))}"
        axes.axhline(float(null["value"]), color=INK, linestyle="--", linewidth=1.0, label=text)
    text = "kT |v|/D from the track" + (f"\nmean {estimate_text(mean)}" if mean else "")
    axes.plot(
        curves["force_time_ps"],
        curves["force_pN"],
        "-",
        color=MEASURED,
        linewidth=0.7,
        marker=".",
        markersize=3.5,
        label=text,
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(time_axis(False))
    axes.set_ylabel("apparent force |F| (pN)")
    axes.margins(x=0.01)
    legend_above(axes, 3)
    headline(figure, f"{run_title(summary)}: apparent force beside that of chance")
    footnote(figure, fact_of(summary, "force_verdict"))
    return figure


def _profile(axes: Axes, z: np.ndarray, value: np.ndarray, error: np.ndarray | None, colour: str) -> None:
    if error is not None and np.isfinite(error).any():
        half = 1.96 * np.asarray(error, float)
        axes.fill_between(z, value - half, value + half, step="mid", color=colour, alpha=0.3, linewidth=0)
    axes.plot(z, value, color=colour, linewidth=1.0, drawstyle="steps-mid")


def _charge_density(summary: Summary, curves: Curves) -> Figure | None:
    if not has_curves(curves, "profile_z_nm", "profile_sulfur"):
        return None
    z = np.asarray(curves["profile_z_nm"], float)
    net = has_curves(curves, "profile_net")
    height = float(curves["lengths"][2]) if has_curves(curves, "lengths") else float(z[-1])
    figure = new_figure(4.6 if net else 3.0)
    # Near the electrode, where the layers are, and once more over the whole height.
    grid = figure.subplots(2 if net else 1, 2, sharex="col", sharey="row", width_ratios=(1.7, 1.0), squeeze=False)
    for axes in grid[0]:
        _profile(axes, z, curves["profile_sulfur"], curves.get("profile_sulfur_error"), LIQUID)
    grid[0, 0].set_ylabel("|ρ| of sulfur beads (e/Å³)")
    grid[0, 0].set_ylim(bottom=0)
    grid[0, 0].set_title("S₆ and Li₂S beads alone, 2 e each, sign dropped as in the paper", loc="left")
    if net:
        for axes in grid[1]:
            _profile(axes, z, curves["profile_net"], curves.get("profile_net_error"), MEASURED)
            axes.axhline(0.0, color=MUTED, linewidth=0.7)
        grid[1, 0].set_ylabel("net ρ of mobile ions (e/Å³)")
        grid[1, 0].set_title("all mobile ions with their signs, the fixed centres left out", loc="left")
    centres = np.empty((0, 3))
    if has_curves(curves, "site_position", "site_species"):
        centres = np.asarray(curves["site_position"])[np.asarray(curves["site_species"]) == MO]
    for column, top in enumerate((min(NEAR_ELECTRODE_NM, height), height)):
        for axes in grid[:, column]:
            wall_strip(axes, -0.03 * top, 0.0, vertical=True)
            axes.set_xlim(-0.03 * top, top)
            if len(centres):
                at = float(centres[:, 2].mean())
                axes.axvline(at, color=CENTRE, linewidth=1.1, linestyle=(0, (3, 2)), label="Mo centres")
        grid[-1, column].set_xlabel("z (nm), electrode at 0 (hatched)" if column == 0 else "z (nm), whole height")
    if len(centres):
        grid[0, 0].legend(loc="upper right")
    headline(figure, f"{run_title(summary)}: charge along the normal of the electrode")
    footnote(
        figure,
        "Mean of the stationary frames; bands: 1.96 standard errors from blocks of frames.",
    )
    return figure


def _conversion(summary: Summary, curves: Curves) -> Figure | None:
    if not has_curves(curves, "react_time_ps", "react_area_nm2", "react_size", "react_converted"):
        return None
    time = curves["react_time_ps"]
    figure = new_figure(4.0)
    area, size = figure.subplots(2, 1, sharex=True, height_ratios=(1.4, 1.0))
    area.plot(time, curves["react_area_nm2"], "-", color=MEASURED, linewidth=0.8, marker=".", markersize=3.5)
    area.set_ylabel("projected area (nm²)")
    area.set_ylim(bottom=0)
    ratio = known_estimate(summary, "area_ratio_after_conversion")
    if ratio:
        area.set_title(f"area per unit, after / before = {estimate_text(ratio)}", loc="left")
    size.plot(time, curves["react_size"], color=LIQUID, drawstyle="steps-mid", label="sulfur beads in the droplet")
    size.plot(time, curves["react_converted"], color=SOLID, drawstyle="steps-mid", label="of these Li₂S units")
    size.set_ylabel("beads")
    size.set_ylim(bottom=0)
    size.set_xlabel(CONVERSION_CLOCK)
    begin = fact_of(summary, "nucleation_time_ps")
    if begin is not None:
        area.axvline(float(begin), color=INK, linestyle=":", linewidth=1.3)
        size.axvline(float(begin), color=INK, linestyle=":", linewidth=1.3, label=f"nucleation, {begin:g} ps")
    legend_above(size, 3)
    headline(figure, f"{run_title(summary)}: the converting droplet")
    return figure


def _structure(summary: Summary, curves: Curves) -> Figure | None:
    pairs = sorted(name[4:-3] for name in curves if name.startswith("rdf_") and name.endswith("_nm"))
    if not pairs:
        return None
    figure = new_figure(3.4)
    axes = figure.subplots()
    for number, pair in enumerate(pairs):
        r, g = np.asarray(curves[f"rdf_{pair}_nm"], float), np.asarray(curves[f"rdf_{pair}"], float)
        half = 1.96 * np.asarray(curves[f"rdf_{pair}_error"], float)
        colour = PAIR_COLOURS[number % len(PAIR_COLOURS)]
        axes.fill_between(r, g - half, g + half, color=colour, alpha=0.25, linewidth=0)
        axes.plot(r, g, color=colour, linewidth=1.1, label=pair.replace("-", "–"))
    axes.axhline(1.0, color=MUTED, linewidth=0.7)
    axes.set_xlabel("distance r (nm)")
    axes.set_ylabel("pair distribution g(r)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right")
    headline(figure, f"{run_title(summary)}: pair distributions")
    footnote(figure, "Second half of the last stage; bands: 1.96 standard errors from blocks of frames.")
    return figure


_Draw = Callable[[Summary, Curves], Figure | None]
RUN_FIGURES: dict[str, _Draw] = {
    "final_frame": _final_frame,
    "area": _area,
    "motion": _motion,
    "force": _force,
    "charge_density": _charge_density,
    "ledger": ledger_figure,
    "conversion": _conversion,
    "charge_sharing": charge_sharing_figure,
    "events": events_figure,
    "cycles": cycles_figure,
    "grains": grains_figure,
    "structure": _structure,
}


def plot_run(folder: Path, summary: Summary, curves: Curves) -> list[Path]:
    """Draw every figure for which a run has the arrays, into <folder>/figures as PNG and SVG.

    folder: of the run; summary: what summary.json holds; curves: the arrays of the analysis, by name, with their
    units in the names (ps, nm, nm², pN, e/ps; profiles in e/angstrom^3). The figures are the rows of
    RUN_FIGURES. One whose arrays are absent is not drawn, and a file of that name from an earlier analysis is
    removed. Returns the paths written.
    """
    target = Path(folder) / FOLDER
    written: list[Path] = []
    for name, draw in RUN_FIGURES.items():
        with figure_style():
            figure = draw(summary, curves)
            if figure is None:
                remove_figure(target / name)
            else:
                written += save_figure(figure, target / name)
    return written
