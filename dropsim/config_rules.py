"""What keys of an experiment file must satisfy together; one function per subject.

Each yields problems, and each problem names its keys and the nearest values that are allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dropsim.composition import SLOTS_PER_S6, composition, has_droplet_tier, lattice_shape, patch_capacity
from dropsim.toml_lines import KeyPath, key_name
from dropsim.units import MAX_OVERPOTENTIAL_V, MILLIMOLAR_PER_NM3

if TYPE_CHECKING:
    from dropsim.config import Config

# Decimal fractions such as 0.3 / 0.1 miss whole numbers by rounding only.
WHOLE_WITHIN = 1e-6
# A lattice is stretched to the box by at most this fraction of its spacing.
LATTICE_STRETCH = 0.01
# What the histories of the droplet tier and of single molecules may hold: below 2 GB each.
MAX_DROPLET_FRAMES = 10_000_000
MAX_PATCH_FRAMES = 1_000_000
MAX_LEAPS = 10_000_000
FS_PER_PS = 1000.0


@dataclass(frozen=True)
class Problem:
    """A combination that cannot be run: the keys that take part (first the one to change), and why."""

    keys: tuple[KeyPath, ...]
    text: str


class CombinationError(ValueError):
    """Raised inside the validation of `Config`; `problems` holds one entry per combination."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{key_name(p.keys[0])}: {p.text}" for p in problems))


def combination_problems(config: Config) -> list[Problem]:
    """Every combination of keys that cannot be run, in the order of the file's sections."""
    return [
        *_bulk_problems(config),
        *_room_problems(config),
        *_particle_problems(config),
        *_charge_problems(config),
        *_electrostatics_problems(config),
        *_start_problems(config),
        *_stage_problems(config),
        *_potential_problems(config),
        *_reaction_problems(config),
        *_kinetics_problems(config),
    ]


def _bulk_problems(config: Config) -> Iterator[Problem]:
    """What needs an electrode cannot be in a box without walls."""
    if config.box.geometry != "bulk":
        return
    geometry: KeyPath = ("box", "geometry")
    if config.centres.arrangement != "none":
        yield Problem(
            (("centres", "arrangement"), geometry),
            'a bulk box has no electrode to carry centres; allowed: "none", or box.geometry = "slab"',
        )
    if config.centres.slab_net_charge_e != 0:
        yield Problem(
            (("centres", "slab_net_charge_e"), geometry),
            'a bulk box has no electrode to charge; allowed: 0, or box.geometry = "slab"',
        )
    if config.electrostatics.net_charge in ("electrode", "keep"):
        yield Problem(
            (("electrostatics", "net_charge"), geometry),
            'a box periodic in all three cannot be charged and has no electrode; allowed: "error" or "background"',
        )
    if config.start.kind == "layered":
        yield Problem(
            (("start", "kind"), geometry), 'a film needs an electrode; allowed: "random", "droplet" or "file"'
        )


def _electrostatics_problems(config: Config) -> Iterator[Problem]:
    """A splitting is given whole or not at all."""
    electrostatics = config.electrostatics
    alpha: KeyPath = ("electrostatics", "splitting_per_nm")
    mesh: KeyPath = ("electrostatics", "mesh")
    order: KeyPath = ("electrostatics", "mesh_order")
    cutoff: KeyPath = ("electrostatics", "cutoff_nm")
    values = {
        alpha: electrostatics.splitting_per_nm,
        mesh: electrostatics.mesh,
        order: electrostatics.mesh_order,
        cutoff: electrostatics.cutoff_nm,
    }
    given = [path for path in (alpha, mesh, order) if values[path] is not None]
    absent = [path for path, value in values.items() if value is None]
    if given and absent:
        yield Problem(
            (given[0], absent[0]),
            "a splitting is given whole: splitting_per_nm, mesh, mesh_order and cutoff_nm together ('dropsim tune' "
            "prints such lines), or none of the first three",
        )
    if given and electrostatics.method == "ewald":
        yield Problem((given[0], ("electrostatics", "method")), 'belongs to the mesh; allowed with "mesh" or "auto"')
    if electrostatics.mesh is None or config.box.geometry != "slab":
        return
    # As `dropsim_kernels.electrostatics.influence.taper_points`, which would load the accelerator stack.
    taper = 2 + 1.5 * math.log10(1 / electrostatics.force_tolerance)
    least = math.floor(2 * taper) + 1
    if electrostatics.mesh[2] < least:
        yield Problem(
            (mesh, ("box", "geometry")),
            f"the mesh of a slab has {taper:.2g} points beyond the charges on either side along z; allowed: at least "
            f"{least} points along z",
        )


