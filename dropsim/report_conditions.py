"""What a study says of its conditions beside each other: how they react, and droplet tiers of the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dropsim.composition import has_droplet_tier
from dropsim.config import Config
from dropsim.droplet_tier import DropletTier, run_droplet_tier, tier_summary
from dropsim.observables.droplets import is_sulfur
from dropsim.observables.estimate import Estimate

# What the table of conditions shows of runs with a reaction: key, heading, unit.
REACTION_ROWS = (
    ("solid_share", "units turned solid, of all", "1"),
    ("collective_share", "of them turned in droplets", "1"),
    ("half_conversion_time", "half of them after", "ps"),
    ("conversion_spread", "(t_90 - t_10) / t_50", "1"),
    ("charge_inner_minus_outer", "inner minus outer third", "e per S6"),
)
# Kept beside them, for figures and pages.
REACTION_KEYS = (
    *(key for key, _, _ in REACTION_ROWS),
    "charge_inner", "charge_middle", "charge_outer", "spectral_gap", "conversion_time", "threshold_to_full_time",
)  # fmt: skip

Members = Sequence[tuple[Path, Mapping[str, Any]]]


def control_tiers(
    configs: Mapping[str, Config],
    main: str,
    estimates: Mapping[str, Mapping[str, Estimate]],
    sources: Mapping[str, str],
) -> dict[str, DropletTier]:
    """Droplet tiers of the controls whose [kinetics] is not the main run's: name -> tier.

    configs, estimates, sources: of every condition; a control with the main run's [kinetics] would repeat it.
    """
    given = configs[main].kinetics
    chosen = [key for key, config in configs.items() if config.kinetics != given and has_droplet_tier(config)]
    return {key: run_droplet_tier(configs[key], estimates[key], sources[key]) for key in sorted(chosen)}


def control_summary(tier: DropletTier, source: str) -> dict[str, Any]:
    """What comparison.json holds of a control's droplet tier."""
    whole = tier_summary(tier, source)
    facts = {key: whole["facts"][key] for key in ("nucleated", "realisations", "ledger", "half_cycles", "cycles")}
    kept = ("particle_run", "protocol", "derived", "estimates", "missing")
    return {key: whole[key] for key in kept} | {"facts": facts}


def draw_reactions(
    root: Path,
    name: str,
    groups: Mapping[str, Members],
    curves: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    conditions: Sequence[Mapping[str, Any]],
    scales: Mapping[str, Mapping[str, Any]],
) -> None:
    """figures/reaction, where two or more conditions of a study react. curves: of the replicas of each condition."""
    from dropsim.plots import plot_reactions

    rows = []
    for condition in conditions:
        key = condition["name"]
        found = [c for c in curves[key] if np.size(c.get("ledger_time", ()))]
        if not found:
            continue
        given = scales[key]["groups"]
        tau, theta = (_finite_or_infinite(given[group]) for group in ("charging_time", "collectivity"))
        rows.append(
            {
                "label": groups[key][0][1]["title"] or key,
                "n_sulfur": int(is_sulfur(found[0]["final_species"]).sum()),
                "curves": found,
                "estimates": condition["estimates"],
                "theta": theta,
                "tau_ps": tau if tau is not None and np.isfinite(tau) else None,
            }
        )
    if len(rows) > 1:
        plot_reactions(root / "figures" / "reaction", rows, f"{name}: charging and conversion")


def _finite_or_infinite(value: Any) -> float | None:
    return None if value is None else float("inf") if value == "infinite" else float(value)


def draw_growth(root: Path, name: str, tiers: Mapping[str, DropletTier], labels: Mapping[str, str]) -> None:
    """figures/growth: the droplets of several conditions over each other. tiers: name -> tier, the main one first."""
    from dropsim.plots import plot_growth

    rows = []
    for key, tier in tiers.items():
        mean = tier.mean
        present = np.flatnonzero(np.asarray(mean.area_nm2) > 0)
        nucleation = float(np.ravel(mean.nucleation_time_s)[0])
        if not present.size:
            continue
        exponent = tier.estimates.get("growth_exponent")
        rows.append(
            {
                "label": labels[key],
                "time_s": mean.time_s,
                "area_nm2": mean.area_nm2,
                "onset_s": float(mean.time_s[present[0]]),
                "end_s": nucleation if np.isfinite(nucleation) else float(mean.time_s[present[-1]]),
                "exponent": None if exponent is None else exponent.to_dict(),
                "damkohler": tier.parameters.derived()["damkohler_number"],
            }
        )
    if len(rows) > 1:
        plot_growth(root / "figures" / "growth", rows, f"{name}: growth of a droplet, rates times C")
