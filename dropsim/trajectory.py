"""The run's file: an H5MD trajectory that other programs open, and that survives a killed process.

H5MD is de Buyl, Colberg and Hoefling, Comput. Phys. Commun. 185, 1546 (2014), doi 10.1016/j.cpc.2014.01.018
(version 1.1). Beads and fixed sites are one particle group, `/particles/trajectory`; what belongs to
dropsim alone (tables of species and stages, configuration, dense series, events, ledger) is under
`/dropsim`. This is the only module that uses h5py.

How it survives. A write appends rows, flushes, and only then raises the counters in `/dropsim/committed`;
readers believe the counters, and a restart cuts every dataset back to them. No byte that a counter covers
is rewritten: frames are one chunk each, and the one-dimensional datasets are uncompressed, so that they
grow in place. Space on the disk is reserved before the first byte of a write, so a full disk stops a run
between two frames.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from dropsim import __version__
from dropsim.errors import TrajectoryError

if TYPE_CHECKING:
    import MDAnalysis

FrameSelection = slice | Sequence[int] | np.ndarray
_Handle = Any  # of an h5py file or dataset; its own types cannot tell what a name in a file holds

LAYOUT_VERSION = 2
_GROUP = "particles/trajectory"
_ROWS_1D = 1024  # rows of a chunk of what is not a frame
_PAUSES_S = (0.01, 0.05, 0.2)  # of a reader that found a file in the middle of a write
_END_OFFSET = 40  # HDF5 file format specification, version 0 superblock
_INDEX_NODE_BYTES = 4096  # of the B-tree that finds the chunks; an upper bound
_FRAME_DATASETS = (
    f"{_GROUP}/position/step",
    f"{_GROUP}/position/time",
    f"{_GROUP}/position/value",
    f"{_GROUP}/image/value",
    f"{_GROUP}/species/value",
    f"{_GROUP}/electrons/value",
    f"{_GROUP}/box/edges/value",
    "observables/dt/value",
    "observables/stage/value",
)


@dataclass(frozen=True)
class Column:
    """One column of the series, the events or the ledger.

    name: word that is the dataset's name; unit: as printed ("kJ/mol", "1" for a count); dtype: as numpy
    spells it; shape: of one row, () for a number.
    """

    name: str
    unit: str
    dtype: str = "float64"
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One stage of the run as the file remembers it.

    timestep_fs: fs; record_every_ps: ps between frames; accelerated_clock: whether the stage's time is a
    sampling time (Langevin at low friction) instead of a physical one.
    """

    name: str
    integrator: str
    timestep_fs: float
    record_every_ps: float
    accelerated_clock: bool


@dataclass(frozen=True, eq=False)
class TrajectoryHeader:
    """Everything about a run that does not change while it runs.

    species_names: n_species names, their order gives the species numbers; charge, mass, sigma: (n_species,)
    float in e, amu, nm; n_mobile: beads that move; site_position: (n_sites, 3) float, nm, fixed centres;
    site_species: (n_sites,) int; lengths: (3,) float, nm; periodic: per axis; stages: in the order of the
    run; config_json: the resolved configuration; config_hash: of it; seed, replica: of the random numbers;
    versions: program -> version; device, precision, commit: of the run; created: ISO 8601; series, events,
    ledger: the columns that will be written; author: for the H5MD header; coulomb: how the Coulomb sum is split, in
    words; coulomb_error: relative rms error of its forces at the start, None where it was not measured; bare: whether
    the added electrons charge their beads.
    """

    species_names: tuple[str, ...]
    charge: np.ndarray
    mass: np.ndarray
    sigma: np.ndarray
    n_mobile: int
    site_position: np.ndarray
    site_species: np.ndarray
    lengths: np.ndarray
    stages: tuple[Stage, ...]
    config_json: str
    config_hash: str
    seed: int
    replica: int
    versions: Mapping[str, str]
    device: str
    precision: str
    commit: str
    created: str
    series: tuple[Column, ...] = ()
    events: tuple[Column, ...] = ()
    ledger: tuple[Column, ...] = ()
    periodic: tuple[bool, bool, bool] = (True, True, False)
    author: str = "dropsim"
    coulomb: str = ""
    coulomb_error: float | None = None
    bare: bool = False

    def __post_init__(self) -> None:
        n_species, n_sites = len(self.species_names), len(self.site_species)
        for name in ("charge", "mass", "sigma"):
            if np.shape(getattr(self, name)) != (n_species,):
                raise ValueError(f"header: {name} has shape {np.shape(getattr(self, name))}, not ({n_species},)")
        if np.shape(self.lengths) != (3,) or np.shape(self.site_position) != (n_sites, 3):
            raise ValueError("header: lengths is (3,), site_position is (n_sites, 3) with one site_species each")
        if self.n_mobile + n_sites < 1 or not self.stages:
            raise ValueError("header: a trajectory needs at least one particle and one stage")
        for kind in ("stages", "series", "events", "ledger"):
            names = [item.name for item in getattr(self, kind)]
            if len(set(names)) != len(names):
                raise ValueError(f"header: {kind} has a name twice: {names}")


