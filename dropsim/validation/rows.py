"""What a row of the battery is: a question with a known answer, and what came out.

A row is a function of `Settings` that returns an `Outcome`; it is listed in one of the tables that `battery` joins.
`dropsim validate` and tests/physics/test_battery.py run the same functions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the battery runs: precision of the arrays, and whether the long samples are wanted.

    precision: dtype of positions, charges and forces; full: longer samples and larger systems, smaller standard
    errors; seed: of every random number.
    """

    precision: Literal["float32", "float64"] = "float64"
    full: bool = False
    seed: int = 1

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the arrays."""
        return np.dtype(self.precision)


@dataclasses.dataclass(frozen=True)
class Result:
    """One number beside its reference.

    value, reference: in `unit`; tolerance: in `unit`, or in standard errors where `standard_error` is given;
    relation: "equal": |value - reference| <= tolerance; "at most": value <= reference + tolerance; "at least": value >=
    reference - tolerance; basis: where the tolerance comes from, a few words.
    """

    quantity: str
    value: float
    reference: float
    tolerance: float
    unit: str = "1"
    standard_error: float | None = None
    relation: Literal["equal", "at most", "at least"] = "equal"
    basis: str = ""

    @property
    def passed(self) -> bool:
        """The verdict; a value that is not finite never passes."""
        allowed = self.tolerance if self.standard_error is None else self.tolerance * self.standard_error
        difference = self.value - self.reference
        if not (math.isfinite(difference) and math.isfinite(allowed)):
            return False
        if self.relation == "equal":
            return abs(difference) <= allowed
        return difference <= allowed if self.relation == "at most" else -difference <= allowed


@dataclasses.dataclass(frozen=True)
class Curve:
    """A sampled curve beside its reference, for the report's figures: (n,) arrays; labels with units."""

    name: str
    x: np.ndarray
    value: np.ndarray
    reference: np.ndarray
    x_label: str
    y_label: str
    standard_error: np.ndarray | None = None
    log_y: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a row found."""

    results: tuple[Result, ...]
    curves: tuple[Curve, ...] = ()


@dataclasses.dataclass(frozen=True)
class Row:
    """A question of the battery.

    key: "E1"; title: one line; source: of the reference, with DOI where there is one; run: the function, None where it
    cannot be run, and then `reason` says why; full_only: too long for the default battery; requires: packages that an
    extra installs (the row is listed as not run without them).
    """

    key: str
    title: str
    source: str
    run: Callable[[Settings], Outcome] | None
    reason: str = ""
    full_only: bool = False
    requires: tuple[str, ...] = ()
