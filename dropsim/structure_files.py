"""States from files and to files: a frame of a trajectory, LAMMPS data files, and what MDAnalysis reads.

Lengths of the program are nm, velocities nm/ps, and the box begins at the origin; each reader and the writer
convert. A structure is then put in the order of the program by `arrange`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dropsim.errors import BuildError, TrajectoryError
from dropsim.system import LI, LI2S, LI2S2, MO, N_RING, S6, SPECIES, TFSI, VACANT

ANGSTROM_PER_NM = 10.0
# LAMMPS units: (nm per length, nm/ps per velocity). Real has angstrom and angstrom/fs, metal angstrom/ps.
LAMMPS_UNITS = {"real": (0.1, 100.0), "metal": (0.1, 0.1)}
LAMMPS_SUFFIXES = (".data", ".lmp", ".lammps")
# Columns of a line of Atoms: of the type, of x, and all of them without image flags.
ATOM_STYLES = {
    "atomic": (1, 2, 5),
    "charge": (1, 3, 6),
    "molecular": (2, 3, 6),
    "bond": (2, 3, 6),
    "angle": (2, 3, 6),
    "full": (2, 4, 7),
}
# Two boxes are the same within this, nm: the formats round, .gro to 0.00001 and older ones to 0.001.
SAME_LENGTH_NM = 2e-3
_BOUNDS = re.compile(r"(\S+)\s+(\S+)\s+([xyz])lo\s+([xyz])hi")

SpeciesOf = Mapping[str, str | None] | Mapping[int, str | None] | Mapping[int | str, str | None]


@dataclasses.dataclass(frozen=True, eq=False)
class Structure:
    """Beads at one moment, as a file has them.

    position: (N, 3) float, nm, the box from the origin; species: (N,) int, numbers of SPECIES; box: (3,) float, nm,
    or None where the file has none; velocity: (N, 3) float, nm/ps, or None; source: file and frame, for messages.
    """

    position: np.ndarray
    species: np.ndarray
    box: np.ndarray | None
    velocity: np.ndarray | None
    source: str


def read_structure(path: str | os.PathLike[str], frame: int = -1, *, species_of: SpeciesOf | None = None) -> Structure:
    """Read one frame of a file; the ending of its name says what it is.

    .h5md: the mobile beads of a dropsim trajectory (added electrons and velocities are not kept). .data, .lmp,
    .lammps, or a name that begins with "data.": LAMMPS data file, units real, or metal where its first line says
    so; styles atomic, charge, molecular, bond, angle and full, named after `Atoms #` or told by the number of columns;
    lengths are counted from xlo, ylo, zlo, image flags are not kept. Any other ending: what MDAnalysis reads (.gro,
    .pdb, ...).
    path: the file; frame: number of the frame, negative from the end; species_of: name or LAMMPS type in the file ->
    name in SPECIES, or None to leave such particles out. Names that are not in it are taken as those of SPECIES, in
    upper or lower case; a LAMMPS type has the name in the comment of its line of Masses, or its type label.
    Returns the structure. Raises TrajectoryError that names file and line, what was found and what is needed.
    """
    path = Path(path)
    names = _checked_names(species_of)
    if not path.is_file():
        raise TrajectoryError(f"{path} does not exist: give the file of a structure")
    if path.suffix.lower() == ".h5md":
        return _read_trajectory(path, frame, names)
    if path.suffix.lower() in LAMMPS_SUFFIXES or path.name.startswith("data."):
        if frame not in (0, -1):
            raise TrajectoryError(f"{path}: a LAMMPS data file holds one frame, not number {frame}; leave frame out")
        return _DataFile(path).structure(names)
    return _read_by_mdanalysis(path, frame, names)


def arrange(
    structure: Structure,
    species: np.ndarray,
    box: np.ndarray,
    *,
    periodic_z: bool = False,
    shift_nm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    middle: bool = False,
) -> Structure:
    """Bring a structure into the order and the box of a run.

    Beads of one species keep the order that they have in the file. Mo and N of the file are left out (the fixed
    sites come from the configuration), and vacant slots of the Li+ reservoir. Periodic directions are wrapped.
    structure: as read; species: (N,) int, the order wanted (sulfur, Li, TFSI); box: (3,) float, nm; periodic_z:
    whether z is periodic; shift_nm: added to every position, nm; middle: cut each periodic direction of the file's
    box where it is emptiest and put what lies between in the middle of the run's box, which may then be another.
    Returns a structure whose species are those wanted, with the run's box. Raises BuildError where the counts
    differ, the box is another, a bead is outside or not at a finite position, or a unit is converted already.
    """
    fixed = np.isin(structure.species, (VACANT, MO, N_RING))
    kinds, position = structure.species[~fixed], structure.position[~fixed]
    numbers = np.flatnonzero(~fixed) + 1
    velocity = None if structure.velocity is None else structure.velocity[~fixed]
    _check_counts(structure.source, kinds, species)
    broken = np.flatnonzero(~np.all(np.isfinite(position), axis=1))
    if len(broken):
        raise BuildError(f"{structure.source}: bead {numbers[broken[0]]} has no finite position; write the file again")
    periodic = [True, True, periodic_z]
    if middle:
        position = _in_the_middle(position, structure, box, periodic)
    elif structure.box is not None:
        for axis in np.flatnonzero(periodic):
            if abs(structure.box[axis] - box[axis]) > SAME_LENGTH_NM:
                raise BuildError(
                    f"{structure.source}: its periodic box is {_lengths(structure.box)} nm, that of the run "
                    f"{_lengths(box)} nm: change box.lateral_nm{' or box.height_nm' if periodic_z else ''}"
                )
    position = position + np.asarray(shift_nm, np.float64)
    for axis in range(3):
        if periodic[axis] and (middle or structure.box is not None):
            position[:, axis] %= box[axis]
            position[position[:, axis] >= box[axis], axis] = 0.0
    outside = np.any((position < 0) | (position > box), axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise BuildError(
            f"{structure.source}: bead {numbers[first]} ({SPECIES[kinds[first]]}) is at ({_lengths(position[first])}) "
            f"nm, and {int(outside.sum())} of {len(position)} beads are outside the box of {_lengths(box)} nm: change "
            "start.shift_nm, box.lateral_nm or box.height_nm"
        )
    order = np.empty(len(species), np.int64)
    for kind in np.unique(species):
        order[species == kind] = np.flatnonzero(kinds == kind)
    return Structure(
        position=position[order],
        species=np.array(species, np.int32),
        box=np.array(box, np.float64),
        velocity=None if velocity is None else velocity[order],
        source=structure.source,
    )


def write_lammps_data(
    path: str | os.PathLike[str],
    position: np.ndarray,
    species: np.ndarray,
    box: np.ndarray,
    charge: np.ndarray,
    mass: np.ndarray,
    *,
    velocity: np.ndarray | None = None,
    atom_style: str = "charge",
) -> None:
    """Write a state as a LAMMPS data file in units real (angstrom, angstrom/fs, e, g/mol).

    Type t is species t - 1 of SPECIES, named in the comment of its mass. Style full puts every bead in molecule 0.
    path: replaced if it exists; position: (N, 3) float, nm, in the box from the origin; species: (N,) int;
    box: (3,) float, nm; charge: (K,) float, e, and mass: (K,) float, amu, of each species; velocity: (N, 3) float,
    nm/ps; atom_style: "charge" or "full".
    Raises TrajectoryError where the style is not known, a mass is not positive or the file cannot be written.
    Source: https://docs.lammps.org/read_data.html
    """
    if atom_style not in ("charge", "full"):
        raise TrajectoryError(f"atom_style {atom_style!r}: choose 'charge' or 'full'")
    if len(charge) != len(SPECIES) or len(mass) != len(SPECIES) or not np.all(np.asarray(mass) > 0):
        raise TrajectoryError(f"charge and mass are one number for each of {', '.join(SPECIES)}, masses above 0")
    length, speed = LAMMPS_UNITS["real"]
    molecule = " 0" if atom_style == "full" else ""
    lines = [
        "LAMMPS data file of dropsim, units = real",
        "",
        f"{len(position)} atoms",
        f"{len(SPECIES)} atom types",
        "",
    ]
    lines += [f"0 {box[axis] / length:.12g} {name}lo {name}hi" for axis, name in enumerate("xyz")]
    lines += ["", "Masses", ""]
    lines += [f"{number} {mass[number - 1]:.12g}  # {name}" for number, name in enumerate(SPECIES, 1)]
    lines += ["", f"Atoms  # {atom_style}", ""]
    kinds = np.asarray(species).tolist()
    lines += [
        f"{number}{molecule} {kind + 1} {charge[kind]:.12g} {x:.12g} {y:.12g} {z:.12g}"
        for number, (kind, (x, y, z)) in enumerate(
            zip(kinds, (np.asarray(position, np.float64) / length).tolist(), strict=True), 1
        )
    ]
    if velocity is not None:
        lines += ["", "Velocities", ""]
        rows = (np.asarray(velocity, np.float64) / speed).tolist()
        lines += [f"{number} {x:.12g} {y:.12g} {z:.12g}" for number, (x, y, z) in enumerate(rows, 1)]
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise TrajectoryError(f"{path} could not be written: {error.strerror}; check folder and disk") from error
    finally:
        temporary.unlink(missing_ok=True)


class _Names:
    """Which species a name in a file means."""

    def __init__(self, given: Mapping[str, int | None]) -> None:
        self.given = given

    def number(self, name: str) -> int | None:
        """Number in SPECIES, None for one that is left out; KeyError where it is not known."""
        known = {species.casefold(): number for number, species in enumerate(SPECIES)}
        return (known | dict(self.given))[name.casefold()]

    def select(self, names: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows that stay and their species numbers."""
        distinct, inverse = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        numbers, unknown = [], []
        for name in distinct:
            try:
                number = self.number(str(name))
            except KeyError:
                unknown.append(str(name))
                continue
            numbers.append(-1 if number is None else number)
        if unknown:
            raise TrajectoryError(
                f"{source}: no species is known for {', '.join(map(repr, unknown))}: say in start.names which bead "
                "each is (Li, S6 or TFSI), or none to leave it out"
            )
        species = np.array(numbers, np.int32)[inverse] if len(names) else np.empty(0, np.int32)
        rows = np.flatnonzero(species >= 0)
        return rows, species[rows]


