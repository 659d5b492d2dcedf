"""Structures from files: what was written comes back in nm and in the program's order, and faults are named."""

import builtins
import re
import warnings

import numpy as np
import pytest

from dropsim.errors import BuildError, TrajectoryError
from dropsim.structure_files import Structure, arrange, read_structure, write_lammps_data
from dropsim.system import LI, LI2S, MO, N_RING, S6, SPECIES, TFSI
from dropsim.trajectory import Frames, Stage, TrajectoryHeader, TrajectoryWriter

CHARGE = np.array([1.0, -2.0, -1.0, -2.0, -2.0, 0.0, 7.37, -1.8425])
MASS = np.array([6.94, 192.4, 280.1, 275.7, 234.0, 1.0, 95.95, 14.0])
BOX = np.array([8.0, 9.0, 7.0])
ORDERED = np.repeat([S6, LI, TFSI], [4, 10, 2]).astype(np.int32)
# Mixed, with two fixed sites at the end.
MIXED = np.concatenate([np.random.default_rng(2).permutation(ORDERED), [MO, N_RING]]).astype(np.int32)
POSITION = np.random.default_rng(3).uniform(0.2, 6.8, (len(MIXED), 3))
VELOCITY = np.random.default_rng(4).normal(0, 0.1, (len(MIXED), 3))


@pytest.fixture
def data_file(tmp_path):
    path = tmp_path / "droplet.data"
    write_lammps_data(path, POSITION, MIXED, BOX, CHARGE, MASS, velocity=VELOCITY)
    return path


def edited(path, pattern, text, count=1):
    """The file with one line changed; the pattern is there."""
    before = path.read_text()
    after = re.sub(pattern, text, before, count=count, flags=re.MULTILINE)
    assert after != before
    path.write_text(after)
    return path


@pytest.mark.parametrize("style", ["charge", "full"])
@pytest.mark.parametrize("velocity", [None, VELOCITY], ids=["at rest", "moving"])
def test_lammps_round_trip(tmp_path, style, velocity):
    path = tmp_path / "droplet.data"
    write_lammps_data(path, POSITION, MIXED, BOX, CHARGE, MASS, velocity=velocity, atom_style=style)
    structure = read_structure(path)
    np.testing.assert_allclose(structure.position, POSITION, rtol=1e-10)
    np.testing.assert_array_equal(structure.species, MIXED)
    np.testing.assert_allclose(structure.box, BOX, rtol=1e-10)
    if velocity is None:
        assert structure.velocity is None
    else:
        np.testing.assert_allclose(structure.velocity, velocity, rtol=1e-10)
    assert [entry.name for entry in tmp_path.iterdir()] == ["droplet.data"]


def test_mdanalysis_reads_what_is_written(tmp_path):
    mda = pytest.importorskip("MDAnalysis")
    path = tmp_path / "droplet.data"
    write_lammps_data(path, POSITION, MIXED, BOX, CHARGE, MASS, velocity=VELOCITY, atom_style="full")
    universe = mda.Universe(str(path), to_guess=())
    np.testing.assert_allclose(universe.atoms.positions, 10 * POSITION, rtol=1e-6)
    # It takes angstrom/fs from the file and gives angstrom/ps.
    np.testing.assert_allclose(universe.trajectory.ts.velocities, 10 * VELOCITY, rtol=1e-5)
    np.testing.assert_allclose(universe.dimensions, [80, 90, 70, 90, 90, 90])
    np.testing.assert_allclose(universe.atoms.charges, CHARGE[MIXED])
    np.testing.assert_allclose(universe.atoms.masses, MASS[MIXED])
    assert [int(kind) for kind in universe.atoms.types] == [kind + 1 for kind in MIXED]


