"""The reaction's record, from what the device brought back to rows of the file: events and ledger.

Every number is counted from arrays (electrons on the beads, beads of each species), not carried along, so that
the ledger is a check and not a copy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dropsim.simulate import CheckRecord
from dropsim.system import LI, LI2S, LI2S2, S6, VACANT
from dropsim.trajectory import Column

# Kinds of events; the number in the file is the place in this list.
EVENT_KINDS = (
    "injection",
    "ejection",
    "nucleation",
    "conversion",
    "release",
    "opening",
    "oxidation",
    "surface_injection",
    "surface_ejection",
    "insertion",
    "removal",
)
INSERTION, REMOVAL = EVENT_KINDS.index("insertion"), EVENT_KINDS.index("removal")
# What a check counts per sulfur bead, and the kind of event that it is.
COUNTED = {
    "entered": "injection",
    "left": "ejection",
    "nucleated": "nucleation",
    "turned": "conversion",
    "released": "release",
    "opened": "opening",
    "oxidised": "oxidation",
    "surface_entered": "surface_injection",
    "surface_left": "surface_ejection",
}
NO_DROPLET = -1

EVENT_COLUMNS = (
    Column("step", "1", "int64"),
    Column("time", "ps"),
    Column("kind", "1", "int8"),
    Column("droplet", "1", "int32"),
    Column("members", "1", "int32"),
    Column("contacts", "1", "int32"),
    Column("count", "1", "int32"),
    Column("electrons_before", "1", "int32"),
    Column("electrons_after", "1", "int32"),
    Column("reservoir_before", "1", "int64"),
    Column("reservoir_after", "1", "int64"),
)

LEDGER_COLUMNS = (
    Column("step", "1", "int64"),
    Column("time", "ps"),
    Column("sulfur_atoms", "1", "int64"),
    Column("lithium_atoms", "1", "int64"),
    Column("lithium_from_reservoir", "1", "int64"),
    Column("charge", "e"),
    Column("electrons_on_beads", "1", "int64"),
    Column("electrons_through_centres", "1", "int64"),
    Column("electrons_through_surface", "1", "int64"),
    Column("units_converted", "1", "int64"),
    Column("units_intermediate", "1", "int64"),
    Column("current", "e/ps"),
    Column("potential", "V"),
)


def electrons_through(checks: CheckRecord) -> np.ndarray:
    """Net electrons that have crossed the electrode since the start, centres and bare surface together, (C,)."""
    return np.asarray(checks.injected, np.int64) + np.asarray(checks.injected_surface, np.int64)


def lithium_taken(checks: CheckRecord, slots: int) -> np.ndarray:
    """Li+ that the reservoir has given since the start, net, (C,): the slots that are filled, or where there are none
    (coupled transfer) one per electron."""
    if slots:
        return slots - np.asarray(checks.beads, np.int64)[:, VACANT]
    return electrons_through(checks)


def event_rows(checks: CheckRecord, time_ps: np.ndarray, before: int, slots: int = 0) -> dict[str, np.ndarray]:
    """One row per droplet and kind of event of each check, in order of time.

    checks: (C, ...) arrays on the host; time_ps: (C,); before: electrons that had crossed the electrode before the
    first check; slots: of the Li+ reservoir, 0 where lithium comes with the electrons. Droplets are named by their
    smallest bead index; a bead that is adsorbed on the electrode may be a droplet of its own, and dissolved Li2S2 that
    turns solid has taken its electrons by itself: its conversion is the row of a droplet of one.
    electrons_before and electrons_after: on the whole droplet, converted units included. Li+ that enter or leave as
    beads are one row for the whole box, with the electrons of all beads and no droplet (-1).
    """
    info = checks.info
    taken = lithium_taken(checks, slots)
    taken_before = np.concatenate([[before], taken[:-1]])
    rows: list[tuple] = []
    per_bead = {name: np.asarray(getattr(info, name)) for name in COUNTED}
    for c in np.flatnonzero(np.any([counts.any(axis=1) for counts in per_bead.values()], axis=0)):
        label = np.asarray(info.droplet[c])
        n = len(label)

        def per_droplet(values: ArrayLike, label=label, n=n) -> np.ndarray:
            return np.bincount(label, weights=np.asarray(values), minlength=n).astype(np.int64)

        members, contacts = per_droplet(np.ones(n)), per_droplet(info.contacts[c])
        here = {name: values[c] for name, values in per_bead.items()}
        # Electrons of the bare electrode reach a bead that is not adsorbed only as dissolved Li2S2, through Li2S.
        by_itself = np.where(np.asarray(info.at_surface[c]) | (here["surface_entered"] == 0), 0, here["turned"])
        counts = {name: per_droplet(values) for name, values in here.items()}
        counts["turned"] = per_droplet(here["turned"] - by_itself)
        gained = here["entered"] - here["left"] + here["surface_entered"] - here["surface_left"]
        net, after = per_droplet(gained), per_droplet(checks.electrons[c])
        rows += [
            (checks.step[c], time_ps[c], EVENT_KINDS.index("conversion"), bead, 1, info.contacts[c][bead], 1,
             checks.electrons[c][bead] - gained[bead], checks.electrons[c][bead], taken_before[c], taken[c])
            for bead in np.flatnonzero(by_itself)
        ]  # fmt: skip
        for name, kind in COUNTED.items():
            rows += [
                (checks.step[c], time_ps[c], EVENT_KINDS.index(kind), d, members[d], contacts[d], counts[name][d],
                 after[d] - net[d], after[d], taken_before[c], taken[c])
                for d in np.flatnonzero(counts[name])
            ]  # fmt: skip
        moved = taken[c] - taken_before[c]
        if slots and moved:
            total = int(after.sum())
            kind = INSERTION if moved > 0 else REMOVAL
            rows.append(
                (checks.step[c], time_ps[c], kind, NO_DROPLET, 0, 0, abs(moved), total - int(net.sum()), total,
                 taken_before[c], taken[c])
            )  # fmt: skip
    table = list(zip(*rows, strict=True)) if rows else [()] * len(EVENT_COLUMNS)
    return {column.name: np.asarray(values, column.dtype) for column, values in zip(EVENT_COLUMNS, table, strict=True)}


def ledger_rows(
    checks: CheckRecord,
    time_ps: np.ndarray,
    interval_ps: float,
    before: int,
    species_charge: np.ndarray,
    fixed_charge: float,
    slots: int = 0,
) -> dict[str, np.ndarray]:
    """The books after each check.

    before: electrons that had crossed the electrode before the first check; species_charge: (K,) charge of one bead
    of each species without added electrons, e; fixed_charge: of sites and sheet, e; slots: of the Li+ reservoir.
    Without slots every electron brings one Li+ onto its bead: lithium is beads plus what came in, minus what left
    the reservoir, and the charge is that of the beads. With slots lithium is beads alone, and electrons charge them.
    """
    beads = np.asarray(checks.beads, np.int64)
    on_beads = np.asarray(checks.electrons).sum(axis=1, dtype=np.int64)
    through, taken = electrons_through(checks), lithium_taken(checks, slots)
    bound, added = (0, on_beads) if slots else (on_beads, 0)
    return {
        "step": np.asarray(checks.step, np.int64),
        "time": np.asarray(time_ps),
        # S6 holds six atoms; three Li2S2 of two each and six Li2S of one each are as many.
        "sulfur_atoms": 6 * (beads[:, S6] + beads[:, LI2S2] + beads[:, LI2S]),
        "lithium_atoms": beads[:, LI] + bound - taken,
        "lithium_from_reservoir": taken,
        "charge": np.asarray(beads @ species_charge + fixed_charge - added),
        "electrons_on_beads": on_beads,
        "electrons_through_centres": np.asarray(checks.injected, np.int64),
        "electrons_through_surface": np.asarray(checks.injected_surface, np.int64),
        "units_converted": beads[:, LI2S],
        "units_intermediate": beads[:, LI2S2],
        "current": np.diff(through, prepend=before) / interval_ps,
        "potential": np.asarray(checks.potential, np.float64),
    }
