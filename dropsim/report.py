"""What a study says in the end: conditions joined over replicas, the droplet tier, the comparison, its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dropsim.analysis import CURVES, analyse_run, write_json
from dropsim.compare import KIND_LETTERS, combined, compare, estimate_from_dict
from dropsim.composition import has_droplet_tier
from dropsim.config import Config
from dropsim.droplet_tier import DropletTier, run_droplet_tier, write_droplet_tier
from dropsim.errors import ConfigError, TrajectoryError
from dropsim.observables.estimate import Estimate
from dropsim.pathways import compare_pathways, write_pathways
from dropsim.report_conditions import (
    REACTION_KEYS,
    REACTION_ROWS,
    control_patch_summary,
    control_patches,
    control_summary,
    control_tiers,
    draw_growth,
    draw_patches,
    draw_reactions,
    electrode_with_centres,
    has_patch,
    print_patches,
)
from dropsim.report_cycles import draw_control_currents, joined_half_cycles, print_half_cycles
from dropsim.report_timescales import join_timescales, print_timescales, tier_timescales
from dropsim.run_folder import SUMMARY, read_config
from dropsim.single_molecule_tier import SingleMoleculeTier, run_single_molecule_tier, write_single_molecule_tier

COMPARISON = "comparison.json"

# What the table of conditions shows of each run: key, heading, unit.
CONDITION_ROWS = (
    ("surface_count", "S within 1.5 nm of the wall", "atoms"),
    ("largest_cluster", "largest cluster", "S atoms"),
    ("largest_clusters", "mean of the five largest", "S atoms"),
    ("cluster_monomer_fraction", "P(1) of clusters off the wall", "1"),
    ("vapour_concentration", "Li2S6 beside droplets", "mM"),
    ("dense_density", "density in droplets", "nm^-3"),
)
# The same of a bulk box: beginning of the key, heading before what the rest of the key names.
BULK_HEADINGS = {"rdf_peak_": "largest g(r),", "self_diffusivity_": "diffusivity,"}


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run folder, made by `analyse` where it is not there yet."""
    path = Path(folder) / SUMMARY
    if not path.exists():
        return analyse_run(Path(folder))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise TrajectoryError(f"{path} is damaged ({error}): 'dropsim analyze {folder}' writes it anew") from error


def study_folders(path: Path) -> tuple[Path, str, list[Path]]:
    """(root, name, run folders) of a study's folder, of a folder of runs, or of one run."""
    path = Path(path)
    if (path / "trajectory.h5md").exists():
        return path.parent, path.name, [path]
    if not path.is_dir():
        raise TrajectoryError(f"{path}: no such folder; name the folder of a study or of a run under runs/")
    manifests = sorted(path.glob("*.study.json"))
    if manifests:
        newest = max(manifests, key=lambda p: p.stat().st_mtime)
        manifest = json.loads(newest.read_text(encoding="utf-8"))
        folders = [path / run["folder"] for run in manifest["runs"]]
        return path, manifest["name"], [f for f in folders if (f / "trajectory.h5md").exists()]
    folders = sorted(f.parent for f in path.glob("*/trajectory.h5md"))
    if not folders:
        raise TrajectoryError(f"{path} holds no runs; name the folder that 'dropsim run' wrote")
    return path, path.resolve().name, folders


