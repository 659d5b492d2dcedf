"""Rows of events and ledger, counted by hand from two small checks."""

import dataclasses

import numpy as np
import pytest
from dropsim_kernels.charge_transfer import ReactionInfo

from dropsim.event_log import EVENT_COLUMNS, EVENT_KINDS, LEDGER_COLUMNS, event_rows, ledger_rows
from dropsim.simulate import CheckRecord
from dropsim.system import SPECIES, VACANT

# Six sulfur beads: droplets {0, 1, 3} and {2, 4}; bead 5 lies on the electrode, for itself. First check: three
# electrons enter the first droplet, one leaves it, one enters the second. Second check: the first nucleates and turns
# bead 1, the second is at rest; bead 5 takes its fourth electron at the electrode, and dissolves.
DROPLET, CONTACTS = [0, 0, 2, 0, 2, 5], [1, 0, 2, 0, 0, 0]
FIRST = {"entered": [2, 1, 1, 0, 0, 0], "left": [0, 0, 0, 1, 0, 0], "surface_entered": [0, 0, 0, 0, 0, 3]}
SECOND = {"nucleated": [0, 1, 0, 0, 0, 0], "turned": [0, 1, 0, 0, 0, 0], "surface_entered": [0, 0, 0, 0, 0, 1],
          "released": [0, 0, 0, 0, 0, 1]}  # fmt: skip
COUNTS = ("entered", "left", "surface_entered", "surface_left", "nucleated", "released", "turned", "opened", "oxidised")


def info(*checks: dict[str, list[int]]) -> ReactionInfo:
    """What checks did: zero where nothing is said."""
    n = len(checks)
    return ReactionInfo(
        droplet=np.array([DROPLET] * n),
        contacts=np.array([CONTACTS] * n),
        at_surface=np.array([[False] * 5 + [True]] * n),
        **{name: np.array([check.get(name, [0] * 6) for check in checks], np.int32) for name in COUNTS},
        trouble=np.zeros(n, np.int32),
    )


def beads(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in SPECIES]


CHECKS = CheckRecord(
    step=np.array([100, 110]),
    info=info(FIRST, SECOND),
    electrons=np.array([[4, 4, 1, 4, 2, 3], [1, 10, 2, 1, 1, 4]], np.int32),
    beads=np.array([beads(Li=14, S6=6, TFSI=2), beads(Li=14, S6=4, TFSI=2, Li2S=1, Li2S2=1)], np.int32),
    injected=np.array([15, 15], np.int32),
    injected_surface=np.array([3, 4], np.int32),
    potential=np.array([-0.1, np.nan], np.float32),
)
TIME = np.array([2.0, 2.2])


def rows(table: dict[str, np.ndarray]) -> list[tuple]:
    return list(zip(*[table[column.name].tolist() for column in EVENT_COLUMNS], strict=True))


def test_events_by_hand():
    assert EVENT_KINDS == (
        "injection", "ejection", "nucleation", "conversion", "release", "opening", "oxidation", "surface_injection",
        "surface_ejection", "insertion", "removal",
    )  # fmt: skip
    # step, time, kind, droplet, members, contacts, count, electrons before and after, reservoir before and after
    assert rows(event_rows(CHECKS, TIME, 12)) == [
        (100, 2.0, 0, 0, 3, 1, 3, 10, 12, 12, 18),
        (100, 2.0, 0, 2, 2, 2, 1, 2, 3, 12, 18),
        (100, 2.0, 1, 0, 3, 1, 1, 10, 12, 12, 18),
        (100, 2.0, 7, 5, 1, 0, 3, 0, 3, 12, 18),
        (110, 2.2, 2, 0, 3, 1, 1, 12, 12, 18, 19),
        (110, 2.2, 3, 0, 3, 1, 1, 12, 12, 18, 19),
        (110, 2.2, 4, 5, 1, 0, 1, 3, 4, 18, 19),
        (110, 2.2, 7, 5, 1, 0, 1, 3, 4, 18, 19),
    ]


def test_dissolved_li2s2_turns_solid_by_itself():
    # Beads 1 and 4 take their last electrons at Li2S of the electrode; bead 3 is turned by the droplet of bead 1.
    third = {"surface_entered": [0, 2, 0, 0, 1, 0], "turned": [0, 1, 0, 1, 1, 0]}
    electrons = np.array([[4, 4, 1, 4, 2, 3], [1, 10, 2, 10, 10, 4]], np.int32)
    checks = dataclasses.replace(CHECKS, info=info({}, third), electrons=electrons, injected_surface=np.array([3, 6]))
    converted = [row[3:9] for row in rows(event_rows(checks, TIME, 12)) if EVENT_KINDS[row[2]] == "conversion"]
    # droplet, members, contacts, count, electrons before and after
    assert converted == [(1, 1, 0, 1, 8, 10), (4, 1, 0, 1, 9, 10), (0, 3, 1, 1, 19, 21)]
    # Adsorbed units share their droplet only where the rule says so: then they turn with it.
    shared = dataclasses.replace(checks.info, at_surface=np.ones((2, 6), bool))
    together = rows(event_rows(dataclasses.replace(checks, info=shared), TIME, 12))
    assert [row[3:7] for row in together if EVENT_KINDS[row[2]] == "conversion"] == [(0, 3, 1, 2), (2, 2, 2, 1)]


