"""Figures: which files appear, what is written on them, and that circles and numbers are the right size."""

import ast
import dataclasses
import math
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

import dropsim.plots as plots
from dropsim.plots_frame import Scene, centred, draw_view
from dropsim.plots_overview import frame_times
from dropsim.plots_reaction import binned_mean, with_gaps
from dropsim.plots_study import VERDICT_COLOURS, wrap_text
from dropsim.plots_style import INK, number_text
from dropsim.plots_tier import conversion_end, electrons_per_unit, event_window, frame_current_fA

LENGTHS = np.array([6.0, 5.0, 4.0])
SIGMA = np.array([0.4, 0.6, 0.65, 0.5, 0.5, 0.4, 0.4, 0.4])
PROTOCOL = ({"potential_V": -0.5, "duration_s": 12.0}, {"potential_V": 0.5, "duration_s": 12.0})


def estimate(value, low, high, unit):
    return {
        "value": value,
        "standard_error": None,
        "interval_95": [low, high],
        "unit": unit,
        "n_effective": None,
        "method": "m",
    }


def run_curves(seed=0):
    rng = np.random.default_rng(seed)
    species = np.repeat([1, 3, 0, 2], [12, 4, 32, 3])
    time = np.arange(2.0, 122.0, 2.0)
    area = 0.2 * time**0.9
    track = np.cumsum(rng.normal(0.0, 0.02, (40, 2)), axis=0)
    msd = np.array([0.0] + [((track[k:] - track[:-k]) ** 2).sum(1).mean() for k in range(1, 40)])
    z = np.arange(0.025, 4.0, 0.05)
    peak = 4e-3 * np.exp(-(((z - 0.6) / 0.2) ** 2))
    checks = np.arange(120.2, 140.1, 0.2)
    electrons = np.cumsum(rng.poisson(1.5, checks.size))
    return {
        "final_position": rng.uniform(0.2, 0.8, (species.size, 3)) * LENGTHS,
        "final_species": species,
        "lengths": LENGTHS,
        "site_position": np.array([[1.5, 2.5, 0.15], [4.5, 2.5, 0.15], [1.2, 2.5, 0.0]]),
        "site_species": np.array([6, 6, 7]),
        "sigma": SIGMA,
        "area_time_ps": time,
        "area_nm2": area * (1 + 0.05 * rng.normal(size=time.size)),
        "area_size": np.arange(time.size) // 4 + 8,
        "growth_time_ps": time[:40],
        "growth_curve": area[:40],
        "growth_low": 0.9 * area[:40],
        "growth_high": 1.1 * area[:40],
        "track_time_ps": 130.0 + np.arange(40),
        "track_xy_nm": track,
        "msd_nm2": msd,
        "force_time_ps": 130.5 + np.arange(39),
        "force_pN": rng.rayleigh(1000.0, 39),
        "force_null_quantiles": np.array([[0.025, 240.0], [0.5, 1260.0], [0.975, 2900.0]]),
        "profile_z_nm": z,
        "profile_sulfur": peak,
        "profile_sulfur_error": 0.1 * peak,
        "profile_net": np.gradient(peak),
        "profile_net_error": np.full(z.size, np.nan),
        "react_time_ps": np.arange(121.0, 141.0),
        "react_area_nm2": np.where(np.arange(20) < 8, 12.0, 8.0),
        "react_size": np.full(20, 16),
        "react_converted": np.clip(2 * np.arange(20) - 14, 0, 16),
        "ledger_time": checks,
        "ledger_current": np.diff(electrons, prepend=0) / 0.2,
        "ledger_electrons_through_centres": electrons,
        "ledger_units_converted": electrons // 10,
        "ledger_lithium_from_reservoir": electrons,
        "ledger_electrons": electrons,
        "ledger_current_total": np.diff(electrons, prepend=0) / 0.2,
        "ledger_charge": electrons.astype(float),
        "ledger_potential": np.where(checks < 134.0, -0.1, np.where(checks < 136.0, np.nan, 0.2)),
        "cycle_start_ps": np.array([120.0, 134.0, 136.0]),
        "cycle_end_ps": np.array([134.0, 136.0, 140.0]),
        "cycle_kind": np.array([0, 2, 1]),
        "cycle_charge_e": np.array([110.0, 0.0, -40.0]),
        "cycle_sulfur_coverage": np.array([0.12, 0.12, 0.2]),
        "cycle_solid_coverage": np.array([0.08, 0.08, 0.0]),
        "thirds_time_ps": np.arange(121.0, 134.0),
        "thirds_electrons": rng.uniform(0.0, 2.0, (13, 3)),
        "radial_charge_nm": np.linspace(0.3, 1.8, 6),
        "radial_charge": rng.uniform(0.8, 1.2, 6),
        "radial_charge_error": np.append(np.full(5, 0.1), np.nan),
        "events_release": np.minimum(1 + np.arange(checks.size) // 30, 2),
        "grain_position": rng.uniform(1.0, 4.0, (12, 3)),
        "grain_label": np.arange(12) % 2,
        "grain_units": np.array([6, 6]),
        "grain_size_nm": np.array([1.2, 1.7]),
        "grain_nucleus_position": rng.uniform(1.0, 4.0, (2, 3)),
        "rdf_Li-S6_nm": np.arange(0.01, 2.0, 0.02),
        "rdf_Li-S6": 1.0 + 3.0 * np.exp(-(((np.arange(0.01, 2.0, 0.02) - 0.46) / 0.05) ** 2)),
        "rdf_Li-S6_error": np.full(100, 0.05),
    }


def run_summary():
    return {
        "name": "centres",
        "title": "centres at $5 and 100 % of Li_2S6^2",
        "time_ps": 140.0,
        "estimates": {
            "growth_exponent": estimate(0.9, 0.7, 1.1, "1"),
            "centroid_diffusivity_gls": estimate(3.0e7, 2.4e7, 3.7e7, "nm^2/s"),
            "centroid_diffusivity_straight_line": estimate(2.0e7, None, None, "nm^2/s"),
            "area_ratio_after_conversion": estimate(0.66, 0.5, 0.82, "1"),
            "charge_inner": estimate(1.25, 1.1, 1.4, "e"),
            "mean_force": estimate(1389.0, 1200.0, 1560.0, "pN"),
            "brownian_force_null": estimate(1340.0, 1340.0, 1340.0, "pN"),
        },
        "missing": {},
        "facts": {
            "accelerated_stages": ["gather"],
            "growth_verdict": "ambiguous: the interval allows n = 1 of either kind",
            "force_verdict": "no directed force beyond chance: 12.00 pN, error 30.00 pN per axis, p = 0.32",
            "nucleation_time_ps": 128.4,
            "charge_sharing": {"verdict": "inner minus outer third 0.02 e: shared by the whole droplet"},
            "appearance": {"verdict": "Li2S2 appeared 3 before Li2S: two-step"},
            "cycles": [{"reduced": 110.0, "oxidised": 40.0, "balance": 0.364, "peak_gap": None}],
        },
    }


def written_words(svg):
    """What is written on a figure: matplotlib keeps each text beside its outline as a comment."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", Path(svg).read_text(encoding="utf-8"), re.DOTALL))


def pixels(png):
    data = Path(png).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


WORDS = {
    "final_frame": [
        "x (nm)",
        "y (nm)",
        "z (nm)",
        "2 nm",
        "final frame at 140 ps",
        "S₆²⁻ (12)",
        "Li₂S unit (4)",
    ],
    "area": ["projected area (nm²)", "time (ps, accelerated clock)", "n = 0.90 [0.70, 1.10]", "Ambiguous"],
    "motion": [
        "MSD (nm²)",
        "lag time (ps, physical clock)",
        "3.00 [2.40, 3.70] × 10⁷ nm²/s",
        "2.00 × 10⁷ nm²/s",
    ],
    "force": [
        "apparent force |F| (pN)",
        "2.5 to 97.5 %",
        "1389 [1200, 1560] pN",
        "No directed force beyond chance",
    ],
    "charge_density": ["|ρ| of sulfur beads (e/Å³)", "net ρ of mobile ions (e/Å³)", "z (nm)", "Mo centres"],
    "ledger": [
        "current (e/ps)",
        "electrons (e)",
        "time (ps, compressed reaction clock)",
        "128.4 ps",
        "E (V)",
        "open circuit",
        "A/cm²",
    ],
    "conversion": ["projected area (nm²)", "beads", "time (ps, compressed", "0.66 [0.50, 0.82]", "128.4 ps"],
    "charge_sharing": ["electrons per S₆", "inner third, mean 1.25", "Shared by the whole droplet".lower(), "95 %"],
    "events": ["events so far", "release (2)", "two-step"],
    "cycles": ["half cycle", "net charge passed (e)", "110 e in, 40 e out (36 %)", "share of the electrode covered"],
    "grains": ["size l (nm)", "nucleus", "drawn at random"],
    "structure": ["distance r (nm)", "pair distribution g(r)", "Li–S6"],
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, plots.plot_run(folder, run_summary(), run_curves())


def test_every_figure_of_a_run_is_written(drawn):
    folder, paths = drawn
    names = [f"{n}.{end}" for n in plots.RUN_FIGURES for end in ("png", "svg")]
    assert [p.name for p in paths] == names
    assert sorted(p.name for p in (folder / "figures").iterdir()) == sorted(names)
    assert set(WORDS) == set(plots.RUN_FIGURES)


@pytest.mark.parametrize("name", plots.RUN_FIGURES)
def test_figures_say_what_they_show_with_units(drawn, name):
    folder, _ = drawn
    width, height = pixels(folder / "figures" / f"{name}.png")
    assert width == 1440
    assert height > 500
    words = written_words(folder / "figures" / f"{name}.svg")
    for expected in [*WORDS[name], "centres at $5 and 100 % of Li_2S6^2"]:
        assert expected in words


NEEDED = {
    "final_frame": "sigma",
    "area": "area_nm2",
    "motion": "msd_nm2",
    "force": "force_null_quantiles",
    "charge_density": "profile_sulfur",
    "ledger": "ledger_units_converted",
    "conversion": "react_size",
    "charge_sharing": "thirds_electrons",
    "events": "events_release",
    "cycles": "cycle_charge_e",
    "grains": "grain_label",
    "structure": "rdf_Li-S6_nm",
}


@pytest.mark.parametrize("name", ["area", "motion", "ledger"])
def test_equal_input_gives_equal_svg(drawn, tmp_path, name):
    only = {k: v for k, v in run_curves().items() if not any(k == NEEDED[n] for n in NEEDED if n != name)}
    (again,) = [p for p in plots.plot_run(tmp_path, run_summary(), only) if p.suffix == ".svg"]
    assert again.read_bytes() == (drawn[0] / "figures" / again.name).read_bytes()


def test_absent_curves_give_no_figure_and_remove_a_stale_one(tmp_path):
    for name in plots.RUN_FIGURES:
        for end in ("png", "svg"):
            (tmp_path / "figures").mkdir(exist_ok=True)
            (tmp_path / "figures" / f"{name}.{end}").write_text("old")
    lacking = {k: v for k, v in run_curves().items() if k not in set(NEEDED.values()) - {"profile_sulfur"}}
    written = plots.plot_run(tmp_path, {"name": "bare", "estimates": {}, "facts": {}}, lacking)
    assert [p.name for p in written] == ["charge_density.png", "charge_density.svg"]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [p.name for p in written]


def test_a_run_without_centres_estimates_or_fits_is_drawn_too(tmp_path):
    curves = run_curves()
    for name in ("growth_time_ps", "profile_net", "profile_sulfur_error"):
        del curves[name]
    curves["site_position"], curves["site_species"] = np.empty((0, 3)), np.empty(0, int)
    curves |= {k: v[:1] for k, v in curves.items() if k.startswith(("ledger_", "events_"))}
    written = plots.plot_run(tmp_path, {"name": "bare"}, curves)
    assert len(written) == 2 * len(plots.RUN_FIGURES)
    words = written_words(tmp_path / "figures" / "area.svg")
    assert "time (ps, physical clock)" in words
    assert "fit" not in words
    assert "Mo" not in written_words(tmp_path / "figures" / "final_frame.svg")


def test_settings_of_the_caller_are_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    plots.plot_run(tmp_path, run_summary(), {k: v for k, v in run_curves().items() if k.startswith("area")})
    assert dict(matplotlib.rcParams) == before
    for path in Path(plots.__file__).parent.glob("plots*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        imported |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not any("pyplot" in name for name in imported)


def scene(position, species, **changes):
    values = {
        "position": np.array(position, float),
        "species": np.array(species),
        "lengths": LENGTHS,
        "site_position": np.empty((0, 3)),
        "site_species": np.empty(0, int),
        "sigma": SIGMA,
    }
    return Scene(**{**values, **changes})


def rendered(one, view):
    figure = Figure(figsize=(5, 5), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.05, 0.05, 0.9, 0.9))
    draw_view(axes, one, view, ticks=False)
    canvas.draw()
    per_nm = np.diff(axes.transData.transform([[0.0, 0.0], [1.0, 1.0]]), axis=0)[0]
    return axes, np.asarray(canvas.buffer_rgba())[..., :3].astype(int), per_nm


@pytest.mark.parametrize("view", ["top", "side"])
def test_a_bead_is_a_circle_of_its_true_radius(view):
    """Amber pixels of one S6 in the middle of the box cover pi (sigma/2)^2."""
    _, image, per_nm = rendered(scene([[3.0, 2.5, 2.0]], [1]), view)
    np.testing.assert_allclose(per_nm[0], per_nm[1], rtol=1e-9)
    amber = (image[..., 0] - image[..., 2]) > 60
    rows, columns = np.flatnonzero(amber.any(1)), np.flatnonzero(amber.any(0))
    diameter = SIGMA[1] * per_nm[0]
    # The pixels of the rim, one on either side.
    assert abs(np.ptp(rows) + 1 - diameter) < 2.0
    assert abs(np.ptp(columns) + 1 - diameter) < 2.0
    assert abs(amber.sum() - math.pi / 4 * diameter**2) < math.pi * diameter


def test_a_bead_on_a_periodic_edge_goes_on_at_the_other_side():
    """From above a bead in a corner has four images, from the side two; a bead inside has one."""
    one = scene([[0.1, 4.95, 2.0], [3.0, 2.5, 1.0]], [1, 0])
    for view, images in (("top", 4), ("side", 2)):
        axes, _, _ = rendered(one, view)
        (beads,) = (c for c in axes.collections if isinstance(c, EllipseCollection))
        assert len(beads.get_offsets()) == images + 1
        assert np.unique(np.asarray(beads.get_widths())).round(9).tolist() == [0.4, 0.6]
    edge = np.sort(np.asarray(beads.get_offsets())[:, 0])
    np.testing.assert_allclose(edge, [0.1, 3.0, 6.1])


def test_a_box_without_walls_shows_none():
    """From the side a bulk box has four periodic edges and no hatched strip, and beads go on through all of them."""
    one = scene([[0.1, 2.5, 0.1], [3.0, 2.5, 1.0]], [1, 0])
    images, solid, strips = {}, {}, {}
    for bulk in (False, True):
        axes, _, _ = rendered(dataclasses.replace(one, periodic_z=bulk), "side")
        (beads,) = (c for c in axes.collections if isinstance(c, EllipseCollection))
        images[bulk] = len(beads.get_offsets())
        solid[bulk] = sum(line.get_linestyle() == "-" and line.get_color() == INK for line in axes.lines)
        strips[bulk] = sum(bool(patch.get_hatch()) for patch in axes.patches)
    assert images == {False: 3, True: 5}
    assert solid == {False: 3, True: 1}  # the scale bar, and the two walls
    assert strips == {False: 1, True: 0}


def test_nearer_beads_cover_farther_ones_and_hidden_centres_are_ringed():
    above = scene([[3.0, 2.5, 1.0], [3.0, 2.5, 3.0]], [3, 1])
    for view, colour in (("top", "amber"), ("side", "blue")):
        one = above if view == "top" else scene([[3.0, 1.0, 2.0], [3.0, 4.0, 2.0]], [3, 1])
        axes, image, _ = rendered(one, view)
        x, y = axes.transData.transform((3.0, 2.5 if view == "top" else 2.0)).round().astype(int)
        red, _, blue = image[image.shape[0] - y, x]
        assert (red > blue) == (colour == "amber")
    sites = {"site_position": np.array([[3.0, 2.5, 0.15]]), "site_species": np.array([6])}
    axes, _, _ = rendered(scene([[3.0, 2.5, 1.0]], [1], **sites), "top")
    assert sum(isinstance(c, EllipseCollection) for c in axes.collections) == 3


def test_centring_moves_a_split_droplet_to_the_middle():
    split = np.array([[5.8, 4.9, 1.0], [0.1, 0.2, 1.2], [5.9, 0.1, 1.4]])
    moved = centred(scene(split, [1, 1, 3]))
    assert np.abs(moved.position[:, :2] - LENGTHS[:2] / 2).max() < 0.5
    np.testing.assert_array_equal(moved.position[:, 2], split[:, 2])
    turns = (moved.position - split)[:, :2] / LENGTHS[:2]
    turns -= turns[0]
    np.testing.assert_allclose(turns, turns.round(), atol=1e-12)
    lithium = scene(split, [0, 0, 0])
    assert centred(lithium) is lithium


@pytest.mark.parametrize(
    ("value", "interval", "unit", "text"),
    [
        (3.0e7, (2.4e7, 3.7e7), "nm^2/s", "3.00 [2.40, 3.70] × 10⁷ nm²/s"),
        (0.83, (0.65, 1.04), "1", "0.83 [0.65, 1.04]"),
        (5.0e7, (-4.0e7, 14.0e7), "nm^2/s", "5.0 [−4.0, 14.0] × 10⁷ nm²/s"),
        (1389.0, (1200.0, 1560.0), "pN", "1389 [1200, 1560] pN"),
        (4.71, None, "nm^2/s", "4.71 nm²/s"),
        (0.0, None, "e", "0.00 e"),
        (0.0, (-1.0e6, 1.0e6), "pN", "0 [−10, 10] × 10⁵ pN"),
        (-2.5e-5, None, "1", "−2.50 × 10⁻⁵"),
        (2.0, (2.0, 2.0), "1", "2.00 [2.00, 2.00]"),
    ],
)
def test_numbers_are_written_with_the_digits_that_they_have(value, interval, unit, text):
    assert number_text(value, interval, unit) == text


def test_no_line_crosses_missing_frames():
    """A gap is longer than the steps on both sides; a stage that is recorded seldom is none."""
    time = np.array([0.4, 24.0, 24.4, 24.8, 26.0, 27.2, 28.4, 33.2, 34.4])
    shown, rows = with_gaps(time, np.stack([time, -time], axis=1))
    nan = np.nan
    np.testing.assert_array_equal(shown, [0.4, nan, 24.0, 24.4, 24.8, 26.0, 27.2, 28.4, nan, 33.2, 34.4])
    np.testing.assert_array_equal(rows, np.stack([shown, -shown], axis=1))


def test_binned_current_keeps_every_electron():
    time = np.arange(0.2, 20.1, 0.2)
    current = np.random.default_rng(3).poisson(2.0, time.size) / 0.2
    edges, mean = binned_mean(time, current, 30)
    np.testing.assert_allclose(edges[[0, -1]], [0.0, 20.0], atol=1e-12)
    assert len(mean) <= 30
    np.testing.assert_allclose((mean * np.diff(edges)).sum(), current.sum() * 0.2, rtol=1e-12)


# --- the droplet tier --------------------------------------------------------------------------------------


def tier_solution(n_realisations=None, *, converts=True, seed=5):
    """A droplet that appears at 2 s, grows to 10 s, converts at once or not, and dissolves from 12 s on."""
    rng = np.random.default_rng(seed)
    time = np.arange(0.0, 24.01, 0.4)
    size = np.clip(time - 1.9, 0.0, 8.0) * 20.0 * np.exp(-0.4 * np.clip(time - 12.0, 0.0, None))
    shape = (time.size,) if n_realisations is None else (n_realisations, time.size)
    units = np.broadcast_to(size, shape).copy()
    if n_realisations is not None:
        units = np.round(units * rng.uniform(0.7, 1.3, (n_realisations, 1)))
    solid = np.where((time >= 10.0) & converts, units, 0.0)
    liquid = units - solid
    electrons = np.round(4.0 * liquid)
    held = electrons + 10.0 * solid
    step = rng.normal(0.0, 1.0, (*shape, 2))
    return SimpleNamespace(
        time_s=time,
        area_nm2=0.8 * units**0.67,
        n_liquid=liquid,
        n_electrons=electrons,
        n_solid=solid,
        injected_e=np.maximum.accumulate(held, axis=-1),
        ejected_e=np.maximum.accumulate(held, axis=-1) - held,
        nucleation_time_s=np.full(shape[:-1], 9.9 if converts else np.nan),
        centroid_nm=None if n_realisations is None else np.cumsum(step, axis=-2),
    )


TIER_SUMMARY = {
    "title": "one droplet",
    "protocol": PROTOCOL,
    "inputs_note": "put in: interface velocity, centroid diffusivity",
    "inputs": {"onset_s": {"value": 2.0}, "centroid_diffusivity_nm2_per_s": {"value": 4.71}},
    "facts": {"closure_note": "constant closure"},
    "estimates": {"centroid_diffusivity_gls": estimate(4.6, 4.2, 5.0, "nm^2/s")},
}


def test_droplet_tier_figure_says_what_was_put_in(tmp_path):
    paths = plots.plot_droplet_tier(tmp_path, tier_solution(), tier_solution(8), TIER_SUMMARY)
    assert [p.name for p in paths] == ["droplet_tier.png", "droplet_tier.svg"]
    words = written_words(paths[1])
    for expected in (
        "projected area (nm²)", "time (s)", "electrons per S₆ (e)", "current, mean per frame (fA)", "MSD (nm²)",
        "E = −0.50 V", "E = +0.50 V", "onset, 2.00 s", "nucleation, 9.90 s", "16 to 84 % of 8",
        "Inputs put in: interface velocity, centroid diffusivity; constant closure", "4.71 nm²/s",
        "4.60 [4.20, 5.00] nm²/s",
    ):  # fmt: skip
        assert expected in words
    assert pixels(paths[0])[0] == 1440


def test_droplet_tier_without_nucleation_or_without_a_droplet(tmp_path):
    (_, svg) = plots.plot_droplet_tier(
        tmp_path, tier_solution(converts=False), tier_solution(4, converts=False), TIER_SUMMARY
    )
    assert "nucleation" not in written_words(svg)
    empty = [tier_solution(), tier_solution(4)]
    for solution in empty:
        for name in ("area_nm2", "n_liquid", "n_solid", "n_electrons", "injected_e", "ejected_e"):
            setattr(solution, name, np.zeros_like(getattr(solution, name)))
        solution.nucleation_time_s = np.full_like(solution.nucleation_time_s, np.nan)
    (_, svg) = plots.plot_droplet_tier(tmp_path, *empty, TIER_SUMMARY)
    assert "liquid in fewer than" in written_words(svg)


def test_droplet_tier_refuses_histories_of_different_times(tmp_path):
    other = tier_solution(4)
    other.time_s = other.time_s + 0.1
    with pytest.raises(ValueError, match="same times"):
        plots.plot_droplet_tier(tmp_path, tier_solution(), other, TIER_SUMMARY)


def test_quantities_derived_from_a_history():
    mean = tier_solution()
    per_unit = electrons_per_unit(mean)
    assert np.isnan(per_unit[0])
    np.testing.assert_allclose(per_unit[mean.n_solid > 1.0], 10.0)
    # Electrons of a liquid are rounded to whole ones, by half at most.
    liquid = mean.n_liquid >= 1.0
    np.testing.assert_allclose(per_unit[liquid], 4.0, atol=0.5)
    assert conversion_end(mean) == pytest.approx(10.0)
    assert conversion_end(tier_solution(converts=False)) is None
    low, high = event_window(mean)
    assert 0.0 <= low < 2.0
    assert 10.0 < high < 24.0
    electrons = frame_current_fA(mean) * np.diff(mean.time_s) / (1.602176634e-19 * 1e15)
    np.testing.assert_allclose(electrons.sum(), mean.injected_e[-1] - mean.ejected_e[-1], atol=1e-9)
    shown = frame_times(mean)
    assert len(shown) == 5
    assert mean.area_nm2[shown[0]] > 0
    assert mean.time_s[shown[-1]] == pytest.approx(10.0)


# --- figures over a study ----------------------------------------------------------------------------------


def comparison_row(verdict_class="agrees"):
    return {
        "quantity": "droplet centroid diffusivity D, 2D",
        "condition": "wired Mo centres",
        "tier": "particle tier, physical clock",
        "dropsim": "3.0e7 [2.4e7, 3.7e7] nm^2/s",
        "reference": "4.71 nm^2/s; $ is no mathematics, nor is x_1^2$",
        "source": "doi:10.1038/s41586-023-06326-8/a-very-long-word-that-has-no-space-in-it-at-all",
        "kind": "measurement",
        "verdict": "differs by a factor of 6e6, in another film",
        "verdict_class": verdict_class,
    }


def test_comparison_table_holds_every_row_in_its_colour(tmp_path):
    rows = [comparison_row(kind) for kind in VERDICT_COLOURS]
    short = plots.plot_comparison(tmp_path / "one.study", rows[:1], "One row")
    paths = plots.plot_comparison(tmp_path / "all", rows, "All rows")
    assert [p.name for p in short] == ["one.study.png", "one.study.svg"]
    width, height = pixels(paths[0])
    assert width == 1440
    assert height > pixels(short[0])[1] + 4 * 100
    svg = paths[1].read_text(encoding="utf-8")
    for colour in VERDICT_COLOURS.values():
        assert colour.lower() in svg
    words = written_words(paths[1])
    assert words.count("3.0e7 [2.4e7, 3.7e7] nm²/s") == len(rows)
    assert "$" in words


def test_comparison_table_refuses_what_it_cannot_show(tmp_path):
    with pytest.raises(ValueError, match="nothing to compare"):
        plots.plot_comparison(tmp_path / "x", [], "none")
    with pytest.raises(ValueError, match="verdict_class is 'good'"):
        plots.plot_comparison(tmp_path / "x", [comparison_row("good")], "bad")
    lacking = {k: v for k, v in comparison_row().items() if k not in ("tier", "source")}
    with pytest.raises(ValueError, match="row 0 of the comparison lacks source, tier"):
        plots.plot_comparison(tmp_path / "x", [lacking], "bad")
    assert not list(tmp_path.iterdir())


def test_wrapped_lines_fit_and_lose_nothing():
    text = "some words and oneverylongwordthatcannotfit then an end"

    def measure(piece, size_pt):
        return len(piece) * size_pt / 100.0

    lines = wrap_text(text, 1.0, 10.0, measure)
    assert max(map(len, lines)) <= 10
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrap_text("", 1.0, 10.0, measure) == [""]
    assert wrap_text("a\nb", 1.0, 10.0, measure) == ["a", "b"]


def conditions():
    return [
        {
            "name": "centres",
            "title": "wired Mo centres, $5 a gram",
            "estimates": {
                "surface_count": estimate(212.0, 198.0, 226.0, "S atoms"),
                "largest_cluster": estimate(290.0, 260.0, 320.0, "S atoms"),
            },
            "replica_values": {"surface_count": [200.0, 221.0], "largest_cluster": [290.0]},
        },
        {
            "name": "no_centres",
            "title": "",
            "estimates": {"surface_count": estimate(101.0, 89.0, 113.0, "S atoms")},
            "replica_values": {"surface_count": [95.0, 111.0]},
        },
        {
            "name": "dispersed",
            "title": "dispersed",
            "estimates": {"surface_count": estimate(60.0, None, None, "S atoms")},
        },
    ]


def test_contrast_shows_what_was_measured_and_names_what_was_not(tmp_path):
    paths = plots.plot_contrast(tmp_path / "contrast", conditions(), "What the centres do")
    words = written_words(paths[1])
    assert words.count("not measured") == 2
    assert "mean of the five largest" not in words
    for expected in ("S atoms within 1.5 nm", "(S atoms)", "212", "101", "no_centres", "95 % intervals"):
        assert expected in words
    with pytest.raises(ValueError, match="no condition has any of"):
        plots.plot_contrast(tmp_path / "none", [{"name": "a", "estimates": {}}], "nothing")


def test_overview_with_and_without_its_parts(tmp_path):
    paths = plots.plot_overview(
        tmp_path / "overview",
        run_curves(1),
        run_curves(2),
        tier_solution(),
        tier_solution(6),
        conditions(),
        protocol=PROTOCOL,
    )
    words = written_words(paths[1])
    for expected in (
        "2 nm",
        "projected area (nm²)",
        "time (s)",
        "S atoms within 1.5 nm of the electrode",
        "from above",
    ):
        assert expected in words
    assert pixels(paths[0])[0] == 1440
    bare = plots.plot_overview(tmp_path / "bare", run_curves(), None, None, None, [])
    words = written_words(bare[1])
    for expected in ("no such run", "no droplet tier", "not measured"):
        assert expected in words
    with pytest.raises(ValueError, match="no final frame"):
        plots.plot_overview(tmp_path / "x", {}, None, None, None, [])
