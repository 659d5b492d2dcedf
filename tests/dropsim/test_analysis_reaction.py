"""The reaction's analysis on a written trajectory whose charge, conversion and books are known."""

import json
import math

import numpy as np
import pytest

from dropsim import timescales
from dropsim.analysis import analyse_run, observe
from dropsim.config import Config
from dropsim.event_log import EVENT_KINDS
from dropsim.observables.droplets import LI2S, S6
from dropsim.run_folder import SUMMARY, TRAJECTORY
from dropsim.trajectory import Column, Frames, Stage, TrajectoryHeader, TrajectoryWriter, open_trajectory

NAMES = ("Li", "S6", "TFSI", "Li2S", "Li2S2", "Vacant", "Mo", "N")
LENGTHS = np.array([8.0, 8.0, 6.0])
MO = np.array([[4.0, 4.0, 0.15], [4.8, 4.0, 0.15]])
N_SULFUR = 60
KIND = {name: number for number, name in enumerate(EVENT_KINDS)}
EVENT = ("step", "time", "kind", "droplet", "members", "contacts", "count", "electrons_before", "electrons_after")
LEDGER = (
    "step", "time", "sulfur_atoms", "lithium_atoms", "lithium_from_reservoir", "charge", "electrons_on_beads",
    "electrons_through_centres", "units_converted", "current", "units_intermediate", "electrons_through_surface",
    "potential",
)  # fmt: skip
FLOATS = ("time", "charge", "current", "potential")
# Checks of 1 ps, one frame each: gathering, reduction, open circuit, oxidation.
GATHER, REDUCE, REST, OXIDISE = 20, 60, 10, 25


def configuration(centres=None, **reaction):
    """A resolved configuration of these stages."""
    stages = [
        {"name": "gather", "integrator": "baoab", "duration_ps": 20.0, "timestep_fs": 20.0, "record_every_ps": 1.0},
        {"name": "reduce", "integrator": "leimkuhler-matthews", "duration_ps": 60.0, "timestep_fs": 40.0,
         "record_every_ps": 1.0, "reaction": True},
        {"name": "rest", "integrator": "leimkuhler-matthews", "duration_ps": 10.0, "timestep_fs": 40.0,
         "record_every_ps": 1.0, "reaction": True, "open_circuit": True},
        {"name": "oxidise", "integrator": "leimkuhler-matthews", "duration_ps": 25.0, "timestep_fs": 40.0,
         "record_every_ps": 1.0, "reaction": True, "potential_V": 0.2},
    ]  # fmt: skip
    return Config.model_validate(
        {
            "run": {"name": "written", "seed": 4},
            "box": {"lateral_nm": (8.0, 8.0), "height_nm": 6.0},
            "electrolyte": {"li2s6_count": N_SULFUR, "saturation_mM": 50.0},
            "centres": {"arrangement": "patch", "count": 2} | (centres or {}),
            "reaction": {"check_every_ps": 1.0, "potential_V": -0.1, **reaction},
            "stages": tuple(stages),
        }
    )


def lattice_hemisphere(n):
    """n places 0.7 nm apart in a hemisphere about (4, 4, 0.4): every unit in contact with its neighbours."""
    grid = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 2, np.arange(7), indexing="ij"), axis=-1).reshape(-1, 3) * 0.7
    grid = grid[np.argsort((grid**2).sum(axis=1), kind="stable")][:n]
    return grid + np.array([4.0, 4.0, 0.4])


def deal(rng, pool, units, near):
    """Electrons over the slots of the units: all alike, or those nearest to a centre first."""
    if near is None:
        return np.bincount(rng.permutation(np.repeat(np.arange(units), 10))[:pool], minlength=units)
    order, out = np.argsort(near, kind="stable"), np.zeros(units, int)
    out[order] = np.clip(pool - 10 * np.arange(units), 0, 10)
    return out


