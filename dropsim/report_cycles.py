"""What a study says of charge and discharge: half cycles joined over replicas, the books, currents of the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropsim.droplet_tier import DropletTier, tier_summary
from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import combine_replicas

# What is joined of each half cycle: key of the row, unit, heading in the table (None: not shown).
HALF_CYCLE_ROWS = (
    ("charge_e", "e", "charge, e"),
    ("tenth_time_ps", "ps", "a tenth of it after, ps"),
    ("half_time_ps", "ps", "half of it after, ps"),
    ("peak_current_e_per_ps", "e/ps", None),
    ("peak_time_ps", "ps", None),
    ("peak_potential_V", "V", None),
    ("units_converted", "1", "solid units at its end"),
    ("solid_out_of_reach", "1", "of them out of reach"),
    ("largest_droplet_units", "1", "units in the largest droplet"),
    ("sulfur_coverage", "1", None),
    ("solid_coverage", "1", None),
)
CYCLE_ROWS = (("reduced", "e"), ("oxidised", "e"), ("balance", "1"), ("peak_gap", "V"))
TEMPERATURE = "configurational_temperature_"
ERRORS = ("sulfur_error", "lithium_error", "electron_error")

Summaries = Sequence[Mapping[str, Any]]


def joined_half_cycles(summaries: Summaries) -> dict[str, Any] | None:
    """Half cycles of the replicas of one condition, joined; None where it has no reaction, or one half cycle only.

    Returns half_cycles (kind, start_ps, end_ps, estimates), cycles (estimates), second_charge_minus_first (of replicas
    in which both passed charge: paired), temperatures (configurational, of each stage), and books: looks at the
    reaction, largest error of sulfur, lithium and electrons over all of them, and each replica's electrons and solid
    units at the end.
    """
    found = [s["facts"].get("half_cycles") or [] for s in summaries]
    kinds = [row["kind"] for row in found[0]]
    if len(kinds) < 2 or any([row["kind"] for row in rows] != kinds for rows in found):
        return None
    parts = []
    for k, row in enumerate(found[0]):
        estimates = {key: _joined([rows[k].get(key) for rows in found], unit) for key, unit, _ in HALF_CYCLE_ROWS}
        parts.append({key: row[key] for key in ("kind", "start_ps", "end_ps")} | {"estimates": _known(estimates)})
    cycles = [s["facts"].get("cycles") or [] for s in summaries]
    number = min(len(rows) for rows in cycles)
    books = [s["facts"]["ledger"] for s in summaries]
    return {
        "half_cycles": parts,
        "cycles": [
            {"estimates": _known({key: _joined([rows[k][key] for rows in cycles], unit) for key, unit in CYCLE_ROWS})}
            for k in range(number)
        ],
        "second_charge_minus_first": _known(
            {key: _joined(_second_minus_first(found, key), "ps") for key in ("tenth_time_ps", "half_time_ps")}
        ),
        "temperatures": _known(
            {
                key.removeprefix(TEMPERATURE): _joined(
                    [s["estimates"].get(key, {}).get("value") for s in summaries], "K"
                )
                for key in summaries[0]["estimates"]
                if key.startswith(TEMPERATURE)
            }
        ),
        "books": {
            "looks": sum(book["checks"] for book in books),
            **{key: max(book[key] for book in books) for key in ERRORS},
            "electrons_at_end": [book["electrons_injected"] for book in books],
            "solid_units_at_end": [book["units_converted"] for book in books],
        },
    }


def _second_minus_first(replicas: Sequence[Sequence[Mapping[str, Any]]], key: str) -> list[float | None]:
    """A time of the second oxidation that follows a reduction, minus that of the first, of each replica."""
    differences: list[float | None] = []
    for rows in replicas:
        begun = [k for k, row in enumerate(rows) if row["kind"] == "reduction"]
        times = [row.get(key) for row in rows[begun[0] if begun else 0 :] if row["kind"] == "oxidation"][:2]
        known = [t for t in times if t is not None]
        differences.append(known[1] - known[0] if len(known) == 2 else None)
    return differences


def _joined(values: Sequence[float | None], unit: str) -> Estimate | None:
    """Mean over the replicas that have the number."""
    single = [Estimate(float(v), math.nan, unit, 1.0, "of one run") for v in values if v is not None]
    try:
        return combine_replicas(single)
    except AnalysisError:
        return None


def _known(estimates: Mapping[str, Estimate | None]) -> dict[str, Any]:
    return {key: e.to_dict() for key, e in estimates.items() if e is not None}


def draw_control_currents(root: Path, tiers: Mapping[str, DropletTier], sources: Mapping[str, str]) -> None:
    """figures/droplet_current_<name> of the controls that have a droplet tier of their own."""
    from dropsim.plots import plot_droplet_current

    for key, tier in tiers.items():
        summary = {**tier_summary(tier, sources[key]), "title": f"{key}, one droplet"}
        plot_droplet_current(root, tier.current, summary, name=f"droplet_current_{key}")


def print_half_cycles(result: Mapping[str, Any]) -> None:
    """Half cycles of each condition as tables in the terminal; nothing where there are none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for name, joined in result["half_cycles"].items():
        table = Table(title=f"\n{name}: half cycles (± one standard error)", title_justify="left", box=None)
        table.add_column("")
        for number, part in enumerate(joined["half_cycles"], 1):
            table.add_column(f"{number} {part['kind']}", justify="right", overflow="fold")
        for key, _, heading in HALF_CYCLE_ROWS:
            cells = [_cell(part["estimates"].get(key)) for part in joined["half_cycles"]]
            if heading and set(cells) != {"-"}:
                table.add_row(Text(heading), *map(Text, cells))
        console.print(table)
        books = joined["books"]
        worst = max(books[key] for key in ERRORS)
        console.print(Text(f"largest error of the books in {books['looks']} looks: {worst}"))


def _cell(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return "-"
    error = estimate["standard_error"]
    return f"{estimate['value']:.3g}" + ("" if error is None else f" ± {error:.2g}")
