"""Figures: arrays and summaries in, PNG and SVG files out; only the plots modules use matplotlib."""

from dropsim.plots_run import RUN_FIGURES, plot_run

__all__ = ["RUN_FIGURES", "plot_run"]