@pytest.mark.parametrize("style", ["charge", "full"])
def test_ase_reads_what_is_written(tmp_path, style):
    io = pytest.importorskip("ase.io.lammpsdata")
    path = tmp_path / "droplet.data"
    write_lammps_data(path, POSITION, MIXED, BOX, CHARGE, MASS, atom_style=style)
    elements = dict.fromkeys(range(1, 1 + len(SPECIES)), 3)
    atoms = io.read_lammps_data(path, units="real", atom_style=style, Z_of_type=elements)
    np.testing.assert_allclose(atoms.positions, 10 * POSITION, rtol=1e-8)
    np.testing.assert_allclose(atoms.get_initial_charges(), CHARGE[MIXED])
    np.testing.assert_allclose(atoms.cell.lengths(), 10 * BOX)


FOREIGN = """\
LAMMPS data file written by hand

3 atoms
2 atom types
-10.0 30.0 xlo xhi
0.0 50.0 ylo yhi
5.0 65.0 zlo zhi
0.0 0.0 0.0 xy xz yz

Masses

1 192.0{first}
2 6.9{second}

Pair Coeffs # lj/cut

1 0.3 6.0
2 0.1 4.0

Atoms{style}

{atoms}
Bonds

1 1 1 2
"""
ROWS = {
    "atomic": "3 2 -5 10 20\n1 1 1 2 6\n2 2 29 0 65\n",
    "charge": "3 2 1.0 -5 10 20 1 0 0\n1 1 -2.0 1 2 6 0 0 -1\n2 2 1.0 29 0 65 0 0 0\n",
    "molecular": "3 7 2 -5 10 20\n1 7 1 1 2 6\n2 7 2 29 0 65\n",
    "full": "3 7 2 1.0 -5 10 20 0 0 0\n1 7 1 -2.0 1 2 6 0 0 0\n2 7 2 1.0 29 0 65 0 0 0\n",
}


def foreign(tmp_path, style, *, named=True, comment=True):
    path = tmp_path / "data.other"
    first, second = ("  # S6", "  # li") if named else ("", "")
    title = f"  # {style}" if comment else ""
    path.write_text(FOREIGN.format(first=first, second=second, style=title, atoms=ROWS[style]))
    return path


@pytest.mark.parametrize("style", list(ROWS))
@pytest.mark.parametrize("named", [True, False], ids=["named in Masses", "named by the user"])
def test_lammps_files_of_others(tmp_path, style, named):
    """Any order of atoms, a box that does not begin at zero, image flags, sections that do not matter."""
    path = foreign(tmp_path, style, named=named)
    structure = read_structure(path, species_of=None if named else {1: "S6", 2: "Li"})
    np.testing.assert_allclose(structure.position, [[1.1, 0.2, 0.1], [3.9, 0.0, 6.0], [0.5, 1.0, 1.5]])
    np.testing.assert_array_equal(structure.species, [S6, LI, LI])
    np.testing.assert_allclose(structure.box, [4.0, 5.0, 6.0])


def test_style_from_the_number_of_columns(tmp_path):
    for style in ("atomic", "full"):
        read = read_structure(foreign(tmp_path, style, comment=False))
        np.testing.assert_allclose(read.position[0], [1.1, 0.2, 0.1])
    with pytest.raises(TrajectoryError, match=r"data\.other, line 20: lines of 9 columns.*Atoms  # charge"):
        read_structure(foreign(tmp_path, "charge", comment=False))


def test_type_labels_and_a_species_left_out(tmp_path):
    path = foreign(tmp_path, "atomic", named=False)
    edited(path, r"^Masses", "Atom Type Labels\n\n1 S6\n2 SOL\n\nMasses")
    structure = read_structure(path, species_of={"sol": None})
    np.testing.assert_array_equal(structure.species, [S6])
    edited(path, r"^1 1 1 2 6$", "1 S6 1 2 6")
    np.testing.assert_allclose(read_structure(path, species_of={"SOL": None}).position, [[1.1, 0.2, 0.1]])


def test_metal_units(tmp_path):
    path = edited(foreign(tmp_path, "atomic"), "by hand", "by hand, units = metal")
    edited(path, r"^Bonds", "Velocities\n\n1 1 0 0\n2 0 2 0\n3 0 0 3\n\nBonds")
    np.testing.assert_allclose(read_structure(path).velocity, 0.1 * np.diag([1, 2, 3]))
    edited(path, "units = metal", "units = real")
    np.testing.assert_allclose(read_structure(path).velocity, 100.0 * np.diag([1, 2, 3]))
    with pytest.raises(TrajectoryError, match="line 1: units lj; write the file in real or metal"):
        read_structure(edited(path, "units = real", "units = lj"))


