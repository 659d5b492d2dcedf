"""`dropsim check` and its neighbours: numbers against hand calculation, the shell against its promises."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dropsim import __version__, check_scales, cli
from dropsim.check import derived_quantities, warnings
from dropsim.config_load import load_config, load_config_text
from dropsim.config_schema import leaf_keys
from dropsim.errors import SimulationError
from dropsim.kinetics import growth_laws
from dropsim.presets import PRESETS

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments" / "droplet").glob("*.toml"))
STAGES = """
[[stages]]
name = "gather"
integrator = "baoab"
duration_ps = 400.0
timestep_fs = 20.0
[[stages]]
name = "react"
integrator = "baoab"
duration_ps = 100.0
timestep_fs = 20.0
reaction = true
[[stages]]
name = "measure"
integrator = "leimkuhler-matthews"
duration_ps = 100.0
timestep_fs = 40.0
"""
BASE = 'preset = "condensing-100mM"\n[run]\nname = "small"\n' + STAGES


def load(*overrides, text=BASE):
    return load_config_text(text, "x.toml", overrides)


def row(config, name, group=None):
    found = [q for q in derived_quantities(config) if q.name == name and group in (None, q.group)]
    assert len(found) == 1
    return found[0].value


# --- derived quantities ---------------------------------------------------------------------------


def test_electrostatic_lengths():
    # l_B = 16710 / (eps_r T) nm; ethers keep eps_r T, so it does not change on heating.
    config = load("preset=condensing")
    assert row(config, "Bjerrum length") == pytest.approx(16710 / (10 * 300), rel=1e-3)
    hot = load("preset=condensing", "electrolyte.temperature_K=350")
    assert row(hot, "relative permittivity") == pytest.approx(10 * 300 / 350, rel=1e-12)
    assert row(hot, "Bjerrum length") == pytest.approx(row(config, "Bjerrum length"), rel=1e-12)
    fixed = load("electrolyte.permittivity_law=constant", "electrolyte.temperature_K=350", "preset=condensing")
    assert row(fixed, "Bjerrum length") == pytest.approx(16710 / (10 * 350), rel=1e-3)


@pytest.mark.parametrize("eps", [7.0, 10.0, 12.5, 22.0])
def test_contact_is_the_minimum_of_the_pair_potential(eps):
    config = load(f"electrolyte.relative_permittivity_300K={eps}")
    # Independent of the code under test: kJ/mol, and a scan instead of a bisection.
    sigma, epsilon = 0.5, math.sqrt(0.418 * 1.255)

    def u(r):
        return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6) - 2 * 138.935458 / (eps * r)

    grid = [0.35 + 1e-5 * i for i in range(30000)]
    scanned = min(grid, key=u)
    d = check_scales.contact_distance_nm(config)
    assert d == pytest.approx(scanned, abs=1e-5)
    h = 1e-4
    curvature = (u(d + h) - 2 * u(d) + u(d - h)) / h**2 / (8.31446e-3 * 300)
    assert check_scales.contact_curvature_kT_per_nm2(config) == pytest.approx(curvature, rel=1e-4)
    assert row(config, "reduced temperature T*") == pytest.approx(d / (2 * 16710 / (eps * 300)), rel=1e-3)


def test_a_pair_that_repels_has_no_contact():
    config = load("species.S6.charge_e=2", "species.Li.charge_e=1", "electrostatics.net_charge=electrode")
    assert math.isnan(row(config, "Li-S6 contact d"))
    assert math.isnan(row(config, "pair curvature"))


@pytest.mark.parametrize("eps", sorted(check_scales.COEXISTENCE))
def test_saturation_passes_through_its_table(eps):
    config = load(f"electrolyte.relative_permittivity_300K={eps}")
    assert row(config, "saturation c_sat") == pytest.approx(check_scales.COEXISTENCE[eps][0], rel=1e-12)


def test_saturation_is_interpolated_inside_and_unknown_outside():
    # Halfway in permittivity is the geometric mean of the neighbours.
    between = row(load("electrolyte.relative_permittivity_300K=11"), "saturation c_sat")
    assert between == pytest.approx(math.sqrt(3.9 * 15.9), rel=1e-12)
    # The preset's value agrees with the table within the scatter of its entries.
    interpolated = row(load("electrolyte.relative_permittivity_300K=12.5"), "saturation c_sat")
    assert interpolated == pytest.approx(PRESETS["condensing-100mM"].values["electrolyte"]["saturation_mM"], rel=0.3)
    for unknown in (
        "electrolyte.relative_permittivity_300K=7",
        "electrolyte.relative_permittivity_300K=15",
        "electrolyte.litfsi_mM=1000",
        "species.Li.sigma_nm=0.3",
    ):
        config = load(unknown)
        assert math.isnan(row(config, "saturation c_sat"))
        assert math.isnan(row(config, "supersaturation c/c_sat"))


def test_droplet_tier_rates_are_calibrated_where_they_are_left_open():
    # R rho / (c_inf t) with a correction Da / 2 of 1e-5: 15 x 2.1 / (10 mM x 20 s), 10 mM = 0.0060221 / nm^3.
    damkohler = row(load("preset=condensing"), "Damkohler number Da")
    assert damkohler == pytest.approx(261.53 * 15 / 3e8, rel=1e-4)


def test_droplet_tier_numbers():
    config = load("preset=condensing", "kinetics.interface_velocity_nm_per_s=260")
    # Da = 260 nm/s x 15 nm / 3e8 nm^2/s; growth 2.1 x 15 / (260 x 6 mM), 6 mM = 0.0036133 / nm^3.
    assert row(config, "Damkohler number Da") == pytest.approx(1.3e-5, rel=1e-12)
    assert row(config, "growth time") == pytest.approx(2.1 * 15 / (260 * 6 * 6.02214076e-4), rel=1e-9)
    # Hemisphere: N = 2.1 x 2/3 pi 15^3, N_c = 0.025 pi 15^2; -0.5 V, alpha 0.3, 300 K.
    n_units, contacts = 2.1 * 2 / 3 * math.pi * 15**3, 0.025 * math.pi * 15**2
    k_in, k_out = (0.3 * math.exp(x / 0.0258520) for x in (0.3 * 0.5, -0.7 * 0.5))
    charging = row(config, "charging time", "droplet tier")
    assert charging == pytest.approx(n_units / (contacts * (k_in + k_out)), rel=1e-4)
    conversion = row(config, "conversion time")
    assert conversion == pytest.approx(n_units / (contacts * 10 * k_in), rel=1e-4)
    assert row(config, "P", "droplet tier") == pytest.approx(225 / 8e7 / charging, rel=1e-9)
    wide = load(
        "preset=condensing",
        "kinetics.contact_angle_deg=180",
        "kinetics.contact_prefactor=1",
        "kinetics.contact_power=1",
    )
    # A whole sphere on 15 contacts.
    assert row(wide, "conversion time") == pytest.approx(2 * n_units / (15 * 10 * k_in), rel=1e-4)


def test_clocks():
    config = load()
    assert row(config, "clock compression") == pytest.approx(0.002e12 / 100, rel=1e-12)
    # kT / (100 amu x 1/ps) = 0.024943 nm^2/ps, against 1.25e-4.
    assert row(config, "gather: clock") == pytest.approx(0.024943387854 / 1.25e-4, rel=1e-6)


def test_cost_counts_steps_frames_and_replicas(monkeypatch):
    monkeypatch.setattr(check_scales.os, "cpu_count", lambda: 2)  # three replicas on two cores: two rounds
    config = load("run.replicas=3")
    assert row(config, "steps") == 3 * (20000 + 5000 + 2500)
    assert row(config, "frames") == 3 * (200 + 50 + 50)
    one = row(load(), "run time") - check_scales.COST_MODEL.seconds_compile
    assert row(config, "run time") == pytest.approx(2 * one + check_scales.COST_MODEL.seconds_compile)


@pytest.mark.parametrize("preset", PRESETS)
def test_rows_are_complete_for_every_preset(preset):
    for overrides in ((), ("centres.arrangement=none",), ("kinetics.enabled=false",)):
        rows = derived_quantities(load(f"preset={preset}", *overrides))
        names = [(q.group, q.name) for q in rows]
        assert len(set(names)) == len(names)
        assert all(q.unit and q.how for q in rows)
        json.dumps([q.to_dict() for q in rows], allow_nan=False)


# --- warnings -------------------------------------------------------------------------------------

# Overrides of a configuration that has none of these warnings, and how the warning starts.
WARNED = {
    "undersaturated": (
        ["electrolyte.li2s6_mM=20"],
        "electrolyte.li2s6_mM: 20.6 mM is below saturation (25 mM)",
    ),
    "droplets in the bulk": (
        ["electrolyte.li2s6_mM=130"],
        "electrolyte.li2s6_mM: 5.21 times saturation (25 mM)",
    ),
    "saturation unknown": (
        ["electrolyte.relative_permittivity_300K=7"],
        "electrolyte.saturation_mM: c_sat is not known (no data at permittivity 7",
    ),
    "above boiling": (
        ["electrolyte.relative_permittivity_300K=22"],
        "electrolyte: permittivity 22 is above the boiling of the model (15)",
    ),
    "box too small": (
        ["box.height_nm=5", "electrolyte.li2s6_count=73", "electrolyte.saturation_mM=50"],
        "box: 5 nm is below 3 radii",
    ),
    "net charge": (
        ["centres.slab_net_charge_e=-6", "electrostatics.net_charge=electrode"],
        "electrostatics.net_charge: -6 e are balanced by a uniform charge",
    ),
    "Brownian step": (["stages.0.timestep_fs=200"], "stages.0.timestep_fs: 200 fs biases ion contacts"),
    "Euler-Maruyama step": (
        ["stages.0.integrator=euler-maruyama"],
        "stages.0.timestep_fs: 40 fs biases ion contacts",
    ),
    "Langevin step": (
        ["stages.0.integrator=baoab", "stages.0.timestep_fs=50", "stages.0.friction_per_ps=500"],
        "stages.0.timestep_fs: 50 fs is too long for ion contacts; at most 39 fs",
    ),
    "Langevin clock": (
        ["stages.0.integrator=baoab", "stages.0.timestep_fs=20"],
        "stages.0 (measure): the Langevin clock is about 200 times fast",
    ),
    "no contact": (
        ["stages.0.reaction=true", "centres.wired=false"],
        "stages.0 (measure): reaction without wired centres",
    ),
    "too few to nucleate": (
        ["stages.0.reaction=true", "reaction.minimum_size=80", "reaction.rate_constant_per_ps=1e-7"],
        "reaction.minimum_size: 80 S6 are needed to nucleate Li2S, the box holds 73",
    ),
    "compressed clock": (
        ["stages.0.reaction=true"],
        "reaction.rate_constant_per_ps: the clock is compressed 2e+07 times and P = ",
    ),
    "diffusion-limited": (
        ["kinetics.interface_velocity_nm_per_s=1e7", "kinetics.rate_constant_per_s=1e4"],
        "kinetics.interface_velocity_nm_per_s: Da = 0.5 is above 0.1",
    ),
    "no growth": (["kinetics.bulk_mM=3"], "kinetics.bulk_mM: 3 mM is not above saturation (4 mM)"),
    "slow conversion": (
        ["kinetics.rate_constant_per_s=1e-4"],
        "kinetics.rate_constant_per_s: tau_conv/tau_growth = ",
    ),
    "fast charging": (
        ["kinetics.rate_constant_per_s=1e6"],
        "kinetics.rate_constant_per_s: P = 1.5 is above 0.1",
    ),
}
QUIET = """preset = "condensing-100mM"
[run]
name = "quiet"
[kinetics]
saturation_mM = 4.0
[[stages]]
name = "measure"
integrator = "leimkuhler-matthews"
duration_ps = 100.0
timestep_fs = 40.0
"""


def test_a_configuration_within_all_limits_has_no_warning():
    assert warnings(load(text=QUIET)) == []


@pytest.mark.parametrize("case", WARNED)
def test_a_configuration_beyond_a_limit_has_its_warning_only(case):
    overrides, start = WARNED[case]
    found = warnings(load(*overrides, text=QUIET))
    assert len(found) == 1
    assert found[0].startswith(start)


def test_a_clock_slowed_as_advised_is_within_its_limit():
    (found,) = warnings(load("stages.0.reaction=true", text=QUIET))
    advised = float(found.split("; below ")[1].split(" per ps")[0])
    assert warnings(load("stages.0.reaction=true", f"reaction.rate_constant_per_ps={advised * 0.5}", text=QUIET)) == []


def test_slow_hopping_is_told_before_the_run():
    """Theta in proportion to the hop rate: below 30 with one warning, and the row says the same number."""
    finite = ("stages.0.reaction=true", "reaction.rate_constant_per_ps=1e-6", "reaction.sharing=finite")
    theta = row(load(*finite, "reaction.hop_rate_per_ps=1e-3", text=QUIET), "measure: Theta")
    slow = load(*finite, f"reaction.hop_rate_per_ps={1e-3 * 20.0 / theta}", text=QUIET)
    assert row(slow, "measure: Theta") == pytest.approx(20.0, rel=1e-9)
    assert [text for text in warnings(slow) if "Theta" in text] == [
        "reaction.hop_rate_per_ps: Theta = 20 is below 30: electrons are not shared by the whole droplet, it charges "
        "from the contacts outwards; raise the hop rate or lower the rate constant at least 1.5 times"
    ]
    fast = load(*finite, f"reaction.hop_rate_per_ps={1e-3 * 40.0 / theta}", text=QUIET)
    assert not [text for text in warnings(fast) if "Theta" in text]
    for density, contact, radius in ((2.1, 1.05, 2.0), (1.3, 0.9, 7.0)):
        assert check_scales.liquid_spectral_gap(density, contact, radius) == pytest.approx(
            growth_laws.spectral_gap_of_liquid(density, contact, radius), rel=1e-12
        )


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def shell(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(cli.app, [str(a) for a in arguments])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(BASE)
    return path


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_check_prints_the_experiments_within_80_columns(shell, path):
    result = shell("check", path)
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    config = load_config(path)
    assert config.run.name == path.stem
    for quantity in derived_quantities(config):
        assert quantity.name in result.stdout


def test_check_as_json(shell, file):
    result = shell("check", file, "--set", "run.seed=7", "--json")
    report = json.loads(result.stdout)
    assert report["config"]["run"]["seed"] == 7
    assert report["name"] == "small"
    assert len(report["hash"]) == 8
    bjerrum = next(row for row in report["derived"] if row["name"] == "Bjerrum length")
    assert bjerrum["value"] == pytest.approx(16710 / (12.5 * 300), rel=1e-3)
    assert bjerrum["unit"] == "nm"
    assert isinstance(report["warnings"], list)


def test_a_bad_file_ends_in_one_line_and_its_status(shell, file):
    file.write_text(BASE + "[box]\nheight_nm = -1\n")
    result = shell("check", file)
    assert result.exit_code == 2
    line = BASE.count("\n") + 2
    assert result.stderr == f"{file}:{line}: box.height_nm = -1: out of range; allowed: a number > 0 (nm)\n"
    assert result.stdout == ""


def test_debug_shows_the_traceback(shell, file):
    result = shell("--debug", "check", file, "--set", "box.height_nm=-1")
    assert type(result.exception).__name__ == "ConfigError"
    # And the next call without it is quiet again.
    assert isinstance(shell("check", file, "--set", "box.height_nm=-1").exception, SystemExit)


@pytest.mark.parametrize(
    ("raised", "status", "text"),
    [
        (SimulationError("step 7: stopped"), 4, "step 7: stopped\n"),
        (KeyboardInterrupt(), 130, "dropsim: interrupted\n"),
    ],
)
def test_a_command_turns_errors_into_a_line_and_a_status(monkeypatch, raised, status, text):
    monkeypatch.setattr(cli, "app", typer.Typer())
    cli.app.callback()(lambda: None)

    @cli.command("fail")
    def fail(count: int = 1) -> None:
        raise raised

    result = CliRunner().invoke(cli.app, ["fail", "--count", "2"])
    assert (result.exit_code, result.stderr) == (status, text)


def test_version_and_usage(shell):
    assert shell("--version").stdout == f"dropsim {__version__}\n"
    assert shell("chek").exit_code == 2
    assert shell("check").exit_code == 2


def test_schema_names_every_key(shell):
    result = shell("schema", "--table")
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    for key in leaf_keys():
        assert key.rsplit(".", 1)[-1] in result.stdout
    properties = json.loads(shell("schema").stdout)["properties"]
    assert {"run", "box", "stages", "kinetics"} <= set(properties)


def test_info_names_presets_and_packages(shell):
    result = shell("info")
    assert all(name in result.stdout for name in (*PRESETS, "jax", "numpy", __version__))
    assert set(json.loads(shell("info", "--json").stdout)["presets"]) == set(PRESETS)


def test_the_shell_needs_neither_jax_nor_pint(file):
    """Help, check and schema in one fresh process: none may import what takes seconds."""
    code = f"""
