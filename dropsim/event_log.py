"""The reaction's record, from what the device brought back to rows of the file: events and ledger.

Every number is counted from arrays (electrons on the beads, beads of each species), not carried along, so that
the ledger is a check and not a copy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dropsim.simulate import CheckRecord
from dropsim.system import LI, LI2S, S6
from dropsim.trajectory import Column

# Kinds of events, as numbers in the file.
INJECTION, EJECTION, NUCLEATION, CONVERSION = range(4)
EVENT_KINDS = ("injection", "ejection", "nucleation", "conversion")

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
    Column("units_converted", "1", "int64"),
    Column("current", "e/ps"),
)


def event_rows(checks: CheckRecord, time_ps: np.ndarray) -> dict[str, np.ndarray]:
    """One row per droplet and kind of event of each check, in order of time.

    checks: (C, ...) arrays on the host; time_ps: (C,). Droplets are named by their smallest bead index.
    electrons_before and electrons_after: on the whole droplet, converted units included.
    """
    info = checks.info
    rows: list[tuple] = []
    for c in np.flatnonzero(
        (info.entered + info.left).any(axis=1) | info.nucleated.any(axis=1) | info.turned.any(axis=1)
    ):
        label = np.asarray(info.droplet[c])
        n = len(label)

        def per_droplet(values: ArrayLike, label=label, n=n) -> np.ndarray:
            return np.bincount(label, weights=np.asarray(values), minlength=n).astype(np.int64)

        members, contacts = per_droplet(np.ones(n)), per_droplet(info.contacts[c])
        entered, left = per_droplet(info.entered[c]), per_droplet(info.left[c])
        after = per_droplet(checks.electrons[c])
        counts = {
            INJECTION: entered,
            EJECTION: left,
            NUCLEATION: per_droplet(info.nucleated[c]) > 0,
            CONVERSION: per_droplet(info.turned[c]),
        }
        for kind, count in counts.items():
            rows += [
                (checks.step[c], time_ps[c], kind, d, members[d], contacts[d], count[d],
                 after[d] - entered[d] + left[d], after[d])
                for d in np.flatnonzero(count)
            ]  # fmt: skip
    table = list(zip(*rows, strict=True)) if rows else [()] * len(EVENT_COLUMNS)
    return {column.name: np.asarray(values, column.dtype) for column, values in zip(EVENT_COLUMNS, table, strict=True)}


def ledger_rows(
    checks: CheckRecord,
    time_ps: np.ndarray,
    interval_ps: float,
    before: int,
    species_charge: np.ndarray,
    fixed_charge: float,
) -> dict[str, np.ndarray]:
    """The books after each check.

    before: electrons that had crossed the centres before the first check; species_charge: (K,) charge of one
    bead of each species, e; fixed_charge: of sites and sheet, e. Every electron brings one Li+ from the
    reservoir: lithium is beads plus what came in, minus what left the reservoir.
    """
    beads = np.asarray(checks.beads, np.int64)
    solid = np.asarray(checks.converted).sum(axis=1, dtype=np.int64)
    on_beads = np.asarray(checks.electrons).sum(axis=1, dtype=np.int64)
    through = np.asarray(checks.injected, np.int64)
    return {
        "step": np.asarray(checks.step, np.int64),
        "time": np.asarray(time_ps),
        # S6 holds six atoms; a converted unit is six Li2S of one each.
        "sulfur_atoms": 6 * beads[:, S6] + 6 * beads[:, LI2S],
        "lithium_atoms": beads[:, LI] + on_beads - through,
        "lithium_from_reservoir": through,
        "charge": np.asarray(beads @ species_charge + fixed_charge),
        "electrons_on_beads": on_beads,
        "electrons_through_centres": through,
        "units_converted": solid,
        "current": np.diff(through, prepend=before) / interval_ps,
    }