def _checked_names(species_of: SpeciesOf | None) -> _Names:
    given: dict[str, int | None] = {}
    for name, species in (species_of or {}).items():
        if species is not None and species not in SPECIES:
            raise TrajectoryError(f"species_of: {name} = {species!r}; choose one of {', '.join(SPECIES)}, or none")
        given[str(name).casefold()] = None if species is None else SPECIES.index(species)
    return _Names(given)


def _read_trajectory(path: Path, frame: int, names: _Names) -> Structure:
    from dropsim.trajectory import open_trajectory

    with open_trajectory(path) as trajectory:
        if not trajectory.n_frames:
            raise TrajectoryError(f"{path} holds no frame yet: wait for the first one, or give another file")
        one = [int(trajectory.frame_numbers([frame])[0])]
        source = f"{path}, frame {one[0]}"
        kinds = np.array(trajectory.species_names)[trajectory.species(one)[0]]
        rows, species = names.select(kinds, source)
        position = trajectory.position(one)[0].astype(np.float64)[rows]
        return Structure(position, species, np.array(trajectory.lengths, np.float64), None, source)


def _read_by_mdanalysis(path: Path, frame: int, names: _Names) -> Structure:
    try:
        import MDAnalysis
    except ImportError as error:
        raise TrajectoryError(
            f"{path}: files that end in {path.suffix or 'nothing'} are read by MDAnalysis, which is not installed: "
            "pip install 'dropsim[export]', or give a .h5md or a LAMMPS .data file"
        ) from error
    try:
        # What it warns of, such as elements that it cannot guess, is no matter here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            universe: Any = MDAnalysis.Universe(str(path), to_guess=())
            n_frames = len(universe.trajectory)
            if not -n_frames <= frame < n_frames:
                raise TrajectoryError(f"{path} has frames 0..{n_frames - 1}, not {frame}")
            moment = universe.trajectory[frame]
            atoms = universe.atoms
            labels = atoms.names if hasattr(atoms, "names") else atoms.types
            source = f"{path}, frame {moment.frame}" if n_frames > 1 else str(path)
            position = moment.positions.astype(np.float64) / ANGSTROM_PER_NM
            velocity = moment.velocities.astype(np.float64) / ANGSTROM_PER_NM if moment.has_velocities else None
            dimensions = moment.dimensions
    except TrajectoryError:
        raise
    except Exception as error:  # readers of many formats raise what they please
        raise TrajectoryError(
            f"{path} could not be read by MDAnalysis: {str(error).partition(chr(10))[0]}; give a .h5md of dropsim, "
            "a LAMMPS data file, a .gro or a .pdb"
        ) from error
    box = None
    if dimensions is not None and np.all(dimensions[:3] > 0):
        if np.any(np.abs(dimensions[3:] - 90) > 1e-3):
            raise TrajectoryError(f"{source}: the box has angles {dimensions[3:].tolist()}; give a rectangular one")
        box = dimensions[:3].astype(np.float64) / ANGSTROM_PER_NM
    rows, species = names.select(np.asarray(labels), source)
    return Structure(position[rows], species, box, None if velocity is None else velocity[rows], source)


