"""Experiment files in, `Config` out; every complaint is one line that says where and what to do.

Values come from, in this order of precedence: `--set key=value`, the file, its preset, the defaults.
"""

from __future__ import annotations

import copy
import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dropsim.config import Config
from dropsim.config_rules import CombinationError
from dropsim.config_schema import allowed_text, fields_of, find_entry, leaf_keys
from dropsim.errors import ConfigError
from dropsim.presets import PRESET_DEPENDENTS, preset_named
from dropsim.toml_lines import KeyPath, key_lines, key_name, shown_value
from dropsim.unit_strings import UnitTextError, key_unit, number_from_text, unit_example


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a TOML file.

    path: an experiment file; overrides: "section.key=value" texts, as of `--set`, that replace keys of
    the file (TOML values; bare words are texts; "stages.0.duration_ps" reaches into lists). Raises
    ConfigError, with one line per problem: file and line, key, value, what is allowed, what to do.
    """
    source = str(path)
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file{_near_file(Path(path))}") from None
    except IsADirectoryError:
        raise ConfigError(f"{source}: is a directory; name a .toml file in it") from None
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror or error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{source}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 text"
        ) from None
    return with_start_beside(load_config_text(text, source, overrides), Path(path).parent)


def with_start_beside(config: Config, folder: Path) -> Config:
    """The configuration with a relative `start.file` taken from the folder of the experiment file."""
    file = config.start.file
    if file is None or Path(file).is_absolute():
        return config
    start = config.start.model_copy(update={"file": str((folder / file).resolve())})
    return config.model_copy(update={"start": start})


def load_config_text(text: str, source: str = "<text>", overrides: Sequence[str] = ()) -> Config:
    """The configuration of a TOML text; `source` stands for the file in messages. See `load_config`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_message(source, text, str(error))) from None
    return _Loader(source, values, key_lines(text), overrides).config()


def config_from_values(values: dict[str, Any], source: str = "<values>", overrides: Sequence[str] = ()) -> Config:
    """The configuration of nested plain values, as `Config.model_dump` gives; see `load_config`."""
    return _Loader(source, values, {}, overrides).config()