def _start_problems(config: Config) -> Iterator[Problem]:
    start = config.start
    if start.kind == "file" and start.file is None:
        yield Problem((("start", "file"), ("start", "kind")), "no file; name one, or another start.kind")
    if start.kind != "file" and start.file is not None:
        yield Problem((("start", "kind"), ("start", "file")), 'does not read the file; allowed: "file" with start.file')
    if start.film_height_nm is not None and start.film_height_nm > config.box.height_nm:
        yield Problem(
            (("start", "film_height_nm"), ("box", "height_nm")),
            f"the film is higher than the box; allowed: at most {config.box.height_nm:g} nm",
        )
    whole = composition(config)
    if start.kind == "droplet" and whole.n_S6 == 0:
        yield Problem(
            (("start", "kind"), ("electrolyte", "li2s6_mM")),
            'the box holds no Li2S6 for a droplet; allowed: "random", "layered" or "file", or a higher concentration',
        )
    elif start.kind == "droplet" and (start.droplet_count or 0) > whole.n_S6:
        yield Problem(
            (("start", "droplet_count"), ("electrolyte", "li2s6_mM")),
            f"the box holds {whole.n_S6} Li2S6; allowed: 1 to {whole.n_S6}, or a higher concentration",
        )
    if start.droplet_height_nm is not None and start.droplet_height_nm >= config.box.height_nm:
        yield Problem(
            (("start", "droplet_height_nm"), ("box", "height_nm")),
            f"the droplet is above the box; allowed: below {config.box.height_nm:g} nm",
        )


def _room_problems(config: Config) -> Iterator[Problem]:
    periods = config.box.lateral_nm
    if config.box.geometry == "bulk":
        periods = (*periods, config.box.height_nm)
    shortest = min(periods)
    cutoff = config.electrostatics.cutoff_nm
    if cutoff is not None and cutoff > shortest / 2:
        yield Problem(
            (("electrostatics", "cutoff_nm"), ("box", "lateral_nm")),
            f"the cutoff is above half the box; allowed: at most {shortest / 2:g} nm, "
            f"or a box of at least {2 * cutoff:g} nm",
        )
    centres = config.centres
    if centres.arrangement == "none":
        return
    spacing_key: KeyPath = ("centres", "spacing_nm")
    if centres.compensation == "ring" and centres.ring_radius_nm >= centres.spacing_nm / 2:
        yield Problem(
            (("centres", "ring_radius_nm"), spacing_key),
            f"the rings of neighbouring centres overlap; allowed: below {centres.spacing_nm / 2:g} nm",
        )
    if centres.height_nm >= config.box.height_nm:
        yield Problem(
            (("centres", "height_nm"), ("box", "height_nm")),
            f"the centres are above the box; allowed: below {config.box.height_nm:g} nm",
        )
    if centres.arrangement == "lattice":
        for length, n in zip(config.box.lateral_nm, lattice_shape(config), strict=True):
            if abs(length / n - centres.spacing_nm) > LATTICE_STRETCH * centres.spacing_nm:
                yield Problem(
                    (spacing_key, ("box", "lateral_nm")),
                    f"a lattice must fill the box with whole spacings; nearest allowed: spacing "
                    f"{length / n:.4g} nm, or a length of {n * centres.spacing_nm:.4g} nm "
                    f"instead of {length:g}",
                )
                break
    elif centres.count > patch_capacity(config):
        yield Problem(
            (("centres", "count"), spacing_key, ("box", "lateral_nm")),
            f"the patch does not fit into the box; allowed: at most {patch_capacity(config)} centres "
            "at this spacing, or a larger box",
        )


