"""Geometries, starts, integrators and splittings of an experiment file, run from end to end."""

import dataclasses
import json

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import dropsim.build
from dropsim.analysis import analyse_run
from dropsim.build import build
from dropsim.check import derived_quantities, warnings
from dropsim.check_scales import COST_MODEL, cost, droplet_radius_in_box_nm
from dropsim.checkpoint import load_checkpoint
from dropsim.cli import app
from dropsim.composition import composition, has_droplet_tier
from dropsim.config_load import load_config, load_config_text
from dropsim.errors import BuildError, ConfigError, SimulationError, TrajectoryError
from dropsim.run import refuse_coarse_mesh, resume_replica, run_replica
from dropsim.run_folder import CHECKPOINT, TRAJECTORY, run_folder
from dropsim.splitting import ALL_PAIRS_BELOW, Splitting, choose_splitting
from dropsim.structure_files import write_lammps_data
from dropsim.system import LI, S6, SPECIES
from dropsim.trajectory import open_trajectory

BULK = """\
[run]
name = "bulk"
chunk_ps = 1.5
[box]
geometry = "bulk"
lateral_nm = [4.0, 4.0]
height_nm = 4.5
[electrolyte]
li2s6_count = 24
[centres]
arrangement = "none"
[[stages]]
name = "mix"
integrator = "gjf"
friction = "species"
timestep_fs = 10.0
duration_ps = 6.0
record_every_ps = 0.03
[kinetics]
enabled = false
"""


@pytest.fixture(scope="module")
def bulk_run(tmp_path_factory):
    """A short run in a box without walls, analysed: (folder, summary)."""
    folder = run_replica(load_config_text(BULK), 0, tmp_path_factory.mktemp("bulk"))
    return folder, analyse_run(folder)


def test_a_bulk_box_has_structure_and_motion_and_no_wall(bulk_run):
    folder, summary = bulk_run
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        z = trajectory.position()[..., 2]
        assert z.min() >= 0
        assert z.max() <= 4.5
        # Beads at the third face meet through it: some are in contact across it, and none overlap there.
        x = trajectory.position()[-1].astype(np.float64)
        apart = x[:, None] - x[None]
        through = np.abs(apart[..., 2]) > 4.5 / 2
        apart -= trajectory.lengths * np.round(apart / trajectory.lengths)
        nearest = np.sqrt((apart**2).sum(-1))[through].min()
        assert 0.3 < nearest < 0.65
    assert {"rdf_peak_Li-S6", "rdf_peak_S6-S6", "self_diffusivity_Li"} <= set(summary["estimates"])
    assert summary["estimates"]["rdf_peak_Li-S6"]["value"] > summary["estimates"]["rdf_peak_S6-S6"]["value"] > 1
    assert "surface_count" not in summary["estimates"]
    assert (folder / "figures" / "structure.png").exists()
    assert not (folder / "figures" / "charge_density.png").exists()
    # Each bead has its own friction and gjf its free diffusion: the stage keeps the physical clock.
    assert summary["facts"]["accelerated_clock"] is False


def test_configurational_temperature_of_a_stage_is_reported(bulk_run):
    _, summary = bulk_run
    found = summary["estimates"]["configurational_temperature_mix"]
    assert found["unit"] == "K"
    assert abs(found["value"] - 300.0) < 5 * found["standard_error"]
    assert found["standard_error"] < 30.0


def total_energy(folder) -> np.ndarray:
    """Potential and kinetic energy of every frame, kJ/mol."""
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        kinetic = 1.5 * trajectory.n_mobile * 8.31446e-3 * trajectory.series("kinetic_temperature")
        return trajectory.series("potential_energy") + kinetic


@pytest.mark.parametrize("integrator", ["baoab", "gjf"])
def test_without_friction_energy_is_kept(tmp_path, integrator):
    overrides = [
        "run.precision=float64", f"stages.0.integrator={integrator}", "stages.0.friction=uniform",
        "stages.0.friction_per_ps=0.0", "stages.0.duration_ps=1.5", "electrostatics.force_tolerance=1e-6",
        "stages.0.timestep_fs=2.0",
    ]  # fmt: skip
    energy = total_energy(run_replica(load_config_text(BULK, overrides=overrides), 0, tmp_path))
    # 216 degrees of freedom at 2.5 kJ/mol: a bath would move the energy by tens of kJ/mol within a picosecond.
    assert np.ptp(energy[1:]) < 0.3