def _near_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no directory {path.parent}"
    near = difflib.get_close_matches(path.name, sorted(p.name for p in path.parent.glob("*.toml")), n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _syntax_message(source: str, text: str, message: str) -> str:
    match = re.search(r" \((?:at line (\d+), column (\d+)|at end of document)\)$", message)
    if match is None:
        return f"{source}: not TOML: {message}"
    what = message[: match.start()]
    line = int(match[1]) if match[1] else text.count("\n") + 1
    column = f" (column {match[2]})" if match[2] else " (end of the file)"
    return f"{source}:{line}: not TOML: {what}{column}"


class _Loader:
    """One file with its overrides, on the way to a Config; knows where each value was written."""

    def __init__(
        self, source: str, values: dict[str, Any], lines: dict[KeyPath, int], overrides: Sequence[str]
    ) -> None:
        self.source = source
        self.lines = lines
        self.overrides = [_parse_override(text) for text in overrides]
        self.values = copy.deepcopy(values)
        self.preset_paths: set[KeyPath] = set()

    def config(self) -> Config:
        """Merge, override, convert units, validate; all problems of one kind at once."""
        written = copy.deepcopy(self.values)
        for path, value in self.overrides:
            _assign(written, path, value)
        problems = list(self.exclusive_problems(written))
        merged = copy.deepcopy(written)
        if written.get("preset") is not None:
            merged = self.with_preset(written)
        unit_problems = dict(self.convert_units(merged))
        try:
            config = Config.model_validate(_as_tuples(merged))
        except ValidationError as error:
            details = error.errors()
            places = [tuple(detail["loc"]) for detail in details]
            for detail, place in zip(details, places, strict=True):
                # A list with a bad entry is also reported as too short, by the entries that were dropped.
                if detail["type"] == "too_short" and any(p != place and p[: len(place)] == place for p in places):
                    continue
                found = self.messages(detail, merged, unit_problems)
                problems.extend(message for message in found if message not in problems)
            config = None
        problems.extend(unit_problems.values())
        if problems or config is None:
            raise ConfigError("\n".join(problems))
        return config

    def with_preset(self, written: dict[str, Any]) -> dict[str, Any]:
        preset = preset_named(written["preset"], self.where(("preset",)))
        base: dict[str, Any] = copy.deepcopy(preset.values)
        for (section, key), dependents in PRESET_DEPENDENTS.items():
            table = base.get(section)
            if table and key in table and any(_contains(written, path) for path in dependents):
                del table[key]
        self.preset_paths = {path for path in _leaf_paths(base) if not _contains(written, path)}
        return _deep_merge(base, written)

    def exclusive_problems(self, written: dict[str, Any]) -> Iterator[str]:
        """Keys of which the file itself may hold only one (a resolved config holds both)."""
        count, concentration = ("electrolyte", "li2s6_count"), ("electrolyte", "li2s6_mM")
        if self.lines or self.overrides:
            both = _contains(written, count) and _contains(written, concentration)
            given = both and all(self.is_written(path) for path in (count, concentration))
            if given and _value_at(written, count) is not None:
                yield self.line(
                    count,
                    _value_at(written, count),
                    f"given together with {key_name(concentration)} = "
                    f"{shown_value(_value_at(written, concentration))}; keep one of the two",
                )

    def is_written(self, path: KeyPath) -> bool:
        return path in self.lines or any(path == overridden for overridden, _ in self.overrides)

    def convert_units(self, values: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
        """Replace texts of numeric keys by numbers, in place; yields the path and message of failures."""
        for path, holder, key, text in _texts(values):
            # An element of a list is named by the key that holds the list.
            named = str(next(part for part in reversed(path) if isinstance(part, str)))
            takes_unit = key_unit(named) is not None or named.endswith("_kT")
            if not takes_unit or not _is_numeric(find_entry(path)):
                continue
            try:
                holder[key] = number_from_text(named, text)
            except UnitTextError as error:
                yield path, self.line(path, text, str(error))

    def where(self, path: KeyPath) -> str:
        """ "--set", "file:line", the preset, or the file, for the key at `path`."""
        for overridden, _ in self.overrides:
            shorter = min(len(overridden), len(path))
            if overridden[:shorter] == path[:shorter]:
                return "--set"
        if any(p[: len(path)] == path for p in self.preset_paths):
            return f'{self.source} (preset "{_value_at(self.values, ("preset",))}")'
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.source}:{self.lines[path[:length]]}"
        return self.source

    def line(self, path: KeyPath, value: object, text: str) -> str:
        return f"{self.where(path)}: {key_name(path)} = {shown_value(value)}: {text}"

    def messages(self, detail: Any, merged: dict[str, Any], unit_problems: dict[KeyPath, str]) -> Iterator[str]:
        """The lines for one entry of pydantic's list of errors."""
        path, kind = tuple(detail["loc"]), detail["type"]
        if path in unit_problems:
            return
        failure = detail.get("ctx", {}).get("error")
        if isinstance(failure, CombinationError):
            yield from self.combination_messages(failure, merged)
        elif kind == "extra_forbidden":
            yield self.line(path, detail["input"], f"unknown key; {_nearest_keys(path)}")
        elif kind == "missing" and isinstance(path[-1], int):
            value = _value_at(merged, path[:-1])
            yield self.line(path[:-1], value, _value_text(path[:-1], "too_short", value))
        elif kind == "missing":
            entry = find_entry(path)
            yield f"{self.where(path)}: {key_name(path)}: missing; allowed: {allowed_text(entry, path)}"
        else:
            yield self.line(path, detail["input"], _value_text(path, kind, detail["input"]))

    def combination_messages(self, failure: CombinationError, merged: dict[str, Any]) -> Iterator[str]:
        for problem in failure.problems:
            first, *others = problem.keys
            # A key that nobody wrote is at its default; the place to look at is one that was written.
            placed = next((path for path in problem.keys if self.is_written(path)), first)
            shown = " and ".join(
                f"{key_name(path)} = {shown_value(_resolved_at(merged, path))}" for path in (first, *others)
            )
            yield f"{self.where(placed)}: {shown}: {problem.text}"


def _parse_override(text: str) -> tuple[KeyPath, Any]:
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set: {text}: not of the form section.key=value; example: --set run.seed=2")
    path = tuple(int(part) if part.isdecimal() else part for part in parts)
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return path, value.strip()
    # A line end in the value would smuggle in further keys.
    return path, parsed["value"] if set(parsed) == {"value"} else value


def _assign(values: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Put an override into the nested values, making the tables on its way."""
    holder: Any = values
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        shown = f"--set: {key_name(path)} = {shown_value(value)}"
        key: Any = part
        if isinstance(holder, list):
            name = key_name(path[:depth])
            if not isinstance(part, int):
                raise ConfigError(f"{shown}: {name} is a list; name an entry by its number, such as {name}.0")
            if part >= len(holder):
                entries = f"0 to {len(holder) - 1}" if holder else "none: it is empty"
                raise ConfigError(f"{shown}: {name} has no entry {part}; allowed: {entries}")
        elif isinstance(holder, dict):
            key = str(part)
            if not last and key not in holder:
                entry = find_entry(path[: depth + 1])
                if entry is not None and entry.get("type") == "array":
                    raise ConfigError(
                        f"{shown}: {key_name(path[: depth + 1])} is not in the file, so it has no entries "
                        "to change; write the list into the file"
                    )
                holder[key] = {}
        else:
            raise ConfigError(f"{shown}: {key_name(path[:depth])} is a value, not a table")
        if last:
            holder[key] = value
        else:
            holder = holder[key]


def _deep_merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables key by key; everything else, lists of tables too, is replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _as_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tuples(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_as_tuples(item) for item in value)
    return value


def _texts(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any, Any, str]]:
    """Every text in nested values: its path, and the container and key to replace it at."""
    if isinstance(value, dict):
        items: Any = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return
    for key, item in items:
        if isinstance(item, str):
            yield (*path, key), value, key, item
        else:
            yield from _texts(item, (*path, key))


def _leaf_paths(value: dict[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _leaf_paths(item, (*path, key))
        else:
            yield (*path, key)


def _contains(values: Any, path: KeyPath) -> bool:
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _value_at(values: Any, path: KeyPath) -> Any:
    for part in path:
        values = values[part]
    return values


def _resolved_at(merged: dict[str, Any], path: KeyPath) -> Any:
    """The value at a path: as given, or the default of the schema."""
    try:
        return _value_at(merged, path)
    except (KeyError, IndexError, TypeError):
        entry = find_entry(path)
        return entry.get("default") if entry else None


def _is_numeric(entry: dict[str, Any] | None) -> bool:
    return bool(entry) and entry.get("type") in ("number", "integer")


def _nearest_keys(path: KeyPath) -> str:
    """The hint for an unknown key: a near one of its table, or the same name in another table."""
    table, key = path[:-1], str(path[-1])
    names = list(fields_of(table))
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not near:
        near = [name for name in names if len(key) >= 4 and name.startswith(key)][:1]
    hint = ""
    if near:
        hint = f"did you mean {key_name((*table, near[0]))}? "
    else:
        elsewhere = [name for name in leaf_keys() if name.rsplit(".", 1)[-1] == key]
        if not elsewhere:
            elsewhere = difflib.get_close_matches(key_name(path), leaf_keys(), n=1, cutoff=0.75)
        if elsewhere:
            hint = f"did you mean {elsewhere[0]}? "
    return f"{hint}allowed: {', '.join(names)}"


def _value_text(path: KeyPath, kind: str, value: object) -> str:
    """What is wrong with a value, and what is allowed instead."""
    entry = find_entry(path)
    allowed = allowed_text(entry, path)
    if kind == "literal_error" and entry is not None:
        near = difflib.get_close_matches(str(value), entry.get("enum", []), n=1, cutoff=0.5)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        return f"not a choice; {hint}allowed: {allowed}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"not a finite number; allowed: {allowed}"
    if kind in ("too_short", "too_long"):
        return f"has {len(value)} entries; allowed: {allowed}"  # type: ignore[arg-type]
    if kind == "string_pattern_mismatch":
        return f"has characters that cannot be used; allowed: {allowed}"
    if kind.endswith("_type") or kind == "int_from_float":
        unit = unit_example(str(path[-1])) if _is_numeric(entry) else ""
        return f"is {_type_name(value)}; allowed: {allowed}{unit}"
    return f"out of range; allowed: {allowed}"


def _type_name(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a whole number", float: "a number", dict: "a table"}
    if isinstance(value, (list, tuple)):
        return "a list"
    return names.get(type(value), f"a {type(value).__name__}")
