"""From one run's trajectory to its numbers: every one an `Estimate`, or a reason why there is none.

`observe` reads a trajectory and calls the observables; `analyse_run` writes summary.json and the figures'
arrays beside it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dropsim.analysis_parts import DROPLET_SIZE, Collector, Floats, Frames, Observed, read_frames
from dropsim.analysis_reaction import observe_reaction
from dropsim.analysis_timescales import measured_groups, timescales_summary
from dropsim.errors import AnalysisError
from dropsim.observables.bulk import bulk_radial_distribution, self_diffusivity
from dropsim.observables.diffusion import (
    covariance_estimator,
    gls_diffusivity,
    mean_squared_displacement,
    msd_z,
    ordinary_msd_fit,
)
from dropsim.observables.droplets import (
    DropletTrack,
    cluster_labels_series,
    five_largest_mean,
    is_sulfur,
    largest_clusters,
    track_droplets,
)
from dropsim.observables.estimate import Estimate
from dropsim.observables.force import directed_force_verdict, drag_force, force_summary
from dropsim.observables.growth import exponent_from_rate, fit_power_law, growth_verdict
from dropsim.observables.motion import material_track
from dropsim.observables.profiles import (
    Profile,
    charge_density_profile,
    net_charge_density_profile,
    surface_count,
)
from dropsim.observables.statistics import mean_estimate
from dropsim.observables.structure import cluster_size_distribution, contact_numbers
from dropsim.observables.temperature import configurational_temperature
from dropsim.observables.tier_inputs import (
    capture_probability,
    contact_samples,
    contacts_power_law,
    dense_density,
    dense_diffusivity,
    distance_to_droplets,
    vapour_concentration_mM,
)
from dropsim.run_folder import SUMMARY, TRAJECTORY
from dropsim.trajectory import Trajectory, open_trajectory
from dropsim.units import NM2_PER_PS_IN_NM2_PER_S

# A droplet's area is called grown when it first reaches this share of its largest value.
GROWN_SHARE = 0.9
# Clusters that reach below this height (nm) belong to the wall, not to the solution.
BULK_NM = 2.0
CURVES = "curves.npz"
LEAST_FRAMES = 12
# What is read off the frames before the first reaction.
BEFORE_REACTION = (
    "growth_exponent", "growth_exponent_from_rate", "largest_clusters", "largest_cluster", "cluster_monomer_fraction",
    "cluster_dimer_fraction", "surface_count", "peak_charge_density", "dense_density", "vapour_concentration",
    "dense_diffusivity", "contact_power", "contact_prefactor", "capture_probability",
)  # fmt: skip


def growing_span(area: Floats) -> slice:
    """The frames from the start until the area first reaches its grown share, smoothed over five frames."""
    window = min(5, len(area))
    smooth = np.convolve(area, np.ones(window) / window, mode="same")
    grown = int(np.argmax(smooth >= GROWN_SHARE * smooth.max()))
    return slice(0, max(grown + 1, min(len(area), 12)))


def main_droplet(tracks: Sequence[DropletTrack], last_frame: int) -> DropletTrack | None:
    """The droplet to speak of: the largest at the end of the frames, else the one seen longest."""
    alive = [t for t in tracks if t.frame[-1] >= last_frame - 10]
    candidates = alive or list(tracks)
    return max(candidates, key=lambda t: (np.median(t.size[-10:]), len(t.frame)), default=None)


def free_of_the_wall(labels: np.ndarray, height: Floats) -> np.ndarray:
    """Cluster labels (T, N) with -1 for every member of a cluster that reaches below BULK_NM; height: (T, N)."""
    free = labels.copy()
    for frame, label, z in zip(free, labels, height, strict=True):
        low = np.unique(label[(label >= 0) & (z < BULK_NM)])
        frame[np.isin(label, low)] = -1
    return free


def _growth(out: Collector, tracks: Sequence[DropletTrack], last_frame: int) -> None:
    """Exponents of every droplet with enough frames; the main one's under its own keys."""
    chosen = main_droplet(tracks, last_frame)
    droplets = []
    for track in tracks:
        span = growing_span(track.projected_area)
        time, area = track.time[span], track.projected_area[span]
        row: dict[str, Any] = {
            "identity": track.identity,
            "main": track is chosen,
            "frames": len(track.frame),
            "first_ps": float(track.time[0]),
            "last_ps": float(track.time[-1]),
            "largest_size": int(track.size.max()),
            "absorbed": len(track.absorbed),
        }
        droplets.append(row)
        try:
            fit = fit_power_law(time, area, onset_window=track.onset_window, time_unit="ps")
            row["growth_exponent"] = fit.exponent.to_dict()
            row["growth_onset_ps"] = fit.onset.to_dict()
        except AnalysisError as error:
            row["growth_exponent_missing"] = str(error)
            if track is chosen:
                out.missing["growth_exponent"] = str(error)
            fit = None
        try:
            rate = exponent_from_rate(time, area)
            row["growth_exponent_from_rate"] = rate.to_dict()
        except AnalysisError as error:
            row["growth_exponent_from_rate_missing"] = str(error)
            if track is chosen:
                out.missing["growth_exponent_from_rate"] = str(error)
            rate = None
        if track is not chosen:
            continue
        out.curves |= {"area_time_ps": track.time, "area_nm2": track.projected_area, "area_size": track.size}
        out.facts["growth_time_ps"] = float(time[-1] - time[0])
        if fit is not None:
            out.estimates["growth_exponent"] = fit.exponent
            out.estimates["growth_onset"] = fit.onset
            out.facts["growth_verdict"] = growth_verdict(fit.exponent)
            out.curves |= {
                "growth_time_ps": fit.time,
                "growth_curve": fit.curve,
                "growth_low": fit.band_low,
                "growth_high": fit.band_high,
            }
        if rate is not None:
            out.estimates["growth_exponent_from_rate"] = rate
    out.facts["droplets"] = droplets
    if chosen is None:
        reason = f"no cluster of {DROPLET_SIZE} or more S6 was followed"
        out.missing |= {"growth_exponent": reason, "growth_exponent_from_rate": reason}


