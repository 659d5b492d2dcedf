"""On which line of a TOML text each key stands (`tomllib` keeps no positions), and values in print."""

from __future__ import annotations

import tomllib

KeyPath = tuple[str | int, ...]
LONGEST_VALUE_SHOWN = 60


def key_name(path: KeyPath) -> str:
    """ "stages.0.duration_ps" of ("stages", 0, "duration_ps")."""
    return _one_line(".".join(str(part) for part in path))


def shown_value(value: object) -> str:
    """A value as TOML would write it, on one line and cut to a readable length."""
    if value is None:
        text = "none"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{_one_line(value)}"'
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(shown_value(item) for item in value) + "]"
    elif isinstance(value, dict):
        # Keys of a table that were left open say nothing.
        said = {key: item for key, item in value.items() if item is not None and item is not False}
        text = "{" + ", ".join(f"{key_name((key,))} = {shown_value(item)}" for key, item in said.items()) + "}"
    else:
        text = str(value)
    return text if len(text) <= LONGEST_VALUE_SHOWN else text[: LONGEST_VALUE_SHOWN - 3] + "..."


def _one_line(text: str) -> str:
    """Line ends and other characters that do not print, escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line of every table header, key and array element of a TOML text.

    text: a document that `tomllib` has accepted (the scan relies on it). Returns key path -> line,
    counted from 1; elements of arrays, and of arrays of tables, have their index in the path. A table
    that is only implied ("a" in "[a.b]") has no entry.
    """
    scanner = _Scanner(text)
    scanner.scan_document()
    return scanner.lines


def _split_key(raw: str) -> tuple[str, ...]:
    """The parts of a bare, quoted or dotted key, with the escapes resolved by the TOML parser itself."""
    parts: list[str] = []
    value: object = tomllib.loads(raw + " = 0")
    while isinstance(value, dict):
        part, value = next(iter(value.items()))
        parts.append(part)
    return tuple(parts)


class _Scanner:
    """Walks over statements; what it need not understand (strings, numbers) it only steps across."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.n_tables: dict[KeyPath, int] = {}

    def scan_document(self) -> None:
        table: KeyPath = ()
        self.skip_blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.read_header()
            else:
                self.read_assignment(table)
            self.skip_blank()

    def skip_blank(self) -> None:
        """Across spaces, commas, line ends and comments."""
        while self.at < len(self.text) and self.text[self.at] in " \t\n,#":
            if self.text[self.at] == "#":
                self.skip_past("\n")
            else:
                self.at += 1

    def skip_past(self, mark: str) -> None:
        found = self.text.find(mark, self.at)
        self.at = len(self.text) if found < 0 else found + len(mark)

    def skip_string(self) -> None:
        quote = self.text[self.at]
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(mark)
        while not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(mark)
        # A long string may end in one or two quotes of its own.
        while len(mark) == 3 and self.text.startswith(quote, self.at):
            self.at += 1

    def read_key(self, end: str) -> tuple[str, ...]:
        start = self.at
        while self.text[self.at] != end:
            if self.text[self.at] in "\"'":
                self.skip_string()
            else:
                self.at += 1
        return _split_key(self.text[start : self.at].strip())

    def record(self, path: KeyPath, at: int) -> None:
        self.lines.setdefault(path, self.text.count("\n", 0, at) + 1)

    def read_header(self) -> KeyPath:
        start = self.at
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        parts = self.read_key("]")
        self.at += 2 if is_array else 1
        path: KeyPath = ()
        for depth, part in enumerate(parts, start=1):
            path = (*path, part)
            if is_array and depth == len(parts):
                self.record(path, start)
                self.n_tables[path] = self.n_tables.get(path, 0) + 1
            if path in self.n_tables:
                path = (*path, self.n_tables[path] - 1)
        self.record(path, start)
        return path

    def read_assignment(self, table: KeyPath) -> None:
        start = self.at
        parts = self.read_key("=")
        self.at += 1
        for depth in range(1, len(parts) + 1):
            self.record((*table, *parts[:depth]), start)
        self.read_value((*table, *parts))

    def read_value(self, path: KeyPath) -> None:
        self.skip_blank()
        character = self.text[self.at]
        if character in "\"'":
            self.skip_string()
        elif character == "[":
            self.read_array(path)
        elif character == "{":
            self.at += 1
            self.skip_blank()
            while self.text[self.at] != "}":
                self.read_assignment(path)
                self.skip_blank()
            self.at += 1
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def read_array(self, path: KeyPath) -> None:
        self.at += 1
        self.skip_blank()
        index = 0
        while self.text[self.at] != "]":
            self.record((*path, index), self.at)
            self.read_value((*path, index))
            self.skip_blank()
            index += 1
        self.at += 1
