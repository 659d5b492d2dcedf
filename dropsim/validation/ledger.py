"""The books of the reaction: electrons, units, charge, current, restarts; and the energy that a run carries along.

Counts are integers and have no tolerance.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.charge_transfer import (
    INTERMEDIATE,
    LIQUID,
    SOLID,
    Drive,
    ReactionState,
    drive_at,
    electron_imbalance,
)

from dropsim.build import build, with_splitting
from dropsim.composition import composition
from dropsim.config_load import load_config_text
from dropsim.forces import bead_charges, total_forces
from dropsim.simulate import simulate, to_numpy
from dropsim.splitting import contact_nm, exact_splitting
from dropsim.system import LI, LI2S, LI2S2, S6, VACANT
from dropsim.validation import transfer_laws as laws
from dropsim.validation.held_beads import Scene, exact_result, filled, rate_law, rule, run
from dropsim.validation.rows import Outcome, Result, Row, Settings

M = laws.M
PARTS_OF_AN_EVENT = ("entered", "left", "surface_entered", "surface_left")
PARTS_OF_A_CHECK = (*PARTS_OF_AN_EVENT, "electrons", "phase", "injected", "injected_surface")


def mixed_scene() -> Scene:
    """Eight sulfur beads, three of them on the electrode plane, five Li, four centres of which three are wired."""
    rng = np.random.default_rng(7)
    sulfur = np.array([2.0, 2.0, 0.7]) + np.array([2.6, 2.6, 1.2]) * rng.random((8, 3))
    sulfur[:3, 2] = 0.3
    li = np.array([2.0, 2.0, 0.3]) + np.array([2.6, 2.6, 1.6]) * rng.random((5, 3))
    mo = sulfur[[3, 4, 6, 7]] + np.array([0.3, 0.3, 0.2])
    return Scene(sulfur, mo, li, np.array([True, True, False, True]))


def cycles(settings: Settings, n_cycles: int, looks: int) -> tuple[Drive, np.ndarray]:
    """Potentials of charge and discharge with a rest in each half: a `Drive` with a leading axis, and the potentials.

    A half cycle is `looks` looks long; the last quarter of it is open circuit (NaN).
    """
    half = np.full(looks, 0.15)
    half[3 * looks // 4 :] = np.nan
    potential = np.tile(np.concatenate([-half, half]), n_cycles)
    connected = ~np.isnan(potential)
    law = cycled_law(settings)
    drives = jax.vmap(lambda e, c: drive_at(e, c, law))(
        jnp.asarray(np.where(connected, potential, 0.0), settings.dtype), jnp.asarray(connected)
    )
    return drives, potential


def cycled_law(settings: Settings):
    """Rates of the centres, the bare electrode and the rods, all of a size."""
    return rate_law(
        settings, rate_constant=0.02, surface_rate_constant=0.05, rod_rate_constant=0.02,
        surface_transfer_coefficient=0.3, branch_potential=-0.15,
    )  # fmt: skip


def books(settings: Settings) -> Outcome:
    """Ten cycles of charge and discharge in each way of sharing, at the centres and at the bare electrode at once."""
    n, n_cycles, looks = (16_000 if settings.full else 1000), 10, 8
    interval = 6.0
    scene = mixed_scene()
    results: list[Result] = []
    drives, potential = cycles(settings, n_cycles, looks)
    n_looks = len(potential)
    events = 0
    sharings: tuple[Literal["mixed", "finite", "none"], ...] = ("mixed", "finite", "none")
    for stream, sharing in enumerate(sharings):
        parameters = rule(
            settings, sharing, law=cycled_law(settings), hop_rate=0.005, nucleation_rate=0.01, minimum_size=2.0,
            opening_rate=0.1, opening_barrier=1.0, opening_barrier_later=0.3, front_acceleration=2.0,
            tunnelling_range=1.5,
        )  # fmt: skip
        start = filled(n, np.zeros(len(scene.sulfur)))
        intervals = np.full(n_looks, interval)
        end, kept = run(settings, scene, parameters, drives, intervals, start, PARTS_OF_A_CHECK, stream=80 + stream)
        results += [
            dataclasses.replace(result, quantity=f"{sharing}: {result.quantity}")
            for result in account(kept, potential, interval)
        ]
        results.append(exact_result(f"{sharing}: electron_imbalance of the state, all replicas",
                                    np.abs(np.asarray(jax.vmap(electron_imbalance)(end))).max()))  # fmt: skip
        happened = sum(int(kept[name].sum(dtype=np.int64)) for name in PARTS_OF_AN_EVENT)
        events += happened
        solid = kept["phase"] == SOLID
        turned = int(np.sum(solid[:, 1:] & ~solid[:, :-1]))
        dissolved = int(np.sum(~solid[:, 1:] & solid[:, :-1]))
        results.append(Result(f"{sharing}: units that turned solid, per replica and cycle",
                              turned / (n * n_cycles), 0.5, 0.0, relation="at least",
                              basis="or nothing is tried"))  # fmt: skip
        results.append(Result(f"{sharing}: units that dissolved, per replica and cycle",
                              dissolved / (n * n_cycles), 0.5, 0.0, relation="at least", basis="likewise"))  # fmt: skip

        # The same with a stop in the middle: to plain arrays and back.
        some, middle = min(n, 1000), n_looks // 2 + 3
        few = jax.tree.map(lambda leaf, some=some: leaf[:some], start)
        first = jax.tree.map(lambda leaf, middle=middle: leaf[:middle], drives)
        second = jax.tree.map(lambda leaf, middle=middle: leaf[middle:], drives)
        half, _ = run(settings, scene, parameters, first, intervals[:middle], few, (), stream=80 + stream)
        stored = {field.name: np.asarray(getattr(half, field.name)) for field in dataclasses.fields(ReactionState)}
        back = ReactionState(**{name: jnp.asarray(array) for name, array in stored.items()})
        again, _ = run(
            settings, scene, parameters, second, intervals[middle:], back, (), stream=80 + stream, first=middle
        )
        unlike = sum(
            int(np.sum(np.asarray(getattr(again, name)) != np.asarray(getattr(end, name))[:some])) for name in stored
        )
        results.append(exact_result(f"{sharing}: numbers that a stop in the middle changes", unlike))
    results.append(Result("electrons that crossed the interface in all", float(events), 1e6,
                          0.0, relation="at least", basis="the books were kept over so many events"))  # fmt: skip
    return Outcome(tuple(results))


def account(kept: dict[str, np.ndarray], potential: np.ndarray, interval: float) -> list[Result]:
    """The books of many replicas over all looks, from what each look reports; arrays (R, T, S) and (R, T)."""
    electrons, phase = kept["electrons"].astype(np.int64), kept["phase"]
    through = {name: kept[name].astype(np.int64) for name in PARTS_OF_AN_EVENT}
    on_board = electrons.sum(axis=2)
    centres = (through["entered"] - through["left"]).sum(axis=2)
    surface = (through["surface_entered"] - through["surface_left"]).sum(axis=2)
    change = np.diff(on_board, axis=1, prepend=0)
    # Electrons, and with each of them one Li+ of the reservoir, over the time: the current in e/ps.
    current = (centres + surface) / interval
    charge = np.cumsum(current * interval, axis=1)
    rest = np.isnan(potential)
    solid, intermediate, liquid = (phase == kind for kind in (SOLID, INTERMEDIATE, LIQUID))
    # Atoms of sulfur and lithium, by substance: Li2S6, 3 Li2S2 and 6 Li2S hold six S each; lithium beyond that of
    # Li2S6 comes from the reservoir, one with each electron.
    lithium = 2 * electrons.shape[2] + on_board
    by_substance = (2 * liquid + electrons * ~solid + 2 * intermediate + 12 * solid).sum(axis=2)
    wrong = [
        ("looks at which electrons on the beads changed otherwise than through the interface",
         np.sum(change != centres + surface)),
        ("looks at which the count of the centres is wrong", np.sum(kept["injected"] != np.cumsum(centres, axis=1))),
        ("looks at which the count of the bare electrode is wrong",
         np.sum(kept["injected_surface"] != np.cumsum(surface, axis=1))),
        ("beads with fewer than 0 or more than 10 electrons", np.sum((electrons < 0) | (electrons > M))),
        ("solid units without ten electrons", np.sum(solid & (electrons != M))),
        ("Li2S2 with fewer than 4 or more than 9 electrons",
         np.sum(intermediate & ((electrons < 4) | (electrons >= M)))),
        ("beads of no substance", np.sum(~(solid | intermediate | liquid))),
        ("looks at which lithium by substance is not that of the salt and the reservoir",
         np.sum(by_substance != lithium)),
        ("electrons through the interface at open circuit",
         sum(int(np.abs(part[:, rest]).sum()) for part in through.values())),
    ]  # fmt: skip
    results = [exact_result(name, value) for name, value in wrong]
    # Sums of whole numbers over a common factor: rounding is far below one electron.
    apart = float(np.abs(charge - on_board).max())
    results.append(Result("largest difference of the electrons from the integral of the current over e", apart, 0.0,
                          1e-6, "e", basis="rounding of the sum"))  # fmt: skip
    return results


# --- R1: whole runs --------------------------------------------------------------------------------------

EXPERIMENT = """
[run]
name = "books"
seed = {seed}
chunk_ps = 2.4
precision = "{precision}"
[box]
lateral_nm = [5.5, 5.5]
height_nm = 3.5
[electrolyte]
li2s6_count = 12
[electrostatics]
method = "ewald"
force_tolerance = {tolerance}
[centres]
spacing_nm = 2.75
[reaction]
charge_treatment = "{treatment}"
rate_constant_per_ps = 3.0
surface_rate_constant_per_ps = 3.0
check_every_ps = 0.1
minimum_size = 1
threshold = 0.1
nucleation_rate_per_ps = 5.0
opening_rate_per_ps = 5.0
[[stages]]
name = "reduce"
integrator = "baoab"
timestep_fs = 5.0
duration_ps = {duration}
record_every_ps = 0.4
reaction = true
potential_V = -0.05
[[stages]]
name = "oxidise"
integrator = "baoab"
timestep_fs = 5.0
duration_ps = {duration}
record_every_ps = 0.4
reaction = true
potential_V = 0.05
[kinetics]
enabled = false
"""
TOLERANCE, FINER = 1e-5, 1e-8


def whole_runs(settings: Settings) -> Outcome:
    """Reduction and oxidation of a small electrolyte by the whole engine, with coupled and with bare electron transfer.

    At every look: atoms, charge and electrons, counted from the beads. At every frame: the energy that the run carries,
    beside that of the stored positions, species and electrons by another splitting of the Coulomb sum.
    """
    results: list[Result] = []
    for treatment in ("coupled", "bare"):
        results += books_of_a_run(settings, treatment)
    return Outcome(tuple(results))


def books_of_a_run(settings: Settings, treatment: str) -> list[Result]:
    """The books and energies of one run."""
    text = EXPERIMENT.format(
        seed=settings.seed, precision=settings.precision, treatment=treatment, tolerance=TOLERANCE,
        duration=48.0 if settings.full else 4.8,
    )  # fmt: skip
    config = load_config_text(text)
    built = build(config)
    n_sulfur = built.system.n_sulfur
    other = exact_splitting(config, composition(config), FINER)
    started, finer = with_splitting(built.state, built.system, other)
    energy_of = jax.jit(lambda x, kinds, held: total_forces(x, kinds, held, started.neighbors, finer)[0])
    wrong = dict.fromkeys(
        ("sulfur atoms", "lithium atoms", "charge", "electrons on the beads", "electrons of a look"), 0
    )
    previous, events, charges, apart, scale, released = 0, 0, [], [], 1.0, 0
    for chunk in simulate(built.system, built.state, built.plan):
        if chunk.checks is None:
            continue
        checks = to_numpy(chunk.checks)
        whole = np.rint(np.asarray(built.system.force_field.charge, np.float64)[:VACANT]).astype(np.int64)
        for look in range(len(checks.step)):
            beads, held = checks.beads[look].astype(np.int64), checks.electrons[look].astype(np.int64)
            on_board = int(held.sum())
            through = int(checks.injected[look]) + int(checks.injected_surface[look])
            parts = [int(getattr(checks.info, name)[look].sum()) for name in PARTS_OF_AN_EVENT]
            events, released = events + sum(parts), released + int(checks.info.released[look].sum())
            added = on_board if treatment == "bare" else 0
            wrong["sulfur atoms"] += beads[[S6, LI2S2, LI2S]].sum() != n_sulfur
            wrong["lithium atoms"] += beads[LI] != 2 * n_sulfur + added
            wrong["electrons on the beads"] += on_board != through
            wrong["electrons of a look"] += on_board - previous != parts[0] - parts[1] + parts[2] - parts[3]
            charges.append(int(beads[:VACANT] @ whole) - added)
            wrong["charge"] += charges[-1] != 0
            previous = on_board
        frames = to_numpy(chunk.frames)
        for frame in range(len(frames.step)):
            kinds, held = jnp.asarray(frames.species[frame]), jnp.asarray(frames.electrons[frame])
            fresh = float(energy_of(jnp.asarray(frames.position[frame]), kinds, held))
            apart.append(abs(fresh - float(frames.energy[frame])))
            charge = np.asarray(bead_charges(kinds, held, built.system), np.float64)
            # Of all charges, each beside one of its own kind at the distance of a contact.
            scale = max(scale, float(np.sum(charge**2)) * float(built.system.force_field.coulomb) / contact_nm(config))
    results = [exact_result(f"{treatment}: looks at which {what} are wrong", count) for what, count in wrong.items()]
    allowed = TOLERANCE + 64 * float(np.finfo(settings.dtype).eps)
    results.append(Result(f"{treatment}: carried energy beside that of another splitting, of all charges in contact",
                          max(apart) / scale, 0.0, allowed,
                          basis=f"Coulomb error and rounding; {scale:.4g} kJ/mol, {len(apart)} frames"))  # fmt: skip
    results.append(Result(f"{treatment}: electrons through the interface, in and out", float(events), 100.0, 0.0,
                          relation="at least",
                          basis=f"or nothing is tried; {released} Li2S2 were released"))  # fmt: skip
    return results


ROWS: tuple[Row, ...] = (
    Row(
        "C4",
        "books of the reaction: electrons, units, lithium and current over ten cycles, and over a restart",
        "conservation of charge and matter",
        books,
    ),
    Row(
        "R1",
        "books of whole runs, and the energy they carry, with coupled and with bare electron transfer",
        "conservation of charge and matter; the energy of stored positions by another splitting of the Coulomb sum",
        whole_runs,
    ),
)