def report_study(path: Path, *, droplet_tier: bool = True) -> dict[str, Any]:
    """Join replicas, run the droplet tier of the main run, compare, draw, and write comparison.json.

    path: a study's folder, a folder of runs, or one run folder. Returns what comparison.json holds: rows (the
    table), conditions, half_cycles, droplet_tier, droplet_tiers (of controls), single_molecule, single_molecules (of
    controls), pathways, timescales. Raises ConfigError where the runs have no single main condition.
    """
    root, name, folders = study_folders(path)
    if not folders:
        raise TrajectoryError(f"{path} holds no finished runs yet: 'dropsim resume' goes on with them")
    groups: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for folder in folders:
        summary = read_summary(folder)
        groups.setdefault(summary["name"], []).append((folder, summary))
    main = main_condition(groups)
    conditions = {key: combined([s for _, s in members]) for key, members in groups.items()}
    configs = {key: read_config(members[0][0]) for key, members in groups.items()}
    config = configs[main]
    tier, tier_numbers, tier_summary = None, None, None
    others: dict[str, DropletTier] = {}
    sources = {key: ", ".join(f.name for f, _ in members) for key, members in groups.items()}
    if droplet_tier and has_droplet_tier(config):
        tier = run_droplet_tier(config, conditions[main][0], sources[main])
        tier_summary = write_droplet_tier(root, tier, sources[main])
        tier_numbers = (tier.estimates, tier.missing)
    single, single_summary, pathways, patches = None, None, None, {}
    if droplet_tier:
        others = control_tiers(configs, main, {key: found for key, (found, _) in conditions.items()}, sources)
        with_centres = electrode_with_centres(configs, main, tier, others)
        single, single_summary, pathways = report_bare_electrode(root, config, with_centres)
        patches = control_patches(configs, main)
    # The published values are of droplets on an electrode: a box without one is not set beside them.
    slab = config.box.geometry != "bulk"
    rows = compare(conditions, main, tier_numbers, pathway_numbers(pathways)) if slab else []
    scales = {key: join_timescales([s for _, s in members]) for key, members in groups.items()}
    if tier_summary is not None:
        scales["droplet tier"] = tier_timescales(tier_summary["derived"])
    tiers = {key: control_summary(other, sources[key]) for key, other in others.items()}
    for key, summary in tiers.items():
        relative = configs[key].kinetics.rate_constant_per_s / config.kinetics.rate_constant_per_s
        scales[f"droplet tier, {key}"] = tier_timescales(summary["derived"], relative)
    half_cycles = {key: joined_half_cycles([s for _, s in members]) for key, members in groups.items()}
    result = {
        "study": name,
        "main": main,
        "rows": rows,
        "conditions": [condition_row(key, members, conditions[key][0]) for key, members in groups.items()],
        "half_cycles": {key: joined for key, joined in half_cycles.items() if joined is not None},
        "droplet_tier": tier_summary,
        "droplet_tiers": tiers,
        "single_molecule": single_summary,
        "single_molecules": {key: control_patch_summary(patch) for key, patch in patches.items()},
        "pathways": pathways,
        "timescales": scales,
        "replicas": {key: len(members) for key, members in groups.items()},
    }
    write_json(root / COMPARISON, result)
    draw_study(root, result, groups, main, tier)
    if len(groups) > 1:
        curves = {key: [read_curves(folder) for folder, _ in members] for key, members in groups.items()}
        draw_reactions(root, name, groups, curves, result["conditions"], scales)
    titles = {key: members[0][1]["title"] or key for key, members in groups.items()}
    if tier is not None and others:
        draw_growth(root, name, {main: tier, **others}, titles)
    draw_control_currents(root, others, sources)
    draw_patches(root, name, ({} if single is None else {main: single}) | patches, titles)
    return result


def report_bare_electrode(
    root: Path, config: Config, with_centres: DropletTier | None
) -> tuple[SingleMoleculeTier | None, dict[str, Any] | None, dict[str, Any] | None]:
    """The electrode without centres where the file asks for it, and both pathways where there is one with centres too.

    Returns the tier, and what single_molecule.json and pathways.json hold, None where there is none. Raises ConfigError
    where the pathways cannot be compared.
    """
    if not has_patch(config):
        return None, None, None
    single = run_single_molecule_tier(config)
    summary = write_single_molecule_tier(root, single)
    if with_centres is None:
        return single, summary, None
    try:
        pathways = compare_pathways(
            with_centres.parameters,
            single.parameters,
            single.protocol,
            seed=config.kinetics.seed,
            frame_s=config.kinetics.frame_s,
            n_droplets=config.kinetics.realisations,
            solution=single.solution,
        )
    except ValueError as error:
        raise ConfigError(f"single_molecule: {error}") from error
    return single, summary, write_pathways(root, pathways)


def pathway_numbers(pathways: Mapping[str, Any] | None) -> tuple[dict[str, Estimate], dict[str, str]] | None:
    """Estimates and reasons of both pathways for the comparison: a lower bound is not set beside a measured value."""
    if pathways is None:
        return None
    estimates = {key: estimate_from_dict(values) for key, values in pathways["estimates"].items()}
    missing = dict(pathways["missing"])
    for row in pathways["rows"]:
        if row["lower_bound"] and row["name"] in estimates:
            bound = estimates.pop(row["name"])
            missing[row["name"]] = f"at least {bound.value:.3g} {bound.unit}: the protocol ends before the later peak"
    return estimates, missing


