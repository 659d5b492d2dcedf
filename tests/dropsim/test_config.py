"""Experiment files: what is read, what it becomes, and the exact line that each mistake gets."""

import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pydantic
import pytest

from dropsim import unit_strings
from dropsim.check import warnings
from dropsim.composition import centre_positions_nm, composition, counts
from dropsim.config import Config, config_hash
from dropsim.config_load import config_from_values, load_config, load_config_text
from dropsim.config_schema import leaf_entries
from dropsim.errors import ConfigError
from dropsim.presets import PRESETS
from dropsim.toml_lines import key_lines

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*/*.toml"))
assert EXPERIMENTS

# Line numbers in the expected messages below count from here.
BASE = """\
preset = "condensing"
[run]
name = "small"

[box]
lateral_nm = [11.0, 11.0]

[centres]
spacing_nm = 2.75

[[stages]]
name = "gather"
integrator = "baoab"
duration_ps = 10.0
timestep_fs = 20.0
"""


def load(text=BASE, *overrides):
    return load_config_text(text, "x.toml", overrides)


def message(text=BASE, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return str(caught.value)


# --- where keys stand -----------------------------------------------------------------------------


def test_lines_of_every_kind_of_key():
    text = '''# comment with [table] and key = 1
a.b = 1
"quoted.key" = "a # no comment = [1]"
long = """
[not a table]
x = 1 \\""" still inside
"""
literal = \'\'\'
[nor this]\'\'\'
[one.two] # comment
inline = { p = 1, q = { r = 2 } }
list = [
  1, # first
  [2, 3],
  { s = 4 },
]
[[rows]]
name = "]"
[rows.deep]
k = 1
[[rows]]
name = "b"
[[rows.cells]]
c = 1
[[rows.cells]]
c = 2
'''
    lines = key_lines(text)
    rows = tomllib.loads(text)["rows"]
    assert rows[1]["cells"][1]["c"] == 2
    expected = {
        ("a",): 2, ("a", "b"): 2, ("quoted.key",): 3, ("long",): 4, ("literal",): 8, ("one", "two"): 10,
        ("one", "two", "inline"): 11, ("one", "two", "inline", "p"): 11,
        ("one", "two", "inline", "q", "r"): 11,
        ("one", "two", "list"): 12, ("one", "two", "list", 0): 13, ("one", "two", "list", 1): 14,
        ("one", "two", "list", 1, 1): 14, ("one", "two", "list", 2, "s"): 15,
        ("rows",): 17, ("rows", 0): 17, ("rows", 0, "name"): 18, ("rows", 0, "deep", "k"): 20,
        ("rows", 1): 21, ("rows", 1, "name"): 22, ("rows", 1, "cells", 0, "c"): 24,
        ("rows", 1, "cells", 1): 25, ("rows", 1, "cells", 1, "c"): 26,
    }  # fmt: skip
    assert {path: lines.get(path) for path in expected} == expected
    assert not any("x" in path or "not a table" in path for path in lines)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_value_of_the_experiments_has_its_line(path):
    text = path.read_text()
    lines, written = key_lines(text), text.splitlines()

    def walk(value, here):
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, (*here, key))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                walk(item, (*here, index))
        else:
            # A table written in one line stands where its list does.
            assert re.match(rf"\s*{here[-1]} =|.*\{{.*\b{here[-1]} =", written[lines[here] - 1])

    walk(tomllib.loads(text), ())


# --- one line for each mistake --------------------------------------------------------------------

NUMBER_FS = 'a number > 0 (fs), or a text with a unit such as "10 fs"'
RUN_KEYS = "name, title, role, seed, replicas, precision, chunk_ps"
TOP_KEYS = (
    "preset, run, box, electrolyte, species, wall, centres, electrostatics, start, stages, reaction, kinetics, "
    "single_molecule"
)

IN_THE_FILE = {
    # change in BASE: (old, new) -> the whole message
    "unknown key": (
        ('name = "small"', 'name = "small"\nsedd = 3'),
        f"x.toml:4: run.sedd = 3: unknown key; did you mean run.seed? allowed: {RUN_KEYS}",
    ),
    "key without its unit": (
        ("timestep_fs = 20.0", "timestep = 20.0"),
        "x.toml:11: stages.0.timestep_fs: missing; allowed: a number > 0 (fs)\n"
        "x.toml:15: stages.0.timestep = 20.0: unknown key; did you mean stages.0.timestep_fs? allowed: name, "
        "integrator, duration_ps, timestep_fs, friction, friction_per_ps, record_every_ps, reaction, potential_V, "
        "potential_end_V, open_circuit, wall_mobility",
    ),
    "key in another table": (
        ('name = "small"', 'name = "small"\nheight_nm = 3'),
        f"x.toml:4: run.height_nm = 3: unknown key; did you mean box.height_nm? allowed: {RUN_KEYS}",
    ),
    "unknown table": (
        ("[box]", "[boxes]"),
        "x.toml:5: boxes = {lateral_nm = [11.0, 11.0]}: unknown key; did you mean box? "
        f"allowed: {TOP_KEYS}",
    ),
    "missing key": (
        ('name = "small"', ""),
        "x.toml:2: run.name: missing; allowed: a text of letters, digits, - and _",
    ),
    "text for a number": (
        ("timestep_fs = 20.0", 'timestep_fs = "fast"'),
        'x.toml:15: stages.0.timestep_fs = "fast": is text without a number and a unit; allowed: a number in '
        'fs, or a text with a unit such as "10 fs"',
    ),
    "truth for a number": (
        ("timestep_fs = 20.0", "timestep_fs = true"),
        f"x.toml:15: stages.0.timestep_fs = true: is true or false; allowed: {NUMBER_FS}",
    ),
    "text for a whole number": (
        ('name = "small"', 'name = "small"\nseed = "1"'),
        'x.toml:4: run.seed = "1": is text; allowed: a whole number >= 0 and < 4294967296',
    ),
    "fraction for a whole number": (
        ('name = "small"', 'name = "small"\nseed = 1.5'),
        "x.toml:4: run.seed = 1.5: is a number; allowed: a whole number >= 0 and < 4294967296",
    ),
    "number for truth": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\nreaction = 1"),
        "x.toml:16: stages.0.reaction = 1: is a whole number; allowed: true or false",
    ),
    "number for a text": (
        ('name = "small"', "name = 3"),
        "x.toml:3: run.name = 3: is a whole number; allowed: a text of letters, digits, - and _",
    ),
    "out of range": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\nfriction_per_ps = -1"),
        "x.toml:16: stages.0.friction_per_ps = -1: out of range; allowed: a number >= 0 (per ps)",
    ),
    "not finite": (
        ("spacing_nm = 2.75", "spacing_nm = nan"),
        "x.toml:9: centres.spacing_nm = nan: not a finite number; allowed: a number > 0 (nm)",
    ),
    "not a choice": (
        ('"baoab"', '"boab"'),
        'x.toml:13: stages.0.integrator = "boab": not a choice; did you mean "baoab"? allowed: baoab, gjf, '
        "leimkuhler-matthews or euler-maruyama",
    ),
    "unusable name": (
        ('"small"', '"a/b"'),
        'x.toml:3: run.name = "a/b": has characters that cannot be used; allowed: a text of letters, digits, '
        "- and _",
    ),
    "too few entries": (
        ("[11.0, 11.0]", "[11.0]"),
        "x.toml:6: box.lateral_nm = [11.0]: has 1 entries; allowed: 2 values in a list, each a "
        "number > 0 (nm)",
    ),
    "a bad entry": (
        ("[11.0, 11.0]", "[11.0, -2]"),
        "x.toml:6: box.lateral_nm.1 = -2: out of range; allowed: a number > 0 (nm)",
    ),
    "unknown preset": (
        ('"condensing"', '"condensng"'),
        'x.toml:1: preset = "condensng": unknown preset; did you mean "condensing"? allowed: condensing, '
        "condensing-100mM, explicit-salt, dispersed",
    ),
    "line ends in keys and values": (
        ('name = "small"', 'name = "small"\n"se\\ned" = "a\\nb"'),
        'x.toml:4: run.se\\ned = "a\\nb": unknown key; did you mean run.seed? allowed: ' + RUN_KEYS,
    ),
    "line end in a preset": (
        ('"condensing"', '"cond\\nensing"'),
        'x.toml:1: preset = "cond\\nensing": unknown preset; did you mean "condensing"? allowed: condensing, '
        "condensing-100mM, explicit-salt, dispersed",
    ),
    "unit of another dimension": (
        ("timestep_fs = 20.0", 'timestep_fs = "20 nm"'),
        'x.toml:15: stages.0.timestep_fs = "20 nm": "nm" cannot be converted to fs; allowed: a text with a '
        'unit such as "10 fs"',
    ),
    "ampere for angstrom": (
        ("spacing_nm = 2.75", 'spacing_nm = "27.5 A"'),
        'x.toml:9: centres.spacing_nm = "27.5 A": "A" cannot be converted to nm; A is ampere: did you mean '
        '"angstrom"?',
    ),
    "unknown unit": (
        ("timestep_fs = 20.0", 'timestep_fs = "20 fss"'),
        'x.toml:15: stages.0.timestep_fs = "20 fss": has an unknown unit "fss"; allowed: a number in '
        'fs, or a '
        'text with a unit such as "10 fs"',
    ),
    "unit that cannot be read": (
        ("timestep_fs = 20.0", 'timestep_fs = "20 fs("'),
        'x.toml:15: stages.0.timestep_fs = "20 fs(": has a unit "fs(" that cannot be read; '
        'allowed: a number in '
        'fs, or a text with a unit such as "10 fs"',
    ),
    "unit in a plain number": (
        ("[box]", '[wall]\nwell_depth_S6_kT = "3 kT"\n[box]'),
        'x.toml:6: wall.well_depth_S6_kT = "3 kT": is text; allowed: a plain number, in kT at 300 K',
    ),
    "cutoff above half the box": (
        ("[centres]", "[electrostatics]\ncutoff_nm = 6\n[centres]"),
        "x.toml:9: electrostatics.cutoff_nm = 6 and box.lateral_nm = [11.0, 11.0]: the cutoff is "
        "above half the "
        "box; allowed: at most 5.5 nm, or a box of at least 12 nm",
    ),
    "overlapping rings": (
        ("spacing_nm = 2.75", "spacing_nm = 2.75\nring_radius_nm = 1.5"),
        "x.toml:10: centres.ring_radius_nm = 1.5 and centres.spacing_nm = 2.75: the rings of neighbouring "
        "centres overlap; allowed: below 1.375 nm",
    ),
    "centres above the box": (
        ("spacing_nm = 2.75", "spacing_nm = 2.75\nheight_nm = 12"),
        "x.toml:10: centres.height_nm = 12 and box.height_nm = 10.0: the centres are above the box; allowed: "
        "below 10 nm",
    ),
    "lattice that does not fill the box": (
        ("spacing_nm = 2.75", "spacing_nm = 2.6"),
        "x.toml:9: centres.spacing_nm = 2.6 and box.lateral_nm = [11.0, 11.0]: a lattice must fill "
        "the box with "
        "whole spacings; nearest allowed: spacing 2.75 nm, or a length of 10.4 nm instead of 11",
    ),
    "patch that does not fit": (
        ("spacing_nm = 2.75", 'spacing_nm = 2.75\narrangement = "patch"\ncount = 17'),
        "x.toml:11: centres.count = 17 and centres.spacing_nm = 2.75 and box.lateral_nm = [11.0, "
        "11.0]: the patch "
        "does not fit into the box; allowed: at most 16 centres at this spacing, or a larger box",
    ),
    "count and concentration": (
        ("[centres]", "[electrolyte]\nli2s6_count = 5\nli2s6_mM = 10\n[centres]"),
        "x.toml:9: electrolyte.li2s6_count = 5: given together with electrolyte.li2s6_mM = 10; keep "
        "one of the "
        "two",
    ),
    "no particles": (
        ("[centres]", "[electrolyte]\nli2s6_mM = 0\n[centres]"),
        "x.toml:9: electrolyte.li2s6_mM = 0 and electrolyte.litfsi_mM = 0.0: no particles at all; "
        "allowed: at "
        "least 1.37 mM of one of them",
    ),
    "less than half a particle": (
        ("[centres]", "[electrolyte]\nli2s6_mM = 0.5\n[centres]"),
        "x.toml:9: electrolyte.li2s6_mM = 0.5 and box.lateral_nm = [11.0, 11.0] and box.height_nm = "
        "10.0: less "
        "than half a Li2S6 in this box; allowed: at least 1.37 mM for one, or a larger box",
    ),
    "less than half a salt": (
        ("[centres]", "[electrolyte]\nlitfsi_mM = 0.5\n[centres]"),
        "x.toml:9: electrolyte.litfsi_mM = 0.5 and box.lateral_nm = [11.0, 11.0] and box.height_nm = "
        "10.0: less "
        "than half a LiTFSI in this box; allowed: 0, or at least 1.37 mM for one",
    ),
    "remainder of the counterions": (
        ("spacing_nm = 2.75", 'spacing_nm = 2.75\ncompensation = "counterion"'),
        'x.toml:10: electrostatics.net_charge = "error" and centres.compensation = "counterion" and '
        "centres.slab_net_charge_e = 0.0: the cell carries -0.08 e (16 centres, 118 counterions); set "
        'electrostatics.net_charge = "electrode", or centres.slab_net_charge_e = 0.08 for a neutral cell',
    ),
    "charged electrode": (
        ("spacing_nm = 2.75", "spacing_nm = 2.75\nslab_net_charge_e = -6"),
        'x.toml:10: electrostatics.net_charge = "error" and centres.compensation = "ring" and '
        "centres.slab_net_charge_e = -6: the cell carries -6 e (16 centres, 0 counterions); set "
        'electrostatics.net_charge = "electrode", or centres.slab_net_charge_e = 0 for a neutral cell, or '
        'centres.compensation = "counterion" to balance it with ions',
    ),
    "centres in a bulk box": (
        ("lateral_nm", 'geometry = "bulk"\nlateral_nm'),
        'x.toml:6: centres.arrangement = "lattice" and box.geometry = "bulk": a bulk box has no electrode to carry '
        'centres; allowed: "none", or box.geometry = "slab"',
    ),
    "half a splitting": (
        ("[centres]", "[electrostatics]\nmesh = [32, 32, 32]\n[centres]"),
        "x.toml:9: electrostatics.mesh = [32, 32, 32] and electrostatics.splitting_per_nm = none: a splitting is "
        "given whole: splitting_per_nm, mesh, mesh_order and cutoff_nm together ('dropsim tune' prints such lines), or "
        "none of the first three",
    ),
    "a start without its file": (
        ("[centres]", '[start]\nkind = "file"\n[centres]'),
        'x.toml:9: start.file = none and start.kind = "file": no file; name one, or another start.kind',
    ),
    "a droplet of more than there is": (
        ("[centres]", '[start]\nkind = "droplet"\ndroplet_count = 1000\n[centres]'),
        "x.toml:10: start.droplet_count = 1000 and electrolyte.li2s6_mM = 10.0: the box holds 7 Li2S6; allowed: 1 to "
        "7, or a higher concentration",
    ),
    "wall mobility with averaged noise": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\nwall_mobility = true"),
        'x.toml:16: stages.0.wall_mobility = true and stages.0.integrator = "baoab" and box.geometry = "slab": a '
        'mobility that depends on the distance to a wall asks for "euler-maruyama" and a slab (the averaged noise of '
        "leimkuhler-matthews does not hold with it)",
    ),
    "frames that are no whole steps": (
        ("timestep_fs = 20.0", "timestep_fs = 30.0"),
        "x.toml:15: stages.0.record_every_ps = 2.0 and stages.0.timestep_fs = 30.0: must be a whole "
        "number of "
        "steps of 0.03 ps; nearest allowed: 1.98 or 2.01",
    ),
    "stages that are no whole frames": (
        ("duration_ps = 10.0", "duration_ps = 11.0"),
        "x.toml:14: stages.0.duration_ps = 11.0 and stages.0.record_every_ps = 2.0: must be a whole "
        "number of "
        "frames of 2 ps; nearest allowed: 10 or 12",
    ),
    "chunks that are no whole frames": (
        ('name = "small"', 'name = "small"\nchunk_ps = 1.0'),
        "x.toml:4: run.chunk_ps = 1.0 and stages.0.record_every_ps = 2.0: must be a whole number of "
        "frames of "
        "2 ps; nearest allowed: 2",
    ),
    "reaction checks that are no whole steps": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\nreaction = true\n[reaction]\ncheck_every_ps = 0.05"),
        "x.toml:18: reaction.check_every_ps = 0.05 and stages.0.timestep_fs = 20.0: must be a whole "
        "number of "
        "steps of 0.02 ps; nearest allowed: 0.04 or 0.06",
    ),
    "frames that are no whole reaction checks": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\nreaction = true\n[reaction]\ncheck_every_ps = 0.6"),
        "x.toml:18: stages.0.record_every_ps = 2.0 and reaction.check_every_ps = 0.6: must be a "
        "whole number of "
        "reaction checks of 0.6 ps; nearest allowed: 1.8 or 2.4",
    ),
    "an end of a ramp in a stage without reaction": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\npotential_end_V = -0.3"),
        "x.toml:16: stages.0.potential_end_V = -0.3 and stages.0.reaction = false: no electrons are transferred in "
        "this stage; allowed: reaction = true, or leave the key out",
    ),
    "a potential at open circuit": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\nreaction = true\npotential_V = -0.3\nopen_circuit = true"),
        "x.toml:18: stages.0.open_circuit = true and stages.0.potential_V = -0.3: an electrode that is not connected "
        "has no potential that could be set; keep one of the two",
    ),
    "energies of electrons that are spread at once": (
        ("[centres]", "[reaction]\nsite_energy_kT = 0.5\n[centres]"),
        'x.toml:9: reaction.site_energy_kT = 0.5 and reaction.sharing = "mixed": electrons that are spread over the '
        'whole droplet at once do not feel it; allowed: 0, or reaction.sharing = "finite" or "none"',
    ),
    "slots of lithium that comes with the electrons": (
        ("[centres]", "[reaction]\nlithium_slots = 20\n[centres]"),
        'x.toml:9: reaction.lithium_slots = 20 and reaction.charge_treatment = "coupled": no Li+ enters as a bead; '
        'allowed with "bare" only',
    ),
    "too few slots of lithium": (
        ("[centres]", '[reaction]\ncharge_treatment = "bare"\nlithium_slots = 9\n[centres]'),
        'x.toml:10: reaction.lithium_slots = 9 and reaction.charge_treatment = "bare": one S6 takes 10 Li+ on its way '
        "to Li2S; allowed: at least 10, enough for all: 70",
    ),
    "bare electrons on solids of another charge": (
        ("[centres]", '[reaction]\ncharge_treatment = "bare"\n[species.Li2S]\ncharge_e = 0.0\n[centres]'),
        'x.toml:11: species.Li2S.charge_e = 0.0 and reaction.charge_treatment = "bare": the electrons of a bead are '
        "counted on top of the charge of S6; allowed: that charge, -2",
    ),
    "adsorption below the minimum of the wall": (
        ("[centres]", "[reaction]\nsurface_rate_constant_per_ps = 0.1\nsurface_contact_nm = 0.5\n[centres]"),
        "x.toml:10: reaction.surface_contact_nm = 0.5 and wall.sigma_nm = 0.34: S6 on the electrode lie at 0.564 nm, "
        "so that hardly any would be adsorbed; allowed: above 0.564 nm",
    ),
    "contacts wider than the box": (
        ("timestep_fs = 20.0", "timestep_fs = 20.0\nreaction = true\n[reaction]\nli_bridge_nm = 3.0"),
        "x.toml:18: reaction.li_bridge_nm = 3.0 and box.lateral_nm = [11.0, 11.0]: a bead would touch its own image; "
        "allowed: contacts (twice li_bridge_nm) of at most 5.5 nm, or a box of at least 12 nm",
    ),
    "two stages of one name": (
        (
            "[[stages]]",
            '[[stages]]\nname = "gather"\nintegrator = "baoab"\nduration_ps = 2\n'
            "timestep_fs = 20\n[[stages]]",
        ),
        'x.toml:17: stages.1.name = "gather" and stages.0.name = "gather": two stages have this '
        'name; allowed: '
        "a name of its own for each stage",
    ),
    "onset after the protocol": (
        ("[centres]", "[kinetics]\nonset_s = 300\n[centres]"),
        "x.toml:9: kinetics.onset_s = 300 and kinetics.protocol = [{potential_V = -0.5, duration_s = 120.0}, "
        "{potential_V =...: is not before the end of the protocol; allowed: below 240 s",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_THE_FILE)
def test_message_for_a_mistake_in_the_file(case):
    (old, new), expected = IN_THE_FILE[case]
    assert BASE.count(old) == 1
    assert message(BASE.replace(old, new)) == expected


def test_a_bulk_box_has_no_electrode_to_react_at():
    bulk = ["box.geometry=bulk", "centres.arrangement=none", "stages.0.reaction=true"]
    for override in ("reaction.surface_rate_constant_per_ps=0.1", "reaction.charge_treatment=bare"):
        text = message(BASE, *bulk, override)
        assert text.startswith(f"--set: {override.split('=')[0]} = "), text
        assert "a bulk box has no electrode" in text
        assert 'box.geometry = "slab"' in text
    load(BASE, *bulk)


def test_potentials_in_millivolts_are_refused_wherever_they_stand():
    stage = ["stages.0.reaction=true"]
    far = "rates grow exponentially with the potential; allowed: -10 to 10 V"
    step = "kinetics.protocol=[{potential_V=-0.1, duration_s=60.0, potential_end_V=-500.0}]"
    for overrides, key in (
        ([*stage, "stages.0.potential_V=-100"], "stages.0.potential_V = -100"),
        ([*stage, "stages.0.potential_end_V=300"], "stages.0.potential_end_V = 300"),
        ([*stage, "reaction.potential_V=-100"], "reaction.potential_V = -100"),
        ([step], "kinetics.protocol.0.potential_end_V = -500.0"),
    ):
        section = key.split(".")[0].replace("stages", "reaction")
        assert message(BASE, *overrides) == f"--set: {key} and {section}.standard_potential_V = 0.0: {far}"
    # Nothing reads them here.
    load(BASE, "reaction.potential_V=-100")
    load(BASE, step.replace("potential_end_V=-500.0", "open_circuit=true"), *stage, "stages.0.open_circuit=true")


def test_histories_that_no_memory_holds_are_refused():
    assert message(BASE, "kinetics.frame_s=1e-6") == (
        "--set: kinetics.frame_s = 1e-06 and kinetics.realisations = 64: 2.4e+08 frames of each; allowed: at least "
        "0.00154 s, fewer realisations, or a shorter protocol"
    )
    patch = ["single_molecule.enabled=true", "kinetics.realisations=2"]
    assert "kinetics.frame_s = 0.002 and single_molecule.realisations = 16" in message(
        BASE, *patch, "kinetics.frame_s=0.002"
    )
    text = message(BASE, *patch, "single_molecule.leap_s=1e-6")
    assert text.startswith("--set: single_molecule.leap_s = 1e-06 and kinetics.protocol = ")
    assert "2.4e+08 leaps; allowed: at least 2.4e-05 s" in text


def test_contacts_of_a_low_bulk_box():
    text = message(BASE, "box.geometry=bulk", "centres.arrangement=none", "stages.0.reaction=true", "box.height_nm=2.0")
    assert text.startswith("--set: reaction.li_bridge_nm = 0.63 and box.height_nm = 2.0: a bead would touch its own")


def test_keys_of_the_reaction_that_nothing_reads_are_named():
    found = warnings(load(BASE, "stages.0.reaction=true", "reaction.hop_rate_per_ps=3", "reaction.branch_width_V=0.2"))
    assert 'reaction.hop_rate_per_ps: 3.0 is not used with sharing = "mixed"' in found
    assert "reaction.branch_width_V: 0.2 is not used with surface_rate_constant_per_ps = 0" in found
    assert not any("not used" in text for text in warnings(load(BASE, "reaction.hop_rate_per_ps=3")))


ON_THE_COMMAND_LINE = {
    "run.seed": "--set: run.seed: not of the form section.key=value; example: --set run.seed=2",
    "run.sedd=2": f"--set: run.sedd = 2: unknown key; did you mean run.seed? allowed: {RUN_KEYS}",
    "run.seed=-1": "--set: run.seed = -1: out of range; allowed: a whole number >= 0 and < 4294967296",
    "box=3": "--set: box = 3: is a whole number; allowed: a table",
    "run.name.first=x": '--set: run.name.first = "x": run.name is a value, not a table',
    "stages.3.name=x": '--set: stages.3.name = "x": stages has no entry 3; allowed: 0 to 0',
    "stages.gather.name=x": (
        '--set: stages.gather.name = "x": stages is a list; name an entry by its number, such as stages.0'
    ),
    "kinetics.protocol.0.duration_s=3": (
        "--set: kinetics.protocol.0.duration_s = 3: kinetics.protocol is not in the file, so it has "
        "no entries to "
        "change; write the list into the file"
    ),
    "stages=[]": "--set: stages = []: has 0 entries; allowed: a list of at least 1, [[stages]]",
    "temperature_K=3": (
        "--set: temperature_K = 3: unknown key; did you mean electrolyte.temperature_K? allowed: " + TOP_KEYS
    ),
    "preset=dispersd": (
        '--set: preset = "dispersd": unknown preset; did you mean "dispersed"? allowed: condensing, '
        "condensing-100mM, explicit-salt, dispersed"
    ),
}


@pytest.mark.parametrize("override", ON_THE_COMMAND_LINE)
def test_message_for_a_mistake_on_the_command_line(override):
    assert message(BASE, override) == ON_THE_COMMAND_LINE[override]


def test_all_mistakes_are_reported_at_once_one_line_each():
    text = BASE.replace("spacing_nm = 2.75", "spacing_nm = -1\nspace = 2").replace("20.0", '"20 nm"')
    lines = message(text, "run.seed=a").splitlines()
    assert [line.split(": ")[0] for line in lines] == ["--set", "x.toml:9", "x.toml:10", "x.toml:16"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[run\nname = 1\n", ":1: not TOML: Expected ']' at the end of a table declaration (column 5)"),
        (b"a = 1\na = 2\n", ":2: not TOML: Cannot overwrite a value (column 6)"),
        (b"# one\nname = '\xff'\n", ":2: byte 0xff is not UTF-8; save the file as UTF-8 text"),
    ],
)
def test_message_for_a_file_that_is_not_toml(tmp_path, data, expected):
    path = tmp_path / "bad.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}{expected}"


def test_message_for_a_file_that_is_not_there(tmp_path):
    (tmp_path / "centres.toml").write_text(BASE)
    for path, expected in (
        (tmp_path / "centers.toml", f"no such file; did you mean {tmp_path / 'centres.toml'}?"),
        (tmp_path / "sub" / "x.toml", f"no such file; there is no directory {tmp_path / 'sub'}"),
        (tmp_path, "is a directory; name a .toml file in it"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value) == f"{path}: {expected}"


def test_a_preset_value_is_named_as_such(monkeypatch):
    monkeypatch.setitem(PRESETS["condensing"].values["electrolyte"], "litfsi_mM", -1.0)
    assert message() == (
        'x.toml (preset "condensing"): electrolyte.litfsi_mM = -1.0: out of range; allowed: a number >= 0 (mM)'
    )


def test_a_damaged_file_never_ends_in_another_exception():
    """Deleted, doubled and swapped pieces of a real file: a config, or a ConfigError of one line each."""
    text = (Path(__file__).parents[2] / "experiments/droplet/centres.toml").read_text()
    random = np.random.default_rng(1)
    outcomes, said = {"config": 0, "error": 0}, []
    for _ in range(200):
        start, other = sorted(random.integers(0, len(text), 2))
        length = int(random.integers(1, 12))
        piece = text[start : start + length]
        damaged = (
            text[:start] + text[start + length :],
            text[:other] + piece + text[other:],
            text[:start] + text[other : other + length] + text[start + length :],
        )[int(random.integers(3))]
        try:
            load(damaged)
            outcomes["config"] += 1
        except ConfigError as error:
            outcomes["error"] += 1
            said += str(error).splitlines()
    assert all(line.startswith("x.toml") for line in said)
    assert min(outcomes.values()) > 10


# --- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("timestep_fs", "0.02 ps", 20.0),
        ("duration_ps", "0.5 ns", 500.0),
        ("height_nm", "5 angstrom", 0.5),
        ("li2s6_mM", "100 mM", 100.0),
        ("li2s6_mM", "0.1 mol/l", 100.0),
        ("temperature_K", "25 degC", 298.15),
        ("epsilon_kJ_per_mol", "0.3 kcal/mol", 1.2552),
        ("diffusivity_nm2_per_ps", "2.5e-10 m^2/s", 2.5e-4),
        ("bulk_diffusivity_nm2_per_s", "3e-6 cm2/s", 3e8),
        ("rate_constant_per_ps", "1e9 /s", 1e-3),
        ("physical_rate_constant_per_s", "0.1 per ms", 100.0),
        ("centre_density_per_nm2", "2.5e12 1/cm^2", 0.025),
        ("potential_V", "-100 mV", -0.1),
        ("charge_e", "1.602176634e-19 C", 1.0),
        ("contact_angle_deg", "1.5707963267948966 rad", 90.0),
    ],
)
def test_texts_with_units(key, text, expected):
    assert unit_strings.number_from_text(key, text) == pytest.approx(expected, rel=1e-13)


def test_units_in_files_and_lists_and_overrides():
    config = load(BASE.replace("[11.0, 11.0]", '["110 angstrom", 11]'), "stages.0.duration_ps=0.02 ns")
    assert config.box.lateral_nm == (11.0, 11.0)
    assert config.stages[0].duration_ps == 20.0


def test_every_unit_of_the_schema_is_known_to_pint():
    registry, _ = unit_strings._registry()
    found = set()
    for name in leaf_entries():
        unit = unit_strings.key_unit(name.rsplit(".", 1)[-1])
        if unit:
            found.add(unit)
            registry.parse_expression(unit_strings.KEY_UNITS[unit])
    assert found == set(unit_strings.KEY_UNITS)


def test_message_without_pint(monkeypatch):
    unit_strings._registry.cache_clear()
    monkeypatch.setitem(sys.modules, "pint", None)
    assert message(BASE.replace("20.0", '"20 fs"')) == (
        'x.toml:15: stages.0.timestep_fs = "20 fs": texts with a unit need the package pint: pip install '
        '"dropsim[units]", or write a plain number'
    )
    assert load().stages[0].timestep_fs == 20.0  # plain numbers never need it


# --- presets and precedence -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "permittivity", "li2s6", "litfsi", "saturation"),
    [
        ("condensing", 10.0, 10.0, 0.0, 4.0),
        ("condensing-100mM", 12.5, 100.0, 0.0, 25.0),
        ("explicit-salt", 7.0, 250.0, 1000.0, None),
        ("dispersed", 22.0, 250.0, 1000.0, None),
    ],
)
def test_presets(name, permittivity, li2s6, litfsi, saturation):
    electrolyte = load(BASE, f"preset={name}").electrolyte
    assert electrolyte.relative_permittivity_300K == permittivity
    assert electrolyte.li2s6_mM == li2s6
    assert electrolyte.litfsi_mM == litfsi
    assert electrolyte.saturation_mM == saturation
    assert PRESETS[name].reason
    assert PRESETS[name].source


def test_the_override_beats_the_file_beats_the_preset_beats_the_default():
    text = BASE + "[electrolyte]\nli2s6_mM = 20\nlitfsi_mM = 30\n"
    electrolyte = load(text, "electrolyte.litfsi_mM=40").electrolyte
    assert electrolyte.temperature_K == 300.0  # default
    assert electrolyte.relative_permittivity_300K == 10.0  # preset
    assert electrolyte.li2s6_mM == 20.0  # file over preset
    assert electrolyte.litfsi_mM == 40.0  # override over file


def test_a_preset_saturation_ends_where_the_electrolyte_leaves_the_preset():
    assert load(BASE, "electrolyte.li2s6_mM=20").electrolyte.saturation_mM == 4.0
    assert load(BASE, "species.Li.mass_amu=50").electrolyte.saturation_mM == 4.0
    assert load(BASE, "electrolyte.relative_permittivity_300K=11").electrolyte.saturation_mM is None
    assert load(BASE, "species.Li.sigma_nm=0.3").electrolyte.saturation_mM is None
    kept = load(BASE, "electrolyte.relative_permittivity_300K=11", "electrolyte.saturation_mM=8")
    assert kept.electrolyte.saturation_mM == 8.0


def test_a_bead_given_in_part_keeps_its_other_defaults():
    bead = load(BASE, "species.S6.sigma_nm=0.66").species.S6
    assert (bead.sigma_nm, bead.charge_e, bead.epsilon_kJ_per_mol) == (0.66, -2.0, 1.255)


def test_lists_of_tables_are_replaced_whole_and_reached_by_index():
    text = BASE + "[[kinetics.protocol]]\npotential_V = -0.1\nduration_s = 60\n"
    config = load(text, "kinetics.protocol.0.duration_s=90", "run.name=b", "centres.wired=false")
    assert [step.duration_s for step in config.kinetics.protocol] == [90.0]
    assert config.run.name == "b"
    assert config.centres.wired is False


# --- the resolved config --------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_round_trip_through_json(path):
    config = load_config(path)
    text = config.model_dump_json()
    assert Config.model_validate_json(text) == config
    assert config_from_values(json.loads(text)) == config
    assert config_hash(Config.model_validate_json(text)) == config_hash(config)


def test_a_count_survives_the_round_trip():
    config = load(BASE, "electrolyte.li2s6_count=5")
    assert config_from_values(json.loads(config.model_dump_json())) == config


def test_configs_are_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        load().run.seed = 2  # type: ignore[misc]


def test_the_hash_names_what_is_simulated():
    base = config_hash(load())
    assert len(base) == 8
    assert int(base, 16) >= 0
    same = ("run.title=other", "run.replicas=4", "box.height_nm=10", "electrolyte.saturation_mM=4")
    assert {config_hash(load(BASE, override)) for override in same} == {base}
    spelled_out = BASE.replace('preset = "condensing"\n', "") + (
        "[electrolyte]\nli2s6_mM = 10\nrelative_permittivity_300K = 10\nsaturation_mM = 4\n"
    )
    assert config_hash(load(spelled_out)) == base
    other = (
        "run.seed=2",
        "run.name=b",
        "box.height_nm=10.1",
        "stages.0.timestep_fs=10",
        "centres.wired=false",
    )
    assert len({base, *(config_hash(load(BASE, override)) for override in other)}) == 1 + len(other)


# --- particle numbers -----------------------------------------------------------------------------


def test_counts_of_the_salt_free_electrolyte():
    # 100 mM in 1210 nm^3: 0.0602214 / nm^3 x 1210 = 72.87, so 73 Li2S6 and 100.18 mM.
    config = load(BASE, "preset=condensing-100mM")
    assert counts(config) == {
        "n_Li": 146, "n_S6": 73, "n_TFSI": 0, "n_counterions": 0, "n_mobile": 219,
        "n_centres": 16, "n_sites": 80,
    }  # fmt: skip
    assert composition(config).li2s6_mM == pytest.approx(73 / 1210 / 6.02214076e-4, rel=1e-12)
    assert composition(config).net_charge_e == 0.0


def test_counterions_balance_the_fixed_charge_up_to_a_stated_remainder():
    patch = ("centres.arrangement=patch", "centres.count=9", "centres.compensation=counterion")
    # 9 x 7.37 = 66.33: 66 TFSI, and 0.33 e that somebody has to choose a treatment for.
    whole = composition(load(BASE, *patch, "electrostatics.net_charge=electrode"))
    assert (whole.n_counterions, whole.n_TFSI, whole.n_sites) == (66, 66, 9)
    assert whole.net_charge_e == pytest.approx(0.33, abs=1e-12)
    assert composition(load(BASE, *patch, "centres.slab_net_charge_e=-0.33")).net_charge_e == 0.0
    # A negative electrode is balanced by Li.
    negative = ("centres.arrangement=none", "centres.compensation=counterion", "centres.slab_net_charge_e=-6")
    whole = composition(load(BASE, *negative))
    assert (whole.n_counterions, whole.n_Li - 2 * whole.n_S6, whole.net_charge_e) == (6, 6, 0.0)


def test_an_explicit_count_beats_the_concentration_of_the_preset():
    config = load(BASE, "electrolyte.li2s6_count=255")
    assert counts(config)["n_S6"] == 255


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (4, (2, 2)), (9, (3, 3)), (16, (4, 4)), (12, (4, 4)), (2, (2, 1))]
)
def test_a_patch_is_compact_and_keeps_its_spacing_across_the_boundary(count, shape):
    config = load(BASE, "centres.arrangement=patch", f"centres.count={count}")
    points = centre_positions_nm(config)
    assert len(points) == count == len(set(points))
    widths = sorted(len({round(p[axis], 6) for p in points}) for axis in (0, 1))
    assert widths == sorted(shape)
    for i, a in enumerate(points):
        assert all(0 <= value < 11 for value in a)
        for b in points[:i]:
            squared = sum(min(abs(p - q), 11 - abs(p - q)) ** 2 for p, q in zip(a, b, strict=True))
            assert squared**0.5 > 2.75 - 1e-9
    middle = [sum(p[axis] for p in points) / count for axis in (0, 1)]
    assert all(abs(value - 5.5) <= 2.75 / 2 + 1e-9 for value in middle)


def test_a_lattice_is_even():
    points = centre_positions_nm(load(BASE))
    assert len(points) == 16
    assert sorted({round(x, 9) for x, _ in points}) == pytest.approx([1.375, 4.125, 6.875, 9.625])
    assert centre_positions_nm(load(BASE, "centres.arrangement=none")) == []
