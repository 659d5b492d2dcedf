"""The guard of time scales in the report: groups joined over replicas and of the droplet tier, as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dropsim.timescales import Groups, as_summary, judged

# Names of the groups in the droplet tier's derived numbers.
TIER_NAMES = {
    "supersaturation": "supersaturation",
    "damkohler": "damkohler_number",
    "mixing": "mixing_number",
    "conversion_to_growth": "conversion_ratio",
    "charging_time": "charging_time_s",
    "conversion_time": "conversion_time_s",
    "growth_time": "growth_time_s",
}


def join_timescales(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Groups of one condition: the mean over the replicas that know them, judged anew.

    summaries: of the replicas; one of an earlier version, without groups, counts as not knowing any. A group is
    infinite where it is in every replica that knows it.
    """
    known = [s["timescales"] for s in summaries if "timescales" in s]
    values: dict[str, float] = {}
    for field in dataclasses.fields(Groups):
        found = [_number(scales["groups"].get(field.name)) for scales in known]
        finite = [x for x in found if x is not None and math.isfinite(x)]
        if finite:
            values[field.name] = sum(finite) / len(finite)
        elif any(x is not None for x in found):
            values[field.name] = math.inf
    clocks = list(dict.fromkeys(text for scales in known for text in scales["clocks"]))
    return as_summary(Groups(**values), clocks)


def tier_timescales(derived: Mapping[str, Any], clock_compression: float = 1.0) -> dict[str, Any]:
    """Groups of the droplet tier from its derived numbers; without a hop rate the tier is well mixed by its rule.

    clock_compression: its rate constant over that of the study's main run.
    """
    values = {name: _number(derived.get(key)) for name, key in TIER_NAMES.items()}
    theta = _number(derived.get("collectivity_index"))
    values["collectivity"] = math.inf if theta is None else theta
    ratio = values["conversion_to_growth"]
    if ratio is not None and math.isinf(ratio):
        values["conversion_to_growth"] = None  # nothing converts: there is no conversion time
    return as_summary(Groups(**values, clock_compression=clock_compression), [])


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = math.inf if value == "infinite" else float(value)
    return None if math.isnan(number) else number


def shown(value: Any) -> str:
    """A group's value for a table."""
    number = _number(value)
    if number is None:
        return "-"
    return "infinite" if math.isinf(number) else f"{number:.2g}"


def print_timescales(scales: Mapping[str, Mapping[str, Any]]) -> None:
    """Groups of every condition beside their limits, and a sentence for each that is beyond; nothing if none is known.

    scales: condition -> what `join_timescales` or `tier_timescales` gave.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not any(v["value"] is not None for s in scales.values() for v in s["verdicts"]):
        return
    console = Console()
    table = Table(title="\ntime scales", title_justify="left", box=None)
    table.add_column("group", overflow="fold")
    table.add_column("limit", overflow="fold")
    for name in scales:
        table.add_column(name, justify="right", overflow="fold")
    for k, verdict in enumerate(judged(Groups())):
        rows = [s["verdicts"][k] for s in scales.values()]
        if all(row["value"] is None for row in rows):
            continue
        cells = [Text(shown(row["value"]), style="red" if row["within"] is False else "") for row in rows]
        table.add_row(Text(verdict.group), Text(verdict.limit), *cells)
    console.print(table)
    for name, summary in scales.items():
        for text in summary["beyond"]:
            console.print(Text(f"- {name}: {text}"))
    for text in joined_clocks([text for s in scales.values() for text in s["clocks"]]):
        console.print(Text(f"- {text}"))


def joined_clocks(sentences: Sequence[str]) -> list[str]:
    """Sentences on the clocks of stages, with those that say the same of several stages made one."""
    stages: dict[str, list[str]] = {}
    for sentence in dict.fromkeys(sentences):
        name, _, text = sentence.removeprefix("stage ").partition(": ")
        stages.setdefault(text, []).append(name)
    return [f"stage{'s' if len(n) > 1 else ''} {', '.join(dict.fromkeys(n))}: {text}" for text, n in stages.items()]