def main_condition(groups: Mapping[str, Sequence[tuple[Path, Mapping[str, Any]]]]) -> str:
    """Name of the condition whose runs have the role "main"; a single condition is its own main."""
    if len(groups) == 1:
        return next(iter(groups))
    names = [key for key, members in groups.items() if members[0][1]["role"] == "main"]
    if len(names) != 1:
        raise ConfigError(f"the runs have {len(names)} main conditions: set run.role = 'main' in exactly one")
    return names[0]


def condition_row(
    key: str, members: Sequence[tuple[Path, Mapping[str, Any]]], estimates: Mapping[str, Estimate]
) -> dict[str, Any]:
    """One condition for the table and the figure: joined estimates, and each replica's own value."""
    keys = [k for k, _, _ in CONDITION_ROWS] + [k for k in REACTION_KEYS if k in estimates]
    keys += sorted(k for k in estimates if k.startswith(tuple(BULK_HEADINGS)))
    return {
        "name": key,
        "title": members[0][1]["title"],
        "role": members[0][1]["role"],
        "estimates": {k: estimates[k].to_dict() for k in keys if k in estimates},
        "replica_values": {k: [s["estimates"][k]["value"] for _, s in members if k in s["estimates"]] for k in keys},
    }


def draw_study(
    root: Path,
    result: Mapping[str, Any],
    groups: Mapping[str, Sequence[tuple[Path, Mapping[str, Any]]]],
    main: str,
    tier: DropletTier | None,
) -> None:
    """The comparison, the contrast of conditions and the overview as figures."""
    from dropsim.plots import plot_comparison, plot_contrast, plot_overview
    from dropsim.plots_study import CONTRASTED

    figures = root / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    if result["rows"]:
        title = f"{result['study']}: dropsim beside the experiment"
        plot_comparison(figures / "comparison", list(result["rows"]), title)
    controls = sorted(k for k in groups if k != main)
    if not controls:
        return
    conditions = list(result["conditions"])
    if not any(key in row["estimates"] for row in conditions for key, _ in CONTRASTED):
        return  # runs too short for any of it: the table says so
    plot_contrast(figures / "contrast", conditions, f"{result['study']}: {main} and its controls")
    # The control that lacks the centres says most; a study without one shows its first.
    control = "no_centres" if "no_centres" in controls else controls[0]
    shown = [groups[key][0] for key in (main, control)]
    tier_summary = result["droplet_tier"]
    plot_overview(
        figures / "overview",
        read_curves(shown[0][0]),
        read_curves(shown[1][0]),
        None if tier is None else tier.mean,
        None if tier is None else tier.realisations,
        conditions,
        protocol=() if tier_summary is None else tier_summary["protocol"],
        title_main=shown[0][1]["title"],
        title_control=shown[1][1]["title"],
    )


def read_curves(folder: Path) -> dict[str, np.ndarray]:
    """The arrays behind a run's figures."""
    with np.load(folder / CURVES) as curves:
        return dict(curves)


def print_report(result: Mapping[str, Any]) -> None:
    """The comparison and the conditions as tables in the terminal; 80 columns are enough."""
    from rich.box import HORIZONTALS
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    style = {"agrees": "green", "differs": "red", "ambiguous": "yellow"}
    table = Table(title=f"{result['study']}: dropsim beside the experiment", title_justify="left", box=HORIZONTALS)
    for heading, ratio in (
        ("quantity (condition)", 6),
        ("dropsim [95 % interval]", 5),
        ("published", 4),
        ("verdict", 6),
    ):
        table.add_column(heading, ratio=ratio, overflow="fold")
    table.add_column("is")
    for row in result["rows"]:
        table.add_row(
            Text(f"{row['quantity']} ({row['condition']})"),
            Text(row["dropsim"]),
            Text(row["reference"]),
            Text(row["verdict"], style=style.get(row["verdict_class"], "dim")),
            Text(KIND_LETTERS[row["kind"]]),
            end_section=True,
        )
    if table.row_count:
        console.print(table)
        console.print(Text("is: " + "; ".join(f"{letter} {kind}" for kind, letter in KIND_LETTERS.items())))
    shown = shown_rows(result["conditions"])
    if shown and (len(result["conditions"]) > 1 or not result["rows"]):
        controls = "the main run and its controls" if len(result["conditions"]) > 1 else str(result["study"])
        table = Table(title=f"\n{controls} (± one standard error)", title_justify="left", box=None)
        table.add_column("", overflow="fold")
        for row in result["conditions"]:
            n = result["replicas"][row["name"]]
            table.add_column(f"{row['name']} ({n} run{'s' if n > 1 else ''})", justify="right", overflow="fold")
        for key, heading, unit in shown:
            cells = [short_estimate(row["estimates"].get(key)) for row in result["conditions"]]
            table.add_row(Text(heading if unit == "1" else f"{heading}, {unit}"), *map(Text, cells))
        console.print(table)
    tier = result.get("droplet_tier")
    if tier:
        console.print(Text(f"\ndroplet tier: {tier['inputs_note']}; {tier['facts']['closure_note']}"))
    print_half_cycles(result)
    print_patches(result)
    print_pathways(result)
    print_timescales(result["timescales"])