def longest_run(track: DropletTrack) -> slice:
    """The longest stretch of consecutive frames in which the droplet does not touch its own image."""
    good = ~track.percolating
    breaks = np.flatnonzero((np.diff(track.frame) != 1) | ~good[1:] | ~good[:-1]) + 1
    pieces = [s for s in np.split(np.arange(len(track.frame)), breaks) if len(s) and good[s].all()]
    if not pieces:
        raise AnalysisError("the droplet touches its own periodic image throughout: use a wider box")
    best = max(pieces, key=len)
    return slice(int(best[0]), int(best[-1]) + 1)


def _motion(
    out: Collector, frames: Frames, tracks: Sequence[DropletTrack], lengths: Floats, temperature_K: float
) -> None:
    """Track of the droplet's matter, its diffusivity by several estimators, and the force it would stand for."""
    keys = ("centroid_diffusivity", "centroid_diffusivity_gls", "outline_diffusivity", "mean_force")
    track = main_droplet(tracks, len(frames.time) - 1)
    if track is None:
        out.missing |= dict.fromkeys(keys, f"no droplet of {DROPLET_SIZE} S6 in the Brownian stage")
        return

    def measure() -> None:
        run = longest_run(track)
        time = track.time[run]
        if len(time) < 12:
            raise AnalysisError(f"the droplet is followed for {len(time)} frames without a break: record longer")
        dt_s = float(np.median(np.diff(time))) * 1e-12
        # What a microscope follows is the outline; in so small a droplet it jumps with every member that joins.
        out.estimates["outline_diffusivity"] = covariance_estimator(track.centroid[run, :2], dt_s).D
        xy = material_track(track, run, frames.position, lengths)[:, :2]
        out.curves |= {"track_time_ps": time, "track_xy_nm": xy, "msd_nm2": mean_squared_displacement(xy)}
        for suffix, drift in (("", False), ("_drift_removed", True)):
            out.estimates["centroid_diffusivity" + suffix] = covariance_estimator(xy, dt_s, remove_drift=drift).D
            out.estimates["centroid_diffusivity_gls" + suffix] = gls_diffusivity(xy, dt_s, remove_drift=drift).D
        out.estimates["centroid_diffusivity_straight_line"] = ordinary_msd_fit(xy, dt_s)
        diffusivity = out.estimates["centroid_diffusivity_gls"]
        summary = force_summary(xy, dt_s, diffusivity, temperature_K)
        out.estimates["mean_force"] = summary.mean_magnitude
        out.estimates["brownian_force_null"] = summary.null.mean_force
        out.estimates["directed_force"] = summary.directed_magnitude
        out.facts["force_verdict"] = directed_force_verdict(xy, dt_s, temperature_K).text
        force_time, force = drag_force(xy, dt_s, diffusivity.value, temperature_K)
        out.curves |= {
            "force_time_ps": time[0] + force_time * 1e12,
            "force_pN": np.linalg.norm(force, axis=1),
            "force_null_quantiles": np.array(summary.null.quantiles),
            "height_time_ps": track.time,
            "height_z_min_nm": track.z_min,
            "height_z_com_nm": track.z_com,
        }

    out.attempt(keys, measure)


