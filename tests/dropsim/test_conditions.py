"""Conditions of a study over each other: passing times, charging and growth curves, thirds against Theta."""

import math

import numpy as np
import pytest

from dropsim import report_conditions
from dropsim.compare import combined
from dropsim.config_load import load_config_text
from dropsim.errors import AnalysisError
from dropsim.observables.conversion import passing_times
from dropsim.plots_conditions import mean_over_replicas, plot_growth, plot_reactions
from dropsim.report_timescales import tier_timescales


def test_units_that_turn_one_by_one_pass_at_their_known_times():
    time = np.linspace(0.001, 30.0, 30000)
    turned = np.floor(1000 * (1.0 - np.exp(-time)) ** 10 + 1e-9)
    shares = np.array(passing_times(5.0 + time, turned, 5.0))
    known = -np.log(1.0 - (np.array([0.1, 0.5, 0.9]) * turned.max() / 1000) ** 0.1)
    np.testing.assert_allclose(shares, known, atol=0.03)
    np.testing.assert_allclose(known, [1.58, 2.70, 4.56], atol=0.02)


def test_passing_times_of_a_jump_and_of_nothing():
    assert passing_times([1.0, 2.0, 3.0], [0, 8, 8], 0.5) == (1.5, 1.5, 1.5)
    with pytest.raises(AnalysisError, match="no unit"):
        passing_times([1.0, 2.0], [0, 0], 0.0)


def test_a_count_keeps_its_value_between_its_times():
    first = (np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.0]))
    second = (np.array([1.0, 2.0, 3.0]), np.array([3.0, 3.0, 5.0]))
    time, mean, low, high = mean_over_replicas([first, second], 7)
    np.testing.assert_allclose(time, np.arange(7) / 2)
    np.testing.assert_allclose(mean, [0, 0, 2, 2, 3, 3, 4])
    np.testing.assert_allclose(low, [0, 0, 1, 1, 3, 3, 3])
    np.testing.assert_allclose(high, [0, 0, 3, 3, 3, 3, 5])


def estimate(value, half):
    return {"value": value, "standard_error": half / 2, "interval_95": [value - half, value + half], "unit": "1"}


def condition(label, theta, tau):
    time = 10.0 + 0.5 * np.arange(1, 41)
    curves = [
        {"ledger_time": time, "ledger_electrons": np.arange(40) * n, "ledger_units_converted": np.arange(40) // n}
        for n in (2, 3)
    ]
    numbers = {key: estimate(v, 0.3) for key, v in (("charge_inner", 2.0), ("charge_middle", 1.5), ("charge_outer", 1))}
    return {"label": label, "n_sulfur": 20, "curves": curves, "estimates": numbers, "theta": theta, "tau_ps": tau}


@pytest.mark.parametrize("taus", [(10.0, 10.0, 10.0, 10.0), (10.0, 5.0, 2.5, 2.5)])
def test_figure_of_reactions(tmp_path, taus):
    thetas = (math.inf, 0.0, 0.3, 50.0)
    rows = [condition(f"run {n}", theta, tau) for n, (theta, tau) in enumerate(zip(thetas, taus, strict=True))]
    assert all(p.stat().st_size > 5000 for p in plot_reactions(tmp_path / "reaction", rows, "a study"))
    rows[1] |= {"estimates": {}, "tau_ps": None, "theta": None}
    plot_reactions(tmp_path / "less", rows[:2], "a study")
    with pytest.raises(ValueError, match="empty"):
        plot_reactions(tmp_path / "none", [], "a study")


def test_figure_of_growth(tmp_path):
    time = np.linspace(0.0, 30.0, 61)
    tier = {"label": "C = 1", "time_s": time, "area_nm2": np.maximum(time - 4.0, 0.0) ** 2, "onset_s": 5.0}
    tier |= {"end_s": 25.0, "exponent": estimate(1.9, 0.1), "damkohler": 0.01}
    found = plot_growth(tmp_path / "growth", [tier, tier | {"exponent": None, "label": "C = 2"}], "a study")
    assert all(p.stat().st_size > 5000 for p in found)
    with pytest.raises(ValueError, match="empty"):
        plot_growth(tmp_path / "none", [], "a study")


def test_controls_with_other_rates_get_a_droplet_of_their_own(experiment_text, monkeypatch):
    def config(kinetics, *overrides):
        return load_config_text(experiment_text.replace("[kinetics]\nenabled = false\n", kinetics), overrides=overrides)

    configs = {
        "main": config("[kinetics]\n"),
        "same": config("[kinetics]\n"),
        "fast": config("[kinetics]\nrate_constant_per_s = 3.0\n"),
        "off": config("[kinetics]\nenabled = false\nrate_constant_per_s = 3.0\n"),
        "not_wired": config("[kinetics]\n", "centres.wired=false"),
    }
    monkeypatch.setattr(report_conditions, "run_droplet_tier", lambda config, estimates, source: source)
    nothing, sources = {key: {} for key in configs}, {key: f"{key}-r0" for key in configs}
    found = report_conditions.control_tiers(configs, "main", nothing, sources)
    assert found == {"fast": "fast-r0", "not_wired": "not_wired-r0"}


def test_compression_of_a_control_counts_from_the_main_run():
    derived = {"damkohler_number": 0.2, "mixing_number": 0.01, "supersaturation": 2.5, "conversion_ratio": 0.03}
    summary = tier_timescales(derived, 4000.0)
    assert summary["groups"]["clock_compression"] == 4000.0
    assert [text.split()[0] for text in summary["beyond"]] == ["Da"]


def test_a_difference_of_zero_is_known():
    """Its error may be far above it; an exponent of which that is true says nothing."""
    rows = [
        {"estimates": {key: estimate(value, 0.2) | {"n_effective": 9.0, "method": "x"} for key in
                       ("charge_inner_minus_outer", "growth_exponent")}, "missing": {}}
        for value in (0.101, -0.1)
    ]  # fmt: skip
    estimates, missing = combined(rows)
    assert estimates["charge_inner_minus_outer"].value == pytest.approx(0.0005)
    assert "do not bound it" in missing["growth_exponent"]
