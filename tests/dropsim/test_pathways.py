"""The electrode without centres as a tier, and both pathways side by side: files, tables, agreement of inputs."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from dropsim.config_load import load_config_text
from dropsim.errors import AnalysisError, ConfigError
from dropsim.kinetics.parameters import KineticParameters
from dropsim.kinetics.protocol import PotentialStep
from dropsim.kinetics.single_molecule_parameters import SingleMoleculeParameters
from dropsim.pathways import (
    PAPER_RATIOS,
    PathwayCurves,
    compare_curves,
    compare_pathways,
    film_per_droplet,
    pathway_numbers,
    write_pathways,
)
from dropsim.single_molecule_tier import (
    run_single_molecule_tier,
    single_molecule_parameters,
    write_single_molecule_tier,
)

SHORT = """
[[kinetics.protocol]]
potential_V = -0.5
duration_s = 30.0

[[kinetics.protocol]]
potential_V = 0.5
duration_s = 10.0

[single_molecule]
enabled = true
area_um2 = 0.3
realisations = 3
rod_nucleation_prefactor_per_nm3_s = 1e-8
"""


@pytest.fixture(scope="module")
def config(experiment_text):
    text = experiment_text.replace("enabled = false", "frame_s = 0.5\nonset_s = 5.0\nrealisations = 4")
    return load_config_text(text + SHORT)


@pytest.fixture(scope="module")
def tier(config):
    return run_single_molecule_tier(config)


def test_inputs_are_those_of_the_file(config):
    parameters, protocol = single_molecule_parameters(config)
    assert protocol == (PotentialStep(-0.5, 30.0), PotentialStep(0.5, 10.0))
    assert parameters.area_um2 == 0.3
    assert parameters.provenance["area_um2"] == "config"
    assert parameters.provenance["capillary_length_nm"].startswith("default")
    assert parameters.film_height_nm == config.kinetics.film_height_nm
    assert parameters.opening_barrier_kT == config.kinetics.opening_barrier_kT
    # Every input that nothing changes has the default of the class: one source for each number.
    plain = dataclasses.asdict(SingleMoleculeParameters())
    changed = {"area_um2", "rod_nucleation_prefactor_per_nm3_s", "provenance"}
    given = dataclasses.asdict(parameters)
    for name in set(plain) - changed:
        assert given[name] == pytest.approx(plain[name]) if plain[name] is not None else given[name] is None, name


def test_potentials_out_of_range_are_named(experiment_text):
    text = experiment_text.replace("enabled = false", "standard_potential_V = 0.0") + SHORT.replace("-0.5", "-50.0", 1)
    with pytest.raises(ConfigError, match="potential_V"):
        single_molecule_parameters(load_config_text(text))


def test_the_tier_and_its_files(tier, tmp_path):
    assert tier.facts["ledger"] == {"sulfur_error": 0, "lithium_error": 0, "electron_error_thirds": 0}
    expected = {"charge_1_reduction", "charge_2_oxidation", "rods", "particles", "peak_reduction_current"}
    assert expected <= set(tier.estimates)
    assert tier.estimates["charge_1_reduction"].value > 0 > tier.estimates["charge_2_oxidation"].value
    assert "ripening_posterior" in tier.facts
    summary = write_single_molecule_tier(tmp_path, tier)
    stored = json.loads((tmp_path / "single_molecule.json").read_text())
    assert stored["estimates"].keys() == summary["estimates"].keys()
    assert all(entry["from"] for entry in stored["inputs"].values())
    with open(tmp_path / "single_molecule.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(tier.solution.time_s)
    # The current of the table integrates to its charge.
    current = np.array([float(row["current_uA_per_cm2"]) for row in rows])
    charge = np.array([float(row["charge_uC_per_cm2"]) for row in rows])
    np.testing.assert_allclose(np.cumsum(current) * 0.5, charge, atol=2e-4 * np.abs(charge).max())
    for end in ("png", "svg"):
        assert (tmp_path / "figures" / f"single_molecule.{end}").stat().st_size > 1000


def curves(height, peak_s, scale=1.0, n=8):
    """A current that peaks as a Gaussian, charge its integral, realisations with 10 % spread."""
    time = np.arange(0.0, 101.0, 0.5)
    spread = np.linspace(0.9, 1.1, n)[:, None]
    current = height * spread * np.exp(-0.5 * ((time - peak_s) / 15.0) ** 2)
    charge = np.concatenate([np.zeros((n, 1)), np.cumsum(0.5 * current[:, 1:], axis=1)], axis=1)
    return PathwayCurves(time, current, charge, np.full_like(current, scale))


def test_numbers_of_known_curves():
    numbers = pathway_numbers(curves(2.0, 50.0), np.arange(8), 0, 200)
    assert numbers["peak_time"] == pytest.approx(50.0, abs=0.5)
    # The mean over 10 s around the top of a Gaussian of 15 s.
    top = 2.0 * 1.5 * math.sqrt(2 * math.pi) * math.erf(5 / 15 / math.sqrt(2))
    assert numbers["peak_current"] == pytest.approx(top, rel=1e-2)
    assert numbers["capacity"] == pytest.approx(2.0 * 15 * math.sqrt(2 * math.pi), rel=1e-2)
    assert numbers["mean_current"] == pytest.approx(numbers["capacity"] / 100.0)
    assert numbers["half_time"] == pytest.approx(50.0, abs=0.6)


def test_ratios_of_known_curves():
    estimates, missing = compare_curves(curves(20.0, 30.0, 12.0), curves(2.0, 60.0, 3.0), 0.0, 100.0, 1)
    assert not missing
    assert estimates["peak_current_ratio"].value == pytest.approx(10.0, rel=1e-2)
    assert estimates["exchange_rate_ratio"].value == pytest.approx(4.0)
    assert estimates["peak_earlier"].value == pytest.approx(30.0, abs=0.6)
    low, high = estimates["peak_current_ratio"].interval_95
    # Eight realisations with a standard deviation of 7 % on either side: 3.5 % on the ratio.
    assert low < 10.0 < high
    assert 0.02 < estimates["peak_current_ratio"].standard_error / 10.0 < 0.05
    silent = dataclasses.replace(curves(0.0, 60.0), exchange_e_per_s=np.zeros((8, 202)))
    _, missing = compare_curves(curves(20.0, 30.0), silent, 0.0, 100.0, 1)
    assert missing["capacity_ratio"] == "no current without centres"


def test_pathways_need_the_same_electrolyte():
    protocol = (PotentialStep(-0.5, 10.0),)
    with pytest.raises(ValueError, match="film_height_nm"):
        compare_pathways(KineticParameters(), SingleMoleculeParameters(film_height_nm=50.0), protocol, seed=1)
    with pytest.raises(AnalysisError, match="does not reduce"):
        compare_pathways(KineticParameters(), SingleMoleculeParameters(), (PotentialStep(0.5, 10.0),), seed=1)
    with pytest.raises(ValueError, match="droplets_per_um2"):
        film_per_droplet(KineticParameters(droplets_per_um2=0.0))
    shared = film_per_droplet(KineticParameters(droplets_per_um2=40.0))
    assert shared.supply_volume_nm3 * 40.0 == pytest.approx(1e6 * shared.film_height_nm)


def test_both_pathways_and_their_file(tier, tmp_path):
    collective = KineticParameters(onset_s=5.0, rate_constant_per_s=0.3, interface_velocity_nm_per_s=1000.0)
    result = compare_pathways(
        collective, tier.parameters, tier.protocol, seed=1, frame_s=0.5, n_droplets=4, solution=tier.solution
    )
    summary = write_pathways(tmp_path, result)
    assert [row["name"] for row in summary["rows"]] == list(PAPER_RATIOS)
    stored = json.loads((tmp_path / "pathways.json").read_text())
    assert stored["inputs_with_centres"]["supply_radius_nm"]["from"].startswith("closed film")
    assert all(entry["from"] for entry in stored["inputs_without_centres"].values())
    # Neither pathway passes more than the film holds.
    full = 10.0 * tier.parameters.current_uA_per_cm2(tier.parameters.total_units)
    for curve in (result.with_centres, result.without_centres):
        assert curve.charge_uC_per_cm2.mean(axis=0).max() < full
    assert any("droplets_per_um2" in note for note in stored["notes"])
    for end in ("png", "svg"):
        assert (tmp_path / "figures" / f"pathways.{end}").stat().st_size > 1000