@pytest.mark.parametrize(
    ("pattern", "text", "message"),
    [
        (r"^3 2 1\.0 -5 10", "3 2 1.0 -5 ten", r"line 22: 'ten', where a number is needed"),
        (r"^3 2 1\.0 -5 10", "3 2 1.0 -5 nan", r"line 22: 'nan', where a number is needed"),
        (r"^3 2 1\.0", "3.5 2 1.0", r"line 22: '3\.5', where a whole number is needed"),
        (r"^3 2 1\.0", "1 2 1.0", r"line 23: atom 1 is there a second time"),
        (r"^3 2 1\.0 -5", "3 2 1.0", r"line 22: 8 columns, where 6 or 9 are needed"),
        (r"^3 2 1\.0", "3 4 1.0", r"line 22: no species is known for type 4: .*start\.names"),
        (r"# charge", "# sphere", r"line 20: atom style 'sphere'; styles that are read: atomic, charge"),
        (r"^3 atoms", "4 atoms", r"3 lines of Atoms, the header says 4"),
        (r"^5\.0 65\.0", "65.0 5.0", r"line 7: zhi = 5 is not above zlo = 65"),
        (r"^0\.0 0\.0 0\.0 xy", "0.0 1.0 0.0 xy", r"line 8: the box is not rectangular"),
        (r"^.*ylo yhi\n", "", r"no line '\.\.\. ylo yhi' in the header"),
        (r"^Atoms", "Ellipsoids", r"no section Atoms"),
        (r"^Bonds", "Velocities\n\n1 0 0 0\n\nBonds", r"line 26: 1 velocities for 3 atoms"),
        (r"^Bonds", "Velocities\n\n9 0 0 0\n\nBonds", r"line 28: atom 9 is not in Atoms"),
        (r"^Bonds", "Velocities\n\n1 0 0\n\nBonds", r"line 28: 3 columns"),
    ],
)
def test_faults_of_a_data_file_are_named(tmp_path, pattern, text, message):
    path = edited(foreign(tmp_path, "charge"), pattern, text)
    with pytest.raises(TrajectoryError, match=message) as caught:
        read_structure(path)
    assert str(path) in str(caught.value)


def test_what_cannot_be_read(tmp_path, data_file):
    with pytest.raises(TrajectoryError, match=r"nowhere\.data does not exist"):
        read_structure(tmp_path / "nowhere.data")
    with pytest.raises(TrajectoryError, match="holds one frame, not number 3"):
        read_structure(data_file, 3)
    with pytest.raises(TrajectoryError, match=r"species_of: 1 = 'S8'; choose one of Li, S6"):
        read_structure(data_file, species_of={1: "S8"})
    (tmp_path / "bad.data").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrajectoryError, match="cannot be read as text"):
        read_structure(tmp_path / "bad.data")
    (tmp_path / "empty.data").write_text("")
    with pytest.raises(TrajectoryError, match="xlo xhi"):
        read_structure(tmp_path / "empty.data")


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(TrajectoryError, match="atom_style 'sphere'"):
        write_lammps_data(tmp_path / "a.data", POSITION, MIXED, BOX, CHARGE, MASS, atom_style="sphere")
    with pytest.raises(TrajectoryError, match="masses above 0"):
        write_lammps_data(tmp_path / "a.data", POSITION, MIXED, BOX, CHARGE, 0 * MASS)
    with pytest.raises(TrajectoryError, match="could not be written"):
        write_lammps_data(tmp_path / "no" / "a.data", POSITION, MIXED, BOX, CHARGE, MASS)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def trajectory_file(tmp_path):
    """Three frames; in the last one a unit has become Li2S."""
    n_mobile = len(ORDERED)
    species = np.tile(ORDERED, (3, 1))
    species[2, 1] = LI2S
    header = TrajectoryHeader(
        species_names=SPECIES,
        charge=CHARGE,
        mass=MASS,
        sigma=np.full(len(SPECIES), 0.5),
        n_mobile=n_mobile,
        site_position=POSITION[-2:],
        site_species=MIXED[-2:],
        lengths=BOX,
        stages=(Stage("a", "baoab", 20.0, 2.0, True),),
        config_json="{}",
        config_hash="",
        seed=1,
        replica=0,
        versions={},
        device="cpu",
        precision="float32",
        commit="",
        created="",
    )
    path = tmp_path / "run.h5md"
    with TrajectoryWriter.create(path, header) as writer:
        writer.write(
            Frames(
                step=np.array([0, 100, 200]),
                time_ps=np.array([0.0, 2.0, 4.0]),
                stage=np.zeros(3, int),
                position=np.stack([POSITION[:n_mobile] * factor for factor in (0.5, 0.75, 1.0)]),
                image=np.zeros((3, n_mobile, 3), int),
                species=species,
                electrons=np.zeros((3, n_mobile), int),
            )
        )
    return path