@pytest.mark.parametrize(
    "overrides",
    [
        ["start.kind=droplet", "start.droplet_count=20"],
        ["start.kind=layered", "start.density_per_nm3=1.0", "box.geometry=slab", "electrolyte.li2s6_count=20"],
        ["start.kind=droplet", "box.geometry=slab", "electrolyte.li2s6_count=20"],
    ],
)
def test_starts_of_an_experiment_file(overrides):
    built = build(load_config_text(BULK, overrides=overrides))
    position = np.asarray(built.state.position, np.float64)
    sulfur = np.asarray(built.state.species) == S6
    assert np.isfinite(float(built.state.energy))
    # Compact: the sulfur stands closer to its own middle than a box full of it would.
    middle = position[sulfur].mean(axis=0)
    spread = np.sqrt(((position[sulfur] - middle) ** 2).sum(1).mean())
    assert spread < np.sqrt((4.0**2 + 4.0**2 + 4.5**2) / 12)


def test_a_start_from_a_file_beside_the_experiment(tmp_path, monkeypatch):
    """A state written as a LAMMPS data file is where the next run begins; resuming does not need the file."""
    built = build(load_config_text(BULK))
    field, box = built.system.force_field, np.asarray(built.system.box.lengths, np.float64)
    write_lammps_data(
        tmp_path / "start.data", np.asarray(built.state.position, np.float64), np.asarray(built.state.species), box,
        np.asarray(field.charge, np.float64), np.asarray(built.system.mass, np.float64),
    )  # fmt: skip
    file = tmp_path / "again.toml"
    file.write_text(BULK + '[start]\nkind = "file"\nfile = "start.data"\n', encoding="utf-8")
    config = load_config(file)
    assert config.start.file == str(tmp_path / "start.data")
    with monkeypatch.context() as patched:
        patched.setattr(dropsim.build, "relaxed", lambda state, system: (state, system))
        begun = build(config)
    apart = np.asarray(begun.state.position, np.float64) - np.asarray(built.state.position, np.float64)
    assert np.abs(apart - box * np.round(apart / box)).max() < 1e-5
    folder = run_replica(config, 0, tmp_path / "runs")
    (tmp_path / "start.data").unlink()
    assert "nothing to resume" in (resume_replica(folder) or "")


def test_a_start_from_another_composition_is_refused(tmp_path):
    built = build(load_config_text(BULK))
    field = built.system.force_field
    write_lammps_data(
        tmp_path / "start.data", np.asarray(built.state.position, np.float64), np.asarray(built.state.species),
        np.asarray(built.system.box.lengths, np.float64), np.asarray(field.charge, np.float64),
        np.asarray(built.system.mass, np.float64),
    )  # fmt: skip
    overrides = ["electrolyte.li2s6_count=23", "start.kind=file", f"start.file={tmp_path / 'start.data'}"]
    result = CliRunner().invoke(app, ["run", str(written(tmp_path, overrides)), "--out", str(tmp_path / "runs")])
    assert result.exit_code != 0
    assert "start.data" in result.stderr
    assert "24" in result.stderr


def written(folder, overrides):
    """The bulk experiment with overrides, as a file."""
    lines = dict(text.split("=", 1) for text in overrides)
    text = BULK.replace("li2s6_count = 24", f"li2s6_count = {lines.pop('electrolyte.li2s6_count', 24)}")
    start = {key.removeprefix("start."): value for key, value in lines.items()}
    text += "[start]\n" + "".join(f'{key} = "{value}"\n' for key, value in start.items())
    path = folder / "other.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- the particle mesh in a run ---------------------------------------------------------------------------------


def test_few_charges_are_summed_exactly_and_many_on_a_mesh(monkeypatch):
    few = choose_splitting(*with_composition(BULK))
    assert few.method == "ewald"
    many = choose_splitting(*with_composition(BULK.replace("4.0, 4.0", "60.0, 60.0").replace("= 24", "= 5000")))
    assert many.method == "mesh"
    assert many.cutoff_nm >= 1.5
    assert many.predicted_error < 1e-3
    assert Splitting.from_dict(json.loads(json.dumps(many.to_dict()))) == many


def with_composition(text):
    config = load_config_text(text)
    return config, composition(config)


