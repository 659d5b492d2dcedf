"""Bare electrodes of several conditions: their figure, which are told, and the electrode with centres beside them."""

from types import SimpleNamespace

import numpy as np
import pytest

from dropsim.config import Config
from dropsim.plots_conditions import plot_patches
from dropsim.report_conditions import control_patch_summary, control_patches, electrode_with_centres
from dropsim.single_molecule_tier import time_dissolved


def estimate(value, half):
    return {"value": value, "standard_error": half / 2, "interval_95": [value - half, value + half], "unit": "1"}


def patch(label, **numbers):
    rng = np.random.default_rng(3)
    share = np.where(np.arange(20) > 8, 0.4, np.nan) * np.ones((4, 1))
    estimates = {key: estimate(value, 1.0) for key, value in numbers.items()}
    flow = rng.uniform(0.1, 0.2, (4, 20))
    return {"label": label, "time_s": 0.4 * np.arange(20), "current_uA_per_cm2": flow, "single_step_share": share,
            "estimates": estimates}  # fmt: skip


def test_figure_of_patches(tmp_path):
    rows = [patch("one", first_particle=14.0, mean_reduction_current=2.0), patch("two", first_particle=20.0)]
    assert all(p.stat().st_size > 5000 for p in plot_patches(tmp_path / "patches", rows, "a study"))
    rows[1]["single_step_share"] = np.full((4, 20), np.nan)
    rows[0]["current_uA_per_cm2"] = np.zeros((4, 20))
    plot_patches(tmp_path / "less", rows, "a study")
    with pytest.raises(ValueError, match="empty"):
        plot_patches(tmp_path / "none", [], "a study")


def configured(name, *, centres="none", wired=True, **single):
    stage = {"name": "still", "integrator": "baoab", "duration_ps": 4.0, "timestep_fs": 20.0, "record_every_ps": 2.0}
    return Config.model_validate(
        {
            "run": {"name": name},
            "box": {"lateral_nm": (6.0, 6.0), "height_nm": 6.0},
            "centres": {"arrangement": centres, "spacing_nm": 3.0, "wired": wired},
            "kinetics": {"onset_s": 1.0, "protocol": ({"potential_V": -0.5, "duration_s": 2.0},)},
            "single_molecule": {"area_um2": 0.02, "realisations": 2, **single},
            "stages": (stage,),
        }
    )


def test_the_electrode_with_centres_is_the_main_runs_or_else_a_controls():
    tier, dry = (SimpleNamespace(parameters=SimpleNamespace(droplets_per_um2=n)) for n in (50.0, 0.0))
    configs = {
        "bare": configured("bare"),
        "cut": configured("cut", centres="lattice", wired=False),
        "wired": configured("wired", centres="lattice"),
    }
    others = {"cut": tier, "wired": tier}
    assert electrode_with_centres(configs, "wired", tier, {"bare": dry}) is tier
    assert electrode_with_centres(configs, "bare", dry, others) is others["wired"]
    assert electrode_with_centres(configs, "bare", None, others) is others["wired"]
    assert electrode_with_centres(configs, "bare", tier, {"cut": tier}) is None
    assert electrode_with_centres(configs, "wired", dry, {}) is None


def test_bare_electrodes_of_controls_are_those_that_differ():
    configs = {
        "main": configured("main", enabled=True),
        "same": configured("same", enabled=True),
        "off": configured("off", solubility_mM=0.05),
        "other": configured("other", enabled=True, solubility_mM=0.05),
    }
    found = control_patches(configs, "main")
    assert list(found) == ["other"]
    assert found["other"].parameters.provenance["solubility_per_nm3"] == "config"
    summary = control_patch_summary(found["other"])
    assert summary["facts"]["ledger"] == {"sulfur_error": 0, "lithium_error": 0, "electron_error_thirds": 0}
    assert "charge_1_reduction" in summary["estimates"]
    # A main run that asks for none has none to compare with.
    assert list(control_patches(configs, "off")) == ["main", "other", "same"]


def test_times_of_dissolution():
    time = np.arange(0.0, 20.0, 0.1)
    steady, slowing = 1000.0 * (1.0 - time / 20.0), 1000.0 * np.exp(-time / 4.0)
    late = 1000.0 * np.exp(-((time / 10.0) ** 3))
    rows = np.stack([steady, slowing, late, np.full(200, 1000.0), np.zeros(200)]).astype(np.int64)
    tenth, half = (time_dissolved(time, rows, share) for share in (0.1, 0.5))
    np.testing.assert_allclose(tenth[:3], [2.0, -4.0 * np.log(0.9), 10.0 * (-np.log(0.9)) ** (1 / 3)], atol=0.11)
    np.testing.assert_allclose(half[:3], [10.0, 4.0 * np.log(2.0), 10.0 * np.log(2.0) ** (1 / 3)], atol=0.11)
    assert np.isnan(np.array([tenth, half])[:, 3:]).all()
    assert half[2] / tenth[2] < 2.5 < 5.0 < half[1] / tenth[1]