@pytest.mark.parametrize(
    ("name", "kind"), [("opened", "opening"), ("oxidised", "oxidation"), ("surface_left", "surface_ejection")]
)
def test_every_count_has_its_kind(name, kind):
    one = dataclasses.replace(CHECKS, info=info({name: [0, 0, 2, 0, 1, 0]}, {}))
    table = event_rows(one, TIME, 18)
    assert [EVENT_KINDS[k] for k in table["kind"]] == [kind]
    assert table["count"].tolist() == [3]
    assert (table["electrons_before"] - table["electrons_after"]).tolist() == [3 if kind == "surface_ejection" else 0]


def test_events_have_their_columns_and_types_even_if_there_are_none():
    quiet = dataclasses.replace(CHECKS, info=info({}, {}))
    for table in (event_rows(CHECKS, TIME, 0), event_rows(quiet, TIME, 0)):
        assert list(table) == [column.name for column in EVENT_COLUMNS]
        for column in EVENT_COLUMNS:
            assert table[column.name].dtype == np.dtype(column.dtype)
    assert len(event_rows(quiet, TIME, 0)["step"]) == 0


#                   Li  S6    TFSI  Li2S  Li2S2 vacant Mo N
CHARGE = np.array([1.0, -2.0, -1.0, -2.0, -2.0, 0.0, 7.37, -1.8425])


def test_ledger_by_hand():
    table = ledger_rows(CHECKS, TIME, 0.2, 12, CHARGE, -0.5)
    assert list(table) == [column.name for column in LEDGER_COLUMNS]
    expected = {
        "step": [100, 110], "time": [2.0, 2.2], "sulfur_atoms": [36, 36], "lithium_atoms": [14, 14],
        "lithium_from_reservoir": [18, 19], "charge": [-0.5, -0.5], "electrons_on_beads": [18, 19],
        "electrons_through_centres": [15, 15], "electrons_through_surface": [3, 4], "units_converted": [0, 1],
        "units_intermediate": [0, 1], "current": [30.0, 5.0], "potential": [-0.1, np.nan],
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-7, err_msg=name)


def test_ledger_sees_what_is_lost():
    """It counts: a sulfur bead, a Li bead or an electron that is gone shows."""
    fewer = CHECKS.beads.copy()
    fewer[1, 1] -= 1
    assert ledger_rows(dataclasses.replace(CHECKS, beads=fewer), TIME, 0.2, 0, CHARGE, 0.0)["sulfur_atoms"][1] == 30
    fewer = CHECKS.beads.copy()
    fewer[1, 0] -= 1
    table = ledger_rows(dataclasses.replace(CHECKS, beads=fewer), TIME, 0.2, 0, CHARGE, 0.0)
    assert table["lithium_atoms"][1] == 13
    assert table["charge"][1] == -1.0
    electrons = CHECKS.electrons.copy()
    electrons[1, 0] -= 1
    table = ledger_rows(dataclasses.replace(CHECKS, electrons=electrons), TIME, 0.2, 0, CHARGE, 0.0)
    through = table["electrons_through_centres"] + table["electrons_through_surface"]
    assert table["electrons_on_beads"][1] == 18 != through[1]


def test_bare_electrons_charge_beads_and_bring_li_as_beads():
    """Forty slots: eighteen are filled at the first check, one more at the second, one less in a third."""
    taken = np.array([18, 19])
    with_slots = CHECKS.beads.copy()
    with_slots[:, 0] += taken
    with_slots[:, VACANT] = 40 - taken
    bare = dataclasses.replace(CHECKS, beads=with_slots)
    table = ledger_rows(bare, TIME, 0.2, 12, CHARGE, -0.5, slots=40)
    np.testing.assert_array_equal(table["lithium_from_reservoir"], taken)
    np.testing.assert_array_equal(table["lithium_atoms"], [14, 14])
    np.testing.assert_allclose(table["charge"], -0.5)
    # An electron whose Li+ did not come would charge the box.
    with_slots[1, 0] -= 1
    with_slots[1, VACANT] += 1
    assert ledger_rows(bare, TIME, 0.2, 12, CHARGE, -0.5, slots=40)["charge"][1] == -1.5
    with_slots[1, VACANT] -= 2
    found = rows(event_rows(bare, TIME, 12, slots=40))
    assert [row for row in found if row[2] >= 9] == [
        (100, 2.0, 9, -1, 0, 0, 6, 12, 18, 12, 18),
        (110, 2.2, 9, -1, 0, 0, 2, 18, 19, 18, 20),
    ]
    with_slots[1, VACANT] += 3
    (removal,) = [row for row in rows(event_rows(bare, TIME, 12, slots=40)) if row[2] == 10]
    assert removal == (110, 2.2, 10, -1, 0, 0, 1, 18, 19, 18, 17)
