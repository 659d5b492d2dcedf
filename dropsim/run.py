"""One replica of one experiment: build, simulate, write; and go on with it after an interruption."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
from dropsim_kernels.integrators import INTEGRATORS

from dropsim import __version__
from dropsim.build import Built, build, build_stage
from dropsim.checkpoint import load_checkpoint, save_checkpoint
from dropsim.config import Config, config_hash
from dropsim.errors import BuildError, TrajectoryError
from dropsim.event_log import EVENT_COLUMNS, LEDGER_COLUMNS, event_rows, ledger_rows
from dropsim.progress import Progress, ProgressCallback
from dropsim.run_folder import CHECKPOINT, CONFIG, TRAJECTORY, owned, read_config, replica_of, run_folder
from dropsim.simulate import Chunk, Stage, simulate, to_numpy
from dropsim.splitting import Splitting
from dropsim.system import SPECIES, VACANT, State, System
from dropsim.trajectory import Column, Frames, TrajectoryHeader, TrajectoryWriter
from dropsim.trajectory import Stage as StageRecord
from dropsim.units import BOLTZMANN_KJ_PER_MOL_K

SERIES_COLUMNS = (
    Column("step", "1", "int64"),
    Column("potential_energy", "kJ/mol"),
    Column("kinetic_temperature", "K"),
    Column("force_squared", "kJ^2/(mol^2 nm^2)"),
    Column("laplacian", "kJ/(mol nm^2)"),
)


def source_commit() -> str:
    """The commit of the source tree that dropsim runs from, or "unknown" for an installed copy."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--show-toplevel", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = found.stdout.split()
    # Only the project's own repository counts, not one that merely holds an environment it is installed in.
    if found.returncode or len(lines) != 2 or Path(lines[0]) != here.parent:
        return "unknown"
    return lines[1]


def identity(config: Config) -> dict[str, str]:
    """What must be the same for a run to be resumed to the same bits."""
    return {
        "config_hash": config_hash(config),
        "dropsim": __version__,
        "jax": jax.__version__,
        "precision": config.run.precision,
    }