@pytest.mark.parametrize("geometry", ["bulk", "slab"])
def test_a_run_on_a_mesh_is_as_accurate_as_asked_and_resumes_to_the_same_bits(tmp_path, geometry):
    overrides = [
        "electrostatics.method=mesh", f"box.geometry={geometry}", "stages.0.duration_ps=3.0",
        "electrolyte.li2s6_count=20", "box.height_nm=5.0",
    ]  # fmt: skip
    config = load_config_text(BULK, overrides=overrides)
    built = build(config)
    assert built.splitting.method == "mesh"
    assert 0 < built.coulomb_error < 1e-3
    whole = run_replica(config, 0, tmp_path / "whole")
    # The same run, cut after its first chunk.
    cut = tmp_path / "cut"
    stop_after_one_chunk(config, cut)
    folder = run_folder(cut, config, 0)
    assert load_checkpoint(folder / CHECKPOINT, {}).metadata["splitting"]["method"] == "mesh"
    resume_replica(folder)
    with open_trajectory(whole / TRAJECTORY) as a, open_trajectory(folder / TRAJECTORY) as b:
        assert a.n_frames == b.n_frames == 100
        np.testing.assert_array_equal(a.position(), b.position())


def stop_after_one_chunk(config, root):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_replica(config, 0, root, progress=stop)


def test_a_mesh_that_misses_the_tolerance_is_made_finer(monkeypatch):
    """An estimate that is too hopeful does not decide: the forces of the start are measured."""
    hopeful = dropsim.build.choose_splitting

    def ten_times_too_hopeful(config, whole, tolerance=None):
        return hopeful(config, whole, 10 * (tolerance or config.electrostatics.force_tolerance))

    monkeypatch.setattr(dropsim.build, "choose_splitting", ten_times_too_hopeful)
    built = build(load_config_text(BULK, overrides=["electrostatics.method=mesh"]))
    assert built.coulomb_error <= 1e-3


def test_tune_prints_candidates_and_lines_that_a_run_accepts(tmp_path):
    file = tmp_path / "bulk.toml"
    file.write_text(BULK, encoding="utf-8")
    result = CliRunner().invoke(app, ["tune", str(file), "--set", "electrostatics.method=mesh"])
    assert result.exit_code == 0, result.stderr
    assert "ewald" in result.stdout
    section = result.stdout[result.stdout.index("[electrostatics]") :]
    config = load_config_text(BULK + section)
    splitting = choose_splitting(config, with_composition(BULK)[1])
    assert splitting.method in ("ewald", "mesh")
    answer = CliRunner().invoke(app, ["tune", str(file), "--json", "--set", "electrostatics.method=mesh"])
    found = json.loads(answer.stdout)
    assert found["best"]["error"] <= found["tolerance"] == 1e-3
    assert {m["method"] for m in found["candidates"]} == {"ewald", "mesh"}
    ways = [(m["method"], m["cutoff_nm"], m["order"], tuple(m["waves"])) for m in found["candidates"]]
    assert len(set(ways)) == len(ways)
    assert all(m["error"] < 1.2e-3 for m in found["candidates"])


def test_walls_slow_the_beads_beside_them(tmp_path):
    """Euler-Maruyama with the mobility of a sphere near a wall; the same stage without it moves further."""
    slab = [
        "box.geometry=slab", "stages.0.integrator=euler-maruyama", "stages.0.friction=uniform",
        "electrolyte.li2s6_count=20", "stages.0.duration_ps=0.3",
    ]  # fmt: skip
    moved = []
    for slow in ("false", "true"):
        config = load_config_text(BULK, overrides=[*slab, f"stages.0.wall_mobility={slow}"])
        with open_trajectory(run_replica(config, 0, tmp_path / slow) / TRAJECTORY) as trajectory:
            x = trajectory.unwrapped()
            moved.append(np.sqrt(((x[5] - x[0]) ** 2).sum(-1)))
    assert np.median(moved[1]) < np.median(moved[0])
    with pytest.raises(ConfigError, match="wall_mobility"):
        load_config_text(BULK, overrides=["stages.0.wall_mobility=true"])


def test_frictions_of_the_species(tmp_path):
    built = build(load_config_text(BULK, overrides=["species.S6.friction_per_ps=7.0"]))
    friction = built.plan[0].friction_per_ps
    kT = float(built.system.thermal_energy)
    assert friction[S6] == 7.0
    assert friction[LI] == pytest.approx(kT / (100.0 * 2.5e-4), rel=1e-6)
    uniform = dataclasses.replace(built.plan[0], friction_per_ps=(1.0,) * len(SPECIES))
    assert jnp.all(uniform.of(built.system).friction == 1.0)