def test_frame_of_a_trajectory(trajectory_file):
    structure = read_structure(trajectory_file, 1)
    np.testing.assert_allclose(structure.position, POSITION[: len(ORDERED)] * 0.75, rtol=1e-6)
    np.testing.assert_array_equal(structure.species, ORDERED)
    np.testing.assert_array_equal(structure.box, BOX)
    assert structure.source == f"{trajectory_file}, frame 1"
    assert arrange(structure, ORDERED, BOX).position.dtype == np.float64
    last = read_structure(trajectory_file)
    assert last.source.endswith("frame 2")
    with pytest.raises(BuildError, match=r"frame 2: 1 units are Li2S already.*give an earlier frame"):
        arrange(last, ORDERED, BOX)
    with pytest.raises(TrajectoryError, match=r"frames 0\.\.2"):
        read_structure(trajectory_file, 3)


@pytest.mark.parametrize("ending", ["gro", "pdb"])
def test_files_that_mdanalysis_reads(tmp_path, ending):
    """Written by MDAnalysis with the user's own names; .gro keeps 0.001 nm and .pdb 0.0001 nm."""
    mda = pytest.importorskip("MDAnalysis")
    own = {"Li": "LI", "S6": "PS", "TFSI": "NTF", "Mo": "Mo", "N": "n"}
    universe = mda.Universe.empty(len(MIXED), trajectory=True, velocities=True)
    universe.add_TopologyAttr("names", [own[SPECIES[kind]] for kind in MIXED])
    universe.add_TopologyAttr("resnames", ["X"])
    universe.atoms.positions = 10 * POSITION
    universe.atoms.velocities = 10 * VELOCITY
    universe.dimensions = [*(10 * BOX), 90, 90, 90]
    path = tmp_path / f"frame.{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the writer, on fields that have no value
        universe.atoms.write(str(path))

    structure = read_structure(path, species_of={"ps": "S6", "NTF": "TFSI"})
    np.testing.assert_allclose(structure.position, POSITION, atol=6e-4 if ending == "gro" else 6e-5)
    np.testing.assert_array_equal(structure.species, MIXED)
    np.testing.assert_allclose(structure.box, BOX, rtol=1e-6)
    if ending == "gro":
        np.testing.assert_allclose(structure.velocity, VELOCITY, atol=6e-5)
    with pytest.raises(TrajectoryError, match=r"no species is known for 'NTF', 'PS': say in start\.names"):
        read_structure(path)
    with pytest.raises(TrajectoryError, match=r"frames 0\.\.0, not 1"):
        read_structure(path, 1, species_of={"PS": "S6", "NTF": "TFSI"})


