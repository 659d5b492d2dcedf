"""The trajectory file: round trip, foreign readers, kills at random moments, full disks, damaged files."""

import errno
import os
import random
import shutil
import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest

from dropsim.errors import TrajectoryError
from dropsim.trajectory import (
    Column,
    Frames,
    Stage,
    TrajectoryHeader,
    TrajectoryWriter,
    open_trajectory,
)

N_MOBILE = 40
LENGTHS = np.array([11.0, 12.0, 10.0])
SITES = np.array([[1.0, 1.0, 0.15], [1.3, 1.0, 0.15], [5.0, 6.0, 0.15]])
RECORD_PS = (2.0, 0.5)


def make_header(n_mobile: int = N_MOBILE, **changes) -> TrajectoryHeader:
    values = {
        "species_names": ("Li", "S6", "TFSI", "Li2S", "Mo", "N"),
        "charge": np.array([1.0, -2.0, -1.0, -2.0, 7.37, -1.8425]),
        "mass": np.array([7.0, 192.0, 280.0, 150.0, 96.0, 14.0]),
        "sigma": np.array([0.4, 0.6, 0.65, 0.5, 0.4, 0.2]),
        "n_mobile": n_mobile,
        "site_position": SITES,
        "site_species": np.array([4, 5, 4]),
        "lengths": LENGTHS,
        "stages": (
            Stage("gather", "baoab", 20.0, RECORD_PS[0], True),
            Stage("react", "leimkuhler-matthews", 10.0, RECORD_PS[1], False),
        ),
        "config_json": '{"run": {"name": "trial", "seed": 7}}',
        "config_hash": "0f" * 16,
        "seed": 2**32 - 1,
        "replica": 3,
        "versions": {"dropsim": "0.1.0", "jax": "0.10.1", "numpy": "2.4.0", "python": "3.11.2"},
        "device": "cpu",
        "precision": "float32",
        "commit": "a" * 40,
        "created": "2026-01-01T00:00:00+00:00",
        "series": (Column("potential_energy", "kJ/mol"), Column("profile", "1/nm^3", "float32", (4,))),
        "events": (Column("time_ps", "ps"), Column("kind", "1", "int16")),
        "ledger": (Column("time_ps", "ps"), Column("electrons", "e", "int64")),
    }
    return TrajectoryHeader(**{**values, **changes})


def make_frames(first: int, n_frames: int, stage: int = 0, n_mobile: int = N_MOBILE) -> Frames:
    """Frames whose every value follows from their number, so that any part of a file can be checked."""
    numbers = np.arange(first, first + n_frames)
    draws = [np.random.default_rng(number) for number in numbers]

    def stack(values):
        return np.stack(values) if values else np.zeros((0,))

    shape = (n_mobile, 3)
    return Frames(
        step=100 * numbers,
        time_ps=2.0 * numbers,
        stage=np.full(n_frames, stage),
        position=stack([draw.uniform(0, 1, shape) * LENGTHS * 0.999 for draw in draws]),
        image=stack([draw.integers(-3, 4, shape) * np.array([1, 1, 0]) for draw in draws]),
        species=stack([draw.integers(0, 4, n_mobile) for draw in draws]),
        electrons=stack([draw.integers(0, 12, n_mobile) for draw in draws]),
    )


def assert_frames_equal(trajectory, first: int, n_frames: int) -> None:
    expected, part = make_frames(first, n_frames), slice(first, first + n_frames)
    np.testing.assert_array_equal(trajectory.position(part), expected.position.astype(np.float32))
    np.testing.assert_array_equal(trajectory.image(part), expected.image)
    np.testing.assert_array_equal(trajectory.species(part), expected.species)
    np.testing.assert_array_equal(trajectory.electrons(part), expected.electrons)
    np.testing.assert_array_equal(trajectory.step[part], expected.step)
    np.testing.assert_array_equal(trajectory.time_ps[part], expected.time_ps)