# --- what a user sees ---------------------------------------------------------------------------------------------


def test_a_bulk_trajectory_says_that_z_repeats(bulk_run, tmp_path):
    """In H5MD, in extended XYZ and in the reader: without it other programs would open the third pair of faces."""
    folder, _ = bulk_run
    with h5py.File(folder / TRAJECTORY) as file:
        assert list(file["particles/trajectory/box"].attrs["boundary"]) == ["periodic"] * 3
    with open_trajectory(folder / TRAJECTORY) as trajectory:
        assert trajectory.periodic == (True, True, True)
        assert trajectory.metadata["coulomb"].startswith("Ewald, waves to ")
    result = CliRunner().invoke(app, ["export", str(folder), "--to", "extxyz", "-o", str(tmp_path / "x.extxyz")])
    assert result.exit_code == 0, result.stderr
    assert 'pbc="T T T"' in (tmp_path / "x.extxyz").read_text().splitlines()[1]


def test_the_report_of_a_bulk_box_is_of_its_own_numbers(bulk_run):
    """No published value of a droplet on an electrode stands beside a box that has neither."""
    folder, summary = bulk_run
    shown = CliRunner().invoke(app, ["compare", str(folder)])
    assert shown.exit_code == 0, shown.stderr
    assert "published" not in shown.stdout
    assert "largest g(r), Li-S6" in " ".join(shown.stdout.split())
    assert "diffusivity, S6" in " ".join(shown.stdout.split())
    result = json.loads(CliRunner().invoke(app, ["compare", str(folder), "--json"]).stdout)
    assert result["rows"] == []
    assert result["droplet_tier"] is None
    (row,) = result["conditions"]
    assert row["estimates"]["self_diffusivity_Li"] == summary["estimates"]["self_diffusivity_Li"]


def test_a_bulk_box_has_no_droplet_tier_though_its_default_is_on(bulk_run):
    text = BULK.replace("[kinetics]\nenabled = false\n", "")
    assert load_config_text(text).kinetics.enabled
    assert not has_droplet_tier(load_config_text(text))
    assert has_droplet_tier(load_config_text(text, overrides=["box.geometry=slab"]))
    assert not [q for q in derived_quantities(load_config_text(text)) if q.group == "droplet tier"]


def test_a_given_mesh_that_is_far_too_coarse_is_refused(tmp_path):
    pinned = [
        "electrostatics.mesh=[8, 8, 8]", "electrostatics.mesh_order=4", "electrostatics.cutoff_nm=1.5",
        "electrostatics.splitting_per_nm=3.0",
    ]  # fmt: skip
    with pytest.raises(BuildError, match=r"electrostatics.mesh = \[8, 8, 8\]: the relative force error is 0\.\d"):
        run_replica(load_config_text(BULK, overrides=pinned), 0, tmp_path)
    # What was asked for decides, not the mesh: the same one is good enough for a rough sum.
    built = build(load_config_text(BULK, overrides=[*pinned, "electrostatics.force_tolerance=0.1"]))
    assert built.coulomb_error is not None
    refuse_coarse_mesh(built, built.coulomb_error)
    with pytest.raises(BuildError, match="dropsim tune"):
        refuse_coarse_mesh(built, 0.4 * built.coulomb_error)


def test_a_slab_whose_given_mesh_is_too_low_is_refused():
    pinned = [
        "box.geometry=slab", "electrostatics.mesh=[16, 16, 13]", "electrostatics.mesh_order=4",
        "electrostatics.cutoff_nm=1.5", "electrostatics.splitting_per_nm=2.0",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"electrostatics\.mesh = .*allowed: at least 14 points along z"):
        load_config_text(BULK, overrides=pinned)
    lowest = load_config_text(BULK, overrides=[*pinned, "electrostatics.mesh=[16, 16, 14]"])
    choose_splitting(lowest, with_composition(BULK)[1]).parameters(np.dtype(np.float64))


