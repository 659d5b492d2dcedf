"""A trajectory in the formats of other programs: gsd, extended XYZ, and MDAnalysis in memory.

`.h5md` files open in MDAnalysis and VMD as they are; OVITO and ASE want one of these. The programs that
only some users have are imported when they are needed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dropsim.errors import TrajectoryError
from dropsim.trajectory import FrameSelection, Trajectory, open_trajectory

if TYPE_CHECKING:
    import MDAnalysis

ANGSTROM_PER_NM = 10.0

# ASE takes chemical symbols only: the element that stands for a bead whose name is none. X is ASE's unknown
# atom.
_STAND_IN = {"S6": "S", "Li2S": "S", "Li2S2": "S", "TFSI": "F"}
_ELEMENTS = frozenset({"Li", "Mo", "N"})


def export(
    trajectory_path: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    format: str,
    *,
    frames: FrameSelection = slice(None),
    unwrap: bool = False,
) -> int:
    """Write frames of a trajectory, with the fixed sites, for another program.

    trajectory_path: .h5md; output_path: replaced if it exists; format: "gsd" or "extxyz"; frames: slice or
    list of frame numbers; unwrap: positions as if the box had no borders (for displacements) instead of
    wrapped ones (for pictures).
    Returns the number of frames written. Raises TrajectoryError if the input cannot be read, the format is
    not known, its package is not installed, or the output cannot be written.
    """
    if format not in EXPORTERS:
        raise TrajectoryError(f"format {format!r} is not known: choose one of {', '.join(EXPORTERS)}")
    output = Path(output_path)
    with open_trajectory(trajectory_path) as trajectory:
        numbers = trajectory.frame_numbers(frames)
        temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
        try:
            EXPORTERS[format](trajectory, temporary, numbers, unwrap)
            os.replace(temporary, output)
        except TrajectoryError:
            raise
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise TrajectoryError(f"{output} could not be written: {reason}; check folder and disk") from error
        finally:
            temporary.unlink(missing_ok=True)
    return len(numbers)


def write_gsd(trajectory: Trajectory, path: Path, numbers: np.ndarray, unwrap: bool) -> None:
    """Frames in the GSD schema of HOOMD: lengths in nm, the box centred on the origin.

    x_gsd = x - L/2; per particle: type, charge (e), mass (amu), diameter (sigma, nm), image; logged:
    time_ps and particles/electrons. With `unwrap` the images are in the positions, and zero.
    Validity: GSD stores float32; HOOMD's boxes are periodic along z too, which GSD cannot deny.
    """
    try:
        import gsd.hoomd
    except ImportError as error:
        raise _missing("gsd") from error
    n_sites = len(trajectory.sites.species)
    half = trajectory.lengths / 2
    with gsd.hoomd.open(str(path), "w") as file:
        for number in numbers:
            one = [int(number)]
            species = trajectory.species(one, include_sites=True)[0].astype(np.int64)
            frame: Any = gsd.hoomd.Frame()  # its fields are declared as None
            frame.configuration.step = int(trajectory.step[number])
            frame.configuration.box = [*trajectory.lengths, 0, 0, 0]
            frame.configuration.dimensions = 3
            frame.particles.N = trajectory.n_mobile + n_sites
            frame.particles.types = list(trajectory.species_names)
            frame.particles.typeid = species
            frame.particles.position = (_positions(trajectory, one, unwrap) - half).astype(np.float32)
            if not unwrap:
                frame.particles.image = trajectory.image(one, include_sites=True)[0]
            frame.particles.charge = trajectory.charges(one, include_sites=True)[0].astype(np.float32)
            frame.particles.mass = trajectory.mass[species].astype(np.float32)
            frame.particles.diameter = trajectory.sigma[species].astype(np.float32)
            frame.log["time_ps"] = np.array([trajectory.time_ps[number]])
            electrons = trajectory.electrons(one, include_sites=True)[0]
            frame.log["particles/electrons"] = electrons.astype(np.int32)
            file.append(frame)


def write_extxyz(trajectory: Trajectory, path: Path, numbers: np.ndarray, unwrap: bool) -> None:
    """Frames in extended XYZ: positions and lattice in angstrom (the format's custom), time in ps.

    Columns: species (a chemical symbol, because ASE takes nothing else: S for S6, Li2S2 and Li2S, F for TFSI), pos,
    bead (dropsim's own name), bead_id (its number), initial_charges (e, the name that ASE gives them),
    electrons (added).
    """
    symbols = [_STAND_IN.get(name, name if name in _ELEMENTS else "X") for name in trajectory.species_names]
    lattice = " ".join(f"{x:.8g}" for x in np.diag(trajectory.lengths * ANGSTROM_PER_NM).ravel())
    periodic = " ".join("T" if axis else "F" for axis in trajectory.periodic)
    columns = "species:S:1:pos:R:3:bead:S:1:bead_id:I:1:initial_charges:R:1:electrons:I:1"
    beads = list(zip(symbols, trajectory.species_names, strict=True))
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for number in numbers:
            one = [int(number)]
            position = _positions(trajectory, one, unwrap) * ANGSTROM_PER_NM
            species = trajectory.species(one, include_sites=True)[0]
            electrons = trajectory.electrons(one, include_sites=True)[0]
            stage = trajectory.stage_names[trajectory.stage[number]]
            file.write(
                f'{len(species)}\nLattice="{lattice}" Properties={columns} pbc="{periodic}" '
                f"time={float(trajectory.time_ps[number])!r} step={trajectory.step[number]} stage={stage}\n"
            )
            charges = trajectory.charges(one, include_sites=True)[0]
            for i, (x, y, z), q, n in zip(species, position, charges, electrons, strict=True):
                symbol, name = beads[i]
                file.write(f"{symbol} {x:.6f} {y:.6f} {z:.6f} {name} {i} {q:.8g} {n}\n")


EXPORTERS: dict[str, Callable[[Trajectory, Path, np.ndarray, bool], None]] = {
    "gsd": write_gsd,
    "extxyz": write_extxyz,
}


def to_mdanalysis(
    trajectory: Trajectory, frames: FrameSelection = slice(None), *, include_sites: bool = True
) -> MDAnalysis.Universe:
    """An MDAnalysis universe in memory: names, types, charges, masses, and unwrapped positions.

    frames: slice or list of frame numbers, all of which are held in memory; include_sites: fixed sites
    follow the mobile beads. Names, charges and masses are those of the first selected frame (MDAnalysis
    keeps them fixed); the species and added electrons of every frame are in `ts.data["species"]` and
    `ts.data["electrons"]`.
    Returns a universe in MDAnalysis' units (angstrom, ps), box from the file, each frame with the time and
    the spacing of its stage. Raises TrajectoryError if MDAnalysis is not installed or no frame is selected.
    """
    try:
        import MDAnalysis
    except ImportError as error:
        raise _missing("MDAnalysis") from error
    numbers = trajectory.frame_numbers(frames)
    if not len(numbers):
        raise TrajectoryError(f"{trajectory.path}: no frame is selected of {trajectory.n_frames}")
    species = trajectory.species(numbers, include_sites=include_sites).astype(np.int64)
    electrons = trajectory.electrons(numbers, include_sites=include_sites)
    n = species.shape[1]
    universe = MDAnalysis.Universe.empty(n, trajectory=False)
    names = [trajectory.species_names[i] for i in species[0]]
    universe.add_TopologyAttr("names", names)
    universe.add_TopologyAttr("types", names)
    universe.add_TopologyAttr("charges", trajectory.charges(numbers[:1], include_sites=include_sites)[0])
    universe.add_TopologyAttr("masses", trajectory.mass[species[0]])
    position = trajectory.unwrapped(numbers, include_sites=include_sites) * ANGSTROM_PER_NM
    spacing_ps = np.array([stage.record_every_ps for stage in trajectory.stages])[trajectory.stage[numbers]]
    universe.trajectory = _recorded_reader(
        position.astype(np.float32),
        np.array([*trajectory.lengths * ANGSTROM_PER_NM, 90, 90, 90], dtype=np.float32),
        {"time": trajectory.time_ps[numbers], "dt": spacing_ps, "species": species, "electrons": electrons},
    )
    return universe


def _recorded_reader(position: np.ndarray, dimensions: np.ndarray, recorded: dict[str, np.ndarray]) -> Any:
    """A reader of frames in memory that gives each its own time, spacing and data."""
    return _recorded_reader_class()(position, dimensions, recorded)


@functools.cache
def _recorded_reader_class() -> Any:
    from MDAnalysis.coordinates.memory import MemoryReader

    class RecordedReader(MemoryReader):
        """MDAnalysis' own reader of memory counts time as frame x dt, from zero, whatever was recorded."""

        def __init__(self, position: np.ndarray, dimensions: np.ndarray, recorded: dict[str, np.ndarray]):
            self._parts = (position, dimensions, recorded)
            super().__init__(position, order="fac", dimensions=dimensions)

        def _read_next_timestep(self, ts: Any = None) -> Any:
            ts = super()._read_next_timestep(ts)
            for name, rows in self._parts[2].items():
                ts.data[name] = rows[ts.frame]
            return ts

        def copy(self) -> Any:
            position, dimensions, recorded = self._parts
            other = RecordedReader(position.copy(), dimensions, recorded)
            other[self.ts.frame]
            return other

        def __reduce__(self) -> Any:  # its class is made in a function, where pickle cannot find it
            return (_recorded_reader, self._parts)

    return RecordedReader


def _positions(trajectory: Trajectory, one: list[int], unwrap: bool) -> np.ndarray:
    read = trajectory.unwrapped if unwrap else trajectory.position
    return read(one, include_sites=True)[0].astype(np.float64)


def _missing(package: str) -> TrajectoryError:
    return TrajectoryError(f"{package} is not installed: pip install 'dropsim[export]'")