@pytest.fixture
def written(tmp_path):
    """Nine frames in two stages, in three writes, with series, events and ledger."""
    path = tmp_path / "trajectory.h5md"
    with TrajectoryWriter.create(path, make_header()) as writer:
        writer.write(
            make_frames(0, 4),
            series={"potential_energy": np.arange(50.0), "profile": np.ones((2, 4))},
            events={"time_ps": np.array([1.5]), "kind": np.array([2])},
            ledger={"time_ps": np.array([0.0, 8.0]), "electrons": np.array([0, 5])},
        )
        writer.write(make_frames(4, 2, stage=1), series={"potential_energy": np.arange(50.0, 75.0)})
        writer.write(make_frames(6, 3, stage=1), events={"time_ps": np.array([9.0]), "kind": np.array([-1])})
    return path


def test_what_was_written_is_read_back(written):
    with open_trajectory(written) as trajectory:
        assert trajectory.n_frames == 9
        assert trajectory.n_mobile == N_MOBILE
        assert_frames_equal(trajectory, 0, 9)
        np.testing.assert_array_equal(trajectory.series("potential_energy"), np.arange(75.0))
        assert trajectory.series("profile").shape == (2, 4)
        assert trajectory.series("profile").dtype == np.float32
        assert trajectory.unit("series", "potential_energy") == "kJ/mol"
        assert trajectory.unit("ledger", "electrons") == "e"
        events, ledger = trajectory.events(), trajectory.ledger()
        np.testing.assert_array_equal(events["time_ps"], [1.5, 9.0])
        np.testing.assert_array_equal(events["kind"], [2, -1])
        np.testing.assert_array_equal(ledger["electrons"], [0, 5])
        np.testing.assert_array_equal(trajectory.lengths, LENGTHS)
        np.testing.assert_array_equal(trajectory.sites.position, SITES)
        np.testing.assert_array_equal(trajectory.sites.species, [4, 5, 4])
        assert trajectory.config == {"run": {"name": "trial", "seed": 7}}
        header = make_header()
        for name in ("seed", "replica", "device", "precision", "commit", "created", "config_hash"):
            assert trajectory.metadata[name] == getattr(header, name)
        assert trajectory.metadata["versions"] == header.versions
        assert trajectory.stages == header.stages
        assert trajectory.species_names == header.species_names
        assert trajectory.periodic == (True, True, False)


def test_stages_and_selections(written):
    with open_trajectory(written) as trajectory:
        assert trajectory.frames_of_stage("gather") == slice(0, 4)
        assert trajectory.frames_of_stage("react") == slice(4, 9)
        every = trajectory.position()
        for selection in (slice(2, 7, 3), slice(None, None, -2), [5, 0, 5], [-1], np.array([3, 4]), []):
            expected = every[np.asarray(selection, dtype=int)] if isinstance(selection, list) else every[selection]
            np.testing.assert_array_equal(trajectory.position(selection), expected)
        with_sites = trajectory.position([2], include_sites=True)[0]
        np.testing.assert_array_equal(with_sites[N_MOBILE:], SITES.astype(np.float32))
        np.testing.assert_array_equal(trajectory.species([2], include_sites=True)[0, N_MOBILE:], [4, 5, 4])
        with pytest.raises(TrajectoryError, match=r"frames 0\.\.8"):
            trajectory.position([9])
        with pytest.raises(TrajectoryError, match=r"no stage 'cool'.*gather, react"):
            trajectory.frames_of_stage("cool")
        with pytest.raises(TrajectoryError, match="no series 'pressure'"):
            trajectory.series("pressure")


def test_unwrapped_follows_a_bead_across_the_border(tmp_path):
    path = tmp_path / "line.h5md"
    track = np.linspace(0.5, 40.0, 30)  # along x, through several boxes of 11 nm
    image, wrapped = np.divmod(track, LENGTHS[0])
    position = np.full((30, 1, 3), 1.0)
    position[:, 0, 0] = wrapped
    crossings = np.zeros((30, 1, 3), dtype=int)
    crossings[:, 0, 0] = image
    ones = np.zeros((30, 1), dtype=int)
    frames = Frames(np.arange(30), np.arange(30.0), np.zeros(30, int), position, crossings, ones, ones)
    with TrajectoryWriter.create(path, make_header(n_mobile=1)) as writer:
        writer.write(frames)
    with open_trajectory(path) as trajectory:
        unwrapped = trajectory.unwrapped()[:, 0, 0]
    # float32 keeps 2^-24 of 11 nm.
    np.testing.assert_allclose(unwrapped, track, rtol=0, atol=11 * 2.0**-24)


