"""What the pages of three studies say in words holds in their committed results."""

import json
from pathlib import Path

import pytest

STUDIES = Path(__file__).resolve().parents[1] / "experiments"


def result(study):
    return json.loads((STUDIES / study / "results" / "comparison.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("study", ["cycling", "charge_treatment"])
def test_the_books_closed_at_every_look(study):
    for joined in result(study)["half_cycles"].values():
        books = joined["books"]
        assert books["looks"] > 1000
        assert books["sulfur_error"] == books["lithium_error"] == books["electron_error"] == 0


def test_ten_cycles_of_droplets_end_where_they_began_and_the_first_charge_is_the_slow_one():
    found = result("cycling")
    facts = found["droplet_tier"]["facts"]
    for tier in [found["droplet_tier"], *found["droplet_tiers"].values()]:
        assert set(tier["facts"]["ledger"].values()) == {0}
    assert [cycle["balance"] for cycle in facts["cycles"]] == [1.0] * 10
    charges = [row for row in facts["half_cycles"] if row["kind"] == "oxidation"]
    assert all(row["solid_units_at_end"] == 0 for row in charges)
    first, *later = charges
    for row in later:
        for key in ("tenth_time_s", "half_time_s"):
            error = (first[f"{key}_error"] ** 2 + row[f"{key}_error"] ** 2) ** 0.5
            assert first[key] - row[key] > 10 * error
    # Slow and then fast: this ratio is 0.2 for a steady current, and 0.15 for one that decays exponentially.
    assert first["tenth_time_s"] > 0.3 * first["half_time_s"]
    assert first["peak_time_s"] - first["start_s"] > 4 * (later[0]["peak_time_s"] - later[0]["start_s"])


def test_what_the_particles_of_the_cycling_study_leave_behind():
    joined = result("cycling")["half_cycles"]
    dead = {
        name: joined[name]["half_cycles"][3]["estimates"]["units_converted"] for name in ("ten_cycles", "short_range")
    }
    assert dead["short_range"]["interval_95"][0] > dead["ten_cycles"]["interval_95"][1]
    assert 0 in joined["ten_cycles"]["books"]["electrons_at_end"]
    rest = joined["rest"]["half_cycles"]
    assert rest[1]["kind"] == "rest"
    assert rest[1]["estimates"]["charge_e"]["interval_95"] == [0.0, 0.0]
    assert rest[0]["estimates"]["charge_e"]["value"] // 10 == rest[1]["estimates"]["units_converted"]["value"]


def test_centres_without_contact_gather_as_those_with_it_and_pass_nothing():
    found = result("disconnected_centre")
    runs = {condition["name"]: condition for condition in found["conditions"]}
    values = {name: run["replica_values"]["surface_count"] for name, run in runs.items()}
    assert values["wired"] == values["not_wired"]
    assert min(values["wired"]) > max(values["no_centres"])
    for name in ("not_wired", "no_centres"):
        for key in ("reduction_charge", "solid_share"):
            assert runs[name]["estimates"][key]["interval_95"] == [0.0, 0.0]
    assert found["droplet_tiers"]["not_wired"]["facts"]["nucleated"] == 0


def test_a_droplet_that_is_charged_bare_falls_apart_and_does_not_convert():
    joined = result("charge_treatment")["half_cycles"]
    coupled = joined["coupled"]["half_cycles"][0]["estimates"]
    assert coupled["units_converted"]["interval_95"] == [16.0, 16.0]
    for name in ("bare", "bare_slow"):
        bare = joined[name]["half_cycles"]
        largest = bare[0]["estimates"]["largest_droplet_units"]
        assert largest["interval_95"][1] < coupled["largest_droplet_units"]["interval_95"][0]
        assert bare[1]["estimates"]["largest_droplet_units"]["value"] > largest["value"]
