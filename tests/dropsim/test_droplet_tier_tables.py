"""The droplet tier of a configuration: its tables, its summary and its figures, with a ramp and a rest."""

import csv
import json

import numpy as np
import pytest

from dropsim.config_load import load_config_text
from dropsim.droplet_tier import kinetic_parameters, run_droplet_tier, write_droplet_tier
from dropsim.errors import ConfigError
from dropsim.kinetics.protocol import PotentialStep

TEXT = """
[run]
name = "tier"

[[stages]]
name = "only"
integrator = "baoab"
duration_ps = 20.0
timestep_fs = 20.0

[kinetics]
realisations = 12
frame_s = 0.5
onset_s = 2.0
seed_radius_nm = 2.0
nucleation_rate_per_s = 1e-3
grains_per_unit = 0.02
saturation_mM = 4.0
opening_barrier_kT = 1.0
protocol = [
  { potential_V = -0.3, potential_end_V = -0.5, duration_s = 25.0 },
  { potential_V = 0.0, duration_s = 5.0, open_circuit = true },
  { potential_V = 0.5, duration_s = 45.0 },
]
"""


@pytest.fixture(scope="module")
def tier(tmp_path_factory):
    """(folder, summary, tier) of the protocol above."""
    folder = tmp_path_factory.mktemp("tier")
    found = run_droplet_tier(load_config_text(TEXT), {}, "none")
    return folder, write_droplet_tier(folder, found, "none"), found


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_protocol_of_the_file_is_that_of_the_tier(tier):
    steps = tier[2].protocol
    assert steps == (
        PotentialStep(-0.3, 25.0, potential_end_V=-0.5),
        PotentialStep(0.0, 5.0, open_circuit=True),
        PotentialStep(0.5, 45.0),
    )


def test_current_table_integrates_to_the_charges_of_the_summary(tier):
    folder, summary, found = tier
    rows = rows_of(folder / "current.csv")
    assert list(rows[0]) == ["t_s", "potential_V", "current_fA", "current_uA_per_cm2"]
    time = np.array([float(row["t_s"]) for row in rows])
    current = np.array([float(row["current_fA"]) for row in rows])
    density = np.array([float(row["current_uA_per_cm2"]) for row in rows])
    np.testing.assert_allclose(density, 5.0 * current, rtol=1e-5)  # 50 droplets per um^2
    halves = summary["facts"]["half_cycles"]
    assert [row["kind"] for row in halves] == ["reduction", "rest", "oxidation"]
    for half in halves:
        inside = (time > half["start_s"]) & (time < half["end_s"])
        assert (current[inside] * 0.5).sum() == pytest.approx(half["charge_fC"], rel=1e-4, abs=1e-9)
    resting = [row for row in rows if 25.0 < float(row["t_s"]) < 30.0]
    assert all(row["potential_V"] == "" and float(row["current_fA"]) == 0.0 for row in resting)
    assert float(rows[0]["potential_V"]) == pytest.approx(-0.302)
    assert found.current.time_s.size == time.size


def test_ledger_and_balance(tier):
    facts = tier[1]["facts"]
    assert set(facts["ledger"].values()) == {0}
    (cycle,) = facts["cycles"]
    assert cycle["balance"] == pytest.approx(1.0, abs=0.01)
    assert facts["half_cycles"][0]["droplets_with_solid"] == 12
    assert facts["half_cycles"][2]["solid_units_at_end"] < 1.0


def test_grains_add_up_to_the_crystals(tier):
    folder, summary, found = tier
    rows = rows_of(folder / "grains.csv")
    assert len(rows) == summary["facts"]["grains"]["grains"]
    end = int(np.searchsorted(found.realisations.time_s, 25.0))
    for droplet in range(12):
        units = [int(row["units"]) for row in rows if int(row["droplet"]) == droplet]
        assert sum(units) == found.realisations.n_solid[droplet, end]
    for row in rows:
        assert (row["label"] == "amorphous") == (float(row["size_nm"]) < 1.5)
        assert sum(float(row[name]) ** 2 for name in ("qw", "qx", "qy", "qz")) == pytest.approx(1.0, abs=1e-5)
    assert {row["label"] for row in rows} == {"amorphous", "crystalline"}


def test_summary_names_the_groups(tier):
    folder, summary, _ = tier
    derived = json.loads((folder / "droplet_tier.json").read_text())["derived"]
    assert derived["reference_potential_V"] == -0.5
    for name in ("supersaturation", "damkohler_number", "mixing_number", "conversion_ratio", "spectral_gap"):
        assert derived[name] > 0
    assert derived["collectivity_index"] is None
    assert "well mixed" in derived["sharing_note"]
    assert summary["protocol"][0]["potential_end_V"] == -0.5


def test_figures_are_drawn(tier):
    names = {path.name for path in (tier[0] / "figures").iterdir()}
    assert {"droplet_tier.png", "droplet_tier.svg", "droplet_current.png", "droplet_current.svg"} <= names
    svg = (tier[0] / "figures" / "droplet_current.svg").stat().st_size
    assert 10_000 < svg < 3_000_000


def test_rates_of_marcus_and_hops_reach_the_parameters():
    text = TEXT.replace("realisations = 12", 'realisations = 12\nkinetics = "marcus"\nhop_rate_per_s = 5.0')
    parameters, _, _ = kinetic_parameters(load_config_text(text), {}, "none")
    assert parameters.kinetics == "marcus"
    assert parameters.provenance["hop_rate_per_s"] == "config"
    note = parameters.derived(-0.5)["sharing_note"]
    assert "does not hold" in str(note)


def test_a_potential_out_of_range_is_named():
    text = TEXT.replace("potential_end_V = -0.5", "potential_end_V = -40.0")
    with pytest.raises(ConfigError, match=r"kinetics\.protocol\.0\.potential_end_V = -40"):
        kinetic_parameters(load_config_text(text), {}, "none")