def test_layout_is_h5md_with_units(written):
    with h5py.File(written, "r") as file:
        assert list(file["h5md"].attrs["version"]) == [1, 1]
        assert file["h5md/creator"].attrs["name"] == "dropsim"
        assert "version" in file["h5md/creator"].attrs
        assert "name" in file["h5md/author"].attrs
        assert list(file["h5md/modules/units"].attrs["version"]) == [1, 0]
        group = file["particles/trajectory"]
        assert group["box"].attrs["dimension"] == 3
        assert list(group["box"].attrs["boundary"]) == ["periodic", "periodic", "none"]
        assert group["box/edges/value"].shape == (9, 3)
        assert group["position/value"].attrs["unit"] == "nm"
        assert group["position/time"].attrs["unit"] == "ps"
        assert group["position/value"].dtype == np.float32
        assert group["position/value"].chunks == (1, N_MOBILE + 3, 3)
        assert h5py.check_enum_dtype(group["species/value"].dtype) == {
            name: i for i, name in enumerate(make_header().species_names)
        }
        for element in (group["image"], group["species"], group["electrons"], group["box/edges"]):
            assert element["step"] == group["position/step"]  # one dataset under several names
            assert element["time"] == group["position/time"]
        np.testing.assert_array_equal(file["observables/dt/value"][:4], RECORD_PS[0])
        np.testing.assert_array_equal(file["observables/dt/value"][4:], RECORD_PS[1])
        assert file["observables/dt/value"].attrs["unit"] == "ps"
        for name in file["observables"]:  # other programs index these by frame
            assert len(file[f"observables/{name}/value"]) == 9


# H5MD gives MDAnalysis no names, so it says that it cannot guess types and masses from them.
@pytest.mark.filterwarnings("ignore:there is no reference attributes")
def test_mdanalysis_opens_the_file_by_its_name_alone(written):
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe(str(written))
    expected = make_frames(0, 9)
    assert universe.trajectory.n_frames == 9
    assert universe.atoms.n_atoms == N_MOBILE + 3
    for number, timestep in enumerate(universe.trajectory):
        assert timestep.time == expected.time_ps[number]
        assert timestep.dt == RECORD_PS[0 if number < 4 else 1]
        assert timestep.data["step"] == expected.step[number]
        np.testing.assert_array_equal(timestep.dimensions, [110, 120, 100, 90, 90, 90])
        np.testing.assert_allclose(
            timestep.positions[:N_MOBILE], 10 * expected.position[number], rtol=0, atol=120 * 2.0**-23
        )
    universe.trajectory.close()


def test_append_cuts_back_to_the_rows_of_the_checkpoint(tmp_path):
    path = tmp_path / "trajectory.h5md"
    energy = {"potential_energy": np.arange(10.0)}
    with TrajectoryWriter.create(path, make_header()) as writer:
        writer.write(make_frames(0, 3), series=energy)
        rows = writer.rows()
        writer.write(make_frames(3, 50, stage=1), series=energy, ledger={"time_ps": [1.0], "electrons": [1]})
    with TrajectoryWriter.append(path, rows) as writer:
        assert writer.rows() == rows
        writer.write(make_frames(3, 2), series={"potential_energy": np.arange(10.0, 13.0)})
    with open_trajectory(path) as trajectory, h5py.File(path, "r", locking=False) as file:
        assert trajectory.n_frames == 5
        assert_frames_equal(trajectory, 0, 5)
        np.testing.assert_array_equal(trajectory.series("potential_energy"), np.arange(13.0))
        assert len(trajectory.ledger()["electrons"]) == 0
        assert len(file["particles/trajectory/position/value"]) == 5


