"""Exports: what gsd, extended XYZ and MDAnalysis hold is what the trajectory holds, in their units."""

import builtins
import pickle
import re

import numpy as np
import pytest

from dropsim.errors import TrajectoryError
from dropsim.export import export
from dropsim.trajectory import Column, Frames, Stage, TrajectoryHeader, TrajectoryWriter, open_trajectory

LENGTHS = np.array([8.0, 9.0, 7.0])
SPECIES = ("Li", "S6", "TFSI", "Li2S", "Mo", "N")
CHARGE = np.array([1.0, -2.0, -1.0, -2.0, 7.37, -1.8425])
MASS = np.array([7.0, 192.0, 280.0, 150.0, 96.0, 14.0])
SIGMA = np.array([0.4, 0.6, 0.65, 0.5, 0.4, 0.2])
SITES = np.array([[1.0, 2.0, 0.15], [1.3, 2.0, 0.15]])
SITE_SPECIES = np.array([4, 5])
N_MOBILE, N_FRAMES = 12, 6


@pytest.fixture
def path(tmp_path):
    """Four frames every 2 ps, then two every 0.5 ps, in which two S6 have become Li2S."""
    draw = np.random.default_rng(5)
    species = np.tile(np.array([0] * 6 + [1] * 4 + [2] * 2), (N_FRAMES, 1))
    species[4:, 6:8] = 3
    frames = Frames(
        step=np.array([0, 100, 200, 300, 350, 400]),
        time_ps=np.array([0.0, 2.0, 4.0, 6.0, 6.5, 7.0]),
        stage=np.array([0, 0, 0, 0, 1, 1]),
        position=draw.uniform(0, 0.999, (N_FRAMES, N_MOBILE, 3)) * LENGTHS,
        image=draw.integers(-2, 3, (N_FRAMES, N_MOBILE, 3)) * np.array([1, 1, 0]),
        species=species,
        electrons=np.where(species == 1, draw.integers(0, 5, species.shape), 0),
    )
    header = TrajectoryHeader(
        species_names=SPECIES,
        charge=CHARGE,
        mass=MASS,
        sigma=SIGMA,
        n_mobile=N_MOBILE,
        site_position=SITES,
        site_species=SITE_SPECIES,
        lengths=LENGTHS,
        stages=(Stage("a", "baoab", 20.0, 2.0, True), Stage("b", "leimkuhler-matthews", 10.0, 0.5, False)),
        config_json="{}",
        config_hash="",
        seed=1,
        replica=0,
        versions={},
        device="cpu",
        precision="float32",
        commit="",
        created="",
        ledger=(Column("time_ps", "ps"),),
    )
    path = tmp_path / "run.h5md"
    with TrajectoryWriter.create(path, header) as writer:
        writer.write(frames)
    return path