def print_pathways(result: Mapping[str, Any]) -> None:
    """The electrode with and without centres, as a table beside the paper's ratios; nothing where it was not run."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    pathways = result.get("pathways")
    if not pathways:
        return
    table = Table(title="\nwith over without centres", title_justify="left", box=None)
    for heading in ("quantity", "dropsim [95 % interval]", "the paper", "verdict"):
        table.add_column(heading, overflow="fold")
    for row in pathways["rows"]:
        found = "-"
        if row["dropsim"] is not None:
            low, high = row["dropsim"]["interval_95"]
            found = f"{row['dropsim']['value']:.3g} [{low:.3g}, {high:.3g}]"
        paper = f"{row['paper_low']:g}" + (
            "" if row["paper_low"] == row["paper_high"] else f" to {row['paper_high']:g}"
        )
        unit = "" if row["unit"] == "1" else f" {row['unit']}"
        table.add_row(*map(Text, (row["quantity"], found + unit, paper + unit, row["verdict"])))
    console = Console()
    console.print(table)
    for note in pathways["notes"]:
        console.print(Text(f"- {note}"))


def shown_rows(conditions: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Key, heading and unit of the rows of the table of conditions: those of slabs where one is a slab, and of bulk."""
    found = {key: values["unit"] for row in conditions for key, values in row["estimates"].items()}
    bulk = [
        (key, f"{heading} {key.removeprefix(beginning)}", found[key])
        for beginning, heading in BULK_HEADINGS.items()
        for key in sorted(found)
        if key.startswith(beginning)
    ]
    slab = list(CONDITION_ROWS) if not bulk or any(key in found for key, _, _ in CONDITION_ROWS) else []
    return slab + [row for row in REACTION_ROWS if row[0] in found] + bulk


TEMPERATURE_KEY = "configurational_temperature_"


def print_temperatures(folders: Sequence[Path]) -> None:
    """The check of the time step: the configurational temperature of each condition's stages beside the bath's."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    groups: dict[str, list[dict[str, Any]]] = {}
    bath: dict[str, float] = {}
    for folder in folders:
        summary = read_summary(folder)
        groups.setdefault(summary["name"], []).append(summary)
        bath[summary["name"]] = read_config(folder).electrolyte.temperature_K
    table = Table(title="\ncheck of the time step: configurational temperature", title_justify="left", box=None)
    for heading in ("condition", "stage", "K (± one standard error)", "bath", "verdict"):
        table.add_column(heading, overflow="fold")
    for name, members in groups.items():
        estimates, missing = combined(members)
        stages = sorted({k for s in members for k in (*s["estimates"], *s["missing"]) if k.startswith(TEMPERATURE_KEY)})
        for key in stages:
            found = estimates.get(key)
            cells = (missing.get(key, "-"), "", "not known")
            if found is not None:
                cells = (short_estimate(found.to_dict()), f"{bath[name]:g}", step_verdict(found, bath[name]))
            table.add_row(Text(name), Text(key.removeprefix(TEMPERATURE_KEY)), *map(Text, cells))
    if table.row_count:
        Console().print(table)


def step_verdict(temperature: Estimate, bath_K: float) -> str:
    """Whether a stage's time step shows: off by more than 5 % of the bath and beyond its 95 % interval."""
    low, high = temperature.interval_95
    off = abs(temperature.value / bath_K - 1)
    if low <= bath_K <= high:
        return "agrees" if high - low < 0.2 * bath_K else "too few frames to tell"
    return "within 5 %" if off < 0.05 else "off: shorten timestep_fs, or the stage is far from equilibrium"


def short_estimate(values: Mapping[str, Any] | None) -> str:
    """value ± standard error, for a narrow column."""
    if values is None:
        return "-"
    e = estimate_from_dict(values)
    return f"{e.value:.3g} ± {e.standard_error:.2g}"
