"""The schema of experiment files as data: what each key may hold, in words."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from dropsim.config import Config
from dropsim.toml_lines import KeyPath
from dropsim.unit_strings import key_unit


@functools.cache
def json_schema() -> dict[str, Any]:
    """The JSON schema of an experiment file, as pydantic derives it from `Config`."""
    return Config.model_json_schema()


def _resolved(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with its reference followed, and with "or null" taken away."""
    if "anyOf" in entry:
        options = [option for option in entry["anyOf"] if option.get("type") != "null"]
        rest = {key: value for key, value in entry.items() if key != "anyOf"}
        entry = {**options[0], **rest, "nullable": True}
    if "$ref" in entry:
        target = json_schema()["$defs"][entry["$ref"].rsplit("/", 1)[-1]]
        rest = {key: value for key, value in entry.items() if key != "$ref"}
        entry = {**target, **rest}
    return entry


def find_entry(path: KeyPath) -> dict[str, Any] | None:
    """The schema of the key at `path` (indices of lists included); None if there is no such key."""
    entry = _resolved(json_schema())
    for part in path:
        if isinstance(part, int):
            fixed = entry.get("prefixItems")
            child = fixed[part] if fixed and part < len(fixed) else entry.get("items")
        else:
            child = entry.get("properties", {}).get(part) or entry.get("additionalProperties")
        if not isinstance(child, dict):
            return None
        entry = _resolved(child)
    return entry


def fields_of(path: KeyPath) -> dict[str, dict[str, Any]]:
    """The keys of the table at `path`, with their schemas."""
    entry = find_entry(path)
    return {name: _resolved(child) for name, child in (entry or {}).get("properties", {}).items()}


def _walk(prefix: str, path: KeyPath, defaults: dict[str, Any] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in fields_of(path).items():
        here = f"{prefix}{name}"
        # A bead's defaults stand with the table of beads.
        if defaults and name in defaults:
            entry = {**entry, "default": defaults[name]}
        if entry.get("type") == "object" and "properties" in entry:
            yield from _walk(here + ".", (*path, name), entry.get("default"))
        elif entry.get("type") == "array" and "items" in entry and "properties" in _resolved(entry["items"]):
            yield from _walk(f"{here}.0.", (*path, name, 0))
        else:
            yield here, entry


@functools.cache
def leaf_entries() -> dict[str, dict[str, Any]]:
    """Every key that holds a value, dotted ("stages.0.name" for lists of tables), with its schema."""
    return dict(_walk("", ()))


def leaf_keys() -> list[str]:
    """The dotted names of every key that holds a value."""
    return list(leaf_entries())


def allowed_text(entry: dict[str, Any] | None, path: KeyPath = ()) -> str:
    """What a key may hold, in words: "a number > 0 (nm)", "graphene, titanium or plain"."""
    if entry is None:
        return "nothing"
    if "const" in entry:
        return str(entry["const"])
    if "enum" in entry:
        *first, last = [str(choice) for choice in entry["enum"]]
        return f"{', '.join(first)} or {last}"
    kind = entry.get("type")
    name = str(next((part for part in reversed(path) if isinstance(part, str)), ""))
    unit = key_unit(name)
    if kind in ("number", "integer"):
        noun = "a number" if kind == "number" else "a whole number"
        limits = [
            f"{sign} {entry[key]:g}" if entry[key] < 1e6 else f"{sign} {entry[key]}"
            for key, sign in (
                ("exclusiveMinimum", ">"),
                ("minimum", ">="),
                ("exclusiveMaximum", "<"),
                ("maximum", "<="),
            )
            if key in entry
        ]
        return " ".join([noun, " and ".join(limits)]).strip() + (f" ({unit.replace('_', ' ')})" if unit else "")
    if kind == "boolean":
        return "true or false"
    if kind == "string":
        return "a text of letters, digits, - and _" if "pattern" in entry else "a text"
    if kind == "array" and "prefixItems" in entry:
        inner = allowed_text(_resolved(entry["prefixItems"][0]), path)
        return f"{len(entry['prefixItems'])} values in a list, each {inner}"
    if kind == "array":
        least = f" of at least {entry['minItems']}" if entry.get("minItems") else ""
        return f"a list{least}, [[{name}]]"
    if kind == "object" and isinstance(entry.get("additionalProperties"), dict):
        return f"a table of name = {allowed_text(_resolved(entry['additionalProperties']))}"
    return "a table"