def _particle_problems(config: Config) -> Iterator[Problem]:
    electrolyte = config.electrolyte
    whole = composition(config)
    box = config.box
    one_mM = 1 / (MILLIMOLAR_PER_NM3 * box.lateral_nm[0] * box.lateral_nm[1] * box.height_nm)
    li2s6_key: KeyPath = ("electrolyte", "li2s6_mM")
    if electrolyte.li2s6_count is None and electrolyte.li2s6_mM > 0 and whole.n_S6 == 0:
        yield Problem(
            (li2s6_key, ("box", "lateral_nm"), ("box", "height_nm")),
            f"less than half a Li2S6 in this box; allowed: at least {one_mM:.3g} mM for one, or a larger box",
        )
    elif whole.n_mobile == 0:
        key = li2s6_key if electrolyte.li2s6_count is None else ("electrolyte", "li2s6_count")
        yield Problem(
            (key, ("electrolyte", "litfsi_mM")),
            f"no particles at all; allowed: at least {one_mM:.3g} mM of one of them",
        )
    if electrolyte.litfsi_mM > 0 and whole.litfsi_mM == 0:
        yield Problem(
            (("electrolyte", "litfsi_mM"), ("box", "lateral_nm"), ("box", "height_nm")),
            f"less than half a LiTFSI in this box; allowed: 0, or at least {one_mM:.3g} mM for one",
        )


def _charge_problems(config: Config) -> Iterator[Problem]:
    whole = composition(config)
    if whole.net_charge_e == 0 or config.electrostatics.net_charge != "error":
        return
    if config.box.geometry == "bulk":
        yield Problem(
            (("electrostatics", "net_charge"), ("electrolyte", "li2s6_mM")),
            f'the ions carry {whole.net_charge_e:+.6g} e; set electrostatics.net_charge = "background", or change '
            "the charges of the beads",
        )
        return
    slab = config.centres.slab_net_charge_e
    neutral = slab - whole.net_charge_e
    remedy = (
        f'set electrostatics.net_charge = "electrode", or centres.slab_net_charge_e = {neutral:.10g} for a neutral cell'
    )
    if slab != 0 and config.centres.compensation != "counterion":
        remedy += ', or centres.compensation = "counterion" to balance it with ions'
    yield Problem(
        (
            ("electrostatics", "net_charge"),
            ("centres", "compensation"),
            ("centres", "slab_net_charge_e"),
        ),
        f"the cell carries {whole.net_charge_e:+.6g} e ({whole.n_centres} centres, "
        f"{whole.n_counterions} counterions); {remedy}",
    )


def _stage_problems(config: Config) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, stage in enumerate(config.stages):
        here: KeyPath = ("stages", index)
        if stage.name in seen:
            yield Problem(
                ((*here, "name"), ("stages", seen[stage.name], "name")),
                "two stages have this name; allowed: a name of its own for each stage",
            )
        seen.setdefault(stage.name, index)
        if stage.wall_mobility and (stage.integrator != "euler-maruyama" or config.box.geometry == "bulk"):
            yield Problem(
                ((*here, "wall_mobility"), (*here, "integrator"), ("box", "geometry")),
                'a mobility that depends on the distance to a wall asks for "euler-maruyama" and a slab '
                "(the averaged noise of leimkuhler-matthews does not hold with it)",
            )
        step_ps = stage.timestep_fs / FS_PER_PS
        record, step = (*here, "record_every_ps"), (*here, "timestep_fs")
        whole_frames = _multiple_problem(record, stage.record_every_ps, step, step_ps, "steps")
        if whole_frames:
            yield whole_frames
        for problem in (
            _multiple_problem((*here, "duration_ps"), stage.duration_ps, record, stage.record_every_ps, "frames"),
            _multiple_problem(("run", "chunk_ps"), config.run.chunk_ps, record, stage.record_every_ps, "frames"),
        ):
            if problem:
                yield problem
        if not stage.reaction:
            continue
        check: KeyPath = ("reaction", "check_every_ps")
        every = config.reaction.check_every_ps
        problem = _multiple_problem(check, every, step, step_ps, "steps")
        if problem is None and not whole_frames:
            problem = _multiple_problem(record, stage.record_every_ps, check, every, "reaction checks")
        if problem:
            yield problem