def test_without_mdanalysis(tmp_path, monkeypatch):
    (tmp_path / "a.gro").write_text("empty\n0\n")
    original = builtins.__import__

    def absent(name, *rest, **named):
        if name.startswith("MDAnalysis"):
            raise ImportError(name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(TrajectoryError, match=r"pip install 'dropsim\[export\]'"):
        read_structure(tmp_path / "a.gro")


def test_a_file_that_mdanalysis_does_not_know(tmp_path):
    pytest.importorskip("MDAnalysis")
    (tmp_path / "a.nonsense").write_text("x")
    with pytest.raises(TrajectoryError, match=r"a\.nonsense could not be read by MDAnalysis"):
        read_structure(tmp_path / "a.nonsense")


def structure_of(position, species, box=BOX, velocity=None):
    return Structure(np.asarray(position, float), np.asarray(species), box, velocity, "frame.data")


def test_arranged_in_the_order_of_the_program():
    result = arrange(structure_of(POSITION, MIXED, velocity=VELOCITY), ORDERED, BOX)
    np.testing.assert_array_equal(result.species, ORDERED)
    for kind in (S6, LI, TFSI):
        ours, theirs = np.flatnonzero(kind == ORDERED), np.flatnonzero(kind == MIXED)
        np.testing.assert_array_equal(result.position[ours], POSITION[theirs])
        np.testing.assert_array_equal(result.velocity[ours], VELOCITY[theirs])


def test_counts_that_differ():
    with pytest.raises(
        BuildError,
        match=r"frame\.data: holds 4 S6, 10 Li, 2 TFSI, the run has 4 S6, 9 Li, 2 TFSI.*electrolyte\.li2s6_count = 4",
    ):
        arrange(structure_of(POSITION, MIXED), np.repeat([S6, LI, TFSI], [4, 9, 2]), BOX)


PAIR = np.array([S6, LI, LI])


def test_wrapped_along_the_wall_but_not_across_it():
    result = arrange(structure_of([[8.5, -0.5, 1.0], [8.0, 9.0, 2.0], [-1e-18, 0.0, 7.0]], PAIR), PAIR, BOX)
    np.testing.assert_allclose(result.position, [[0.5, 8.5, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 7.0]], atol=1e-15)
    high = structure_of([[1, 1, 1], [1, 1, 7.5], [1, 1, -0.5]], PAIR)
    with pytest.raises(BuildError, match=r"bead 2 \(Li\) is at \(1 x 1 x 7\.5\) nm, and 2 of 3 beads are outside"):
        arrange(high, PAIR, BOX)
    np.testing.assert_allclose(arrange(high, PAIR, BOX, periodic_z=True).position[:, 2], [1, 0.5, 6.5])
    np.testing.assert_allclose(
        arrange(high, PAIR, np.array([8.0, 9.0, 9.0]), shift_nm=(0, 0, 1)).position[:, 2], [2, 8.5, 0.5]
    )


def test_another_box():
    """A droplet across the border of a small box, made whole and put in the middle of a large one."""
    across = structure_of([[7.8, 4.0, 1.0], [0.4, 4.4, 2.0], [7.6, 3.6, 3.0]], PAIR)
    large = np.array([20.0, 30.0, 10.0])
    with pytest.raises(BuildError, match=r"periodic box is 8 x 9 x 7 nm, that of the run 20 x 30 x 10 nm: change box"):
        arrange(across, PAIR, large)
    result = arrange(across, PAIR, large, middle=True)
    np.testing.assert_allclose(result.position, [[9.8, 15.0, 1.0], [10.4, 15.4, 2.0], [9.6, 14.6, 3.0]])
    with pytest.raises(BuildError, match=r"extend 0\.8 nm along x, the box of the run 0\.7 nm: raise box\.lateral_nm"):
        arrange(across, PAIR, np.array([0.7, 9.0, 7.0]), middle=True)
    # Without a box in the file nothing says where its borders are: beads must be inside.
    with pytest.raises(BuildError, match=r"bead 1 .*outside"):
        arrange(structure_of([[8.5, 1, 1], [1, 1, 1], [1, 2, 1]], PAIR, box=None), PAIR, BOX)


def test_a_bead_without_a_position():
    broken = structure_of([[1, 1, 1], [1, np.nan, 1], [2, 2, 2]], PAIR)
    with pytest.raises(BuildError, match="bead 2 has no finite position"):
        arrange(broken, PAIR, BOX)