def test_messages_about_a_start_file_name_the_key(tmp_path):
    (tmp_path / "one.gro").write_text("one\n    1\n    1A        X    1   1.000   1.000   1.000\n   4.0   4.0   4.5\n")
    start = ["start.kind=file", f"start.file={tmp_path / 'one.gro'}"]
    with pytest.raises(TrajectoryError, match=r"start\.file: .*no species is known for 'X': say in start\.names"):
        build(load_config_text(BULK, overrides=start))
    # Left out, nothing remains.
    with pytest.raises(BuildError, match=r"start\.file: .*holds 0 S6, 0 Li"):
        build(load_config_text(BULK, overrides=[*start, 'start.names={X="none"}']))
    missing = load_config_text(BULK, overrides=["start.kind=file", f"start.file={tmp_path / 'nowhere.gro'}"])
    assert any(text.startswith("start.file") and "does not exist" in text for text in warnings(missing))
    assert not any(text.startswith("start.file") for text in warnings(load_config_text(BULK, overrides=start)))


def test_check_of_a_stage_without_friction_and_of_a_friction_without_use():
    still = load_config_text(BULK, overrides=["stages.0.friction=uniform", "stages.0.friction_per_ps=0.0"])
    (text,) = (text for text in warnings(still) if text.startswith("stages.0"))
    assert "without friction the energy is constant" in text
    assert "inf" not in text
    unused = load_config_text(BULK, overrides=["stages.0.friction_per_ps=7.0"])
    (text,) = (text for text in warnings(unused) if text.startswith("stages.0"))
    assert text.startswith("stages.0.friction_per_ps: 7 is not used with friction")
    assert not any(text.startswith("stages.0") for text in warnings(load_config_text(BULK)))


def test_check_of_a_bulk_box_says_nothing_about_centres():
    assert not any("without centres" in text for text in warnings(load_config_text(BULK)))
    assert any("without centres" in text for text in warnings(load_config_text(BULK, overrides=["box.geometry=slab"])))
    # All that condenses is a sphere there, a hemisphere on a wall.
    cap, sphere = (
        droplet_radius_in_box_nm(load_config_text(BULK, overrides=[f"box.geometry={geometry}"]))
        for geometry in ("slab", "bulk")
    )
    assert cap / sphere == pytest.approx(2 ** (1 / 3))


def test_cost_of_a_mesh_grows_with_the_charges():
    def run_s(overrides):
        wide = ["box.lateral_nm=[40, 40]", "box.height_nm=40", *overrides]
        return cost(load_config_text(BULK, overrides=wide)).run_s - COST_MODEL.seconds_compile

    few, many = run_s(["electrolyte.li2s6_count=2000"]), run_s(["electrolyte.li2s6_count=8000"])
    assert many / few == pytest.approx(4.0, rel=0.01)
    exact = run_s(["electrolyte.li2s6_count=8000", "electrostatics.method=ewald"])
    assert exact / many > 10
    # The bound above which `build` takes a mesh.
    assert COST_MODEL.mesh_above == ALL_PAIRS_BELOW


def test_beads_without_charges_take_a_mesh_too():
    """A plain Lennard-Jones liquid of many beads takes the mesh, whose error has then nothing to be relative to."""
    overrides = ["electrostatics.method=mesh", "species.Li.charge_e=0.0", "species.S6.charge_e=0.0"]
    built = build(load_config_text(BULK, overrides=[*overrides]))
    assert built.coulomb_error == 0.0
    assert np.isfinite(float(built.state.energy))


@pytest.mark.parametrize("integrator", ["gjf", "baoab"])
def test_beads_that_fly_apart_in_a_box_without_walls_stop_the_run(tmp_path, integrator):
    """They stay inside by wrapping and their forces finite: the step that crosses half the box is what shows."""
    overrides = [
        f"stages.0.integrator={integrator}", "stages.0.friction=uniform", "stages.0.timestep_fs=30000.0",
        "stages.0.record_every_ps=30.0", "stages.0.duration_ps=600.0", "run.chunk_ps=300.0",
    ]  # fmt: skip
    with pytest.raises(SimulationError, match="crossed half the box in a step; reduce timestep_fs"):
        run_replica(load_config_text(BULK, overrides=overrides), 0, tmp_path)


def test_messages_about_a_made_start_name_it():
    dense = ["start.kind=droplet", "start.density_per_nm3=50.0"]
    with pytest.raises(BuildError, match=r'start\.kind = "droplet": density_per_nm3 = 50 puts beads .* at most'):
        build(load_config_text(BULK, overrides=dense))