def _potential_problems(config: Config) -> Iterator[Problem]:
    """What is said about the electrode in a stage must be for a stage in which it acts, and must not contradict."""
    for index, stage in enumerate(config.stages):
        here: KeyPath = ("stages", index)
        given: list[KeyPath] = [
            (*here, name) for name in ("potential_V", "potential_end_V") if getattr(stage, name) is not None
        ]
        if stage.open_circuit:
            given.append((*here, "open_circuit"))
        if given and not stage.reaction:
            yield Problem(
                (given[0], (*here, "reaction")),
                "no electrons are transferred in this stage; allowed: reaction = true, or leave the key out",
            )
        elif stage.open_circuit and len(given) > 1:
            yield Problem(
                (given[-1], given[0]),
                "an electrode that is not connected has no potential that could be set; keep one of the two",
            )
        if not stage.reaction or stage.open_circuit:
            continue
        start: KeyPath = (*here, "potential_V") if stage.potential_V is not None else ("reaction", "potential_V")
        value = config.reaction.potential_V if stage.potential_V is None else stage.potential_V
        yield from _far_problem(config, "reaction", start, value)
        yield from _far_problem(config, "reaction", (*here, "potential_end_V"), stage.potential_end_V)


def _far_problem(config: Config, section: str, key: KeyPath, value: float | None) -> Iterator[Problem]:
    """A potential in mV, or one at which no rate can be evaluated."""
    standard = config.reaction.standard_potential_V if section == "reaction" else config.kinetics.standard_potential_V
    if value is not None and abs(value - standard) > MAX_OVERPOTENTIAL_V:
        yield Problem(
            (key, (section, "standard_potential_V")),
            f"rates grow exponentially with the potential; allowed: {standard - MAX_OVERPOTENTIAL_V:g} to "
            f"{standard + MAX_OVERPOTENTIAL_V:g} V",
        )


def _reaction_problems(config: Config) -> Iterator[Problem]:
    """Keys of the reaction that exclude each other, and charges that would not be conserved."""
    rule = config.reaction
    for name in ("site_energy_kT", "neighbor_energy_kT"):
        if rule.sharing == "mixed" and getattr(rule, name) != 0:
            yield Problem(
                (("reaction", name), ("reaction", "sharing")),
                "electrons that are spread over the whole droplet at once do not feel it; allowed: 0, or "
                'reaction.sharing = "finite" or "none"',
            )
    surface: KeyPath = ("reaction", "surface_rate_constant_per_ps")
    if rule.surface_rate_constant_per_ps > 0 and config.box.geometry == "bulk":
        yield Problem(
            (surface, ("box", "geometry")), 'a bulk box has no electrode; allowed: 0, or box.geometry = "slab"'
        )
    elif rule.surface_rate_constant_per_ps > 0:
        # Height of the minimum of the 9-3 wall for S6.
        nearest = 3 ** (1 / 6) * 0.5 * (config.species.S6.sigma_nm + config.wall.sigma_nm)
        if rule.surface_contact_nm <= nearest:
            yield Problem(
                (("reaction", "surface_contact_nm"), ("wall", "sigma_nm")),
                f"S6 on the electrode lie at {nearest:.3g} nm, so that hardly any would be adsorbed; allowed: above "
                f"{nearest:.3g} nm",
            )
    # A Li+ binds beads up to twice its own distance apart.
    reach = max(rule.s6_contact_nm, rule.mo_contact_nm, 2 * rule.li_bridge_nm)
    bulk = config.box.geometry == "bulk"
    periods = {"lateral_nm": min(config.box.lateral_nm), **({"height_nm": config.box.height_nm} if bulk else {})}
    shortest = min(periods, key=lambda name: periods[name])
    half = periods[shortest] / 2
    if reach > half and any(stage.reaction for stage in config.stages):
        name = ("s6_contact_nm", "mo_contact_nm", "li_bridge_nm")[
            [rule.s6_contact_nm, rule.mo_contact_nm, 2 * rule.li_bridge_nm].index(reach)
        ]
        yield Problem(
            (("reaction", name), ("box", shortest)),
            f"a bead would touch its own image; allowed: contacts (twice li_bridge_nm) of at most {half:g} nm, or a "
            f"box of at least {2 * reach:g} nm",
        )
    yield from _bare_problems(config)


