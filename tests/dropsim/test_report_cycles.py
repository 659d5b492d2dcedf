"""Half cycles of a condition: joined over its replicas, and told in the terminal."""

import math

import numpy as np
import pytest
from scipy import stats

from dropsim.report_cycles import joined_half_cycles, print_half_cycles


def summary(charges, half_time, gap, errors=(0, 0, 0), temperature=300.0):
    kinds = ("reduction", "oxidation")
    rows = [
        {
            "kind": kind,
            "start_ps": 10.0 * k,
            "end_ps": 10.0 * (k + 1),
            "charge_e": charge,
            "half_time_ps": half_time if k else None,
            "units_converted": 5 - 5 * k,
        }
        for k, (kind, charge) in enumerate(zip(kinds, charges, strict=True))
    ]
    return {
        "estimates": {"configurational_temperature_reduce": {"value": temperature}, "capacity": {"value": 3.0}},
        "facts": {
            "half_cycles": rows,
            "cycles": [{"reduced": charges[0], "oxidised": -charges[1], "balance": -charges[1] / charges[0],
                        "peak_gap": gap}],
            "ledger": {"checks": 40, "sulfur_error": errors[0], "lithium_error": errors[1],
                       "electron_error": errors[2], "electrons_injected": sum(charges), "units_converted": 0},
        },
    }  # fmt: skip


def test_half_cycles_are_means_over_replicas_with_their_spread(capsys):
    charges = np.array([[50, -48], [60, -60], [55, -54.0]])
    errors = [(0, 0, 0), (0, 2, 0), (0, 1, 0)]
    replicas = [
        summary(tuple(c), 4.0 + k, None, e, 300.0 + 6 * k) for k, (c, e) in enumerate(zip(charges, errors, strict=True))
    ]
    joined = joined_half_cycles(replicas)
    assert [part["kind"] for part in joined["half_cycles"]] == ["reduction", "oxidation"]
    found = joined["half_cycles"][1]["estimates"]
    error = charges[:, 1].std(ddof=1) / math.sqrt(3)
    assert found["charge_e"]["value"] == pytest.approx(-54.0)
    assert found["charge_e"]["standard_error"] == pytest.approx(error)
    low, high = found["charge_e"]["interval_95"]
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 2) * error)
    assert found["half_time_ps"]["value"] == 5.0
    assert "half_time_ps" not in joined["half_cycles"][0]["estimates"]  # no replica had it
    assert joined["cycles"][0]["estimates"]["balance"]["value"] == pytest.approx((0.96 + 1 + 54 / 55) / 3)
    assert "peak_gap" not in joined["cycles"][0]["estimates"]
    assert joined["temperatures"]["reduce"]["value"] == 306.0
    assert set(joined["temperatures"]) == {"reduce"}
    books = joined["books"]
    assert (books["looks"], books["sulfur_error"], books["lithium_error"], books["electron_error"]) == (120, 0, 2, 0)
    assert books["electrons_at_end"] == [2, 0, 1]
    print_half_cycles({"half_cycles": {"held": joined}})
    text = capsys.readouterr().out
    assert "-54 ± 3.5" in text
    assert "in 120 looks: 2" in text


def test_conditions_without_half_cycles_are_left_out():
    whole = summary((10, -10), 1.0, 0.2)
    without = {"estimates": {}, "facts": {}}
    assert joined_half_cycles([without, without]) is None
    single = {**whole, "facts": {**whole["facts"], "half_cycles": whole["facts"]["half_cycles"][:1]}}
    assert joined_half_cycles([single]) is None
    # A replica that has not come as far as the others cannot be joined with them.
    assert joined_half_cycles([whole, single]) is None
    (cycle,) = joined_half_cycles([whole])["cycles"]
    assert cycle["estimates"]["peak_gap"]["value"] == 0.2
    assert cycle["estimates"]["peak_gap"]["standard_error"] is None


def test_the_second_charge_is_set_against_the_first_replica_by_replica():
    def with_charges(*times):
        given = summary((10, -10), 1.0, 0.2)
        row = given["facts"]["half_cycles"][0]
        idle = {**row, "kind": "oxidation", "half_time_ps": 77.0}  # before anything was reduced
        rows = [idle]
        for t in times:
            rows += [row, {**row, "kind": "oxidation", "half_time_ps": t}]
        return {**given, "facts": {**given["facts"], "half_cycles": rows}}

    joined = joined_half_cycles([with_charges(120.0, 40.0), with_charges(90.0, 30.0), with_charges(50.0, None)])
    found = joined["second_charge_minus_first"]
    assert found["half_time_ps"]["value"] == -70.0
    assert found["half_time_ps"]["standard_error"] == pytest.approx(10.0)
    assert "tenth_time_ps" not in found
