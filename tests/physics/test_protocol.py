"""Protocols: the potential against time, its half cycles, and where a ramp crosses the standard potential."""

import itertools

import numpy as np
import pytest

from dropsim.kinetics.protocol import (
    PotentialStep,
    cyclic_voltammetry,
    half_cycles,
    potential_at,
    protocol_duration,
    stretches,
)

SEQUENCE = (
    PotentialStep(-0.5, 10.0),
    PotentialStep(-0.5, 20.0, potential_end_V=0.3),
    PotentialStep(0.0, 5.0, open_circuit=True),
    PotentialStep(0.3, 5.0),
)


def test_potential_follows_steps_and_ramps():
    times = np.array([[0.0, 9.9, 10.0, 15.0], [29.999, 30.0, 34.0, 40.0]])
    potential, connected = potential_at(SEQUENCE, times)
    np.testing.assert_allclose(potential, [[-0.5, -0.5, -0.5, -0.3], [0.29996, 0.0, 0.0, 0.3]], atol=1e-15)
    np.testing.assert_array_equal(connected, [[True] * 4, [True, False, False, True]])


def test_ramps_are_continuous_and_held_potentials_exact():
    scan = cyclic_voltammetry(0.1, -0.7, 0.013, n_cycles=3)
    times = np.linspace(0.0, protocol_duration(scan), 6001)
    potential, connected = potential_at(scan, times)
    assert connected.all()
    slope = np.abs(np.diff(potential)) / np.diff(times)
    assert slope.max() == pytest.approx(0.013, rel=1e-9)
    assert potential.min() == pytest.approx(-0.7, abs=1e-12)
    assert potential[0] == 0.1
    held, _ = potential_at((PotentialStep(-0.3, 7.0),), np.linspace(0.0, 7.0, 50))
    assert np.all(held == -0.3)


def test_a_time_that_passes_the_end_by_rounding_belongs_to_it():
    step = (PotentialStep(-0.1, 0.3, potential_end_V=-0.4),)
    potential, _ = potential_at(step, [0.1 * 3])
    assert potential[0] == -0.4
    with pytest.raises(ValueError, match="times run from"):
        potential_at(step, [0.31])
    with pytest.raises(ValueError, match="times run from"):
        potential_at(step, [-0.1])


def test_half_cycles_are_cut_where_the_ramp_crosses():
    cycles = half_cycles(SEQUENCE, 0.0)
    assert [c.kind for c in cycles] == ["reduction", "oxidation", "rest", "oxidation"]
    np.testing.assert_allclose([c.end_s for c in cycles], [22.5, 30.0, 35.0, 40.0])
    np.testing.assert_allclose([c.start_s for c in cycles], [0.0, 22.5, 30.0, 35.0])
    # Another standard potential moves the crossing; above everything imposed there is no oxidation.
    assert half_cycles(SEQUENCE, -0.4)[0].end_s == pytest.approx(12.5)
    assert [c.kind for c in half_cycles(SEQUENCE, 1.0)] == ["reduction", "rest", "reduction"]


def test_the_standard_potential_itself_is_reduction():
    assert half_cycles((PotentialStep(0.2, 1.0),), 0.2)[0].kind == "reduction"
    # A ramp that starts or ends at E0 lies on one side of it.
    assert [s.kind for s in stretches((PotentialStep(0.2, 1.0, potential_end_V=0.5),), 0.2)] == ["oxidation"]
    assert [s.kind for s in stretches((PotentialStep(0.5, 1.0, potential_end_V=0.2),), 0.2)] == ["oxidation"]


def test_stretches_cover_the_protocol_without_gaps():
    scan = cyclic_voltammetry(0.1, -0.7, 0.013, n_cycles=3)
    parts = stretches(scan, -0.123)
    assert parts[0].start_s == 0.0
    assert parts[-1].end_s == protocol_duration(scan)
    for before, after in itertools.pairwise(parts):
        assert before.end_s == after.start_s
        assert before.end_V == after.start_V
    for part in parts:
        side = np.sign([part.start_V + 0.123, part.end_V + 0.123])
        assert abs(side.sum()) == np.abs(side).sum()
    assert len(half_cycles(scan, -0.123)) == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PotentialStep(-0.5, 0.0), "duration_s is 0"),
        (lambda: PotentialStep(float("nan"), 1.0), "potential_V is nan"),
        (lambda: PotentialStep(0.0, 1.0, potential_end_V=float("inf")), "potential_end_V is inf"),
        (lambda: half_cycles((), 0.0), "protocol is empty"),
        (lambda: cyclic_voltammetry(0.1, 0.1, 1.0), "two different potentials"),
    ],
)
def test_what_cannot_be_run_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