def _bare_problems(config: Config) -> Iterator[Problem]:
    """Bare electron transfer: what enters as Li+ balances what enters as electrons."""
    rule = config.reaction
    treatment: KeyPath = ("reaction", "charge_treatment")
    slots: KeyPath = ("reaction", "lithium_slots")
    if rule.charge_treatment == "coupled":
        if rule.lithium_slots is not None:
            yield Problem(
                (slots, treatment),
                'no Li+ enters as a bead; allowed with "bare" only',
            )
        return
    if config.box.geometry == "bulk":
        yield Problem(
            (treatment, ("box", "geometry")),
            'a bulk box has no electrode for bare electrons; allowed: "coupled", or box.geometry = "slab"',
        )
    if rule.lithium_slots is not None and rule.lithium_slots < SLOTS_PER_S6:
        yield Problem(
            (slots, treatment),
            f"one S6 takes {SLOTS_PER_S6} Li+ on its way to Li2S; allowed: at least {SLOTS_PER_S6}, enough for all: "
            f"{SLOTS_PER_S6 * composition(config).n_S6}",
        )
    if config.species.Li.charge_e != 1:
        yield Problem((("species", "Li", "charge_e"), treatment), "one Li+ enters for each electron; allowed: 1")
    for name in ("Li2S", "Li2S2"):
        if getattr(config.species, name).charge_e != config.species.S6.charge_e:
            yield Problem(
                (("species", name, "charge_e"), treatment),
                "the electrons of a bead are counted on top of the charge of S6; allowed: that charge, "
                f"{config.species.S6.charge_e:g}",
            )


def _multiple_problem(key: KeyPath, value: float, unit_key: KeyPath, unit: float, things: str) -> Problem | None:
    """None if value is a whole number (at least one) of units."""
    ratio = value / unit
    nearest = round(ratio)
    if nearest >= 1 and abs(ratio - nearest) <= WHOLE_WITHIN * nearest:
        return None
    below = int(ratio)
    allowed = " or ".join(f"{n * unit:.6g}" for n in (below, below + 1) if n >= 1)
    return Problem((key, unit_key), f"must be a whole number of {things} of {unit:.6g} ps; nearest allowed: {allowed}")


def _kinetics_problems(config: Config) -> Iterator[Problem]:
    kinetics = config.kinetics
    if not has_droplet_tier(config):
        return
    protocol_key: KeyPath = ("kinetics", "protocol")
    if not kinetics.protocol:
        yield Problem((protocol_key,), "no steps; allowed: at least one, or kinetics.enabled = false")
        return
    end_s = sum(step.duration_s for step in kinetics.protocol)
    for name in ("onset_s", "frame_s"):
        value = getattr(kinetics, name)
        if value >= end_s:
            yield Problem(
                (("kinetics", name), protocol_key),
                f"is not before the end of the protocol; allowed: below {end_s:g} s",
            )
    for index, step in enumerate(kinetics.protocol):
        if not step.open_circuit:
            for name in ("potential_V", "potential_end_V"):
                yield from _far_problem(config, "kinetics", (*protocol_key, index, name), getattr(step, name))
    yield from _length_problems(config, end_s)


def _length_problems(config: Config, end_s: float) -> Iterator[Problem]:
    """Histories that no memory holds, and leaps that nobody waits for."""
    frame: KeyPath = ("kinetics", "frame_s")
    tables = [(("kinetics", "realisations"), config.kinetics.realisations, MAX_DROPLET_FRAMES)]
    patch = config.single_molecule
    if patch.enabled:
        tables.append((("single_molecule", "realisations"), patch.realisations, MAX_PATCH_FRAMES))
        if end_s / patch.leap_s > MAX_LEAPS:
            yield Problem(
                (("single_molecule", "leap_s"), ("kinetics", "protocol")),
                f"{end_s / patch.leap_s:.3g} leaps; allowed: at least {end_s / MAX_LEAPS:.3g} s, or a shorter protocol",
            )
    for key, number, most in tables:
        if number * end_s / config.kinetics.frame_s > most:
            yield Problem(
                (frame, key),
                f"{end_s / config.kinetics.frame_s:.3g} frames of each; allowed: at least "
                f"{number * end_s / most:.3g} s, fewer realisations, or a shorter protocol",
            )