def test_append_refuses_a_checkpoint_that_knows_more(written):
    with pytest.raises(TrajectoryError, match="asks for 12 rows of frames, the file holds 9"):
        TrajectoryWriter.append(written, {**_rows(written), "frames": 12})
    with pytest.raises(TrajectoryError, match="checkpoint of this run"):
        TrajectoryWriter.append(written, {"frames": 2})
    with open_trajectory(written) as trajectory:  # untouched
        assert_frames_equal(trajectory, 0, 9)


def test_resumed_file_holds_the_same_arrays_as_an_uninterrupted_one(written, tmp_path):
    parts = tmp_path / "parts.h5md"
    with TrajectoryWriter.create(parts, make_header()) as writer:
        writer.write(make_frames(0, 4))
        rows = writer.rows()
        writer.write(make_frames(4, 5))
    with TrajectoryWriter.append(parts, rows) as writer:
        writer.write(make_frames(4, 2, stage=1))
        writer.write(make_frames(6, 3, stage=1))
    with h5py.File(parts, "r") as left, h5py.File(written, "r") as right:
        for name in ("particles", "observables"):
            names = []
            right[name].visit(names.append)
            for item in names:
                if isinstance(right[name][item], h5py.Dataset):
                    np.testing.assert_array_equal(left[name][item][()], right[name][item][()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": np.full((2, N_MOBILE, 3), np.nan)}, "non-finite position at steps"),
        ({"position": np.full((2, N_MOBILE, 3), 11.5)}, "wrap it first"),
        ({"position": np.zeros((2, N_MOBILE + 3, 3))}, "position has shape"),
        ({"step": np.array([5, 5])}, "do not increase"),
        ({"stage": np.array([0, 2])}, r"outside 0\.\.1"),
        ({"species": np.full((2, N_MOBILE), 6)}, r"outside 0\.\.5"),
        ({"electrons": np.zeros((2, 1), int)}, "electrons has shape"),
        ({"electrons": np.full((2, N_MOBILE), 2**15)}, "beyond -32767 to 32767"),
        ({"image": np.full((2, N_MOBILE, 3), 2**31)}, "beyond"),
    ],
)
def test_frames_that_make_no_sense_are_refused_and_nothing_is_written(tmp_path, change, message):
    path = tmp_path / "trajectory.h5md"
    good = make_frames(1, 2)
    bad = Frames(**{**vars(good), **change})
    with TrajectoryWriter.create(path, make_header()) as writer:
        with pytest.raises(ValueError, match=message):
            writer.write(bad)
        writer.write(make_frames(0, 2))
    with open_trajectory(path) as trajectory:
        assert trajectory.n_frames == 2


def test_unknown_or_uneven_columns_are_refused(tmp_path):
    with TrajectoryWriter.create(tmp_path / "trajectory.h5md", make_header()) as writer:
        with pytest.raises(ValueError, match=r"potential.*not in the header"):
            writer.write(series={"potential": np.ones(3)})
        with pytest.raises(ValueError, match="columns"):
            writer.write(ledger={"time_ps": np.ones(1)})
        with pytest.raises(ValueError, match="different length"):
            writer.write(ledger={"time_ps": np.ones(1), "electrons": np.ones(2, int)})
        with pytest.raises(ValueError, match="a row of profile"):
            writer.write(series={"profile": np.ones((2, 3))})
        with pytest.raises(TypeError, match="same_kind"):  # a fraction is no count
            writer.write(ledger={"time_ps": np.ones(1), "electrons": np.array([0.5])})
        assert set(writer.rows().values()) == {0}


def test_frames_beyond_the_16th_box_and_a_full_charge_survive_their_dtypes(tmp_path):
    path = tmp_path / "trajectory.h5md"
    frames = make_frames(0, 1)
    far = Frames(
        **{
            **vars(frames),
            "image": np.full((1, N_MOBILE, 3), -(2**20)),
            "electrons": np.full((1, N_MOBILE), 300),
        }
    )
    with TrajectoryWriter.create(path, make_header()) as writer:
        writer.write(far)
    with open_trajectory(path) as trajectory:
        assert np.all(trajectory.image() == -(2**20))
        assert np.all(trajectory.electrons() == 300)


