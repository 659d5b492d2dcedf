"""The guard of time scales: groups by hand, both sides of every limit, and what the sentences say."""

import dataclasses
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from dropsim import report_timescales as rt
from dropsim import timescales as ts
from dropsim.kinetics.parameters import KineticParameters

# A droplet of 20 nm^2 / (0.5 nm^2/ps) mixing in 8 ps, 100 units, 4 contacts: tau = 100 / (4 x 0.025) = 1000 ps.
GIVEN = {
    "concentration": 12.0,
    "saturation": 4.0,
    "interface_velocity": 0.02,
    "radius": 2.0,
    "bulk_diffusivity": 0.8,
    "dense_diffusivity": 0.5,
    "n_units": 100.0,
    "n_contacts": 4.0,
    "injection_rate": 0.02,
    "ejection_rate": 0.005,
    "hop_rate": 0.5,
    "spectral_gap": 0.02,
    "front_acceleration": 10.0,
    "growth_time": 1250.0,
    "clock_compression": 1e7,
}


def test_groups_by_hand():
    found = ts.groups(**GIVEN)
    assert found.supersaturation == pytest.approx(3.0)
    assert found.damkohler == pytest.approx(0.05)
    assert found.charging_time == pytest.approx(1000.0)
    assert found.mixing_time == pytest.approx(8.0)
    assert found.mixing == pytest.approx(0.008)
    assert found.collectivity == pytest.approx(10 * 0.5 * 0.02 * 1000)
    # 100 / (4 x 10 x 0.02)
    assert found.conversion_time == pytest.approx(125.0)
    assert found.conversion_to_growth == pytest.approx(0.1)
    assert ts.verdicts(found) == []
    assert "absolute times may not" in ts.similarity_note(found)
    # The groups carry no unit: seconds give the same.
    seconds = GIVEN | {
        k: GIVEN[k] * 1e12
        for k in ("interface_velocity", "bulk_diffusivity", "dense_diffusivity", "injection_rate", "ejection_rate",
                  "hop_rate")
    } | {"growth_time": 1250e-12}  # fmt: skip
    again = ts.groups(**seconds)
    for name in ("supersaturation", "damkohler", "mixing", "collectivity", "conversion_to_growth"):
        assert getattr(again, name) == pytest.approx(getattr(found, name)), name


# A change that moves one group and no other beyond its limit, and one that stays just within.
LIMITS = {
    "S": ({"saturation": 12.1}, {"saturation": 11.9}, ["S = 0.99 is not above 1", "raise the concentration"]),
    "Da": ({"bulk_diffusivity": 0.39}, {"bulk_diffusivity": 0.41}, ["Da = 0.1026 is above 0.1", "lower k"]),
    "P": (
        {"dense_diffusivity": 0.039},
        {"dense_diffusivity": 0.041},
        ["P = 0.1026 is above 0.1", "lower the rate constant at least 1 times"],
    ),
    "Theta": (
        {"hop_rate": 0.145},
        {"hop_rate": 0.155},
        ["Theta = 29 is below 30", "raise the hop rate or lower the rate constant at least 1 times"],
    ),
    "tau_conv/tau_growth": (
        {"growth_time": 499.0},
        {"growth_time": 501.0},
        ["tau_conv/tau_growth = 0.2505 is above 0.25", "raise front_acceleration"],
    ),
}


@pytest.mark.parametrize("group", LIMITS)
def test_each_limit_has_two_sides(group):
    beyond, within, words = LIMITS[group]
    found = ts.groups(**(GIVEN | beyond))
    (sentence,) = ts.verdicts(found)
    for word in words:
        assert word in sentence
    assert [v.group for v in ts.judged(found) if v.within is False] == [group]
    assert f"outside its limits in {group}" in ts.similarity_note(found)
    assert ts.verdicts(ts.groups(**(GIVEN | within))) == []