import sys
from typer.testing import CliRunner
from dropsim import cli
check = ["check", {str(file)!r}]
for arguments in (["--help"], check, [*check, "--json"], ["schema"], ["info"]):
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0, arguments
heavy = {{"jax", "numpy", "scipy", "pint", "matplotlib", "h5py"}} & set(sys.modules)
assert not heavy, heavy
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_module_entry_point(file):
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    result = subprocess.run(
        [sys.executable, "-m", "dropsim", "check", str(file), "--set", "run.sedd=1"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("--set: run.sedd = 1: unknown key; did you mean run.seed?")
    assert result.stderr.count("\n") == 1


def test_bare_electrons_ask_for_a_shorter_step_where_they_are():
    """A Li2S unit of -12 e binds Li+ eleven times as stiffly as S6: from the stage of the reaction on, not before."""
    plain, bare = load(), load("reaction.charge_treatment=bare")
    react = next(stage for stage in bare.stages if stage.reaction)
    assert check_scales.contact_curvature_kT_per_nm2(bare, bare.stages[0]) == pytest.approx(
        check_scales.contact_curvature_kT_per_nm2(plain), rel=1e-12
    )
    # As in the test above, with the charge and the size of the reduced unit.
    sigma, epsilon = 0.45, math.sqrt(0.418 * 1.255)
    eps = bare.electrolyte.relative_permittivity_300K

    def u(r):
        return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6) - 12 * 138.935458 / (eps * r)

    d, h = min((0.3 + 1e-5 * i for i in range(20000)), key=u), 1e-4
    curvature = (u(d + h) - 2 * u(d) + u(d - h)) / h**2 / (8.31446e-3 * 300)
    assert check_scales.contact_curvature_kT_per_nm2(bare, react) == pytest.approx(curvature, rel=1e-4)