def test_a_live_file_is_read_from_the_same_and_from_another_process(tmp_path):
    path = tmp_path / "trajectory.h5md"
    code = "import sys; from dropsim.trajectory import open_trajectory as o; print(o(sys.argv[1]).n_frames)"
    with TrajectoryWriter.create(path, make_header()) as writer:
        for count in (1, 2):
            writer.write(make_frames(3 * (count - 1), 3))
            with open_trajectory(path) as trajectory:
                assert_frames_equal(trajectory, 0, 3 * count)
            out = subprocess.run(
                [sys.executable, "-c", code, str(path)],
                capture_output=True,
                text=True,
                check=True,
                env=_environment(),
            )
            assert out.stdout.split() == [str(3 * count)]
        mda = pytest.importorskip("MDAnalysis")  # opens with the library's own locking
        code = "import sys, MDAnalysis as m; print(m.Universe(sys.argv[1]).trajectory.n_frames)"
        out = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, str(path)],
            capture_output=True,
            text=True,
            check=True,
            env=_environment(),
        )
        assert mda.__version__
        assert out.stdout.split() == ["6"]


WRITER = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from test_trajectory import *
    writer = TrajectoryWriter.create(sys.argv[1], make_header())
    print("go", flush=True)
    k = 0
    while True:
        writer.write(make_frames(3 * k, 3), series={"potential_energy": np.arange(7.0 * k, 7.0 * k + 7)})
        k += 1
"""


def test_a_reader_keeps_up_with_a_busy_writer(tmp_path):
    # The writer does nothing but write, so that a reader often finds it in the middle.
    path = tmp_path / "busy.h5md"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), os.path.dirname(__file__)],
        stdout=subprocess.PIPE,
        env=_environment(),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"go\n"
    seen, end = [], time.monotonic() + 4
    while time.monotonic() < end:
        with open_trajectory(path) as trajectory:
            n = trajectory.n_frames
            if n:
                assert_frames_equal(trajectory, max(0, n - 9), min(n, 9))
                np.testing.assert_array_equal(trajectory.position([0])[0], make_frames(0, 1).position[0].astype("f4"))
            np.testing.assert_array_equal(trajectory.series("potential_energy"), np.arange(7.0 * n / 3))
            seen.append(n)
    child.kill()
    child.wait()
    child.stdout.close()
    assert seen == sorted(seen)
    assert len(set(seen)) > 5


def test_every_file_of_a_killed_writer_opens_at_a_whole_write(tmp_path):
    moments = random.Random(20230906)
    n_frames = []
    for trial in range(10):
        path = tmp_path / f"{trial}.h5md"
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path), os.path.dirname(__file__)],
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        time.sleep(moments.uniform(0, 0.4))
        child.kill()
        child.wait()
        child.stdout.close()
        with open_trajectory(path) as trajectory:
            n = trajectory.n_frames
            assert n % 3 == 0
            if n:
                assert_frames_equal(trajectory, 0, n)
            np.testing.assert_array_equal(trajectory.series("potential_energy"), np.arange(7.0 * n / 3))
        n_frames.append(n)
        with TrajectoryWriter.append(path, _rows(path)) as writer:
            writer.write(make_frames(n, 3))
        with open_trajectory(path) as trajectory:
            assert_frames_equal(trajectory, 0, n + 3)
    assert len(set(n_frames)) > 3  # the kills did come at different moments


LIMITED = """
    import resource, signal, sys
    sys.path.insert(0, sys.argv[2])
    from test_trajectory import *
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    writer = TrajectoryWriter.create(sys.argv[1], make_header())
    k = 0
    try:
        while True:
            writer.write(make_frames(3 * k, 3))
            k += 1
    except TrajectoryError as error:
        print(k, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits of a process are POSIX")
def test_a_disk_that_takes_no_more_leaves_the_committed_frames(tmp_path):
    path = tmp_path / "trajectory.h5md"
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(path), os.path.dirname(__file__)],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    written, message = out.stdout.split(maxsplit=1)
    n = 3 * int(written)
    assert n > 0
    assert str(path) in message
    assert f"{n} frames up to {2.0 * (n - 1):g} ps are safe" in message
    assert "File too large" in message
    assert "free space or raise the quota, then resume" in message
    assert out.stderr == ""
    with open_trajectory(path) as trajectory:
        assert trajectory.n_frames == n
        assert_frames_equal(trajectory, 0, n)
    with TrajectoryWriter.append(path, _rows(path)) as writer:  # after space was made
        writer.write(make_frames(n, 3))
    with open_trajectory(path) as trajectory:
        assert_frames_equal(trajectory, 0, n + 3)