def test_limits_are_those_of_the_theory():
    """Da < 0.1 keeps the exponent 1 + 1/(1 + Da) within 0.1 of 2; the others are stated."""
    assert 2 - (1 + 1 / (1 + ts.LARGEST_DAMKOHLER)) < 0.1
    assert (ts.LARGEST_MIXING, ts.SMALLEST_COLLECTIVITY, ts.LARGEST_CONVERSION_TO_GROWTH) == (0.1, 30.0, 0.25)


def test_rules_of_sharing_without_a_hop_rate():
    assert ts.groups(**(GIVEN | {"hop_rate": math.inf, "spectral_gap": None})).collectivity == math.inf
    none = ts.groups(**(GIVEN | {"hop_rate": 0.0}))
    assert none.collectivity == 0.0
    (sentence,) = ts.verdicts(none)
    assert sentence.startswith("Theta = 0 is below 30")
    assert "inf" not in sentence
    assert ts.groups(**(GIVEN | {"spectral_gap": 0.0})).collectivity == 0.0
    assert ts.groups(**(GIVEN | {"hop_rate": None})).collectivity is None


def test_what_is_not_given_is_not_known():
    found = ts.groups()
    assert all(value is None for value in dataclasses.asdict(found).values())
    assert ts.verdicts(found) == []
    assert all(v.within is None for v in ts.judged(found))
    for name in ts.groups(**GIVEN).to_dict():
        assert name in ts.Groups.__dataclass_fields__
    # No contacts: nothing charges, so no group with the charging time speaks.
    alone = ts.groups(**(GIVEN | {"n_contacts": 0.0}))
    assert math.isinf(alone.charging_time)
    assert alone.mixing == 0.0
    assert alone.conversion_to_growth is None
    assert ts.groups(**(GIVEN | {"n_units": math.nan})).mixing is None


def test_a_measured_damkohler_number_is_taken_as_it_is():
    assert ts.groups(**(GIVEN | {"damkohler": 7.0})).damkohler == 7.0


def test_rates_are_those_of_the_engine():
    """Against the kernel, at potentials on both sides, and detailed balance exp(-f eta)."""
    rates = pytest.importorskip("dropsim_kernels.rates")
    volt = 0.0258520
    for eta in (-0.4, -0.02, 0.0, 0.3):
        found = ts.electrode_rates("butler-volmer", 0.3, 0.3, 0.5, eta, volt)
        kernel = rates.butler_volmer(*map(jnp.asarray, (0.3, 0.3, eta / volt)))
        assert found == pytest.approx([float(x) for x in kernel], rel=1e-12)
        assert found[0] / found[1] == pytest.approx(math.exp(-eta / volt), rel=1e-9)
        found = ts.electrode_rates("marcus", 0.3, 0.3, 0.5, eta, volt)
        kernel = rates.marcus(*map(jnp.asarray, (0.3, 0.5, eta, volt)))
        assert found == pytest.approx([float(x) for x in kernel], rel=1e-12)
        assert found[0] / found[1] == pytest.approx(math.exp(-eta / volt), rel=1e-9)
    with pytest.raises(ValueError, match="kinetics must be"):
        ts.electrode_rates("tafel", 0.3, 0.3, 0.5, 0.0, volt)


def test_damkohler_number_from_captures():
    """Steady diffusion from b (absorbing) to a (k c = D dc/dr), solved on a grid of its own: the splitting
    probability of an ion at a gives Da back within the grid's error."""
    diffusivity, a, b = 0.7, 3.0, 3.5
    for k in (0.05, 2.0):
        r = np.linspace(a, b, 4001)
        # phi = A + B / r with phi(b) = 0 and D phi'(a) = -k (1 - phi(a)): shoot from b inwards.
        slope = -1.0 / r**2
        shape = np.concatenate([[0.0], np.cumsum(0.5 * (slope[1:] + slope[:-1]) * np.diff(r))])
        shape -= shape[-1]
        size = -k / (diffusivity * slope[0] - k * shape[0])
        captured = size * shape[0]
        contact, escape = 1.0, 1.5
        da = ts.measured_damkohler(captured, a - contact, contact, escape)
        assert da == pytest.approx(k * (a - contact) / diffusivity, rel=1e-6)
    assert math.isinf(ts.measured_damkohler(1.0, 3.0, 1.0, 1.5))


