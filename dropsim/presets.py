"""Named defaults for the electrolyte; a file that names one overrides it key by key.

Beads, wells and permittivities follow corresponding states of the soft Li-S6 model: it boils at a
permittivity near 15, and condenses below it. Saturation concentrations are those of finite
droplets (100 Li2S6 in a 6 nm cavity, 300 K); curvature raises them, and they scatter by 30 %.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from dropsim.errors import ConfigError
from dropsim.toml_lines import shown_value


@dataclass(frozen=True)
class Preset:
    """Defaults under one name: why they are as they are, where they come from, and the values."""

    name: str
    reason: str
    source: str
    values: dict[str, dict[str, Any]]


_PRESETS = (
    Preset(
        name="condensing",
        reason="implicit salt, droplets condense from 10 mM at 2.5 times saturation",
        source="own runs of the soft Li-S6 model, 300 K: 2.1 Li2S6/nm3 inside, 3 to 5 mM outside",
        values={
            "electrolyte": {
                "li2s6_mM": 10.0,
                "litfsi_mM": 0.0,
                "relative_permittivity_300K": 10.0,
                "permittivity_law": "inverse-temperature",
                "saturation_mM": 4.0,
            }
        },
    ),
    Preset(
        name="condensing-100mM",
        reason="implicit salt at the 100 mM of the coin cell, kept at 4 times saturation",
        source="saturation interpolated between own runs at permittivity 12 (12-21 mM) and 14 (70-95 mM)",
        values={
            "electrolyte": {
                "li2s6_mM": 100.0,
                "litfsi_mM": 0.0,
                "relative_permittivity_300K": 12.5,
                "permittivity_law": "inverse-temperature",
                "saturation_mM": 25.0,
            }
        },
    ),
    Preset(
        name="explicit-salt",
        reason="explicit 1 M LiTFSI; a dense phase survives at the permittivity of the ethers",
        source="own runs with 1 M TFSI beads, permittivity 7: 45 to 53 of 60 S6 stay in the dense phase",
        values={
            "electrolyte": {
                "li2s6_mM": 250.0,
                "litfsi_mM": 1000.0,
                "relative_permittivity_300K": 7.0,
                "permittivity_law": "inverse-temperature",
            }
        },
    ),
    Preset(
        name="dispersed",
        reason="control without droplets: ion pairing as in published all-atom simulations",
        source="cluster sizes 1 and 2 of the ComBat data set (1 M LiTFSI, 0.25 M Li2S8) met near 22",
        values={
            "electrolyte": {
                "li2s6_mM": 250.0,
                "litfsi_mM": 1000.0,
                "relative_permittivity_300K": 22.0,
                "permittivity_law": "inverse-temperature",
            }
        },
    ),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}

# A preset's value (left) describes other keys (right): a file that sets one of those, and not the
# value itself, has left what the preset knew, and the value is dropped.
PRESET_DEPENDENTS: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("electrolyte", "li2s6_mM"): (("electrolyte", "li2s6_count"),),
    ("electrolyte", "saturation_mM"): (
        ("electrolyte", "relative_permittivity_300K"),
        ("electrolyte", "permittivity_law"),
        ("electrolyte", "litfsi_mM"),
        *(("species", bead, key) for bead in ("Li", "S6") for key in ("charge_e", "sigma_nm", "epsilon_kJ_per_mol")),
    ),
}


def preset_named(name: object, where: str) -> Preset:
    """The preset of that name; `where` opens the message of the ConfigError if there is none."""
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(str(name), PRESETS, n=1, cutoff=0.5)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    raise ConfigError(f"{where}: preset = {shown_value(name)}: unknown preset; {hint}allowed: {', '.join(PRESETS)}")