def test_no_space_left_is_told_with_what_is_safe(tmp_path, monkeypatch):
    path = tmp_path / "trajectory.h5md"
    writer = TrajectoryWriter.create(path, make_header())
    writer.write(make_frames(0, 3))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(TrajectoryError, match=r"No space left on device.*3 frames up to 4 ps are safe"):
        writer.write(make_frames(3, 3))
    with pytest.raises(TrajectoryError, match="3 frames up to 4 ps are safe"):  # it does not go on in silence
        writer.write(make_frames(3, 3))
    writer.close()
    with open_trajectory(path) as trajectory:
        assert trajectory.n_frames == 3
        assert_frames_equal(trajectory, 0, 3)


def test_a_write_that_fails_half_way_is_not_seen(tmp_path, monkeypatch):
    path = tmp_path / "trajectory.h5md"
    writer = TrajectoryWriter.create(path, make_header())
    writer.write(make_frames(0, 3))
    flush, calls = h5py.Dataset.flush, []

    def failing(dataset):
        calls.append(dataset.name)
        if len(calls) == 4:
            raise OSError("file write failed: errno = 28, error message = '...'")
        flush(dataset)

    monkeypatch.setattr(h5py.Dataset, "flush", failing)
    with pytest.raises(TrajectoryError, match=r"No space left on device.*3 frames up to 4 ps are safe"):
        writer.write(make_frames(3, 3))
    monkeypatch.undo()
    assert len(calls) == 4
    with TrajectoryWriter.append(path, _rows(path)) as writer:
        writer.write(make_frames(3, 3))
    with open_trajectory(path) as trajectory:
        assert_frames_equal(trajectory, 0, 6)


def test_a_closed_file_has_no_reserve_left(written):
    with h5py.File(written, "r") as file:
        assert os.path.getsize(written) <= file.id.get_filesize()


def test_a_closed_trajectory_says_so(written):
    trajectory = open_trajectory(written)
    trajectory.close()
    trajectory.close()
    with pytest.raises(TrajectoryError, match="was closed; open it again"):
        trajectory.position()


def test_missing_foreign_and_damaged_files_say_so(written, tmp_path):
    with pytest.raises(TrajectoryError, match="does not exist"):
        open_trajectory(tmp_path / "none.h5md")
    text = tmp_path / "text.h5md"
    text.write_text("not a trajectory")
    with pytest.raises(TrajectoryError, match=r"text\.h5md is no HDF5 file \(16 bytes\)"):
        open_trajectory(text)
    other = tmp_path / "other.h5md"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(TrajectoryError, match="was not written by dropsim"):
        open_trajectory(other)
    newer = tmp_path / "newer.h5md"
    shutil.copy(written, newer)
    with h5py.File(newer, "r+") as file:
        file["dropsim"].attrs["layout_version"] = 99
    with pytest.raises(TrajectoryError, match="has layout 99"):
        open_trajectory(newer)
    with pytest.raises(TrajectoryError, match="resume that run, or choose another folder"):
        TrajectoryWriter.create(written, make_header())
    with pytest.raises(TrajectoryError, match=r"ends in \.h5md"):
        TrajectoryWriter.create(tmp_path / "run.h5", make_header())
    with pytest.raises(TrajectoryError, match="cannot be created"):
        TrajectoryWriter.create(tmp_path / "nowhere" / "run.h5md", make_header())


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.95, 0.999])
def test_a_file_cut_short_is_recognised(written, tmp_path, fraction):
    cut = tmp_path / "cut.h5md"
    data = written.read_bytes()
    cut.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(TrajectoryError, match=r"cut\.h5md is cut short at \d+ bytes"):
        open_trajectory(cut)


