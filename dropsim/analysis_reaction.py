"""The reaction of one run: its ledger, currents and half cycles, conversion, grains, and where the electrons sit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropsim.analysis_parts import DROPLET_SIZE, Collector, Floats, Frames, read_frames
from dropsim.errors import AnalysisError
from dropsim.event_log import EVENT_KINDS
from dropsim.observables.charge_distribution import (
    charge_thirds,
    distance_to_centres,
    radial_charge,
    sharing_verdict,
    thirds,
)
from dropsim.observables.collectivity import LiquidGraph, largest_liquid_graph, spectral_gap
from dropsim.observables.conversion import (
    EventTable,
    collective_share,
    conversion_times,
    converted_share,
    cumulative_events,
    order_of_appearance,
    passing_times,
)
from dropsim.observables.droplets import LI2S, S6, cluster_labels_series, is_sulfur, track_droplets, unwrap_cluster
from dropsim.observables.electrochemistry import (
    HalfCycle,
    capacity_mAh_per_g,
    charge_mC_per_cm2,
    charge_times,
    current_density_uA_per_cm2,
    cycles,
    electrode_coverage,
    frames_at,
    half_cycles,
    passed_charge,
)
from dropsim.observables.estimate import Estimate
from dropsim.observables.grains import first_solid_units, grains_of_nuclei
from dropsim.observables.statistics import mean_estimate, proportion_estimate
from dropsim.observables.structure import contact_numbers
from dropsim.trajectory import Trajectory

KIND = {name: number for number, name in enumerate(EVENT_KINDS)}
# Frames that are read for the distribution of charge, and for the spectral gap, at most.
CHARGE_FRAMES, GAP_FRAMES = 400, 24
# Three units in each third: below, thirds say nothing about a droplet.
LEAST_UNITS = 9
# Electrons per unit below which a profile over their mean is all noise.
LEAST_ELECTRONS = 0.5
# Peaks are taken of a mean over this share of a half cycle.
SMOOTHED_SHARE = 1 / 12
ONE_EVENT = "one event: no error; compressed clock"

REACTION_KEYS = (
    "solid_share",
    "half_conversion_time",
    "conversion_spread",
    "conversion_time",
    "threshold_to_full_time",
    "area_ratio_after_conversion",
    "converted_droplets",
    "collective_share",
    "single_step_share",
    "intermediate_share",
    "intermediate_lead",
    "solid_height",
    "charge_inner",
    "charge_middle",
    "charge_outer",
    "charge_inner_minus_outer",
    "spectral_gap",
    "reduction_charge",
    "capacity",
    "peak_current",
    "peak_time",
    "grain_size",
)


@dataclasses.dataclass(frozen=True)
class Record:
    """Ledger and events of the reacting stages. time, width: (C,) ps, ends and lengths of the checks; electrons: (C,)
    net through centres and electrode; potential: (C,) V, nan at open circuit; events: the table; parts: half cycles,
    current in e/ps."""

    ledger: Mapping[str, np.ndarray]
    time: Floats
    width: Floats
    electrons: NDArray[np.int64]
    potential: Floats
    events: EventTable
    parts: list[HalfCycle]

    @property
    def current(self) -> Floats:
        """Net electrons into the sulfur per ps, mean over each check."""
        return np.diff(self.electrons, prepend=0) / self.width


@dataclasses.dataclass(frozen=True)
class Charging:
    """Means over the frames in which the largest liquid droplet charges; None where they could not be had.

    n_units; n_contacts; spectral_gap; radius_nm: sqrt(5/3) radii of gyration.
    """

    n_units: float | None = None
    n_contacts: float | None = None
    spectral_gap: float | None = None
    radius_nm: float | None = None


def read_record(trajectory: Trajectory, values: Mapping[str, Any]) -> Record | None:
    """Ledger and events of a run, None where no stage reacted. values: the resolved configuration."""
    ledger, events = trajectory.ledger(), trajectory.events()
    time = np.asarray(ledger["time"], dtype=np.float64)
    if not len(time):
        return None
    surface = ledger.get("electrons_through_surface", np.zeros(len(time), np.int64))
    electrons = np.asarray(ledger["electrons_through_centres"], np.int64) + np.asarray(surface, np.int64)
    given = float(values["reaction"]["potential_V"])
    potential = np.asarray(ledger.get("potential", np.full(len(time), given)), dtype=np.float64)
    # Checks are equally long; where a stage without reaction lies between two, the row before is far away.
    step = np.diff(time)
    usual = float(np.median(step)) if len(step) else float(values["reaction"]["check_every_ps"])
    width = np.concatenate([[usual], np.where(step < 1.5 * usual, step, usual)])
    current = np.diff(electrons, prepend=0) / width
    rows = max(1, int(len(time) * SMOOTHED_SHARE / max(1, _n_parts(potential, values))))
    parts = half_cycles(
        time, current, potential, standard_potential=_standard_potential(values), smooth_rows=rows | 1, width=width
    )
    table = EventTable(
        time=np.asarray(events["time"], np.float64),
        **{
            name: np.asarray(events[name], np.int64)
            for name in ("kind", "droplet", "members", "count", "electrons_before", "electrons_after")
        },
    )
    return Record(ledger, time, width, electrons, potential, table, parts)


def _standard_potential(values: Mapping[str, Any]) -> float:
    return float(values["reaction"].get("standard_potential_V", 0.0))


def _n_parts(potential: Floats, values: Mapping[str, Any]) -> int:
    side = np.where(np.isnan(potential), 2, np.where(potential > _standard_potential(values), 1, 0))
    return 1 + int(np.count_nonzero(np.diff(side)))


def observe_reaction(out: Collector, trajectory: Trajectory, values: Mapping[str, Any]) -> Charging:
    """All numbers of the stages in which electrons may be transferred.

    values: the resolved configuration as plain values. Returns what the time scales need of the charging droplet.
    """
    record = read_record(trajectory, values)
    if record is None:
        out.missing |= dict.fromkeys(REACTION_KEYS, "no stage of this run has reaction = true")
        return Charging()
    _ledger(out, trajectory, record)
    _half_cycles(out, trajectory, record, values)
    until = _end_of_reduction(record)
    _conversion(out, trajectory, record, values, until)
    _area_ratio(out, trajectory, until)
    _grains(out, trajectory, record, values, until)
    return _charge(out, trajectory, record, values)


def _reacting_frames(trajectory: Trajectory, values: Mapping[str, Any], until: float = math.inf) -> np.ndarray:
    reacting = np.array([bool(s["reaction"]) for s in values["stages"]])[trajectory.stage]
    return np.flatnonzero(reacting & (trajectory.time_ps <= until + 1e-9))


def _end_of_reduction(record: Record) -> float:
    """When the first oxidation after the first solid begins; the end of the record without one, ps."""
    solid = np.asarray(record.ledger["units_converted"]) > 0
    first = float(record.time[np.argmax(solid)]) if solid.any() else -math.inf
    late = [part.start for part in record.parts if part.kind == "oxidation" and part.start >= first]
    return late[0] if late else float(record.time[-1])


def _ledger(out: Collector, trajectory: Trajectory, record: Record) -> None:
    """Errors of the books, and their columns for the figures."""
    ledger = record.ledger
    first = trajectory.species([0])
    n_sulfur = int(is_sulfur(first).sum())
    n_li = int(np.sum(first == 0))
    out.facts["ledger"] = {
        "checks": len(record.time),
        "sulfur_error": int(np.abs(ledger["sulfur_atoms"] - 6 * n_sulfur).max()),
        "lithium_error": int(np.abs(ledger["lithium_atoms"] - n_li).max()),
        "charge_drift_e": float(np.ptp(ledger["charge"])),
        "electron_error": int(np.abs(ledger["electrons_on_beads"] - record.electrons).max()),
        "electrons_injected": int(record.electrons[-1]),
        "units_converted": int(ledger["units_converted"][-1]),
    }
    out.curves |= {f"ledger_{name}": ledger[name] for name in (
        "time", "current", "electrons_through_centres", "units_converted", "lithium_from_reservoir")}  # fmt: skip
    out.curves |= {
        "ledger_potential": record.potential,
        "ledger_electrons": record.electrons,
        "ledger_current_total": record.current,
        "ledger_charge": passed_charge(record.time, record.current, record.width),
    }
    counts = cumulative_events(record.events, list(KIND.values()), record.time)
    happened = {name: row for name, row in zip(KIND, counts, strict=True) if row[-1] > 0}
    out.curves |= {f"events_{name}": row for name, row in happened.items()}
    out.facts["events"] = {name: int(row[-1]) for name, row in happened.items()}


def _single(value: float, unit: str, what: str) -> Estimate:
    """A number of which a run has one: its error is the spread of the replicas."""
    return Estimate(value, math.nan, unit, 1.0, f"{what}; one run: no error")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _out_of_reach(read: Frames, trajectory: Trajectory, values: Mapping[str, Any]) -> list[int]:
    """Solid units of each frame beyond the tunnelling range of every wired centre, and of an electrode that reacts."""
    reaction = values["reaction"]
    reach = float(reaction["tunnelling_range_nm"])
    plane = reach if float(reaction.get("surface_rate_constant_per_ps", 0.0)) > 0 else -math.inf
    centres = _wired_centres(trajectory, values)
    found = []
    for position, species in zip(read.position, read.species, strict=True):
        solid = np.asarray(position[species == LI2S], dtype=np.float64)
        near = np.zeros(len(solid), bool)
        if len(centres):
            near = distance_to_centres(solid, centres, trajectory.lengths) <= reach
        found.append(int(np.sum(~near & (solid[:, 2] > plane))))
    return found


def _half_cycles(out: Collector, trajectory: Trajectory, record: Record, values: Mapping[str, Any]) -> None:
    """Charge, peak and coverage of every half cycle; the first reduction and cycle under keys of their own."""
    area = float(trajectory.lengths[0] * trajectory.lengths[1])
    ends = frames_at(trajectory.time_ps, np.array([part.end for part in record.parts]))
    read = read_frames(trajectory, ends)
    cover = electrode_coverage(read.position, read.species, trajectory.lengths)
    solid = np.asarray(record.ledger["units_converted"])
    dead = _out_of_reach(read, trajectory, values)
    largest = [np.bincount(label[label >= 0]).max(initial=0) for label in _labels(read, trajectory, values)]
    rows = []
    for k, part in enumerate(record.parts):
        tenth, half = charge_times(
            record.time[part.rows], record.width[part.rows], record.current[part.rows], [0.1, 0.5]
        )
        rows.append(
            {
                "kind": part.kind,
                "start_ps": part.start,
                "end_ps": part.end,
                "charge_e": round(part.charge),
                "charge_mC_per_cm2": charge_mC_per_cm2(part.charge, area),
                "peak_current_e_per_ps": _finite(part.peak_current),
                "peak_current_uA_per_cm2": _finite(float(current_density_uA_per_cm2(part.peak_current, area))),
                "peak_time_ps": _finite(part.peak_time - part.start),
                "peak_potential_V": _finite(round(part.peak_potential, 6)),
                "tenth_time_ps": _finite(float(tenth)),
                "half_time_ps": _finite(float(half)),
                "solid_out_of_reach": dead[k],
                "largest_droplet_units": int(largest[k]),
                "units_converted": int(solid[part.rows][-1]),
                "sulfur_coverage": float(cover.sulfur[k]),
                "solid_coverage": float(cover.solid[k]),
            }
        )
    out.facts["half_cycles"] = rows
    out.curves |= {
        "cycle_start_ps": np.array([part.start for part in record.parts]),
        "cycle_end_ps": np.array([part.end for part in record.parts]),
        "cycle_charge_e": np.array([part.charge for part in record.parts]),
        "cycle_kind": np.array([("reduction", "oxidation", "rest").index(part.kind) for part in record.parts]),
        "cycle_sulfur_coverage": cover.sulfur,
        "cycle_solid_coverage": cover.solid,
        "cycle_units_converted": np.array([row["units_converted"] for row in rows]),
    }
    found = cycles(record.parts, record.potential)
    out.facts["cycles"] = [{k: _finite(v) for k, v in dataclasses.asdict(c).items()} for c in found]
    n_units = int(is_sulfur(trajectory.species([0])).sum())
    top = float(record.electrons.max(initial=0))
    out.add("capacity", lambda: _single(capacity_mAh_per_g(top, n_units), "mAh/g", "largest net charge over all S"))
    first = next((part for part in record.parts if part.kind == "reduction"), None)
    if first is None:
        reason = "the run has no reduction: no stage reacts at or below the standard potential"
        out.missing |= dict.fromkeys(("reduction_charge", "peak_current", "peak_time"), reason)
    else:
        out.estimates["reduction_charge"] = _single(first.charge, "e", "net, first reduction")
        if math.isnan(first.peak_current):
            out.missing |= dict.fromkeys(("peak_current", "peak_time"), "no current flowed in the first reduction")
        else:
            density = float(current_density_uA_per_cm2(first.peak_current, area))
            out.estimates["peak_current"] = _single(density, "uA/cm^2", "first reduction, smoothed; compressed clock")
            out.estimates["peak_time"] = _single(
                first.peak_time - first.start, "ps", "from its start; compressed clock"
            )
    if found:
        out.estimates["oxidation_charge"] = _single(found[0].oxidised, "e", "net, first oxidation after a reduction")
        if math.isfinite(found[0].balance):
            out.estimates["coulombic_balance"] = _single(found[0].balance, "1", "first cycle, oxidised over reduced")
        if math.isfinite(found[0].peak_gap):
            out.estimates["peak_gap"] = _single(found[0].peak_gap, "V", "first cycle of ramps")


def _conversion(
    out: Collector, trajectory: Trajectory, record: Record, values: Mapping[str, Any], until: float
) -> None:
    """When droplets converted, how many, and whether together; what appeared first."""
    reaction = values["reaction"]
    rows = record.time <= until + 1e-9
    solid = np.asarray(record.ledger["units_converted"])[rows]
    times = conversion_times(record.events, KIND["nucleation"], record.time[rows], solid, float(reaction["threshold"]))
    n_units = int(is_sulfur(trajectory.species([0])).sum())
    out.estimates["solid_share"] = _single(
        int(solid[-1]) / n_units, "1", "solid units over all, at the end of the reduction"
    )

    def one_by_one() -> None:
        tenth, half, most = passing_times(record.time[rows], solid, float(record.time[0] - record.width[0]))
        out.estimates["half_conversion_time"] = _single(half, "ps", "half of the units that turn; compressed clock")
        out.estimates["conversion_spread"] = _single(
            (most - tenth) / half, "1", "(t_90 - t_10) / t_50 of the units that turn, from the start of the reaction"
        )

    out.attempt(("half_conversion_time", "conversion_spread"), one_by_one)
    appeared = order_of_appearance(record.events, KIND["release"], KIND["conversion"])
    out.facts["appearance"] = {
        "first_Li2S2_ps": appeared.intermediate, "first_Li2S_ps": appeared.solid, "verdict": appeared.verdict,
    }  # fmt: skip

    def together() -> None:
        number, total, share = collective_share(record.events, KIND["conversion"])
        out.estimates["collective_share"] = share
        out.facts["solid_units"] = {"in_droplets": number, "alone": total - number, "through_Li2S2": through}

    def in_steps() -> None:
        if not float(reaction.get("surface_rate_constant_per_ps", 0.0)) > 0:
            raise AnalysisError("the bare electrode does not react: nothing goes through Li2S2")
        last = int(np.asarray(record.ledger.get("units_intermediate", np.zeros(1)))[rows][-1])
        out.estimates["intermediate_share"] = _single(last / n_units, "1", "units that are dissolved Li2S2 at the end")
        if appeared.intermediate is None or appeared.solid is None:
            out.missing["intermediate_lead"] = appeared.verdict
        else:
            lead = appeared.solid - appeared.intermediate
            out.estimates["intermediate_lead"] = _single(lead, "ps", "first Li2S less first Li2S2; compressed clock")
        total = int(record.events.of(KIND["conversion"]).count.sum())
        if total == 0:
            raise AnalysisError("no unit turned solid")
        out.estimates["single_step_share"] = proportion_estimate(
            total - through, total, f"{total - through} of {total} solid units never were Li2S2"
        )

    released, oxidised = (int(record.events.of(KIND[name]).count.sum()) for name in ("release", "oxidation"))
    dissolved = int(np.asarray(record.ledger.get("units_intermediate", np.zeros(1)))[-1])
    through = released - oxidised - dissolved
    out.attempt(("collective_share",), together)
    out.attempt(("single_step_share", "intermediate_share", "intermediate_lead"), in_steps)

    def droplets() -> None:
        frames = _reacting_frames(trajectory, values, until)[-1:]
        if not len(frames):
            raise AnalysisError("no frame was recorded while the run reacted")
        read = read_frames(trajectory, frames)
        solid_here = read.species[0] == LI2S
        if values["box"]["geometry"] == "bulk":
            out.missing["solid_height"] = "the box has no electrode"
        elif solid_here.any():
            height = float(read.position[0, solid_here, 2].mean())
            out.estimates["solid_height"] = _single(height, "nm", "mean height of solid units over the electrode")
        else:
            out.missing["solid_height"] = "no unit turned solid"
        # What lies on an electrode that reacts and shares nothing is no droplet.
        apart = (read.position[0, :, 2] < _alone_below(values)) & is_sulfur(read.species[0])
        read = dataclasses.replace(read, position=read.position[:, ~apart], species=read.species[:, ~apart])
        labels = _labels(read, trajectory, values)
        size = max(int(reaction["minimum_size"]), 2)
        converted, number, share = converted_share(labels[0], read.species[0], size)
        out.estimates["converted_droplets"] = share
        out.facts["droplets_converted"] = {"converted": converted, "droplets": number, "minimum_size": size}

    out.attempt(("converted_droplets",), droplets)
    if times.nucleation is None:
        reason = "no droplet nucleated Li2S: none held enough electrons and units for long enough"
        out.missing |= dict.fromkeys(("conversion_time", "threshold_to_full_time"), reason)
        return
    out.facts["nucleation_time_ps"] = times.nucleation
    out.facts["conversion_times_ps"] = dataclasses.asdict(times)
    if times.ninety is None or times.full is None:
        reason = "Li2S nucleated, but no unit had its ten electrons before the run ended"
        out.missing |= dict.fromkeys(("conversion_time", "threshold_to_full_time"), reason)
        return
    out.estimates["conversion_time"] = Estimate(
        times.ninety - times.nucleation, math.nan, "ps", 1.0,
        f"nucleation to 90 % of the units converted at the end, {ONE_EVENT}",
    )  # fmt: skip
    if times.threshold is None:
        out.missing["threshold_to_full_time"] = "the droplet that nucleated was not seen to cross the threshold"
    else:
        out.estimates["threshold_to_full_time"] = Estimate(
            times.full - times.threshold, math.nan, "ps", 1.0,
            f"crossing of the threshold to the last unit converted, {ONE_EVENT}",
        )  # fmt: skip


def _alone_below(values: Mapping[str, Any]) -> float:
    """Height below which sulfur units react one by one at the electrode, nm; 0 where none does."""
    reaction = values["reaction"]
    alone = float(reaction.get("surface_rate_constant_per_ps", 0.0)) > 0 and not reaction.get("surface_sharing", False)
    alone = alone and values["box"]["geometry"] == "slab"
    return float(reaction.get("surface_contact_nm", 0.0)) if alone else 0.0


def _area_ratio(out: Collector, trajectory: Trajectory, until: float) -> None:
    """Projected area of the largest droplet, before nucleation and at the end of the reduction."""
    if "nucleation_time_ps" not in out.facts:
        out.missing["area_ratio_after_conversion"] = out.missing["conversion_time"]
        return

    def measure() -> None:
        begin = out.facts["nucleation_time_ps"]
        time = trajectory.time_ps
        frames = read_frames(trajectory, np.flatnonzero((time > begin - 20.0) & (time <= until + 1e-9)))
        if not len(frames.time):
            raise AnalysisError("no frame was recorded while droplets converted")
        tracks = track_droplets(frames.position, frames.species, trajectory.lengths, frames.time, DROPLET_SIZE)
        if not tracks:
            raise AnalysisError(f"no droplet of {DROPLET_SIZE} units is there while they convert")
        # Converting droplets split and join: the largest of each frame, whatever became of the others.
        rows = [
            (t.frame[k], -t.size[k], t.time[k], t.projected_area[k], t.n_converted[k])
            for t in tracks for k in range(len(t.frame))
        ]  # fmt: skip
        table = np.array(sorted(rows), dtype=float)
        largest = table[np.unique(table[:, 0], return_index=True)[1]]
        size, time, area, converted = -largest[:, 1], largest[:, 2], largest[:, 3], largest[:, 4]
        before, after = time <= begin, np.arange(len(time)) >= len(time) - 10
        share = float(converted[after].sum() / size[after].sum())
        if share < 0.9:
            raise AnalysisError(f"only {100 * share:.0f} % of the droplet is converted at the end of the reduction")
        if np.count_nonzero(before) < 3 or np.count_nonzero(after) < 3:
            raise AnalysisError("no droplet is seen in three frames on both sides of its conversion")
        # Per unit, since the droplet may gain or lose members meanwhile.
        a, b = (area / size)[before], (area / size)[after]
        ratio = float(b.mean() / a.mean())
        error = ratio * math.hypot(a.std(ddof=1) / a.mean(), b.std(ddof=1) / b.mean())
        out.estimates["area_ratio_after_conversion"] = Estimate(
            ratio, error, "1", 1.0,
            "area per unit of the largest droplet, last ten frames over those up to 20 ps before nucleation",
        )  # fmt: skip
        out.curves |= {
            "react_time_ps": time, "react_area_nm2": area, "react_converted": converted, "react_size": size,
        }  # fmt: skip

    out.attempt(("area_ratio_after_conversion",), measure)


def _labels(read: Frames, trajectory: Trajectory, values: Mapping[str, Any]) -> NDArray[np.int64]:
    """Droplets of every frame, by the contact distances of the reaction."""
    reaction = values["reaction"]
    return cluster_labels_series(
        read.position, read.species, trajectory.lengths,
        li_bridge_nm=float(reaction["li_bridge_nm"]), s6_contact_nm=float(reaction["s6_contact_nm"]),
    )  # fmt: skip


def _wired_centres(trajectory: Trajectory, values: Mapping[str, Any]) -> Floats:
    if not values["centres"]["wired"]:
        return np.zeros((0, 3))
    return trajectory.sites.position[trajectory.sites.species == trajectory.species_names.index("Mo")]


def _grains(out: Collector, trajectory: Trajectory, record: Record, values: Mapping[str, Any], until: float) -> None:
    """Solid units shared out to the nuclei at the end of the reduction."""

    def measure() -> None:
        born = record.events.of(KIND["nucleation"])
        inside = born.time <= until + 1e-9
        if not inside.any():
            raise AnalysisError("no nucleus of Li2S: solid units, if any, turned one by one")
        frames = _reacting_frames(trajectory, values, until)
        frames = frames[trajectory.time_ps[frames] >= born.time[inside][0]]
        if not len(frames):
            raise AnalysisError("no frame was recorded after the nucleation")
        read = read_frames(trajectory, frames)
        centres = _wired_centres(trajectory, values)
        labels = _labels(read, trajectory, values)
        distance = np.stack([distance_to_centres(p, centres, trajectory.lengths) for p in read.position])
        seen = first_solid_units(
            read.time, read.species == LI2S, labels, distance, born.time[inside], born.droplet[inside]
        )
        beads = np.unique([bead for _, bead in seen]).astype(np.int64)
        solid = np.flatnonzero(read.species[-1] == LI2S)
        found = grains_of_nuclei(
            read.position[-1, solid], read.position[-1, beads], trajectory.lengths, droplet=labels[-1, solid],
            nucleus_droplet=labels[-1, beads], seed=(int(values["run"]["seed"]), int(trajectory.metadata["replica"])),
        )  # fmt: skip
        n_droplets = len(np.unique(labels[-1, beads]))
        out.facts["grains"] = {
            "nuclei": len(beads),
            "droplets": n_droplets,
            "nuclei_per_droplet": len(beads) / n_droplets,
            "grains": len(found.units),
            "units": found.units.tolist(),
            "size_nm": found.size_nm.tolist(),
            "amorphous": int(found.amorphous.sum()),
            "quaternions": found.quaternion.tolist(),
            "orientations": "drawn uniformly on SO(3) from the seed, not simulated",
        }
        few = len(found.size_nm) < 2
        error = math.nan if few else float(found.size_nm.std(ddof=1) / math.sqrt(len(found.size_nm)))
        out.estimates["grain_size"] = Estimate(
            float(found.size_nm.mean()), error, "nm", float(len(found.size_nm)),
            "edge of the cube of a grain's volume; units go to the nearest nucleus of their droplet",
        )  # fmt: skip
        out.curves |= {
            "grain_position": read.position[-1, solid], "grain_label": found.label, "grain_units": found.units,
            "grain_size_nm": found.size_nm, "grain_quaternion": found.quaternion,
            "grain_nucleus_position": read.position[-1, beads],
        }  # fmt: skip

    out.attempt(("grain_size",), measure)


def _liquid(
    read: Frames, k: int, trajectory: Trajectory, values: Mapping[str, Any], adsorbed_below: float
) -> LiquidGraph | None:
    """The largest liquid group of a frame, without adsorbed units that share nothing."""
    if not (read.species[k] == S6).any():
        return None
    reaction = values["reaction"]
    exclude = read.position[k, :, 2] < adsorbed_below if adsorbed_below > 0 else None
    try:
        return largest_liquid_graph(
            read.position[k], read.species[k], trajectory.lengths, exclude=exclude,
            li_bridge_nm=float(reaction["li_bridge_nm"]), s6_contact_nm=float(reaction["s6_contact_nm"]),
        )  # fmt: skip
    except AnalysisError:  # every one of them is adsorbed
        return None


def _charge(out: Collector, trajectory: Trajectory, record: Record, values: Mapping[str, Any]) -> Charging:
    """Where the electrons of the largest liquid droplet sit, and how well its contacts level them out."""
    reaction = values["reaction"]
    below = _alone_below(values)
    frames = _reacting_frames(trajectory, values)
    frames = frames[:: max(1, -(-len(frames) // CHARGE_FRAMES))]
    keys = ("charge_inner", "charge_middle", "charge_outer", "charge_inner_minus_outer")
    if not len(frames):
        out.missing |= dict.fromkeys((*keys, "spectral_gap"), "no frame was recorded while the run reacted")
        return Charging()
    read, electrons = read_frames(trajectory, frames), np.asarray(trajectory.electrons(frames), np.int64)
    graphs = [_liquid(read, k, trajectory, values, below) for k in range(len(frames))]
    centres = _wired_centres(trajectory, values)
    row = np.maximum(np.searchsorted(record.time, read.time * (1 + 1e-12), side="right") - 1, 0)
    reducing = ~(record.potential[row] > _standard_potential(values))
    shown = [
        k for k, g in enumerate(graphs)
        if g is not None and len(g.members) >= LEAST_UNITS and electrons[k, g.members].sum() > 0
    ]  # fmt: skip

    def distribution() -> None:
        per_frame = np.zeros((len(shown), 3))
        units = np.zeros(len(shown), np.int64)
        for j, k in enumerate(shown):
            members = _members(graphs[k])
            per_frame[j] = thirds(
                electrons[k, members], distance_to_centres(read.position[k, members], centres, trajectory.lengths)
            )
            units[j] = len(members)
        out.curves |= {
            "thirds_time_ps": read.time[shown], "thirds_electrons": per_frame, "thirds_units": units,
        }  # fmt: skip
        # A converting droplet keeps its electrons on the unit that turns next.
        kept = np.array([bool(reducing[k] and not _touches_solid(graphs[k])) for k in shown], dtype=bool)
        found = charge_thirds(read.time[shown][kept], per_frame[kept], units[kept])
        for key, estimate in zip(keys[:3], found.mean, strict=True):
            out.estimates[key] = estimate
        out.estimates["charge_inner_minus_outer"] = found.difference
        mean = float(np.mean([e.value for e in found.mean]))
        out.facts["charge_sharing"] = {
            "rule": reaction.get("sharing", "mixed"), "frames": len(found.time),
            "verdict": sharing_verdict(found.difference, mean),
        }  # fmt: skip

    out.attempt(keys, distribution)
    _radial(
        out,
        read,
        electrons,
        graphs,
        [k for k in shown if reducing[k] and not _touches_solid(graphs[k])],
        trajectory.lengths,
    )
    return _collectivity(out, read, graphs, reducing, centres, trajectory.lengths, float(reaction["mo_contact_nm"]))


def _touches_solid(graph: LiquidGraph | None) -> bool:
    return graph is not None and graph.touches_solid


def _members(graph: LiquidGraph | None) -> NDArray[np.int64]:
    return np.zeros(0, np.int64) if graph is None else graph.members


def _radial(
    out: Collector,
    read: Frames,
    electrons: np.ndarray,
    graphs: list[LiquidGraph | None],
    shown: list[int],
    lengths: Floats,
) -> None:
    """Electrons against the distance from the droplet's centroid, over the mean of the droplet in the same frame."""
    places, held = [], []
    for k in shown:
        graph = graphs[k]
        if graph is None or electrons[k, graph.members].mean() < LEAST_ELECTRONS:
            continue
        whole, percolates = unwrap_cluster(read.position[k, graph.members], graph.edges, lengths)
        if not percolates:
            places.append(whole - whole.mean(axis=0))
            held.append(electrons[k, graph.members] / electrons[k, graph.members].mean())
    if not places:
        return
    found = radial_charge(places, held)
    out.curves |= {
        "radial_charge_nm": found.r, "radial_charge": found.electrons, "radial_charge_error": found.standard_error,
    }  # fmt: skip


