"""Figures: arrays and summaries in, PNG and SVG files out; only the plots modules use matplotlib."""

from dropsim.plots_conditions import plot_growth, plot_patches, plot_reactions
from dropsim.plots_overview import plot_overview
from dropsim.plots_run import RUN_FIGURES, plot_run
from dropsim.plots_study import plot_comparison, plot_contrast
from dropsim.plots_tier import plot_droplet_current, plot_droplet_tier

__all__ = [
    "RUN_FIGURES",
    "plot_comparison",
    "plot_contrast",
    "plot_droplet_current",
    "plot_droplet_tier",
    "plot_growth",
    "plot_overview",
    "plot_patches",
    "plot_reactions",
    "plot_run",
]
