"""Figures of the bare electrode, and of the two pathways side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dropsim.plots_style import (
    CENTRE,
    FITTED,
    INK,
    LIQUID,
    MEASURED,
    MUTED,
    REFERENCE,
    SOLID,
    figure_style,
    footnote,
    headline,
    legend_above,
    new_figure,
    number_text,
    save_figure,
)
from dropsim.plots_tier import FOLDER, shade_protocol

TRACK_LIGHT = "#F3D9A4"
# Rows of the posterior that are shown, and their names.
_UNKNOWNS = {
    "log10_velocity": "k$_s$ (nm/s)",
    "log10_solubility_capillary": "c$_{eq}$ l$_c$ (mM nm)",
    "log10_ripening_constant": "K = k$_s$Ωc$_{eq}$l$_c$ (nm²/s)",
    "log10_radius_nm": "R of #2 at 70 s (nm)",
}


class PatchHistories(Protocol):
    """What is read of a patch: the fields of `SingleMoleculeSolution` of the same names."""

    @property
    def time_s(self) -> NDArray[Any]: ...
    @property
    def net_e(self) -> NDArray[Any]: ...
    @property
    def current_uA_per_cm2(self) -> NDArray[Any]: ...
    @property
    def n_particles(self) -> NDArray[Any]: ...
    @property
    def n_rods(self) -> NDArray[Any]: ...
    @property
    def particle_radius_nm(self) -> NDArray[Any]: ...
    @property
    def rod_length_width_nm(self) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @property
    def n_adsorbed(self) -> NDArray[Any]: ...
    @property
    def n_intermediate(self) -> NDArray[Any]: ...
    @property
    def n_particle_molecules(self) -> NDArray[Any]: ...
    @property
    def n_rod_molecules(self) -> NDArray[Any]: ...
    @property
    def single_step_share(self) -> NDArray[Any]: ...


class Curves(Protocol):
    """What is read of one pathway: the fields of `PathwayCurves`."""

    @property
    def time_s(self) -> NDArray[Any]: ...
    @property
    def current_uA_per_cm2(self) -> NDArray[Any]: ...
    @property
    def charge_uC_per_cm2(self) -> NDArray[Any]: ...


class Comparison(Protocol):
    """What is read of both pathways: the fields of `Pathways`."""

    @property
    def with_centres(self) -> Curves: ...
    @property
    def without_centres(self) -> Curves: ...


def _band(axes: Axes, time: NDArray[Any], values: NDArray[Any], colour: str, label: str) -> None:
    """Mean of realisations (K, T) as a line, and the band from 16 to 84 %."""
    low, high = np.quantile(values, [0.16, 0.84], axis=0)
    axes.fill_between(time, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(time, values.mean(axis=0), color=colour, label=label)


def _present(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(values > 0, values, np.nan)


def _limits(axes: Axes, values: NDArray[Any]) -> None:
    """Room for all but the shortest spikes: the charge of adsorbed ions leaves within a frame of a reversal."""
    low, high = np.quantile(values, [0.01, 0.995])
    pad = 0.12 * (high - low) or 1.0
    axes.set_ylim(min(low - pad, 0.0), max(high + 2.0 * pad, 0.0))


def plot_single_molecule(folder: Path, solution: PatchHistories, summary: Mapping[str, Any]) -> list[Path]:
    """Draw the bare patch into <folder>/figures/single_molecule as PNG and SVG; returns both paths.

    solution: realisations of a patch, (K, T). summary: `protocol`, rows of potential_V and duration_s; `derived` with
    li2s6_in_film; where known, `inputs` (standard_potential_V is read) and `facts` with ripening_posterior.
    """
    time = np.asarray(solution.time_s, float)
    protocol = summary["protocol"]
    standard = float(summary.get("inputs", {}).get("standard_potential_V", {}).get("value", 0.0))
    shown = _shown_realisation(solution)
    with figure_style():
        figure = new_figure(8.2)
        panels = figure.subplot_mosaic("aa;nr;ls;bp", height_ratios=(0.9, 1.0, 1.0, 1.0))
        current = panels["a"]
        _band(current, time[1:], solution.current_uA_per_cm2[:, 1:], MEASURED, "mean of realisations")
        _limits(current, solution.current_uA_per_cm2[:, 1:].mean(axis=0))
        current.set_ylabel("current, mean per frame\n(µA/cm²)")

        counts = panels["n"]
        _band(counts, time, solution.n_particles, LIQUID, "Li₂S₂ particles")
        _band(counts, time, solution.n_rods, SOLID, "Li₂S rods")
        counts.set_ylabel("number on the patch")
        counts.set_ylim(bottom=0.0)

        radii = panels["r"]
        radius = _present(np.asarray(solution.particle_radius_nm)[shown])
        radii.plot(time, radius[:, np.isfinite(radius).any(axis=0)], color=LIQUID, linewidth=0.9)
        radii.set_ylabel("radius of each particle (nm)")
        radii.set_title("Li₂S₂ particles, one realisation", loc="left")

        length, width = (_present(np.asarray(v)[shown]) for v in solution.rod_length_width_nm)
        there = np.isfinite(length).any(axis=0)
        rods = panels["l"]
        rods.plot(time, length[:, there], color=SOLID, linewidth=0.9)
        rods.plot(time, width[:, there], "--", color=CENTRE, linewidth=0.9)
        rods.plot([], [], color=SOLID, label="length")
        rods.plot([], [], "--", color=CENTRE, label="width")
        rods.set_ylabel("rods of one realisation (nm)")
        rods.set_ylim(bottom=0.0)

        share = panels["s"]
        values = np.asarray(solution.single_step_share)
        known = np.isfinite(values).all(axis=0)
        if known.any():
            _band(share, time[known], values[:, known], FITTED, "single-step share")
        share.set_ylim(0.0, 1.0)
        share.set_ylabel("share of Li₂S that\nnever was Li₂S₂")

        budget = panels["b"]
        sulfur = np.stack(
            [
                6.0 * solution.n_adsorbed.mean(axis=0),
                2.0 * solution.n_intermediate.mean(axis=0),
                2.0 * solution.n_particle_molecules.mean(axis=0),
                1.0 * solution.n_rod_molecules.mean(axis=0),
            ]
        ) / float(6.0 * summary["derived"]["li2s6_in_film"])
        names = ("adsorbed ions", "Li₂S₂ dissolved", "Li₂S₂ particles", "Li₂S rods")
        budget.stackplot(time, 100.0 * sulfur, labels=names, colors=(MUTED, TRACK_LIGHT, LIQUID, SOLID), linewidth=0)
        budget.set_ylabel("sulfur of the film (%)")

        for name in "anrlsb":
            axes = panels[name]
            axes.set_xlim(float(time[0]), float(time[-1]))
            axes.set_xlabel("time (s)")
            shade_protocol(axes, protocol, standard, named=name == "a")
        for name, columns in (("n", 2), ("l", 2), ("b", 2)):
            legend_above(panels[name], columns)
        _draw_posterior(panels["p"], summary.get("facts", {}).get("ripening_posterior"))
        headline(figure, "A patch of bare electrode: one ion at a time")
        footnote(
            figure,
            f"{len(solution.net_e)} realisations; bands hold 16 to 84 % of them; the spike of a reversal, when "
            "adsorbed ions give up their electrons at once, is cut. Where an input comes from stands in "
            "single_molecule.json; sizes and times that were put in test nothing",
        )
        return save_figure(figure, Path(folder) / FOLDER / "single_molecule")


def _shown_realisation(solution: PatchHistories) -> int:
    """The realisation with the most particles at a time: ripening needs more than one."""
    return int(np.argmax(np.asarray(solution.n_particles).max(axis=1)))


def _draw_posterior(axes: Axes, posterior: Mapping[str, Any] | None) -> None:
    """Medians with 68 and 95 % intervals of what four times of the microscope say, beside the priors' widths."""
    if posterior is None:
        axes.set_axis_off()
        return
    rows = [(label, posterior["unknowns"][key]) for key, label in _UNKNOWNS.items() if key in posterior["unknowns"]]
    for at, (_, row) in enumerate(rows):
        axes.plot([row["low_95"], row["high_95"]], [at, at], color=MEASURED, linewidth=1.0)
        axes.plot([row["low_68"], row["high_68"]], [at, at], color=MEASURED, linewidth=3.0)
        axes.plot(row["median"], at, "o", color="white", markeredgecolor=MEASURED, markersize=4.5)
        text = f"sd {row['sd']:.2f} of {row['prior_sd']:.2f}"
        axes.annotate(text, (row["low_95"], at), xytext=(0, 5), textcoords="offset points", fontsize=6.8, color=MUTED)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.set_xlabel("log$_{10}$, posterior (68 and 95 %)")
    axes.set_title("ripening: what four times say;\nsd after and before them", loc="left")