def _structure(out: Collector, frames: Frames, lengths: Floats, charges: Floats) -> None:
    """Cluster sizes, surface counts and charge profiles of stationary frames."""
    labels = cluster_labels_series(frames.position, frames.species, lengths)
    out.add(
        "largest_clusters",
        lambda: mean_estimate(five_largest_mean(labels), "S atoms"),
    )
    out.add(
        "largest_cluster",
        lambda: mean_estimate(np.array([6.0 * largest_clusters(f, 1).sum() for f in labels]), "S atoms"),
    )

    def sizes() -> None:
        # As the published table counts them: an Li-bridge joins, mere proximity does not.
        bridged = cluster_labels_series(frames.position, frames.species, lengths, criterion="li-bridge")
        bridged = free_of_the_wall(bridged, frames.position[..., 2])
        table = cluster_size_distribution(bridged)
        for size, key in ((1, "cluster_monomer_fraction"), (2, "cluster_dimer_fraction")):
            at = np.flatnonzero(table.size == size)
            p, se = (float(table.probability[at[0]]), float(table.standard_error[at[0]])) if len(at) else (0.0, 0.0)
            out.estimates[key] = Estimate(
                p, se, "1", 5.0, f"P({size}) of Li-bridged clusters above {BULK_NM:g} nm, block error"
            )

    out.attempt(("cluster_monomer_fraction", "cluster_dimer_fraction"), sizes)

    def surface() -> None:
        count = surface_count(frames.position, frames.species, lengths)
        out.estimates["surface_count"] = mean_estimate(count.sulfur_atoms, "S atoms")
        out.facts["surface_count_if_uniform"] = 6.0 * count.uniform_beads

    out.attempt(("surface_count",), surface)

    def profiles() -> None:
        rho: Profile = charge_density_profile(frames.position, frames.species, lengths)
        net = net_charge_density_profile(frames.position, frames.species, lengths, charges)
        near = rho.z < 2.0
        top = int(np.argmax(np.where(near, rho.value, -1.0)))
        out.estimates["peak_charge_density"] = Estimate(
            float(rho.value[top]), float(rho.standard_error[top]), rho.unit, 5.0, "largest 0.5 A slice below 2 nm"
        )
        out.curves |= {
            "profile_z_nm": rho.z, "profile_sulfur": rho.value, "profile_sulfur_error": rho.standard_error,
            "profile_net": net.value, "profile_net_error": net.standard_error,
        }  # fmt: skip

    out.attempt(("peak_charge_density",), profiles)


def _tier_inputs(
    out: Collector, liquid: Frames, brownian: Frames, lengths: Floats, mo_position: Floats, wired: bool
) -> None:
    """What the droplet tier may take from here."""
    tracks = track_droplets(liquid.position, liquid.species, lengths, liquid.time, DROPLET_SIZE)
    out.add("dense_density", lambda: dense_density(tracks, minimum_size=20))
    labels = cluster_labels_series(liquid.position, liquid.species, lengths)
    half = len(liquid.time) // 2
    out.add(
        "vapour_concentration",
        lambda: vapour_concentration_mM(
            liquid.position[half:], liquid.species[half:], lengths, labels[half:],
            minimum_size=DROPLET_SIZE, z_range=(2.0, float(lengths[2]) - 1.0),
        ),
    )  # fmt: skip
    if len(brownian.time) > 12:
        step = float(np.median(np.diff(brownian.time)))
        moving = track_droplets(brownian.position, brownian.species, lengths, brownian.time, DROPLET_SIZE)
        out.add("dense_diffusivity", lambda: dense_diffusivity(moving, lag_window_ps=(2 * step, 12 * step)))
    else:
        out.missing["dense_diffusivity"] = "no Brownian stage with more than 12 frames"

    def contacts() -> None:
        if not len(mo_position) or not wired:
            raise AnalysisError("there are no wired centres to be in contact with")
        c = contact_numbers(liquid.position, liquid.species, lengths, mo_position, wired=wired)
        law = contacts_power_law(*contact_samples(tracks, c, block_frames=10))
        out.estimates["contact_power"], out.estimates["contact_prefactor"] = law.power, law.prefactor

    out.attempt(("contact_power", "contact_prefactor"), contacts)

    def capture() -> Estimate:
        distance = distance_to_droplets(liquid.position, liquid.species, lengths, labels, DROPLET_SIZE)
        step = float(np.median(np.diff(liquid.time)))
        return capture_probability(distance, liquid.time, contact_nm=1.05, escape_nm=1.6, residence_time=5 * step)

    out.add("capture_probability", capture)