def test_flipped_bytes_in_a_frame_are_noticed(written, tmp_path):
    damaged = tmp_path / "damaged.h5md"
    with h5py.File(written, "r") as file:
        chunk = file["particles/trajectory/position/value"].id.get_chunk_info(5)
    data = bytearray(written.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    data[middle] ^= 0x40
    damaged.write_bytes(data)
    with open_trajectory(damaged) as trajectory:
        assert_frames_equal(trajectory, 0, 5)
        with pytest.raises(
            TrajectoryError, match=r"damaged\.h5md is damaged: particles/trajectory/position/value cannot be read"
        ):
            trajectory.position([5])


def test_a_counter_beyond_the_data_is_damage(written):
    with h5py.File(written, "r+") as file:
        file["dropsim/committed"][0] = 10
    with pytest.raises(TrajectoryError, match="holds 9 of 10 committed rows"):
        open_trajectory(written)


def test_rows_that_the_index_has_lost_are_not_read_as_zeros(written):
    # What a reader with an old index meets: a committed frame without a chunk.
    with h5py.File(written, "r+") as file:
        for name in ("position", "image", "species", "electrons"):
            dataset = file[f"particles/trajectory/{name}/value"]
            dataset.resize(8, axis=0)
            dataset.resize(9, axis=0)
        energy = file["dropsim/series/potential_energy"]
        energy.resize(0, axis=0)
        energy.resize(75, axis=0)
    with open_trajectory(written) as trajectory:
        assert_frames_equal(trajectory, 0, 8)
        for read in (trajectory.position, trajectory.image, trajectory.species, trajectory.electrons):
            with pytest.raises(TrajectoryError, match="not in the index"):
                read([8])
        with pytest.raises(TrajectoryError, match="not in the index"):
            trajectory.series("potential_energy")


def test_not_a_number_is_a_value_of_a_series(tmp_path):
    path = tmp_path / "trajectory.h5md"
    values = np.array([1.0, np.nan, -np.nan, np.inf])
    with TrajectoryWriter.create(path, make_header()) as writer:
        writer.write(series={"potential_energy": values})
        with pytest.raises(ValueError, match="beyond -32767"):
            writer.write(events={"time_ps": np.ones(1), "kind": np.array([40000])})
    with open_trajectory(path) as trajectory:
        assert trajectory.series("potential_energy").tobytes() == values.tobytes()


def test_header_checks_itself():
    with pytest.raises(ValueError, match="charge has shape"):
        make_header(charge=np.ones(2))
    with pytest.raises(ValueError, match="stages has a name twice"):
        make_header(stages=(Stage("a", "baoab", 1.0, 1.0, True), Stage("a", "baoab", 1.0, 1.0, True)))


def test_a_bulk_box_without_sites_is_periodic_along_z(tmp_path):
    path = tmp_path / "bulk.h5md"
    header = make_header(
        site_position=np.zeros((0, 3)),
        site_species=np.zeros(0, int),
        periodic=(True, True, True),
        events=(),
        series=(),
    )
    with TrajectoryWriter.create(path, header) as writer:
        writer.write(make_frames(0, 2))
    with open_trajectory(path) as trajectory:
        assert trajectory.position(include_sites=True).shape == (2, N_MOBILE, 3)
        assert trajectory.periodic == (True, True, True)
        assert trajectory.events() == {}
        assert trajectory.frames_of_stage("react") == slice(0, 0)


def _rows(path):
    """What a checkpoint made after the last write would have recorded."""
    with h5py.File(path, "r", locking=False) as file:
        counters = file["dropsim/committed"]
        return {str(name): int(n) for name, n in zip(counters.attrs["tables"], counters[()], strict=True)}


def _environment():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.path.join(root, "kernels")])}
