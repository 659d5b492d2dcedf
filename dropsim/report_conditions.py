"""What a study says of its conditions beside each other: how they react, and droplet tiers and bare electrodes of the
controls."""

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
from dropsim.single_molecule_tier import (
    SingleMoleculeTier,
    run_single_molecule_tier,
    single_molecule_parameters,
    single_molecule_summary,
)

# What the table of conditions shows of runs with a reaction: key, heading, unit.
REACTION_ROWS = (
    ("solid_share", "units turned solid, of all", "1"),
    ("collective_share", "of them turned in droplets", "1"),
    ("half_conversion_time", "half of them after", "ps"),
    ("conversion_spread", "(t_90 - t_10) / t_50", "1"),
    ("charge_inner_minus_outer", "inner minus outer third", "e per S6"),
    ("single_step_share", "solid units that never were Li2S2", "1"),
    ("intermediate_share", "units dissolved as Li2S2", "1"),
    ("intermediate_lead", "first Li2S after first Li2S2", "ps"),
    ("solid_height", "height of Li2S", "nm"),
)
# And of bare electrodes.
PATCH_ROWS = (
    ("first_particle", "first Li2S2 particle", "s"),
    ("first_single_step_rod", "first Li2S in one step", "s"),
    ("first_two_step_rod", "first Li2S out of Li2S2", "s"),
    ("single_step_share", "share of Li2S in one step", "1"),
    ("particles", "Li2S2 particles at the end", "1"),
    ("particles_gone", "particles gone", "1"),
    ("rods", "Li2S rods at the end", "1"),
    ("mean_reduction_current", "mean current", "uA/cm^2"),
)
# Kept beside them, for figures and pages.
REACTION_KEYS = (
    *(key for key, _, _ in REACTION_ROWS),
    "charge_inner", "charge_middle", "charge_outer", "spectral_gap", "conversion_time", "threshold_to_full_time",
    "reduction_charge",
)  # fmt: skip

Members = Sequence[tuple[Path, Mapping[str, Any]]]


def control_tiers(
    configs: Mapping[str, Config],
    main: str,
    estimates: Mapping[str, Mapping[str, Estimate]],
    sources: Mapping[str, str],
) -> dict[str, DropletTier]:
    """Droplet tiers of the controls whose [kinetics] is not the main run's, or whose centres pass no current where the
    main run's do: name -> tier.

    configs, estimates, sources: of every condition; another control would repeat the main run's droplet.
    """

    def droplet(config: Config) -> tuple[Any, bool]:
        return config.kinetics, config.centres.arrangement != "none" and config.centres.wired

    given = droplet(configs[main])
    chosen = [key for key, config in configs.items() if droplet(config) != given and has_droplet_tier(config)]
    return {key: run_droplet_tier(configs[key], estimates[key], sources[key]) for key in sorted(chosen)}


def control_summary(tier: DropletTier, source: str) -> dict[str, Any]:
    """What comparison.json holds of a control's droplet tier."""
    whole = tier_summary(tier, source)
    facts = {key: whole["facts"][key] for key in ("nucleated", "realisations", "ledger", "half_cycles", "cycles")}
    kept = ("particle_run", "protocol", "derived", "estimates", "missing")
    return {key: whole[key] for key in kept} | {"facts": facts}


def electrode_with_centres(
    configs: Mapping[str, Config], main: str, tier: DropletTier | None, others: Mapping[str, DropletTier]
) -> DropletTier | None:
    """The droplet tier to be set beside a bare electrode: the main run's, or where that has no wired centres the first
    control's that has them; None without one that passes current."""
    known = {key: found for key, found in {main: tier, **others}.items() if found is not None}
    for key, found in known.items():
        centres = configs[key].centres
        if centres.arrangement != "none" and centres.wired and found.parameters.droplets_per_um2 > 0.0:
            return found
    return None


def has_patch(config: Config) -> bool:
    """Whether the file asks for the electrode without centres."""
    return config.single_molecule.enabled and config.box.geometry == "slab"


def control_patches(configs: Mapping[str, Config], main: str) -> dict[str, SingleMoleculeTier]:
    """Bare electrodes of the controls whose inputs or protocol are not the main run's: name -> tier."""
    given = single_molecule_parameters(configs[main]) if has_patch(configs[main]) else None
    asking = [key for key, config in configs.items() if key != main and has_patch(config)]
    return {
        key: run_single_molecule_tier(configs[key])
        for key in sorted(asking)
        if single_molecule_parameters(configs[key]) != given
    }


def control_patch_summary(tier: SingleMoleculeTier) -> dict[str, Any]:
    """What comparison.json holds of a control's bare electrode."""
    whole = single_molecule_summary(tier)
    facts = {key: whole["facts"][key] for key in ("realisations", "ledger", "half_cycles")}
    return {key: whole[key] for key in ("protocol", "derived", "estimates", "missing")} | {"facts": facts}


def draw_patches(root: Path, name: str, tiers: Mapping[str, SingleMoleculeTier], labels: Mapping[str, str]) -> None:
    """figures/patches: the bare electrodes of several conditions over each other. tiers: the main one first."""
    from dropsim.plots import plot_patches

    rows = [
        {
            "label": labels[key],
            "time_s": tier.solution.time_s,
            "current_uA_per_cm2": tier.solution.current_uA_per_cm2,
            "single_step_share": tier.solution.single_step_share,
            "estimates": {k: e.to_dict() for k, e in tier.estimates.items()},
        }
        for key, tier in tiers.items()
    ]
    if len(rows) > 1:
        plot_patches(root / "figures" / "patches", rows, f"{name}: bare electrodes, one ion at a time")


def print_patches(result: Mapping[str, Any]) -> None:
    """Bare electrodes of the main run and of its controls as a table; nothing where there is one at most."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    main = {} if result["single_molecule"] is None else {result["main"]: result["single_molecule"]}
    tiers = main | result["single_molecules"]
    if len(tiers) < 2:
        return
    table = Table(title="\nbare electrodes, seconds (± one standard error)", title_justify="left", box=None)
    table.add_column("", overflow="fold")
    for key in tiers:
        table.add_column(key, justify="right", overflow="fold")
    for key, heading, unit in PATCH_ROWS:
        found = [tier["estimates"].get(key) for tier in tiers.values()]
        cells = ["-" if e is None else f"{e['value']:.3g} ± {e['standard_error']:.2g}" for e in found]
        table.add_row(Text(heading if unit == "1" else f"{heading}, {unit}"), *map(Text, cells))
    Console().print(table)


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
        # A run with more than one half cycle has no single charging time.
        turned = any(np.size(c.get("cycle_kind", ())) > 1 for c in found)
        tau, theta = (_finite_or_infinite(given[group]) for group in ("charging_time", "collectivity"))
        rows.append(
            {
                "label": groups[key][0][1]["title"] or key,
                "n_sulfur": int(is_sulfur(found[0]["final_species"]).sum()),
                "curves": found,
                "estimates": condition["estimates"],
                "theta": theta,
                "tau_ps": tau if tau is not None and np.isfinite(tau) and not turned else None,
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
        plot_growth(root / "figures" / "growth", rows, f"{name}: growth of the droplet of each condition")