def test_the_compressed_clock_is_called_so():
    found = {v.group: v for v in ts.judged(ts.groups(**GIVEN))}["C"]
    assert "1e+07 times fast" in found.text
    assert "never seconds" in found.text
    assert found.within is None
    plain = {v.group: v for v in ts.judged(ts.groups(clock_compression=1.0))}["C"]
    assert "not compressed" in plain.text


@pytest.mark.parametrize(
    ("acceleration", "physical", "words"),
    [
        (200.0, False, "about 200 times fast"),
        (math.inf, False, "no friction"),
        (math.nan, False, "no physical meaning"),
        (1.5, False, None),
        (200.0, True, None),
    ],
)
def test_clocks_of_stages(acceleration, physical, words):
    found = ts.stage_clock_verdict("gather", acceleration, keeps_physical_clock=physical)
    if words is None:
        assert found is None
    else:
        assert words in found
        assert found.startswith("stage gather")


def test_the_summary_is_plain_json():
    found = ts.groups(**(GIVEN | {"hop_rate": math.inf, "bulk_diffusivity": 0.1}))
    summary = ts.as_summary(found, ["stage gather: fast"])
    back = json.loads(json.dumps(summary, allow_nan=False))
    assert back["groups"]["collectivity"] == "infinite"
    assert {v["group"] for v in back["verdicts"]} == {"S", "Da", "P", "Theta", "tau_conv/tau_growth", "C"}
    assert len(back["beyond"]) == 1
    assert back["clocks"] == ["stage gather: fast"]


def test_replicas_are_joined_and_judged_anew():
    found = [ts.as_summary(ts.groups(**(GIVEN | {"hop_rate": hop})), ["stage a: fast"]) for hop in (0.5, 0.1)]
    joined = rt.join_timescales([{"timescales": s} for s in found] + [{"estimates": {}}])
    # Theta 100 and 20: their mean is within the limit, though one is not.
    assert joined["groups"]["collectivity"] == pytest.approx(60.0)
    assert joined["beyond"] == []
    assert joined["clocks"] == ["stage a: fast"]
    infinite = ts.as_summary(ts.groups(**(GIVEN | {"hop_rate": math.inf})), [])
    assert rt.join_timescales([{"timescales": infinite}] * 2)["groups"]["collectivity"] == "infinite"
    assert rt.join_timescales([{}])["groups"]["mixing"] is None


def test_groups_of_the_droplet_tier_are_those_that_it_derives():
    parameters = KineticParameters(hop_rate_per_s=1e3)
    derived = parameters.derived(-0.5)
    found = rt.tier_timescales(derived)["groups"]
    assert found["damkohler"] == derived["damkohler_number"]
    assert found["mixing"] == derived["mixing_number"]
    assert found["collectivity"] == derived["collectivity_index"]
    assert found["conversion_to_growth"] == derived["conversion_ratio"]
    mixed = rt.tier_timescales(KineticParameters().derived(-0.5))
    assert mixed["groups"]["collectivity"] == "infinite"
    assert set(rt.TIER_NAMES.values()) <= set(derived)


def test_the_printed_table(capsys):
    slow = ts.as_summary(ts.groups(**(GIVEN | {"hop_rate": 0.01})), ["stage a: fast", "stage b: fast"])
    rt.print_timescales({"centres": slow, "none": ts.as_summary(ts.Groups(), [])})
    text = " ".join(capsys.readouterr().out.split())
    assert "Theta > 30 2 -" in text
    assert "- centres: Theta = 2 is below 30" in text
    assert "- stages a, b: fast" in text
    rt.print_timescales({"none": ts.as_summary(ts.Groups(), [])})
    assert capsys.readouterr().out == ""