def _temperatures(out: Collector, trajectory: Trajectory) -> None:
    """Configurational temperature of every stage: the check of its time step, whatever the integrator."""
    squared, laplacian = trajectory.series("force_squared"), trajectory.series("laplacian")
    for index, stage in enumerate(trajectory.stages):
        frames = trajectory.stage == index
        if frames.any():
            out.add(
                f"configurational_temperature_{stage.name}",
                lambda frames=frames: configurational_temperature(squared[frames], laplacian[frames]),
            )


def _bulk(out: Collector, trajectory: Trajectory) -> None:
    """Structure and motion in a box without walls, from the second half of the last stage's frames."""
    last = np.flatnonzero(trajectory.stage == trajectory.stage[-1])
    frames = last[len(last) // 2 :]
    read, names = read_frames(trajectory, frames), trajectory.species_names
    present = [k for k, name in enumerate(names) if (read.species[0] == k).sum() > 1]
    for i, a in enumerate(present):
        for b in present[i:]:
            key = f"{names[a]}-{names[b]}"

            def structure(a: int = a, b: int = b, key: str = key) -> None:
                g = bulk_radial_distribution(read.position, read.species, trajectory.lengths, (a,), (b,))
                top = int(np.argmax(g.g))
                out.estimates[f"rdf_peak_{key}"] = Estimate(
                    float(g.g[top]), float(g.standard_error[top]), "1", 5.0, f"largest g(r), at {g.r[top]:.3g} nm"
                )
                out.curves |= {f"rdf_{key}_nm": g.r, f"rdf_{key}": g.g, f"rdf_{key}_error": g.standard_error}

            out.attempt((f"rdf_peak_{key}",), structure)
    clock = trajectory.stages[int(trajectory.stage[-1])]
    out.facts["accelerated_clock"] = clock.accelerated_clock
    moved = trajectory.unwrapped(frames)
    for k in present:
        beads = read.species[0] == k

        def motion(beads: np.ndarray = beads) -> Estimate:
            if np.ptp(read.species, axis=0).any():
                raise AnalysisError("beads change their species while they move")
            found = self_diffusivity(moved[:, beads], clock.record_every_ps * 1e-12, "nm^2/s")
            if clock.accelerated_clock:
                found = dataclasses.replace(found, method=f"{found.method}; clock of the stage, not the physical one")
            return found

        out.add(f"self_diffusivity_{names[k]}", motion)


def observe(trajectory: Trajectory) -> Observed:
    """All numbers of one run.

    A bulk box: pair distributions and self-diffusivities of the last stage, and the temperatures. A slab:

    Growth: the frames of the stages before the first Brownian or reacting one. Stationary averages: the second
    half of those frames. Motion: the Brownian frames before the first reaction. Reaction: `observe_reaction`. Time
    scales: `measured_groups`. Raises AnalysisError for a trajectory of fewer than 12 frames.
    """
    if trajectory.n_frames < LEAST_FRAMES:
        raise AnalysisError(f"{trajectory.path} has {trajectory.n_frames} frames: run it longer, at least 12")
    out = Collector()
    config = trajectory.config
    lengths = trajectory.lengths
    temperature = float(config["electrolyte"]["temperature_K"])
    accelerated = np.array([s.accelerated_clock for s in trajectory.stages])[trajectory.stage]
    reacting = np.array([bool(s["reaction"]) for s in config["stages"]])[trajectory.stage]
    number = np.arange(trajectory.n_frames)
    # What follows a reaction is no longer the electrolyte that droplets gather from.
    unreacted = number[: int(np.argmax(reacting))] if reacting.any() else number
    ends = np.flatnonzero(~accelerated | reacting)
    gather = number[: ends[0]] if len(ends) and ends[0] >= 12 else unreacted
    brownian = unreacted[~accelerated[unreacted]]

    _temperatures(out, trajectory)
    if config["box"]["geometry"] == "bulk":
        _bulk(out, trajectory)
        scales = timescales_summary(trajectory.stages, config, None)
        return Observed(out.estimates, out.missing, out.curves | _last_frame(trajectory), out.facts, scales)
    moved = read_frames(trajectory, brownian)
    if len(gather) >= LEAST_FRAMES:
        gathered = read_frames(trajectory, gather)
        tracks = track_droplets(gathered.position, gathered.species, lengths, gathered.time, DROPLET_SIZE)
        _growth(out, tracks, len(gather) - 1)
        _structure(out, read_frames(trajectory, gather[len(gather) // 2 :]), lengths, trajectory.charge)
        mo = trajectory.sites.position[trajectory.sites.species == trajectory.species_names.index("Mo")]
        _tier_inputs(out, gathered, moved, lengths, mo, bool(config["centres"]["wired"]))
    else:
        reason = f"{len(gather)} frames before the reaction: gather first, at least {LEAST_FRAMES}"
        out.missing |= dict.fromkeys(BEFORE_REACTION, reason)
    if len(brownian):
        found = track_droplets(moved.position, moved.species, lengths, moved.time, DROPLET_SIZE)
        _motion(out, moved, found, lengths, temperature)
        _sulfur_z(out, trajectory, brownian)
    else:
        out.missing["centroid_diffusivity"] = "the run has no Brownian stage"
    charging = observe_reaction(out, trajectory, config)
    out.facts["accelerated_stages"] = [s.name for s in trajectory.stages if s.accelerated_clock]
    n_sulfur = int(is_sulfur(trajectory.species([0])).sum())
    found = measured_groups(out, config, charging, lengths, n_sulfur)
    scales = timescales_summary(trajectory.stages, config, found)
    return Observed(out.estimates, out.missing, out.curves | _last_frame(trajectory), out.facts, scales)


def _last_frame(trajectory: Trajectory) -> dict[str, np.ndarray]:
    """What the picture of the final positions needs."""
    last = read_frames(trajectory, np.array([trajectory.n_frames - 1]))
    return {
        "final_position": last.position[0], "final_species": last.species[0].astype(np.int64),
        "lengths": trajectory.lengths, "site_position": trajectory.sites.position,
        "site_species": np.array(trajectory.sites.species, np.int64), "sigma": trajectory.sigma,
        "species_names": np.array(trajectory.species_names),
        "periodic_z": np.array(trajectory.periodic[2]),
    }  # fmt: skip


def _sulfur_z(out: Collector, trajectory: Trajectory, brownian: np.ndarray) -> None:
    """MSD-Z of the sulfur beads in the Brownian stage."""

    def measure() -> None:
        sulfur = is_sulfur(trajectory.species(brownian[:1]))[0]
        z = trajectory.position(brownian)[:, sulfur, 2].astype(np.float64)
        dt_ps = float(np.median(np.diff(trajectory.time_ps[brownian])))
        curve = msd_z(z, dt_ps, unit="nm^2/ps", remove_drift=True)
        factor = NM2_PER_PS_IN_NM2_PER_S
        d = curve.diffusivity
        low, high = d.interval_95
        out.estimates["sulfur_z_diffusivity"] = Estimate(
            d.value * factor,
            d.standard_error * factor,
            "nm^2/s",
            d.n_effective,
            d.method,
            (low * factor, high * factor),
        )
        out.curves |= {"msdz_time_ps": curve.time, "msdz_nm2": curve.msd, "msdz_error": curve.standard_error}

    out.attempt(("sulfur_z_diffusivity",), measure)


def summary_of(trajectory: Trajectory, observed: Observed) -> dict[str, Any]:
    """What summary.json holds."""
    run = trajectory.config["run"]
    return {
        "name": run["name"],
        "title": run["title"],
        "role": run["role"],
        **{k: trajectory.metadata[k] for k in sorted(trajectory.metadata)},
        "frames": trajectory.n_frames,
        "time_ps": float(trajectory.time_ps[-1]),
        "estimates": {k: e.to_dict() for k, e in sorted(observed.estimates.items())},
        "missing": dict(sorted(observed.missing.items())),
        "facts": observed.facts,
        "timescales": observed.timescales,
    }


def write_json(path: Path, value: Any) -> None:
    """JSON without NaN, written whole or not at all."""

    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return {str(k): plain(v) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return [plain(v) for v in x]
        if isinstance(x, np.ndarray):
            return plain(x.tolist())
        if isinstance(x, np.generic):
            return plain(x.item())
        return None if isinstance(x, float) and not math.isfinite(x) else x

    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(plain(value), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def analyse_run(folder: Path) -> dict[str, Any]:
    """Analyse a run folder: writes summary.json, curves.npz and the figures; returns the summary."""
    from dropsim.plots import plot_run

    folder = Path(folder)
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        observed = observe(trajectory)
        summary = summary_of(trajectory, observed)
    write_json(folder / SUMMARY, summary)
    np.savez_compressed(folder / CURVES, **observed.curves)  # pyright: ignore[reportArgumentType]
    plot_run(folder, summary, observed.curves)
    return summary
