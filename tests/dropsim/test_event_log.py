"""Rows of events and ledger, counted by hand from two small checks."""

import dataclasses

import numpy as np
from dropsim_kernels.charge_transfer import ReactionInfo

from dropsim.event_log import EVENT_COLUMNS, EVENT_KINDS, LEDGER_COLUMNS, event_rows, ledger_rows
from dropsim.simulate import CheckRecord

# Five sulfur beads: droplets {0, 1, 3} and {2, 4}. First check: three electrons enter the first droplet, one leaves
# it, one enters the second. Second check: the first nucleates and turns bead 1; the second is at rest.
FIRST = {
    "droplet": [0, 0, 2, 0, 2], "contacts": [1, 0, 2, 0, 0], "entered": [2, 1, 1, 0, 0], "left": [0, 0, 0, 1, 0],
    "nucleated": [0, 0, 0, 0, 0], "turned": [0, 0, 0, 0, 0],
}  # fmt: skip
SECOND = {
    "droplet": [0, 0, 2, 0, 2], "contacts": [1, 0, 2, 0, 0], "entered": [0, 0, 0, 0, 0], "left": [0, 0, 0, 0, 0],
    "nucleated": [1, 1, 0, 1, 0], "turned": [0, 1, 0, 0, 0],
}  # fmt: skip
CHECKS = CheckRecord(
    step=np.array([100, 110]),
    info=ReactionInfo(
        **{
            name: np.array([FIRST[name], SECOND[name]], bool if name in ("nucleated", "turned") else np.int32)
            for name in FIRST
        }
    ),
    electrons=np.array([[4, 4, 1, 4, 2], [1, 10, 2, 1, 1]], np.int32),
    converted=np.array([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], bool),
    beads=np.array([[12, 5, 2, 0, 0, 0], [12, 4, 2, 1, 0, 0]], np.int32),
    injected=np.array([15, 15], np.int32),
)
TIME = np.array([2.0, 2.2])


def rows(table: dict[str, np.ndarray]) -> list[tuple]:
    return list(zip(*[table[column.name].tolist() for column in EVENT_COLUMNS], strict=True))


def test_events_by_hand():
    assert EVENT_KINDS == ("injection", "ejection", "nucleation", "conversion")
    assert rows(event_rows(CHECKS, TIME)) == [
        # step, time, kind, droplet, members, contacts, count, electrons before and after
        (100, 2.0, 0, 0, 3, 1, 3, 10, 12),
        (100, 2.0, 0, 2, 2, 2, 1, 2, 3),
        (100, 2.0, 1, 0, 3, 1, 1, 10, 12),
        (110, 2.2, 2, 0, 3, 1, 1, 12, 12),
        (110, 2.2, 3, 0, 3, 1, 1, 12, 12),
    ]


def test_events_have_their_columns_and_types_even_if_there_are_none():
    quiet = dataclasses.replace(CHECKS, info=ReactionInfo(**{name: np.zeros((2, 5), np.int32) for name in FIRST}))
    for table in (event_rows(CHECKS, TIME), event_rows(quiet, TIME)):
        assert list(table) == [column.name for column in EVENT_COLUMNS]
        for column in EVENT_COLUMNS:
            assert table[column.name].dtype == np.dtype(column.dtype)
    assert len(event_rows(quiet, TIME)["step"]) == 0


CHARGE = np.array([1.0, -2.0, -1.0, -2.0, 7.37, -1.8425])


def test_ledger_by_hand():
    table = ledger_rows(CHECKS, TIME, 0.2, 11, CHARGE, -0.5)
    assert list(table) == [column.name for column in LEDGER_COLUMNS]
    expected = {
        "step": [100, 110], "time": [2.0, 2.2], "sulfur_atoms": [30, 30], "lithium_atoms": [12, 12],
        "lithium_from_reservoir": [15, 15], "charge": [-0.5, -0.5], "electrons_on_beads": [15, 15],
        "electrons_through_centres": [15, 15], "units_converted": [0, 1], "current": [20.0, 0.0],
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-14, err_msg=name)


def test_ledger_sees_what_is_lost():
    """It counts: a sulfur bead, a Li bead or an electron that is gone shows."""
    beads = CHECKS.beads.copy()
    beads[1, 1] -= 1
    assert ledger_rows(dataclasses.replace(CHECKS, beads=beads), TIME, 0.2, 0, CHARGE, 0.0)["sulfur_atoms"][1] == 24
    beads = CHECKS.beads.copy()
    beads[1, 0] -= 1
    table = ledger_rows(dataclasses.replace(CHECKS, beads=beads), TIME, 0.2, 0, CHARGE, 0.0)
    assert table["lithium_atoms"][1] == 11
    assert table["charge"][1] == -1.0
    electrons = CHECKS.electrons.copy()
    electrons[1, 0] -= 1
    table = ledger_rows(dataclasses.replace(CHECKS, electrons=electrons), TIME, 0.2, 0, CHARGE, 0.0)
    assert table["electrons_on_beads"][1] == 14 != table["electrons_through_centres"][1]
