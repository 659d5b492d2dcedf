"""Text such as "10 fs" or "5 angstrom" as a number in the unit that the key's name ends with.

pint is imported only when such a text appears: it is an extra, and costs most of a second.
"""

from __future__ import annotations

import functools
import re
from typing import Any

# Ending of a key -> unit for pint; the longest ending that fits is the key's.
KEY_UNITS = {
    "nm": "nm",
    "mM": "millimolar",
    "K": "kelvin",
    "e": "elementary_charge",
    "amu": "amu",
    "V": "volt",
    "ps": "ps",
    "fs": "fs",
    "s": "s",
    "deg": "degree",
    "kJ_per_mol": "kJ/mol",
    "nm2_per_ps": "nm**2/ps",
    "nm2_per_s": "nm**2/s",
    "nm_per_s": "nm/s",
    "per_ps": "1/ps",
    "per_s": "1/s",
    "per_nm2": "1/nm**2",
    "per_nm3": "1/nm**3",
}
_EXAMPLES = {"nm": "5 angstrom", "mM": "0.1 M", "K": "25 degC", "fs": "10 fs", "ps": "0.5 ns", "s": "2 min"}
_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S.*?)\s*")


class UnitTextError(ValueError):
    """A text with a unit that cannot be taken for its key; says why and what to do."""


def key_unit(key: str) -> str | None:
    """The unit that a key's name ends with, as written there ("per_ps"); None if there is none."""
    endings = [unit for unit in KEY_UNITS if key.endswith("_" + unit)]
    return max(endings, key=len, default=None)


def unit_example(key: str) -> str:
    """What to write for this key, for messages: '; a text with a unit such as "10 fs" may be given'."""
    example = _EXAMPLES.get(key_unit(key) or "")
    return f', or a text with a unit such as "{example}"' if example else ""


def number_from_text(key: str, text: str) -> float:
    """The number, in the unit of `key`, of a text that holds a number and a unit.

    Raises UnitTextError for a text of another form, an unknown unit, a unit of another dimension, a
    key that takes plain numbers only, and where pint is not installed. Rounded to 14 digits, so that
    "0.3 ns" and 300.0 are the same number.
    """
    unit = key_unit(key)
    if key.endswith("_kT"):
        raise UnitTextError("is text; allowed: a plain number, in kT at 300 K")
    if unit is None:
        raise UnitTextError("is text; allowed: a plain number (the key has no unit)")
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None:
        raise UnitTextError(f"is text without a number and a unit; allowed: a number in {unit}{unit_example(key)}")
    number, written = float(match[1]), match[2]
    registry, pint = _registry()
    # "cm2/s" and "/s" are common in print; pint wants "cm^2/s" and "1/s".
    spelled = re.sub(r"([A-Za-zÅµμ])([23])\b", r"\1^\2", written)
    if spelled.startswith(("/", "per ")):
        spelled = "dimensionless " + spelled
    try:
        quantity = registry.Quantity(number, registry.parse_units(spelled))
        value = quantity.to(KEY_UNITS[unit]).magnitude
    except pint.UndefinedUnitError:
        raise UnitTextError(
            f'has an unknown unit "{written}"; allowed: a number in {unit}{unit_example(key)}'
        ) from None
    except pint.DimensionalityError:
        hint = '; A is ampere: did you mean "angstrom"?' if written == "A" else ""
        hint = hint or unit_example(key).replace(", or", "; allowed:")
        raise UnitTextError(f'"{written}" cannot be converted to {unit}{hint}') from None
    # pint lets through whatever its tokenizer raises (TokenError, AssertionError and more).
    except Exception:
        raise UnitTextError(
            f'has a unit "{written}" that cannot be read; allowed: a number in {unit}{unit_example(key)}'
        ) from None
    return float(f"{value:.14g}")


@functools.cache
def _registry() -> tuple[Any, Any]:
    try:
        import pint
    except ImportError:
        raise UnitTextError(
            'texts with a unit need the package pint: pip install "dropsim[units]", or write a plain number'
        ) from None
    return pint.UnitRegistry(), pint