def test_bare_electrons_charge_their_beads(tmp_path):
    """A unit of each phase with its electrons, in the reader and in extended XYZ."""
    names = ("Li", "S6", "TFSI", "Li2S", "Li2S2", "Vacant", "Mo", "N")
    charge = np.array([1.0, -2.0, -1.0, -2.0, -2.0, 0.0, 7.37, -1.8425])
    species, electrons = np.array([[1, 4, 3, 0, 5]]), np.array([[3, 4, 10, 0, 0]])
    header = TrajectoryHeader(
        species_names=names, charge=charge, mass=np.ones(8), sigma=np.full(8, 0.5), n_mobile=5,
        site_position=SITES[:1], site_species=np.array([6]), lengths=LENGTHS,
        stages=(Stage("a", "baoab", 20.0, 2.0, True),), config_json="{}", config_hash="", seed=1, replica=0,
        versions={}, device="cpu", precision="float32", commit="", created="", bare=True,
    )  # fmt: skip
    path, output = tmp_path / "bare.h5md", tmp_path / "bare.xyz"
    with TrajectoryWriter.create(path, header) as writer:
        writer.write(
            Frames(
                step=np.array([0]), time_ps=np.array([0.0]), stage=np.array([0]),
                position=np.full((1, 5, 3), 0.5), image=np.zeros((1, 5, 3), int), species=species, electrons=electrons,
            )
        )  # fmt: skip
    with open_trajectory(path) as trajectory:
        np.testing.assert_allclose(trajectory.charges(include_sites=True), [[-5.0, -6.0, -12.0, 1.0, 0.0, 7.37]])
        np.testing.assert_allclose(trajectory.charges([0]), [[-5.0, -6.0, -12.0, 1.0, 0.0]])
    export(path, output, "extxyz")
    rows = [line.split() for line in output.read_text().splitlines()[2:]]
    assert [(row[0], row[4], float(row[6]), int(row[7])) for row in rows] == [
        ("S", "S6", -5.0, 3), ("S", "Li2S2", -6.0, 4), ("S", "Li2S", -12.0, 10), ("Li", "Li", 1.0, 0),
        ("X", "Vacant", 0.0, 0), ("Mo", "Mo", 7.37, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("unwrap", [False, True])
def test_gsd_holds_the_trajectory(path, tmp_path, unwrap):
    hoomd = pytest.importorskip("gsd.hoomd")
    output = tmp_path / "run.gsd"
    assert export(path, output, "gsd", unwrap=unwrap) == N_FRAMES
    with open_trajectory(path) as trajectory, hoomd.open(str(output), "r") as file:
        position = (trajectory.unwrapped if unwrap else trajectory.position)(include_sites=True)
        species, electrons = trajectory.species(include_sites=True), trajectory.electrons(include_sites=True)
        assert len(file) == N_FRAMES
        for number in range(N_FRAMES):
            frame = file[number]
            assert frame.configuration.step == trajectory.step[number]
            assert frame.log["time_ps"] == trajectory.time_ps[number]
            np.testing.assert_array_equal(frame.configuration.box, [*LENGTHS, 0, 0, 0])
            assert tuple(frame.particles.types) == SPECIES
            np.testing.assert_array_equal(frame.particles.typeid, species[number])
            # float32 of coordinates below 32 nm
            np.testing.assert_allclose(
                frame.particles.position + LENGTHS / 2, position[number], rtol=0, atol=32 * 2.0**-24
            )
            expected_image = 0 * position[number] if unwrap else trajectory.image([number], include_sites=True)[0]
            np.testing.assert_array_equal(frame.particles.image, expected_image)
            np.testing.assert_array_equal(frame.particles.charge, CHARGE.astype(np.float32)[species[number]])
            np.testing.assert_array_equal(frame.particles.mass, MASS.astype(np.float32)[species[number]])
            np.testing.assert_array_equal(frame.particles.diameter, SIGMA.astype(np.float32)[species[number]])
            np.testing.assert_array_equal(frame.log["particles/electrons"], electrons[number])
        if not unwrap:
            assert np.all(np.abs(file[0].particles.position) <= LENGTHS / 2)  # HOOMD refuses beads outside


@pytest.mark.parametrize("unwrap", [False, True])
def test_extxyz_holds_the_trajectory(path, tmp_path, unwrap):
    output = tmp_path / "run.xyz"
    assert export(path, output, "extxyz", unwrap=unwrap) == N_FRAMES
    lines = output.read_text(encoding="ascii").splitlines()
    n = N_MOBILE + len(SITES)
    assert len(lines) == N_FRAMES * (n + 2)
    with open_trajectory(path) as trajectory:
        position = (trajectory.unwrapped if unwrap else trajectory.position)(include_sites=True)
        species, electrons = trajectory.species(include_sites=True), trajectory.electrons(include_sites=True)
        for number in range(N_FRAMES):
            block = lines[number * (n + 2) : (number + 1) * (n + 2)]
            assert block[0] == str(n)
            lattice = re.search(r'Lattice="([^"]*)"', block[1])
            assert lattice is not None
            np.testing.assert_array_equal(
                np.array(lattice[1].split(), dtype=float).reshape(3, 3), np.diag(LENGTHS * 10)
            )
            assert 'pbc="T T F"' in block[1]
            assert "Properties=species:S:1:pos:R:3:bead:S:1:bead_id:I:1:initial_charges:R:1:electrons:I:1" in block[1]
            assert f"time={trajectory.time_ps[number]:.1f} step={trajectory.step[number]}" in block[1]
            rows = [line.split() for line in block[2:]]
            np.testing.assert_allclose(
                np.array([row[1:4] for row in rows], dtype=float),
                10 * position[number].astype(float),
                rtol=0,
                atol=0.51e-6,  # six decimals
            )
            assert [row[4] for row in rows] == [SPECIES[i] for i in species[number]]
            assert [int(row[5]) for row in rows] == list(species[number])
            assert [float(row[6]) for row in rows] == list(CHARGE[species[number]])
            assert [int(row[7]) for row in rows] == list(electrons[number])
            assert {row[0] for row in rows} <= {"Li", "S", "F", "Mo", "N"}  # symbols that ASE knows


def test_ase_reads_extxyz(path, tmp_path):
    ase_io = pytest.importorskip("ase.io")
    output = tmp_path / "run.xyz"
    export(path, output, "extxyz")
    images = ase_io.read(str(output), index=":")
    with open_trajectory(path) as trajectory:
        assert len(images) == N_FRAMES
        for number, atoms in enumerate(images):
            np.testing.assert_allclose(
                atoms.positions,
                10 * trajectory.position([number], include_sites=True)[0],
                rtol=0,
                atol=0.51e-5,
            )
            assert list(atoms.pbc) == [True, True, False]
            assert atoms.info["time"] == trajectory.time_ps[number]
            species = trajectory.species([number], include_sites=True)[0]
            np.testing.assert_array_equal(atoms.get_initial_charges(), CHARGE[species])
            assert list(atoms.arrays["bead"][N_MOBILE:]) == ["Mo", "N"]
            np.testing.assert_array_equal(
                atoms.arrays["electrons"], trajectory.electrons([number], include_sites=True)[0]
            )


def test_a_selection_of_frames_is_exported_in_its_order(path, tmp_path):
    output = tmp_path / "part.xyz"
    assert export(path, output, "extxyz", frames=[4, 1]) == 2
    steps = re.findall(r"step=(\d+)", output.read_text(encoding="ascii"))
    assert steps == ["350", "100"]
    assert export(path, output, "extxyz", frames=slice(0, 6, 3)) == 2  # replaces the file
    assert re.findall(r"step=(\d+)", output.read_text(encoding="ascii")) == ["0", "300"]


def test_mdanalysis_universe_has_names_and_follows_beads(path):
    pytest.importorskip("MDAnalysis")
    with open_trajectory(path) as trajectory:
        universe = trajectory.to_mdanalysis()
        unwrapped, species = trajectory.unwrapped(include_sites=True), trajectory.species(include_sites=True)
        electrons = trajectory.electrons(include_sites=True)
        late = trajectory.to_mdanalysis(trajectory.frames_of_stage("b"), include_sites=False)
    assert list(universe.atoms.names) == [SPECIES[i] for i in species[0]]
    np.testing.assert_array_equal(universe.atoms.charges, CHARGE[species[0]])
    np.testing.assert_array_equal(universe.atoms.masses, MASS[species[0]])
    assert universe.select_atoms("name S6").n_atoms == 4
    assert [ts.time for ts in universe.trajectory] == [0.0, 2.0, 4.0, 6.0, 6.5, 7.0]
    assert [ts.dt for ts in universe.trajectory] == [2.0] * 4 + [0.5] * 2
    for number, timestep in enumerate(universe.trajectory):
        # angstrom in float32, below 512
        np.testing.assert_allclose(timestep.positions, 10 * unwrapped[number], rtol=0, atol=512 * 2.0**-24)
        np.testing.assert_array_equal(timestep.dimensions, [80, 90, 70, 90, 90, 90])
        np.testing.assert_array_equal(timestep.data["species"], species[number])
        np.testing.assert_array_equal(timestep.data["electrons"], electrons[number])
    for twin in (late.copy(), pickle.loads(pickle.dumps(late))):
        assert [ts.time for ts in twin.trajectory] == [6.5, 7.0]
        np.testing.assert_array_equal(twin.trajectory[1].positions, late.trajectory[1].positions)
    assert late.atoms.n_atoms == N_MOBILE
    assert late.select_atoms("name Li2S").n_atoms == 2
    assert [ts.time for ts in late.trajectory] == [6.5, 7.0]
    assert late.trajectory.dt == 0.5


def test_what_cannot_be_exported_is_said(path, tmp_path, monkeypatch):
    with pytest.raises(TrajectoryError, match="'pdb' is not known: choose one of gsd, extxyz"):
        export(path, tmp_path / "x.pdb", "pdb")
    with pytest.raises(TrajectoryError, match=r"run2\.h5md does not exist"):
        export(tmp_path / "run2.h5md", tmp_path / "x.xyz", "extxyz")
    with pytest.raises(TrajectoryError, match="could not be written: No such file or directory"):
        export(path, tmp_path / "nowhere" / "x.xyz", "extxyz")
    with pytest.raises(TrajectoryError, match=r"frames 0\.\.5"):
        export(path, tmp_path / "x.xyz", "extxyz", frames=[6])
    with open_trajectory(path) as trajectory, pytest.raises(TrajectoryError, match="no frame is selected"):
        trajectory.to_mdanalysis(slice(0, 0))

    load = builtins.__import__

    def without_extras(name, *arguments, **options):
        if name.split(".")[0] in ("gsd", "MDAnalysis"):
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_extras)
    with pytest.raises(TrajectoryError, match=r"gsd is not installed: pip install 'dropsim\[export\]'"):
        export(path, tmp_path / "x.gsd", "gsd")
    with (
        open_trajectory(path) as trajectory,
        pytest.raises(TrajectoryError, match="MDAnalysis is not installed"),
    ):
        trajectory.to_mdanalysis()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run.h5md"]  # nothing half written