def header(config: Config, replica: int, built: Built) -> TrajectoryHeader:
    """The fixed part of the trajectory file."""
    system, field = built.system, built.system.force_field
    return TrajectoryHeader(
        species_names=SPECIES,
        charge=np.asarray(field.charge, np.float64),
        mass=np.asarray(system.mass, np.float64),
        sigma=np.asarray(field.sigma, np.float64),
        n_mobile=built.state.position.shape[0],
        site_position=np.asarray(system.site_position, np.float64),
        site_species=np.asarray(system.site_species),
        lengths=np.asarray(system.box.lengths, np.float64),
        periodic=system.box.periodic,
        stages=tuple(
            StageRecord(s.name, s.integrator, 1e3 * s.timestep_ps, s.record_steps * s.timestep_ps, s.accelerated)
            for s in built.plan
        ),
        config_json=json.dumps(config.model_dump(mode="json"), sort_keys=True),
        config_hash=config_hash(config),
        seed=config.run.seed,
        replica=replica,
        versions={
            "dropsim": __version__,
            "jax": jax.__version__,
            "jaxlib": importlib.metadata.version("jaxlib"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        device=f"{jax.default_backend()}: {jax.devices()[0].device_kind}",
        precision=config.run.precision,
        commit=source_commit(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        series=SERIES_COLUMNS,
        events=EVENT_COLUMNS,
        ledger=LEDGER_COLUMNS,
        coulomb=coulomb_text(built.splitting),
        coulomb_error=built.coulomb_error,
        bare=system.bare,
    )


def coulomb_text(splitting: Splitting) -> str:
    """How the Coulomb sum is split, in words."""
    waves = " x ".join(map(str, splitting.waves))
    how = f"mesh of {waves} points, order {splitting.order}" if splitting.order else f"Ewald, waves to {waves}"
    return f"{how}, cutoff {splitting.cutoff_nm:.4g} nm, alpha {splitting.splitting_per_nm:.4g} /nm"


def refuse_coarse_mesh(built: Built, tolerance: float) -> None:
    """Raise BuildError where a mesh that the file gives misses the tolerance by far on this very start.

    `dropsim tune` measured it on another start of the same system, which moves the error by some percent: up to twice
    the tolerance passes.
    """
    error = built.coulomb_error
    if error is not None and not error <= 2.0 * tolerance:
        raise BuildError(
            f"electrostatics.mesh = {list(built.splitting.waves)}: the relative force error is {error:.2g}, "
            f"electrostatics.force_tolerance = {tolerance:g}: take the lines that 'dropsim tune' prints, leave the "
            "splitting out, or raise the tolerance"
        )


def stage_start(plan: tuple[Stage, ...], index: int) -> tuple[int, float]:
    """Steps and time (ps) before a stage."""
    before = plan[:index]
    return sum(s.n_steps for s in before), sum(s.n_steps * s.timestep_ps for s in before)


def electrons_through(state: State) -> int:
    """Net electrons that have crossed the electrode since the start, through centres and bare surface."""
    return int(state.reaction.injected) + int(state.reaction.injected_surface)


def write_chunk(writer: TrajectoryWriter, chunk: Chunk, built: Built, through: int) -> None:
    """Append the frames, events and ledger of a chunk to the file, and commit them; through: electrons that had
    crossed the electrode before it."""
    plan, whole = built.plan, built.composition
    stage = plan[chunk.stage_index]
    first_step, first_time = stage_start(plan, chunk.stage_index)
    frames = to_numpy(chunk.frames)

    def time_of(step: np.ndarray) -> np.ndarray:
        return first_time + (step.astype(np.int64) - first_step) * stage.timestep_ps

    n_frames, n_mobile = frames.species.shape
    electrons = np.zeros((n_frames, n_mobile), np.int8)
    electrons[:, : whole.n_S6] = frames.electrons
    n_present = np.count_nonzero(frames.species != VACANT, axis=1)
    temperature = 2.0 * frames.kinetic_energy / (3.0 * n_present * BOLTZMANN_KJ_PER_MOL_K)
    if INTEGRATORS[stage.integrator].overdamped:
        temperature = np.full(n_frames, np.nan)  # Brownian beads have no velocity
    events = ledger = None
    if chunk.checks is not None:
        checks = to_numpy(chunk.checks)
        time_ps = time_of(checks.step)
        charge = np.asarray(chunk.system.force_field.charge, np.float64)
        events = event_rows(checks, time_ps, through, whole.n_vacant)
        ledger = ledger_rows(
            checks,
            time_ps,
            stage.check_steps * stage.timestep_ps,
            through,
            charge,
            whole.fixed_charge_e,
            whole.n_vacant,
        )
    writer.write(
        frames=Frames(
            step=frames.step.astype(np.int64),
            time_ps=time_of(frames.step),
            stage=np.full(n_frames, chunk.stage_index),
            position=frames.position,
            image=frames.image,
            species=frames.species,
            electrons=electrons,
        ),
        series={
            "step": frames.step,
            "potential_energy": frames.energy,
            "kinetic_temperature": temperature,
            "force_squared": frames.force_squared,
            "laplacian": frames.laplacian,
        },
        events=events,
        ledger=ledger,
    )


def state_arrays(state: State) -> dict[str, np.ndarray]:
    """The state's leaves by name, for a checkpoint."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(leaf) for path, leaf in leaves}


def state_from_arrays(arrays: dict[str, np.ndarray], like: State) -> State:
    """The state back from a checkpoint; `like` gives the structure. Raises TrajectoryError if one is missing."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path).lstrip(".") for path, _ in leaves]
    if set(names) != set(arrays):
        raise TrajectoryError("the checkpoint holds other fields than this version's state: start the run again")
    return jax.tree_util.tree_unflatten(tree, [jax.numpy.asarray(arrays[name]) for name in names])


def checkpoint_metadata(
    chunk: Chunk, done: int, rows: dict[str, int], config: Config, replica: int, splitting: Splitting
) -> dict[str, Any]:
    """Where the run stands, beside the arrays of its state."""
    return {
        **identity(config),
        "replica": replica,
        "stage": chunk.stage_index,
        "done": done,
        "rows": rows,
        "neighbors": dataclasses.asdict(chunk.system.neighbors),
        "contacts": dataclasses.asdict(chunk.system.reaction.contacts),
        "splitting": splitting.to_dict(),
    }


def drive(
    writer: TrajectoryWriter,
    folder: Path,
    config: Config,
    replica: int,
    built: Built,
    system: System,
    state: State,
    start: tuple[int, int],
    progress: ProgressCallback | None,
) -> None:
    """Simulate from `start` to the end; after each chunk write, commit, then checkpoint, in this order."""
    total = sum(s.n_steps for s in built.plan)
    through = electrons_through(state)
    done, index = start[1], start[0]
    for chunk in simulate(system, state, built.plan, start=start):
        stage = built.plan[chunk.stage_index]
        if chunk.stage_index != index:
            done, index = 0, chunk.stage_index
        n_steps = len(chunk.frames.step) * stage.record_steps
        done += n_steps
        write_chunk(writer, chunk, built, through)
        through = electrons_through(chunk.state)
        save_checkpoint(
            folder / CHECKPOINT,
            state_arrays(chunk.state),
            checkpoint_metadata(chunk, done, writer.rows(), config, replica, built.splitting),
        )
        if progress is not None:
            rate = n_steps / max(chunk.wall_s, 1e-9)
            progress(
                Progress(
                    stage.name,
                    stage_start(built.plan, chunk.stage_index)[0] + done,
                    total,
                    rate,
                    rate * stage.timestep_ps * 1e-3 * 86400.0,
                )
            )


def run_replica(config: Config, replica: int, root: Path, *, progress: ProgressCallback | None = None) -> Path:
    """Run one replica from its start and return its folder.

    root: where run folders go. A folder that is there already is an error (TrajectoryError) whose text says to
    resume it. Writes config.json, trajectory.h5md and checkpoint.npz.
    """
    folder = run_folder(root, config, replica)
    with owned(folder):
        _begin(folder, config, replica, progress)
    return folder


def _begin(folder: Path, config: Config, replica: int, progress: ProgressCallback | None) -> None:
    if (folder / TRAJECTORY).exists():
        raise TrajectoryError(
            f"{folder} holds this run already: 'dropsim resume {folder}' goes on with it, "
            f"'dropsim analyze {folder}' reads it; delete the folder to start over"
        )
    built = build(config, replica)
    refuse_coarse_mesh(built, config.electrostatics.force_tolerance)
    try:
        (folder / CONFIG).write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise TrajectoryError(f"{folder} cannot be written ({error.strerror}): check the disk and --out") from error
    with TrajectoryWriter.create(folder / TRAJECTORY, header(config, replica, built)) as writer:
        drive(writer, folder, config, replica, built, built.system, built.state, (0, 0), progress)


def plain_settings(saved: dict[str, Any]) -> dict[str, Any]:
    """Capacities of a checkpoint as they were before JSON made lists of their tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()}


def resume_replica(folder: Path, *, progress: ProgressCallback | None = None) -> str | None:
    """Go on with an interrupted run, to the bits that an uninterrupted one has.

    folder: a run folder. Returns a note for the user (that nothing was left to do, or that the last checkpoint was
    damaged and the one before was taken), or None. Raises TrajectoryError, or CheckpointMismatch where
    configuration, precision, dropsim or jax changed since.
    """
    folder = Path(folder)
    config = read_config(folder)
    with owned(folder):
        return _go_on(folder, config, progress)


def _go_on(folder: Path, config: Config, progress: ProgressCallback | None) -> str | None:
    if not (folder / CHECKPOINT).exists():
        # Killed before the first chunk: nothing is lost by starting again.
        replica = replica_of(folder)
        (folder / TRAJECTORY).unlink(missing_ok=True)
        built = build(config, replica)
        with TrajectoryWriter.create(folder / TRAJECTORY, header(config, replica, built)) as writer:
            drive(writer, folder, config, replica, built, built.system, built.state, (0, 0), progress)
        return "no checkpoint yet: the run was started again"
    plan = tuple(build_stage(s, config) for s in config.stages)
    checkpoint = load_checkpoint(folder / CHECKPOINT, {"config_hash": config_hash(config)})
    start = (checkpoint.metadata["stage"], checkpoint.metadata["done"])
    if start[1] >= plan[start[0]].n_steps:
        start = (start[0] + 1, 0)
    if start[0] >= len(plan):
        # A finished run is read by any version: only going on asks for the one that began it.
        return checkpoint.note or f"{folder} is complete: nothing to resume"
    checkpoint = load_checkpoint(folder / CHECKPOINT, identity(config))
    # The positions are those of the checkpoint: nothing is placed again, and a start file is not needed any more.
    built = build(
        config,
        checkpoint.metadata["replica"],
        position=checkpoint.arrays["position"],
        splitting=Splitting.from_dict(checkpoint.metadata["splitting"]),
    )
    rule = built.system.reaction
    contacts = dataclasses.replace(rule.contacts, **plain_settings(checkpoint.metadata["contacts"]))
    system = dataclasses.replace(
        built.system,
        neighbors=dataclasses.replace(built.system.neighbors, **plain_settings(checkpoint.metadata["neighbors"])),
        reaction=dataclasses.replace(rule, contacts=contacts),
    )
    state = state_from_arrays(checkpoint.arrays, built.state)
    with TrajectoryWriter.append(folder / TRAJECTORY, checkpoint.metadata["rows"]) as writer:
        drive(writer, folder, config, checkpoint.metadata["replica"], built, system, state, start, progress)
    return checkpoint.note
