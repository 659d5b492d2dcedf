"""The one type in which a number leaves the analysis."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measured number with its uncertainty.

    value: in `unit`; standard_error: one standard error, nan where it cannot be had (and then
    `method` says why); unit: as printed ("nm^2/s", "1" for a pure number); n_effective: number of
    statistically independent samples behind it; method: one line that names the estimator;
    interval: the 95 % interval where it is not value -/+ 1.96 standard errors.
    """

    value: float
    standard_error: float
    unit: str
    n_effective: float
    method: str
    interval: tuple[float, float] | None = None

    @property
    def interval_95(self) -> tuple[float, float]:
        """The 95 % interval: the stored one, or value -/+ 1.96 standard errors."""
        if self.interval is not None:
            return self.interval
        return (self.value - 1.96 * self.standard_error, self.value + 1.96 * self.standard_error)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; what is not finite becomes None."""

        def plain(x: float) -> float | None:
            return float(x) if math.isfinite(x) else None

        low, high = self.interval_95
        return {
            "value": plain(self.value),
            "standard_error": plain(self.standard_error),
            "interval_95": [plain(low), plain(high)],
            "unit": self.unit,
            "n_effective": plain(self.n_effective),
            "method": self.method,
        }