@dataclass(frozen=True, eq=False)
class Frames:
    """T frames of the mobile beads.

    step: (T,) int, strictly increasing over the run; time_ps: (T,) float, ps; stage: (T,) int, index of the
    header's stages; position: (T, n_mobile, 3) float, nm, wrapped into [0, L); image: (T, n_mobile, 3) int,
    box crossings; species: (T, n_mobile) int; electrons: (T, n_mobile) int, added electrons of each bead.
    """

    step: np.ndarray
    time_ps: np.ndarray
    stage: np.ndarray
    position: np.ndarray
    image: np.ndarray
    species: np.ndarray
    electrons: np.ndarray


@dataclass(frozen=True, eq=False)
class Sites:
    """Fixed centres: position (n_sites, 3) float, nm; species (n_sites,) int."""

    position: np.ndarray
    species: np.ndarray


@dataclass(frozen=True)
class _Block:
    """Rows to append to one dataset."""

    dataset: str
    table: str
    rows: np.ndarray


class TrajectoryWriter:
    """Appends frames, series, events and ledger rows to one file.

    Made by `create` (a new run) or `append` (a resumed one); a context manager. One process writes; others
    may read at any time. Durability: what `write` has returned from is on the disk (flushed and synced).
    """

    def __init__(self, path: Path, file: _Handle) -> None:
        self._path = path
        self._file: _Handle | None = file
        self._failure: str | None = None
        self._tables, self._rows = _committed(file, path)
        self._columns = {
            kind: list(file[f"dropsim/{kind}"].attrs["columns"]) for kind in ("series", "events", "ledger")
        }
        frames_species = file[f"{_GROUP}/species/value"]
        self._n_sites = len(file["dropsim/sites/species"])
        self._n_mobile = frames_species.shape[1] - self._n_sites
        self._n_species = len(file["dropsim/species/name"])
        self._lengths = file["dropsim/box/lengths"][()]
        self._periodic = file["dropsim/box/periodic"][()].astype(bool)
        self._record_every = file["dropsim/stages/record_every_ps"][()]
        self._site_position = file["dropsim/sites/position"][()]
        self._site_species = file["dropsim/sites/species"][()]
        n_frames = self._rows["frames"]
        steps, times = file[f"{_GROUP}/position/step"], file[f"{_GROUP}/position/time"]
        self._last_step = int(steps[n_frames - 1]) if n_frames else -1
        self._last_time = float(times[n_frames - 1]) if n_frames else 0.0

    @classmethod
    def create(cls, path: str | os.PathLike[str], header: TrajectoryHeader) -> TrajectoryWriter:
        """Start a new file.

        path: must not exist, and ends in .h5md (other programs know the format by it); header: what is fixed.
        Returns the writer. Raises TrajectoryError if the path is taken or cannot be written.
        """
        path = Path(path)
        if path.suffix != ".h5md":
            raise TrajectoryError(f"{path}: the name of a trajectory ends in .h5md, by which other programs know it")
        try:
            file = h5py.File(path, "x", locking=False, libver=("earliest", "v108"))
        except FileExistsError as error:
            raise TrajectoryError(f"{path} exists already: resume that run, or choose another folder") from error
        except OSError as error:
            raise TrajectoryError(f"{path} cannot be created: {_short(error)}; check the folder") from error
        try:
            _lay_out(file, header)
            _sync(file)
            with open(path, "rb") as raw:
                superblock_version = raw.read(9)[8]
            if superblock_version != 0:
                raise RuntimeError(f"HDF5 wrote superblock version {superblock_version}, this program relies on 0")
            return cls(path, file)
        except BaseException as error:
            with contextlib.suppress(OSError, RuntimeError):
                file.close()
            path.unlink(missing_ok=True)
            if isinstance(error, (OSError, RuntimeError)):
                raise TrajectoryError(f"{path} cannot be created: {_short(error)}; check the disk") from error
            raise

    @classmethod
    def append(cls, path: str | os.PathLike[str], rows: Mapping[str, int]) -> TrajectoryWriter:
        """Go on with a file from the rows that a checkpoint recorded; everything after them is cut off.

        rows: what `rows` returned when the checkpoint was made. Returns the writer. Raises TrajectoryError
        if the file cannot be read, or holds fewer committed rows than the checkpoint knows.
        """
        path = Path(path)
        file = _open(path, "r+")
        try:
            tables, committed = _committed(file, path)
            if set(rows) != set(tables):
                raise TrajectoryError(
                    f"{path}: the checkpoint counts {sorted(rows)}, the file {sorted(tables)}; "
                    "resume from a checkpoint of this run"
                )
            for table, n in rows.items():
                if not 0 <= n <= committed[table]:
                    raise TrajectoryError(
                        f"{path}: the checkpoint asks for {n} rows of {table}, the file holds "
                        f"{committed[table]}; resume from an older checkpoint of it, or start the run again"
                    )
            # Counters first: if the process dies here, what lies beyond them is only an unseen tail.
            file["dropsim/committed"][...] = np.array([rows[table] for table in tables], dtype=np.int64)
            file.flush()
            for table, names in _datasets_of_tables(file).items():
                for name in names:
                    file[name].resize(int(rows[table]), axis=0)
            _sync(file)
            return cls(path, file)
        except TrajectoryError:
            file.close()
            raise
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            with contextlib.suppress(OSError, RuntimeError):
                file.close()
            raise TrajectoryError(f"{path} cannot be continued: {_short(error)}; start the run again") from error

    def rows(self) -> dict[str, int]:
        """Committed rows of every table, for checkpoints: "frames", "events", "ledger", "series/<name>"."""
        return dict(self._rows)

    def write(
        self,
        frames: Frames | None = None,
        series: Mapping[str, np.ndarray] | None = None,
        events: Mapping[str, np.ndarray] | None = None,
        ledger: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Append and commit: all of it is in the file when this returns, or none of it is seen.

        frames: T frames; series: name -> (T', ...) rows, each series with its own length; events, ledger:
        name -> rows, all columns of the table, of one length. Values are converted to the file's dtypes.
        Raises ValueError for wrong shapes and names, frames that go back in steps, unwrapped or non-finite
        positions; TrajectoryError if the disk does not take the rows (the writer is closed then).
        """
        if self._file is None:
            raise TrajectoryError(f"{self._path}: " + (self._failure or "the writer is closed; open the file again"))
        blocks = [] if frames is None else self._frame_blocks(frames)
        blocks += self._series_blocks(series or {})
        blocks += self._table_blocks("events", events or {}) + self._table_blocks("ledger", ledger or {})
        blocks = [block for block in blocks if len(block.rows)]
        if not blocks:
            return
        grown = {block.table: self._rows[block.table] + len(block.rows) for block in blocks}
        try:
            self._reserve(blocks)
        except OSError as error:
            raise self._stop(error, blocks, touched=False) from error
        try:
            for block in blocks:
                dataset, start = self._file[block.dataset], self._rows[block.table]
                dataset.resize(start + len(block.rows), axis=0)
                dataset[start:] = block.rows
                dataset.flush()  # or h5py would meet a failing disk where it can only print, not raise
            _sync(self._file)
            counts = [grown.get(table, self._rows[table]) for table in self._tables]
            self._file["dropsim/committed"][...] = np.array(counts, dtype=np.int64)
            _sync(self._file)
        except (OSError, RuntimeError) as error:
            raise self._stop(error, blocks, touched=True) from error
        self._rows.update(grown)
        if frames is not None and len(frames.step):
            self._last_step, self._last_time = int(frames.step[-1]), float(frames.time_ps[-1])

    def close(self) -> None:
        """Close the file; harmless when it is closed already."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.flush()
                _give_back(file)
                file.close()
            except (OSError, RuntimeError) as error:
                raise TrajectoryError(f"{self._path} could not be closed: {_short(error)}; {self._safe()}") from error

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _frame_blocks(self, frames: Frames) -> list[_Block]:
        n = self._n_mobile
        t = len(frames.step)
        shapes = {
            "step": (t,),
            "time_ps": (t,),
            "stage": (t,),
            "position": (t, n, 3),
            "image": (t, n, 3),
            "species": (t, n),
            "electrons": (t, n),
        }
        for name, shape in shapes.items():
            if np.shape(getattr(frames, name)) != shape:
                raise ValueError(f"frames: {name} has shape {np.shape(getattr(frames, name))}, expected {shape}")
        step, stage = np.asarray(frames.step), np.asarray(frames.stage)
        position = np.asarray(frames.position, dtype=np.float32)
        if np.any(np.diff(step, prepend=self._last_step) <= 0):
            raise ValueError(f"frames: steps {step[:3]}... do not increase after step {self._last_step}")
        if np.any((stage < 0) | (stage >= len(self._record_every))):
            raise ValueError(f"frames: a stage is outside 0..{len(self._record_every) - 1}")
        species = np.asarray(frames.species)
        if np.any((species < 0) | (species >= self._n_species)):
            raise ValueError(f"frames: a species is outside 0..{self._n_species - 1}")
        if not np.all(np.isfinite(position)):
            raise ValueError(f"frames: non-finite position at steps {step[~np.isfinite(position).all(axis=(1, 2))]}")
        beyond = (position < 0) | (position > self._lengths.astype(np.float32))
        if np.any(beyond & self._periodic):
            raise ValueError("frames: a position lies outside [0, L) along a periodic axis; wrap it first")

        def with_sites(mobile: np.ndarray, sites: np.ndarray, dtype: type) -> np.ndarray:
            return _convert(
                "frames", np.concatenate([mobile, np.broadcast_to(sites, (t, *sites.shape))], axis=1), dtype
            )

        rows = (
            step,
            np.asarray(frames.time_ps),
            with_sites(position, self._site_position, np.float32),
            with_sites(frames.image, np.zeros(self._site_position.shape, dtype=np.int32), np.int32),
            with_sites(species, self._site_species, np.int8),
            with_sites(frames.electrons, np.zeros_like(self._site_species), np.int16),
            np.tile(self._lengths, (t, 1)),
            self._record_every[stage],
            stage,
        )
        return [_Block(name, "frames", array) for name, array in zip(_FRAME_DATASETS, rows, strict=True)]

    def _series_blocks(self, series: Mapping[str, np.ndarray]) -> list[_Block]:
        unknown = set(series) - set(self._columns["series"])
        if unknown:
            raise ValueError(f"series {sorted(unknown)} are not in the header: {self._columns['series']}")
        return [self._block("series", f"series/{name}", name, rows) for name, rows in series.items()]

    def _table_blocks(self, kind: str, columns: Mapping[str, np.ndarray]) -> list[_Block]:
        if not columns:
            return []
        if set(columns) != set(self._columns[kind]):
            raise ValueError(f"{kind}: columns {sorted(columns)}, the header has {sorted(self._columns[kind])}")
        if len({len(rows) for rows in columns.values()}) != 1:
            raise ValueError(f"{kind}: columns of different length")
        return [self._block(kind, kind, name, rows) for name, rows in columns.items()]

    def _block(self, kind: str, table: str, name: str, rows: np.ndarray) -> _Block:
        assert self._file is not None
        dataset = self._file[f"dropsim/{kind}/{name}"]
        if np.shape(rows)[1:] != dataset.shape[1:]:
            raise ValueError(f"{kind}: a row of {name} has shape {np.shape(rows)[1:]}, expected {dataset.shape[1:]}")
        return _Block(f"dropsim/{kind}/{name}", table, _convert(name, np.asarray(rows), dataset.dtype))

    def _reserve(self, blocks: list[_Block]) -> None:
        """Have the file system promise the space, so that a full disk shows before the first byte."""
        assert self._file is not None
        need = 1 << 16
        for block in blocks:
            dataset = self._file[block.dataset]
            chunk_bytes = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize + 64
            n_chunks = len(block.rows) // dataset.chunks[0] + 2
            need += n_chunks * chunk_bytes + (n_chunks // 16 + 4) * _INDEX_NODE_BYTES
        size = self._file.id.get_filesize()
        handle = self._file.id.get_vfd_handle()
        try:
            if shutil.disk_usage(self._path.parent).free < need:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # The library leaves holes near the end of the file; the last megabyte is reserved with the new
            # part.
            start = max(0, size - (1 << 20))
            _allocate(handle, start, size - start + need)
        except OSError:
            _give_back(self._file)
            raise
        # The library notes the end of the file last. A kill before that would leave an index that points
        # beyond the end, and a resumed run would give that space away twice: so the new end is noted first,
        # by hand.
        _write_end(handle, size + need)

    def _safe(self) -> str:
        n = self._rows["frames"]
        return f"{n} frames" + (f" up to {self._last_time:g} ps" if n else "") + " are safe in it"

    def _stop(self, error: Exception, blocks: list[_Block], *, touched: bool) -> TrajectoryError:
        """Leave the file as it was committed, and say what to do."""
        size = sum(block.rows.nbytes for block in blocks) / 1e6
        # h5py names the system's error in its text only.
        number = getattr(error, "errno", None) or next(iter(re.findall(r"errno = (\d+)", str(error))), None)
        reason = os.strerror(int(number)) if number else _short(error)
        self._failure = (
            f"{self._path}: writing stopped ({reason}; up to {size:.3g} MB were to be written). "
            f"{self._safe()}: free space or raise the quota, then resume the run from its last checkpoint"
        )
        file, self._file = self._file, None
        assert file is not None
        if touched:
            # Whatever the library still wants to write would tear the file further: send it nowhere, and
            # the disk keeps what a killed process would have left.
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, file.id.get_vfd_handle())
            os.close(nowhere)
        with contextlib.suppress(OSError, RuntimeError):
            if not touched:
                _give_back(file)
            file.close()
        return TrajectoryError(self._failure)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A read-only view of one trajectory file, as it was committed when it was opened.

    Made by `open_trajectory`; a context manager. `frames` arguments are slices or lists of frame numbers.
    Particle arrays hold the mobile beads, or with `include_sites=True` also the fixed sites after them, as
    the file does. A file that is still being written: open it again to see more.
    """

    path: Path
    n_frames: int
    n_mobile: int
    step: np.ndarray
    time_ps: np.ndarray
    stage: np.ndarray
    stages: tuple[Stage, ...]
    species_names: tuple[str, ...]
    charge: np.ndarray
    mass: np.ndarray
    sigma: np.ndarray
    lengths: np.ndarray
    periodic: tuple[bool, bool, bool]
    sites: Sites
    config: dict[str, Any]
    metadata: dict[str, Any]
    _rows: dict[str, int] = field(repr=False)
    _columns: dict[str, dict[str, str]] = field(repr=False)  # kind -> name -> unit
    _source: _Source = field(repr=False)

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays that were read stay."""
        self._source.close()

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages in the order of the run."""
        return tuple(stage.name for stage in self.stages)

    def frames_of_stage(self, name: str) -> slice:
        """The frames of one stage, as a slice for the other methods; empty if the run has not come to it."""
        if name not in self.stage_names:
            raise TrajectoryError(f"{self.path} has no stage {name!r}: it has {', '.join(self.stage_names)}")
        where = np.flatnonzero(self.stage == self.stage_names.index(name))
        return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)

    def position(self, frames: FrameSelection = slice(None), *, include_sites: bool = False) -> np.ndarray:
        """Wrapped positions, (T, N, 3) float32, nm, in [0, L) along periodic axes."""
        return self._particles("position", frames, include_sites)

    def image(self, frames: FrameSelection = slice(None), *, include_sites: bool = False) -> np.ndarray:
        """Box crossings since the start, (T, N, 3) int32."""
        return self._particles("image", frames, include_sites)

    def unwrapped(self, frames: FrameSelection = slice(None), *, include_sites: bool = False) -> np.ndarray:
        """Positions as if the box had no borders, x + n L, (T, N, 3) float64, nm."""
        image = self.image(frames, include_sites=include_sites)
        return self.position(frames, include_sites=include_sites).astype(np.float64) + image * self.lengths

    def species(self, frames: FrameSelection = slice(None), *, include_sites: bool = False) -> np.ndarray:
        """Species numbers, (T, N) int8; `species_names` is their order."""
        return self._particles("species", frames, include_sites)

    def electrons(self, frames: FrameSelection = slice(None), *, include_sites: bool = False) -> np.ndarray:
        """Added electrons of each bead, (T, N) int16."""
        return self._particles("electrons", frames, include_sites)

    def charges(self, frames: FrameSelection = slice(None), *, include_sites: bool = False) -> np.ndarray:
        """Charges, (T, N) float64, e: of the species, less the added electrons where these charge their beads."""
        charge = self.charge[self.species(frames, include_sites=include_sites)]
        if not self.metadata["bare"]:
            return charge
        return charge - self.electrons(frames, include_sites=include_sites)

    @property
    def series_names(self) -> tuple[str, ...]:
        """Names of the dense series."""
        return tuple(self._columns["series"])

    def series(self, name: str) -> np.ndarray:
        """One dense series, (T', ...), in `unit("series", name)`."""
        if name not in self.series_names:
            raise TrajectoryError(f"{self.path} has no series {name!r}: it has {', '.join(self.series_names)}")
        return self._read(f"dropsim/series/{name}", slice(0, self._rows[f"series/{name}"]))

    def events(self) -> dict[str, np.ndarray]:
        """The columns of the events, each (n_events, ...)."""
        return self._table("events")

    def ledger(self) -> dict[str, np.ndarray]:
        """The columns of the ledger, each (n_rows, ...)."""
        return self._table("ledger")

    def unit(self, kind: str, name: str) -> str:
        """Unit of a column; kind: "series", "events" or "ledger"."""
        try:
            return self._columns[kind][name]
        except KeyError as error:
            raise TrajectoryError(f"{self.path} has no {kind} column {name!r}") from error

    def to_mdanalysis(self, frames: FrameSelection = slice(None), *, include_sites: bool = True) -> MDAnalysis.Universe:
        """An MDAnalysis universe in memory: named, charged, unwrapped; see `export.to_mdanalysis`."""
        from dropsim import export

        return export.to_mdanalysis(self, frames, include_sites=include_sites)

    def frame_numbers(self, frames: FrameSelection = slice(None)) -> np.ndarray:
        """The frame numbers of a selection, (T,) int; raises TrajectoryError beyond the last frame."""
        if isinstance(frames, slice):
            return np.arange(self.n_frames)[frames]
        numbers = np.asarray(frames)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise TrajectoryError(f"frames is a slice or a list of frame numbers, not {frames!r}")
        if numbers.size and not (-self.n_frames <= numbers.min() and numbers.max() < self.n_frames):
            raise TrajectoryError(f"{self.path} has frames 0..{self.n_frames - 1}; {frames!r} goes beyond")
        return numbers.astype(np.int64) % max(self.n_frames, 1)

    def _particles(self, name: str, frames: FrameSelection, include_sites: bool) -> np.ndarray:
        numbers = self.frame_numbers(frames)
        # h5py takes increasing, unique numbers only.
        unique, inverse = np.unique(numbers, return_inverse=True)
        last = self.n_mobile + (len(self.sites.species) if include_sites else 0)
        if len(unique) and unique[-1] - unique[0] + 1 == len(unique):
            rows: Any = slice(int(unique[0]), int(unique[-1]) + 1)
        else:
            rows = unique
        data = self._read(f"{_GROUP}/{name}/value", (rows, slice(0, last)))
        return data if np.array_equal(numbers, unique) else data[inverse]

    def _table(self, kind: str) -> dict[str, np.ndarray]:
        rows = slice(0, self._rows[kind])
        return {name: self._read(f"dropsim/{kind}/{name}", rows) for name in self._columns[kind]}

    def _read(self, name: str, selection: Any) -> np.ndarray:
        return self._source.read(name, selection)


class _Source:
    """The file of a trajectory, opened again when a live writer has moved on under it.

    A reader that has kept a part of the index from before a write, and meets another from after it, finds
    places that it does not know; with a fresh look the file is whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: _Handle = None
        self._closed = False

    def view(self) -> Trajectory:
        return self._patiently(lambda: _view(self._path, self._file, self), "the file")

    def read(self, name: str, selection: Any) -> np.ndarray:
        if self._closed:
            raise TrajectoryError(f"{self._path}: the trajectory was closed; open it again")
        return self._patiently(lambda: _whole(self._file[name][selection]), name)

    def close(self) -> None:
        self._closed = True
        if self._file:
            self._file.close()

    def _patiently(self, look: Callable[[], Any], what: str) -> Any:
        for pause in (*_PAUSES_S, None):
            try:
                if not self._file:
                    self._file = _open(self._path, "r")
                return look()
            except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
                if self._file:
                    self._file.close()
                if pause is None or not self._path.exists():
                    if isinstance(error, TrajectoryError):
                        raise
                    raise TrajectoryError(
                        f"{self._path} is damaged: {what} cannot be read ({_short(error)}); restore it from a copy, "
                        "or run again"
                    ) from error
                time.sleep(pause)
        raise AssertionError("unreachable")


def open_trajectory(path: str | os.PathLike[str]) -> Trajectory:
    """Open a trajectory for reading, also while it is being written or after its writer was killed.

    path: an .h5md file of dropsim. Returns the view of its committed rows. Raises TrajectoryError that says
    what is wrong with the file: missing, no HDF5, cut short, not of dropsim, of a newer layout, damaged.
    """
    return _Source(Path(path)).view()


def _view(path: Path, file: _Handle, source: _Source) -> Trajectory:
    _, rows = _committed(file, path)
    n_frames = rows["frames"]
    own = file["dropsim"]
    stages = own["stages"]
    metadata = {name: _plain(value) for name, value in own.attrs.items() if name != "layout_version"}
    metadata["versions"] = {name: str(value) for name, value in own["versions"].attrs.items()}
    species = file[f"{_GROUP}/species/value"]
    site_species = own["sites/species"][()]
    periodic = own["box/periodic"][()]
    return Trajectory(
        path=path,
        n_frames=n_frames,
        n_mobile=species.shape[1] - len(site_species),
        step=_whole(file[f"{_GROUP}/position/step"][:n_frames]),
        time_ps=_whole(file[f"{_GROUP}/position/time"][:n_frames]),
        stage=_whole(file["observables/stage/value"][:n_frames]).astype(np.int64),
        stages=tuple(
            Stage(str(name), str(integrator), float(timestep), float(every), bool(accelerated))
            for name, integrator, timestep, every, accelerated in zip(
                stages["name"].asstr()[()],
                stages["integrator"].asstr()[()],
                stages["timestep_fs"][()],
                stages["record_every_ps"][()],
                stages["accelerated_clock"][()],
                strict=True,
            )
        ),
        species_names=tuple(str(name) for name in own["species/name"].asstr()[()]),
        charge=own["species/charge"][()],
        mass=own["species/mass"][()],
        sigma=own["species/sigma"][()],
        lengths=own["box/lengths"][()],
        periodic=(bool(periodic[0]), bool(periodic[1]), bool(periodic[2])),
        sites=Sites(own["sites/position"][()], site_species.astype(np.int64)),
        config=json.loads(own["config"].asstr()[()]),
        metadata=metadata,
        _rows=rows,
        _columns={
            kind: {str(name): str(own[kind][name].attrs["unit"]) for name in own[kind].attrs["columns"]}
            for kind in ("series", "events", "ledger")
        },
        _source=source,
    )


def _lay_out(file: _Handle, header: TrajectoryHeader) -> None:
    n_all = header.n_mobile + len(header.site_species)
    h5md = file.create_group("h5md")
    h5md.attrs["version"] = np.array([1, 1], dtype=np.int32)
    h5md.create_group("author").attrs["name"] = header.author
    creator = h5md.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "dropsim", __version__
    h5md.create_group("modules/units").attrs["version"] = np.array([1, 0], dtype=np.int32)

    group = file.create_group(_GROUP)
    species_type = h5py.enum_dtype({name: i for i, name in enumerate(header.species_names)}, basetype="i1")
    step = _growing(file, f"{_GROUP}/position/step", np.int64)
    moment = _growing(file, f"{_GROUP}/position/time", np.float64, unit="ps")
    _growing(file, f"{_GROUP}/position/value", np.float32, (n_all, 3), unit="nm", per_frame=True)
    _growing(file, f"{_GROUP}/image/value", np.int32, (n_all, 3), per_frame=True)
    _growing(file, f"{_GROUP}/species/value", species_type, (n_all,), per_frame=True)
    _growing(file, f"{_GROUP}/electrons/value", np.int16, (n_all,), unit="1", per_frame=True)
    box = group.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = ["periodic" if periodic else "none" for periodic in header.periodic]
    # Constant, but written per frame: MDAnalysis reads time-dependent edges only.
    _growing(file, f"{_GROUP}/box/edges/value", np.float64, (3,), unit="nm")
    # MDAnalysis takes the spacing of the frames from here, and 1 ps where it is absent.
    _growing(file, "observables/dt/value", np.float64, unit="ps")
    _growing(file, "observables/stage/value", np.int16)
    elements = (group["image"], group["species"], group["electrons"], group["box/edges"])
    for element in (*elements, file["observables/dt"], file["observables/stage"]):
        element["step"], element["time"] = step, moment  # hard links, as H5MD allows

    own = file.create_group("dropsim")
    own.attrs["layout_version"] = LAYOUT_VERSION
    for name in ("config_hash", "seed", "replica", "device", "precision", "commit", "created", "coulomb"):
        own.attrs[name] = getattr(header, name)
    own.attrs["bare"] = np.bool_(header.bare)
    if header.coulomb_error is not None:
        own.attrs["coulomb_error"] = header.coulomb_error
    own.create_group("versions").attrs.update(header.versions)
    text = h5py.string_dtype()
    own.create_dataset("config", data=header.config_json, dtype=text)  # attributes end at 64 kB
    own["box/lengths"] = np.asarray(header.lengths, dtype=np.float64)
    own["box/lengths"].attrs["unit"] = "nm"
    own["box/periodic"] = np.asarray(header.periodic, dtype=np.int8)
    own.create_dataset("species/name", data=list(header.species_names), dtype=text)
    for name, unit in (("charge", "e"), ("mass", "amu"), ("sigma", "nm")):
        own[f"species/{name}"] = np.asarray(getattr(header, name), dtype=np.float64)
        own[f"species/{name}"].attrs["unit"] = unit
    own["sites/position"] = np.asarray(header.site_position, dtype=np.float64).reshape(-1, 3)
    own["sites/position"].attrs["unit"] = "nm"
    own["sites/species"] = np.asarray(header.site_species, dtype=np.int8)
    for name in ("name", "integrator"):
        own.create_dataset(f"stages/{name}", data=[getattr(stage, name) for stage in header.stages], dtype=text)
    for name in ("timestep_fs", "record_every_ps"):
        own[f"stages/{name}"] = np.array([getattr(stage, name) for stage in header.stages], dtype=np.float64)
        own[f"stages/{name}"].attrs["unit"] = name.rsplit("_", 1)[1]
    own["stages/accelerated_clock"] = np.array([stage.accelerated_clock for stage in header.stages], dtype=np.int8)
    for kind in ("series", "events", "ledger"):
        columns: tuple[Column, ...] = getattr(header, kind)
        own.create_group(kind).attrs.create("columns", [column.name for column in columns], (len(columns),), text)
        for column in columns:
            _growing(file, f"dropsim/{kind}/{column.name}", np.dtype(column.dtype), column.shape, unit=column.unit)
    tables = ["frames", "events", "ledger", *(f"series/{column.name}" for column in header.series)]
    own["committed"] = np.zeros(len(tables), dtype=np.int64)
    own["committed"].attrs.create("tables", tables, (len(tables),), text)


def _growing(
    file: _Handle,
    name: str,
    dtype: Any,
    row: tuple[int, ...] = (),
    *,
    unit: str | None = None,
    per_frame: bool = False,
) -> _Handle:
    """An empty dataset that grows along its first axis; a frame is one chunk, written once."""
    if per_frame:
        filters: dict[str, Any] = {
            "compression": "gzip",
            "compression_opts": 1,
            "shuffle": True,
            "fletcher32": True,
        }
        chunks = (1, *row)
    else:
        filters, chunks = {}, (_ROWS_1D, *row)
    dataset = file.create_dataset(
        name, (0, *row), dtype, chunks=chunks, maxshape=(None, *row), fillvalue=_blank(np.dtype(dtype)), **filters
    )
    if unit is not None:
        dataset.attrs["unit"] = unit
    return dataset


def _blank(dtype: np.dtype) -> Any:
    """What stands where nothing was written: a value of this dtype that is never written.

    A reader whose copy of the index is older than the data gets it instead of an error. For floats it is one
    of the many bit patterns that are not a number, and not the one that arithmetic makes.
    """
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        pattern = {4: 0x7FC0D509, 8: 0x7FF80000D5090000}[dtype.itemsize]
        return np.array(pattern, dtype=f"u{dtype.itemsize}").view(f"f{dtype.itemsize}")[()]
    if dtype.kind in "iu":
        return dtype.type(np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max)
    raise ValueError(f"dtype {dtype} cannot be kept in a trajectory: integers, float32 and float64 only")


def _is_blank(values: np.ndarray) -> np.ndarray:
    blank = _blank(values.dtype)
    if values.dtype.kind == "f":
        bits = f"u{values.dtype.itemsize}"
        return np.ascontiguousarray(values).view(bits) == np.asarray(blank).view(bits)
    return values == blank


def _whole(values: np.ndarray) -> np.ndarray:
    if np.any(_is_blank(values)):
        raise OSError("rows that were committed are not in the index")
    return values


def _convert(name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    """To the dtype of the file, where the values fit in it."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu" and values.size:
        low, high = int(np.iinfo(dtype).min) + (dtype.kind == "i"), int(np.iinfo(dtype).max) - (dtype.kind == "u")
        if not (low <= values.min() and values.max() <= high):
            raise ValueError(f"{name}: values {values.min()} to {values.max()} are beyond {low} to {high} of {dtype}")
    converted = values.astype(dtype, casting="same_kind")
    if np.any(_is_blank(converted)):
        raise ValueError(f"{name}: holds the bit pattern that marks rows which were never written")
    return converted


def _datasets_of_tables(file: _Handle) -> dict[str, list[str]]:
    own = file["dropsim"]
    tables: dict[str, list[str]] = {"frames": list(_FRAME_DATASETS)}
    for kind in ("events", "ledger"):
        tables[kind] = [f"dropsim/{kind}/{name}" for name in own[kind].attrs["columns"]]
    for name in own["series"].attrs["columns"]:
        tables[f"series/{name}"] = [f"dropsim/series/{name}"]
    return tables


def _committed(file: _Handle, path: Path) -> tuple[list[str], dict[str, int]]:
    """Names and committed rows of the tables, checked against the datasets."""
    counters = file["dropsim/committed"]
    tables = [str(table) for table in counters.attrs["tables"]]
    rows = dict(zip(tables, (int(n) for n in counters[()]), strict=True))
    for table, names in _datasets_of_tables(file).items():
        for name in names:
            if not 0 <= rows[table] <= len(file[name]):
                raise TrajectoryError(
                    f"{path} is damaged: {name} holds {len(file[name])} of {rows[table]} committed rows; "
                    "restore it from a copy, or run again"
                )
    return tables, rows


def _open(path: Path, mode: str) -> _Handle:
    """Open an existing file without a lock, or say why it is not a trajectory of dropsim."""
    if not path.is_file():
        raise TrajectoryError(f"{path} does not exist; a finished or running run has written its trajectory there")
    size = path.stat().st_size
    try:
        file = h5py.File(path, mode, locking=False)
    except OSError as error:
        if "truncated file" in str(error):
            reason = f"is cut short at {size} bytes; copy it again, or run again"
        elif not os.access(path, os.R_OK if mode == "r" else os.R_OK | os.W_OK):
            reason = "may not be opened by this user; change its permissions"
        elif "signature not found" in str(error):
            reason = f"is no HDF5 file ({size} bytes); give the .h5md file of a run"
        else:
            reason = f"cannot be opened: {_short(error)}; restore it from a copy, or run again"
        raise TrajectoryError(f"{path} {reason}") from error
    version = file["dropsim"].attrs.get("layout_version") if "dropsim" in file else None
    if version != LAYOUT_VERSION:
        file.close()
        if version is None:
            raise TrajectoryError(
                f"{path} was not written by dropsim (no layout version); give the .h5md file of a run"
            )
        raise TrajectoryError(
            f"{path} has layout {version}, this dropsim ({__version__}) reads {LAYOUT_VERSION}; "
            "use the version that wrote it"
        )
    return file


def _sync(file: _Handle) -> None:
    """Hand everything to the operating system, and have it on the disk."""
    file.flush()
    handle = file.id.get_vfd_handle()
    os.fsync(handle)


def _allocate(handle: int, start: int, length: int) -> None:
    """Extend the file over these bytes, with disk blocks behind them where the system can promise that."""
    try:
        os.posix_fallocate(handle, start, length)
    except AttributeError:  # macOS, Windows
        os.ftruncate(handle, start + length)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # these: the file system cannot
            raise
        os.ftruncate(handle, start + length)


def _write_end(handle: int, end: int) -> None:
    """Note the end of the file in its superblock (version 0: eight bytes at offset 40)."""
    os.pwrite(handle, struct.pack("<Q", end), _END_OFFSET)


def _give_back(file: _Handle) -> None:
    """Cut off what was reserved and not used; the noted end first, so that it is never beyond the file."""
    handle, end = file.id.get_vfd_handle(), file.id.get_filesize()
    _write_end(handle, end)
    os.ftruncate(handle, end)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