def write(path, *, uneven=False, config=None, released=0):
    """A run in which 6 electrons a check enter until a pool of 180 nucleates; then 42 a check convert 60 units by the
    end of the reduction; nothing moves at open circuit; 30 electrons a check leave three units in oxidation."""
    rng = np.random.default_rng(7)
    config = configuration() if config is None else config
    place = lattice_hemisphere(N_SULFUR)
    near = np.linalg.norm(place[:, None] - MO[None], axis=-1).min(axis=1)
    order = np.argsort(near, kind="stable")
    li = np.column_stack([rng.uniform(0, 8, (2 * N_SULFUR, 2)), rng.uniform(4.5, 6.0, 2 * N_SULFUR)])
    frames, events, ledger = [], [], []
    through, solid, nucleated = 0, 0, False
    for check in range(GATHER + REDUCE + REST + OXIDISE):
        time, before = float(check + 1), through
        phase = np.searchsorted(np.cumsum([GATHER, REDUCE, REST, OXIDISE]), check, side="right")
        if released and check == GATHER + 4:
            events.append((check, time, KIND["release"], 59, 1, 0, released, 0, 0))
        if phase == 1:
            through = min(through + (42 if nucleated else 6), 10 * N_SULFUR)
            if through > before:
                events.append((check, time, KIND["injection"], 0, 60, 7, through - before, before, through))
            if through >= 180 and not nucleated:
                nucleated = True
                events.append((check, time, KIND["nucleation"], 0, 60, 7, 1, through, through))
            if nucleated and through // 10 > solid:
                events.append((check, time, KIND["conversion"], 0, 60, 7, through // 10 - solid, through, through))
                solid = through // 10
        elif phase == 3 and solid > 0:
            through, solid = through - 30, solid - 3
            events.append((check, time, KIND["ejection"], 0, 60, 7, 30, before, through))
        hard = np.zeros(N_SULFUR, bool)
        hard[order[:solid]] = True
        electrons = np.where(hard, 10, 0)
        electrons[~hard] = deal(rng, through - 10 * solid, int((~hard).sum()), near[~hard] if uneven else None)
        species = np.concatenate([np.where(hard, LI2S, S6), np.zeros(2 * N_SULFUR, int)])
        frames.append((check, time, phase, np.concatenate([place, li]), species, electrons))
        if phase > 0:
            potential = (-0.1, math.nan, 0.2)[phase - 1]
            ledger.append((check, time, 360, 120, through, 0.0, through, through, solid, float(through - before), 0, 0,
                           potential))  # fmt: skip
    n = 3 * N_SULFUR
    header = TrajectoryHeader(
        species_names=NAMES,
        charge=np.array([1.0, -2, -1, -2, -2, 0, 7.37, -1.8425]),
        mass=np.full(8, 100.0),
        sigma=np.array([0.4, 0.6, 0.65, 0.5, 0.5, 0.4, 0.4, 0.2]),
        n_mobile=n,
        site_position=MO,
        site_species=np.array([6, 6]),
        lengths=LENGTHS,
        stages=(
            Stage("gather", "baoab", 20.0, 1.0, True),
            *(Stage(name, "leimkuhler-matthews", 40.0, 1.0, False) for name in ("reduce", "rest", "oxidise")),
        ),
        config_json=config.model_dump_json(),
        config_hash="0" * 32,
        seed=4,
        replica=0,
        versions={"dropsim": "0"},
        device="cpu",
        precision="float32",
        commit="",
        created="",
        series=(Column("force_squared", "1"), Column("laplacian", "1")),
        events=tuple(Column(name, "1", "float64" if name == "time" else "int64") for name in EVENT),
        ledger=tuple(Column(name, "1", "float64" if name in FLOATS else "int64") for name in LEDGER),
    )
    step, time, stage, position, species, electrons = (np.array(x) for x in zip(*frames, strict=True))
    held = np.zeros((len(step), n), int)
    held[:, :N_SULFUR] = electrons
    with TrajectoryWriter.create(path, header) as writer:
        writer.write(
            Frames(step, time, stage, position, np.zeros((len(step), n, 3), int), species, held),
            series={"force_squared": np.ones(len(step)), "laplacian": np.ones(len(step))},
            events=dict(zip(EVENT, (np.array(x) for x in zip(*events, strict=True)), strict=True)),
            ledger=dict(zip(LEDGER, (np.array(x) for x in zip(*ledger, strict=True)), strict=True)),
        )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / TRAJECTORY
    write(path)
    with open_trajectory(path) as trajectory:
        return path, observe(trajectory)


def value(observed, key):
    assert key in observed.estimates, observed.missing.get(key)
    return observed.estimates[key].value


def test_charge_of_every_half_cycle(written):
    _, seen = written
    rows = seen.facts["half_cycles"]
    assert [row["kind"] for row in rows] == ["reduction", "rest", "oxidation"]
    assert [row["charge_e"] for row in rows] == [600, 0, -600]
    assert [row["units_converted"] for row in rows] == [60, 60, 0]
    assert [(row["start_ps"], row["end_ps"]) for row in rows] == [(20.0, 80.0), (80.0, 90.0), (90.0, 115.0)]
    # 600 x 1.602e-19 C x 1e3 mC/C over 64e-14 cm^2.
    assert rows[0]["charge_mC_per_cm2"] == pytest.approx(600 * 1.602176634e-16 / 64e-14)
    assert 0.05 < rows[0]["solid_coverage"] < 0.5
    assert rows[2]["solid_coverage"] == 0.0
    assert rows[2]["sulfur_coverage"] >= rows[0]["sulfur_coverage"]  # liquid units are larger
    assert value(seen, "reduction_charge") == pytest.approx(600.0)
    assert value(seen, "coulombic_balance") == pytest.approx(1.0)
    assert value(seen, "capacity") == pytest.approx(1393.3, abs=0.1)
    assert "peak_gap" not in seen.estimates  # held potentials
    # 42 e/ps after the nucleation of the 30th check, over at most three rows.
    assert value(seen, "peak_current") == pytest.approx(42 * 1.602176634e-7 * 1e6 / 64e-14, rel=1e-6)
    assert 30.0 < value(seen, "peak_time") < 41.0
    np.testing.assert_allclose(seen.curves["ledger_charge"], seen.curves["ledger_electrons"], atol=1e-9)


def test_books_and_events(written):
    _, seen = written
    ledger = seen.facts["ledger"]
    assert {ledger[k] for k in ("sulfur_error", "lithium_error", "electron_error", "charge_drift_e")} == {0}
    assert seen.facts["events"] == {"injection": 600, "ejection": 600, "nucleation": 1, "conversion": 60}
    assert seen.curves["events_injection"][-1] == 600
    assert "events_release" not in seen.curves


def test_times_and_shares_of_conversion(written):
    _, seen = written
    # x = 0.2 at 120 electrons, the 20th check; nucleation at 180, the 30th; 90 % (540) after nine of 42, all after ten.
    assert seen.facts["conversion_times_ps"] == {
        "threshold": 40.0, "nucleation": 50.0, "ninety": 59.0, "full": 60.0, "solid": 60,
    }  # fmt: skip
    assert value(seen, "conversion_time") == 9.0
    assert value(seen, "threshold_to_full_time") == 20.0
    assert value(seen, "collective_share") == 1.0
    assert value(seen, "converted_droplets") == 1.0
    assert seen.facts["solid_units"] == {"in_droplets": 60, "alone": 0, "through_Li2S2": 0}
    assert seen.facts["appearance"]["verdict"].endswith("single-step")
    # Discs of 0.25 instead of 0.30 nm, with the probe of 0.15 nm: below the ratio of volumes, above nothing.
    assert 0.7 < value(seen, "area_ratio_after_conversion") < 1.0


def test_steps_of_the_bare_electrode(written, tmp_path):
    _, seen = written
    assert "does not react" in seen.missing["single_step_share"]
    # The hemisphere stands on the electrode: its units solid at the end of the reduction lie as high as its beads.
    assert value(seen, "solid_height") == pytest.approx(lattice_hemisphere(N_SULFUR)[:, 2].mean(), abs=1e-6)
    path = tmp_path / TRAJECTORY
    write(path, config=configuration(surface_rate_constant_per_ps=0.001), released=5)
    with open_trajectory(path) as trajectory:
        seen = observe(trajectory)
    # Five units went out as Li2S2, at 25 ps, and none is dissolved at the end; 60 turned, the first at 51 ps.
    assert value(seen, "single_step_share") == pytest.approx(55 / 60)
    assert value(seen, "intermediate_share") == 0.0
    first = seen.facts["appearance"]["first_Li2S_ps"]
    assert value(seen, "intermediate_lead") == first - 25.0 > 20.0
    # Units below 0.75 nm react alone there: the droplet is what lies above them.
    low = int((lattice_hemisphere(N_SULFUR)[:, 2] < 0.75).sum())
    assert 0 < low < N_SULFUR
    assert seen.facts["droplets_converted"]["droplets"] == 1
    wide = configuration(surface_rate_constant_per_ps=0.001, surface_contact_nm=5.0)
    write(tmp_path / "wide.h5md", config=wide)
    with open_trajectory(tmp_path / "wide.h5md") as trajectory:
        seen = observe(trajectory)
    assert "no droplet" in seen.missing["converted_droplets"]


def test_grains_of_the_conversion(written):
    _, seen = written
    grains = seen.facts["grains"]
    assert (grains["nuclei"], grains["grains"], grains["amorphous"]) == (1, 1, 0)
    assert grains["units"] == [60]
    assert value(seen, "grain_size") == pytest.approx((60 * 0.2742) ** (1 / 3))
    assert seen.curves["grain_quaternion"].shape == (1, 4)
    # The nucleus is the unit nearest to a centre.
    nearest = min(np.linalg.norm(lattice_hemisphere(N_SULFUR)[:, None] - MO[None], axis=-1).min(axis=1))
    found = np.linalg.norm(seen.curves["grain_nucleus_position"] - MO, axis=-1).min()
    assert found == pytest.approx(nearest, abs=1e-5)


def test_shared_electrons_have_no_gradient_and_unshared_ones_do(written, tmp_path):
    _, seen = written
    difference = seen.estimates["charge_inner_minus_outer"]
    low, high = difference.interval_95
    assert low < 0.0 < high
    assert abs(difference.value) < 0.3
    assert "shared by the whole droplet" in seen.facts["charge_sharing"]["verdict"]
    assert seen.curves["thirds_electrons"].shape == (len(seen.curves["thirds_time_ps"]), 3)
    assert len(seen.curves["radial_charge"]) == 6
    assert np.all(np.abs(seen.curves["radial_charge"] - 1.0) < 4 * seen.curves["radial_charge_error"])
    path = tmp_path / TRAJECTORY
    write(path, uneven=True)
    with open_trajectory(path) as trajectory:
        other = observe(trajectory)
    difference = other.estimates["charge_inner_minus_outer"]
    assert difference.interval_95[0] > 0.0
    assert "stay near the centres" in other.facts["charge_sharing"]["verdict"]
    assert value(other, "charge_inner") > value(other, "charge_middle") >= value(other, "charge_outer")


def test_time_scales_of_the_run(written):
    _, seen = written
    scales = seen.timescales
    assert scales["groups"]["collectivity"] == "infinite"
    # 60 in 384 nm^3 are 259 mM, over 50.
    assert scales["groups"]["supersaturation"] == pytest.approx(60 / 384 / 6.02214076e-4 / 50.0)
    contacts = seen.facts["liquid_droplet"]["contacts"]
    k_in, k_out = timescales.electrode_rates("butler-volmer", 0.002, 0.3, 0.5, -0.1, 0.02585199)
    assert scales["groups"]["charging_time"] == pytest.approx(60 / (contacts * (k_in + k_out)), rel=1e-6)
    assert scales["groups"]["clock_compression"] == pytest.approx(0.002e12 / 100)
    assert [text.split(":")[0] for text in scales["clocks"]] == ["stage gather"]
    assert "about 200 times fast" in scales["clocks"][0]


def test_finite_and_absent_sharing_change_theta(tmp_path):
    found = {}
    for sharing in ("finite", "none"):
        path = tmp_path / f"{sharing}.h5md"
        write(path, config=configuration(sharing=sharing, hop_rate_per_ps=0.01))
        with open_trajectory(path) as trajectory:
            found[sharing] = observe(trajectory)
    groups = found["finite"].timescales["groups"]
    gap = value(found["finite"], "spectral_gap")
    assert groups["collectivity"] == pytest.approx(10 * 0.01 * gap * groups["charging_time"], rel=1e-9)
    assert found["none"].timescales["groups"]["collectivity"] == 0.0
    assert any(text.startswith("Theta = 0") for text in found["none"].timescales["beyond"])


def test_without_wired_centres_nothing_charges_through_them(tmp_path):
    path = tmp_path / TRAJECTORY
    write(path, config=configuration(centres={"wired": False}, surface_rate_constant_per_ps=0.001))
    with open_trajectory(path) as trajectory:
        scales = observe(trajectory).timescales
    groups = scales["groups"]
    assert {groups[key] for key in ("collectivity", "mixing", "charging_time", "clock_compression")} == {None}
    assert groups["supersaturation"] is not None
    assert not {"Theta", "P", "C"} & set(scales["sources"])


def test_the_run_folder_holds_the_numbers(written, monkeypatch):
    path, _ = written
    drawn = []
    monkeypatch.setattr("dropsim.plots.plot_run", lambda folder, summary, curves: drawn.append((folder, set(curves))))
    summary = analyse_run(path.parent)
    json.dumps(summary, allow_nan=False)  # as the command line prints it
    stored = json.loads((path.parent / SUMMARY).read_text())
    assert stored["timescales"]["groups"]["collectivity"] == "infinite"
    assert stored["facts"]["half_cycles"][0] == summary["facts"]["half_cycles"][0]
    assert stored["facts"]["half_cycles"][1]["peak_current_e_per_ps"] is None  # a rest has no peak
    assert stored["facts"]["grains"]["units"] == [60]
    ((folder, names),) = drawn
    assert folder == path.parent
    assert {"thirds_electrons", "radial_charge", "cycle_charge_e", "events_injection", "grain_size_nm"} <= names