def _collectivity(
    out: Collector,
    read: Frames,
    graphs: list[LiquidGraph | None],
    reducing: np.ndarray,
    centres: Floats,
    lengths: Floats,
    contact_nm: float,
) -> Charging:
    """Size, contacts, radius and spectral gap of the liquid droplet while it is reduced and nothing is solid yet."""
    liquid = [
        k for k, g in enumerate(graphs)
        if g is not None and len(g.members) >= LEAST_UNITS and reducing[k] and not g.touches_solid
    ]  # fmt: skip
    if not liquid:
        out.missing["spectral_gap"] = f"no frame shows a liquid droplet of {LEAST_UNITS} or more S6 before Li2S"
        return Charging()
    chosen = liquid[:: max(1, -(-len(liquid) // GAP_FRAMES))]
    gap, units, contacts, radius = [], [], [], []
    for k in chosen:
        graph = graphs[k]
        if graph is None:
            continue
        gap.append(spectral_gap(graph.edges, len(graph.members)))
        units.append(len(graph.members))
        c = contact_numbers(read.position[[k]], read.species[[k]], lengths, centres, cutoff_nm=contact_nm)
        contacts.append(float(c[0, graph.members].sum()))
        whole, percolates = unwrap_cluster(read.position[k, graph.members], graph.edges, lengths)
        if not percolates:
            squared = np.sum((whole - whole.mean(axis=0)) ** 2, axis=1).mean()
            radius.append(math.sqrt(5.0 / 3.0 * squared))
    out.add("spectral_gap", lambda: _averaged(gap, "lambda_2 of the contact graph of the liquid droplet"))
    out.facts["liquid_droplet"] = {
        "frames": len(gap), "units": float(np.mean(units)), "contacts": float(np.mean(contacts)),
    }  # fmt: skip
    return Charging(
        n_units=float(np.mean(units)),
        n_contacts=float(np.mean(contacts)),
        spectral_gap=float(np.mean(gap)),
        radius_nm=float(np.mean(radius)) if radius else None,
    )


def _averaged(series: list[float], what: str) -> Estimate:
    found = mean_estimate(np.array(series), "1", "blocks", n_blocks=4)
    return dataclasses.replace(found, method=f"{what}; {found.method}")