def plot_pathways(folder: Path, result: Comparison, summary: Mapping[str, Any]) -> list[Path]:
    """Draw both pathways into <folder>/figures/pathways as PNG and SVG; returns both paths.

    result: curves of both; summary: `protocol`, `rows` (quantity, unit, dropsim, paper_low, paper_high) and `notes`.
    """
    protocol = summary["protocol"]
    both = (
        ("with centres: droplets", result.with_centres, FITTED),
        ("without: single ions", result.without_centres, MEASURED),
    )
    with figure_style():
        figure = new_figure(6.4)
        panels = figure.subplot_mosaic("iq;rr", height_ratios=(1.2, 1.0))
        current, charge, ratios = (panels[name] for name in "iqr")
        for label, curves, colour in both:
            time = np.asarray(curves.time_s, float)
            flow = curves.current_uA_per_cm2.mean(axis=0)
            current.plot(time[1:], np.abs(flow[1:]), color=colour, linewidth=0.9, label=label)
            _band(charge, time, curves.charge_uC_per_cm2, colour, label)
        current.set_yscale("log")
        flows = np.concatenate([np.abs(c.current_uA_per_cm2[:, 1:].mean(axis=0)) for _, c, _ in both])
        top = float(flows.max()) or 1.0
        current.set_ylim(top * 1e-5, 3.0 * top)
        current.set_ylabel("|current| (µA/cm²)")
        charge.set_ylabel("charge (µC/cm²)")
        for axes in (current, charge):
            axes.set_xlim(float(result.with_centres.time_s[0]), float(result.with_centres.time_s[-1]))
            axes.set_xlabel("time (s)")
            shade_protocol(axes, protocol)
        legend_above(current, 1)
        legend_above(charge, 1)
        _draw_ratios(ratios, summary["rows"])
        headline(figure, "The same electrolyte with and without centres")
        footnote(figure, "; ".join(summary["notes"][:2]))
        return save_figure(figure, Path(folder) / FOLDER / "pathways")