class _DataFile:
    """A LAMMPS data file, taken apart into its header and sections."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TrajectoryError(f"{path} cannot be read as text: {error}; give a LAMMPS data file") from error
        units = re.search(r"units\s*=\s*(\w+)", lines[0]) if lines else None
        self.units = units.group(1) if units else "real"
        if self.units not in LAMMPS_UNITS:
            raise self.error(1, f"units {self.units}; write the file in {' or '.join(LAMMPS_UNITS)}")
        self.n_atoms: int | None = None
        self.bounds: dict[str, tuple[float, float]] = {}
        # Name -> (line of its title, its comment, its lines: number, text, comment).
        self.sections: dict[str, tuple[int, str, list[tuple[int, str, str]]]] = {}
        rows: list[tuple[int, str, str]] | None = None
        for number, line in enumerate(lines[1:], 2):
            text, _, comment = (part.strip() for part in line.partition("#"))
            if not text:
                continue
            if text[0].isalpha():
                rows = []
                self.sections[text] = (number, comment, rows)
            elif rows is None:
                self._header(number, text)
            else:
                rows.append((number, text, comment))
        for axis in "xyz":
            if axis not in self.bounds:
                raise TrajectoryError(f"{path}: no line '... {axis}lo {axis}hi' in the header; give a LAMMPS data file")
        if "Atoms" not in self.sections:
            raise TrajectoryError(f"{path}: no section Atoms; give a LAMMPS data file")

    def error(self, line: int, text: str) -> TrajectoryError:
        """What is wrong on a line."""
        return TrajectoryError(f"{self.path}, line {line}: {text}")

    def structure(self, names: _Names) -> Structure:
        """All particles in the order of their numbers."""
        title, comment, rows = self.sections["Atoms"]
        of_type, of_x, n_columns = self._style(title, comment, rows)
        kinds = self._kinds(names)
        length, speed = LAMMPS_UNITS[self.units]
        low = np.array([self.bounds[axis][0] for axis in "xyz"])
        high = np.array([self.bounds[axis][1] for axis in "xyz"])
        species: dict[int, int | None] = {}
        position: dict[int, list[float]] = {}
        for line, text, _ in rows:
            words = text.split()
            if len(words) not in (n_columns, n_columns + 3):
                raise self.error(line, f"{len(words)} columns, where {n_columns} or {n_columns + 3} are needed")
            number = self._number(line, words[0], int)
            if number in position:
                raise self.error(line, f"atom {number} is there a second time")
            species[number] = self._kind(line, words[of_type], kinds, names)
            position[number] = [self._number(line, word, float) for word in words[of_x : of_x + 3]]
        if self.n_atoms is not None and len(position) != self.n_atoms:
            raise TrajectoryError(
                f"{self.path}: {len(position)} lines of Atoms, the header says {self.n_atoms}; copy the file again"
            )
        kept = sorted(number for number, kind in species.items() if kind is not None)
        velocity = self._velocities(position, speed)
        return Structure(
            position=(np.array([position[number] for number in kept]).reshape(-1, 3) - low) * length,
            species=np.array([species[number] for number in kept], np.int32),
            box=(high - low) * length,
            velocity=None if velocity is None else np.array([velocity[number] for number in kept]).reshape(-1, 3),
            source=str(self.path),
        )

    def _header(self, line: int, text: str) -> None:
        words = text.split()
        bounds = _BOUNDS.fullmatch(text)
        if words[1:] == ["atoms"]:
            self.n_atoms = self._number(line, words[0], int)
        elif bounds and bounds[3] == bounds[4]:
            low, high = self._number(line, bounds[1], float), self._number(line, bounds[2], float)
            if high <= low:
                raise self.error(line, f"{bounds[3]}hi = {high:g} is not above {bounds[3]}lo = {low:g}")
            self.bounds[bounds[3]] = (low, high)
        elif words[-1] in ("avec", "bvec", "cvec") or (
            words[-1] == "yz" and any(self._number(line, word, float) for word in words[:3])
        ):
            raise self.error(line, "the box is not rectangular; give a rectangular one")

    def _style(self, title: int, comment: str, rows: list[tuple[int, str, str]]) -> tuple[int, int, int]:
        if comment:
            if comment.split()[0] not in ATOM_STYLES:
                raise self.error(title, f"atom style {comment!r}; styles that are read: {', '.join(ATOM_STYLES)}")
            return ATOM_STYLES[comment.split()[0]]
        n = len(rows[0][1].split()) if rows else 5
        if n in (5, 8):
            return ATOM_STYLES["atomic"]
        if n in (7, 10):
            return ATOM_STYLES["full"]
        raise self.error(title, f"lines of {n} columns may be of several styles; write the style, as 'Atoms  # charge'")

    def _kinds(self, names: _Names) -> dict[str, int | None]:
        """Species of each type, by number and by label; a type that nothing names is not in it."""
        labels: dict[str, str] = {}
        for section in ("Masses", "Atom Type Labels"):
            for line, text, comment in self.sections.get(section, (0, "", []))[2]:
                words = text.split()
                label = comment.split()[:1] if section == "Masses" else words[1:2]
                if section != "Masses" and not label:
                    raise self.error(line, "a type and its label are needed")
                if label:
                    labels[words[0]] = label[0]
        kinds: dict[str, int | None] = {}
        for number, label in labels.items():
            for key in (number, label):
                with contextlib.suppress(KeyError):
                    kinds[number] = kinds[label] = names.number(key)
                    break
        return kinds

    def _kind(self, line: int, word: str, kinds: dict[str, int | None], names: _Names) -> int | None:
        if word in kinds:
            return kinds[word]
        try:
            kinds[word] = names.number(word)
        except KeyError:
            raise self.error(
                line,
                f"no species is known for type {word}: write its name after its mass, as '{word} 7.0  # Li', or say in "
                "start.names which bead it is (Li, S6 or TFSI), or none to leave it out",
            ) from None
        return kinds[word]

    def _velocities(self, atoms: Mapping[int, Any], speed: float) -> dict[int, list[float]] | None:
        if "Velocities" not in self.sections:
            return None
        title, _, rows = self.sections["Velocities"]
        found: dict[int, list[float]] = {}
        for line, text, _ in rows:
            words = text.split()
            if len(words) < 4:
                raise self.error(line, f"{len(words)} columns, where a number and three velocities are needed")
            number = self._number(line, words[0], int)
            if number not in atoms or number in found:
                raise self.error(line, f"atom {number} is not in Atoms, or is there a second time")
            found[number] = [self._number(line, word, float) * speed for word in words[1:4]]
        if len(found) != len(atoms):
            raise self.error(title, f"{len(found)} velocities for {len(atoms)} atoms")
        return found

    def _number(self, line: int, word: str, kind: Any) -> Any:
        try:
            value = kind(word)
        except ValueError:
            value = None
        if value is None or not np.isfinite(value):
            raise self.error(line, f"{word!r}, where {'a whole' if kind is int else 'a'} number is needed")
        return value


def _check_counts(source: str, found: np.ndarray, wanted: np.ndarray) -> None:
    reduced = np.isin(found, (LI2S, LI2S2))
    if np.any(reduced):
        raise BuildError(
            f"{source}: {int(np.sum(reduced))} units are {SPECIES[found[reduced][0]]} already; a run starts from S6: "
            "give an earlier frame, or name them S6"
        )
    has = {kind: int(np.sum(found == kind)) for kind in (S6, LI, TFSI)}
    needs = {kind: int(np.sum(wanted == kind)) for kind in (S6, LI, TFSI)}
    if has != needs:
        raise BuildError(
            f"{source}: holds {_counted(has)}, the run has {_counted(needs)}: set electrolyte.li2s6_count = {has[S6]} "
            "and litfsi_mM to what is in the file (further ions balance centres.compensation = 'counterion')"
        )


def _in_the_middle(position: np.ndarray, structure: Structure, box: np.ndarray, periodic: list[bool]) -> np.ndarray:
    """Positions made whole across the borders of the file's box, and centred in the run's."""
    position = np.array(position)
    for axis in np.flatnonzero(periodic):
        along = position[:, axis]
        if structure.box is not None and len(along):
            length = structure.box[axis]
            along = along % length
            ordered = np.sort(along)
            gaps = np.diff(ordered, append=ordered[0] + length)
            start = ordered[(int(gaps.argmax()) + 1) % len(ordered)]
            along = (along - start) % length
        extent = float(np.ptp(along)) if len(along) else 0.0
        if extent > box[axis]:
            raise BuildError(
                f"{structure.source}: its beads extend {extent:.4g} nm along {'xyz'[axis]}, the box of the run "
                f"{box[axis]:.4g} nm: raise {'box.height_nm' if axis == 2 else 'box.lateral_nm'}"
            )
        position[:, axis] = along - along.min(initial=np.inf) + (box[axis] - extent) / 2
    return position


def _counted(counts: Mapping[int, int]) -> str:
    return ", ".join(f"{n} {SPECIES[kind]}" for kind, n in counts.items())


def _lengths(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
