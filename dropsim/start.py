"""Where the beads of a configuration are at first: `start` of the experiment file, carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dropsim.config import Config
from dropsim.errors import BuildError, TrajectoryError
from dropsim.initial import compact_droplet, insert_random, layered_film
from dropsim.structure_files import arrange, read_structure


def start_positions(
    config: Config,
    species: np.ndarray,
    sigma: np.ndarray,
    lengths: np.ndarray,
    z_range: np.ndarray,
    site_position: np.ndarray,
    site_species: np.ndarray,
    replica: int,
) -> np.ndarray:
    """Positions of the mobile beads, (N, 3) nm, of the kind that the configuration asks for.

    species: (N,), ordered sulfur, Li, TFSI; sigma: (K,) nm, 0 where a site holds no place; lengths: (3,) nm; z_range:
    (K, 2) nm, lowest and highest z of each species; site_position: (C, 3) nm; site_species: (C,). Raises BuildError
    where there is no room, or the file does not hold these beads.
    """
    start = config.start
    if start.kind == "file":
        if start.file is None:
            raise BuildError("start.file is missing: name the file to start from")
        names = {name: None if bead == "none" else bead for name, bead in start.names.items()}
        bulk = config.box.geometry == "bulk"
        try:
            structure = read_structure(Path(start.file), start.frame, species_of=names)
            return arrange(structure, species, lengths, periodic_z=bulk, shift_nm=start.shift_nm).position
        except (BuildError, TrajectoryError) as error:
            raise type(error)(f"start.file: {error}") from error
    common = (
        species, sigma, lengths, z_range, site_position, site_species, config.box.geometry == "bulk",
        config.run.seed, replica,
    )  # fmt: skip
    try:
        return _made(config, common)
    except BuildError as error:
        if start.kind == "random":
            raise
        raise BuildError(f'start.kind = "{start.kind}": {error}') from error


def _made(config: Config, common: tuple[Any, ...]) -> np.ndarray:
    """A start that is made, not read; common: the leading arguments that all ways take."""
    start = config.start
    if start.kind == "layered":
        return layered_film(*common, film_height_nm=start.film_height_nm, density_per_nm3=start.density_per_nm3)
    if start.kind == "droplet":
        floating = config.box.geometry == "bulk" or start.droplet_height_nm is not None
        return compact_droplet(
            *common,
            n_units=start.droplet_count,
            density_per_nm3=start.density_per_nm3,
            contact_angle_deg=None if floating else start.contact_angle_deg,
            centre_xy_nm=start.droplet_centre_nm,
            centre_height_nm=start.droplet_height_nm,
        )
    return insert_random(*common)