def _draw_ratios(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """dropsim's ratios with their intervals beside the paper's; a time is told in words."""
    shown = [row for row in rows if row["unit"] == "1" and row["dropsim"] is not None]
    for at, row in enumerate(shown):
        low, high = row["dropsim"]["interval_95"]
        value = row["dropsim"]["value"]
        axes.plot([row["paper_low"], row["paper_high"]], [at + 0.16] * 2, "|-", color=REFERENCE, linewidth=2.0)
        axes.plot([low, high], [at - 0.16] * 2, color=MEASURED, linewidth=1.6)
        axes.plot(value, at - 0.16, "o", color=MEASURED, markersize=5)
        axes.annotate(
            number_text(value, (low, high)),
            (value, at - 0.16),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=7.0,
            color=MEASURED,
        )
    axes.plot([], [], "o-", color=MEASURED, label="dropsim, 95 %")
    axes.plot([], [], "|-", color=REFERENCE, linewidth=2.0, label="the paper")
    axes.axvline(1.0, color=INK, linewidth=0.6, linestyle=":")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 2.0, high * 2.0)
    axes.set_yticks(range(len(shown)), [str(row["quantity"]) for row in shown])
    axes.set_ylim(len(shown) - 0.4, -0.75)
    axes.set_xlabel("with over without centres")
    axes.legend(loc="upper left")
    times = [row for row in rows if row["unit"] == "s" and row["dropsim"] is not None]
    words = []
    for row in times:
        bound = "at least " if row["lower_bound"] else ""
        number = number_text(row["dropsim"]["value"], tuple(row["dropsim"]["interval_95"]), "s")
        words.append(f"{row['quantity']} {bound}{number} (the paper: {row['paper_low']:g} s)")
    if words:
        axes.set_title("\n".join(words), loc="right", fontsize=7.4)
