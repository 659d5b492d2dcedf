"""The error of the Coulomb forces of a system as it stands, measured against an exact sum."""

from __future__ import annotations

import math

import jax
import numpy as np
from dropsim_kernels.electrostatics.reference import reference_forces

from dropsim.forces import bead_charges, coulomb_forces, site_charges
from dropsim.system import State, System

N_TARGETS = 256


def target_beads(n_mobile: int) -> np.ndarray:
    """Beads that stand for all: evenly spaced through the order of the species, so in the composition of the whole."""
    return np.unique(np.linspace(0, n_mobile - 1, min(N_TARGETS, n_mobile)).astype(int))


def exact_coulomb_forces(state: State, system: System, targets: np.ndarray) -> np.ndarray:
    """Coulomb forces on some beads from an Ewald sum in double precision, (T, 3) e^2/nm^2."""
    return reference_forces(
        np.asarray(state.position, np.float64),
        np.asarray(bead_charges(state.species, state.reaction.electrons, system), np.float64),
        np.asarray(system.site_position, np.float64),
        np.asarray(site_charges(system), np.float64),
        system.box,
        targets,
    )


def relative_error(state: State, system: System, targets: np.ndarray, exact: np.ndarray) -> float:
    """Rms error of the Coulomb forces of a run on the targets over their rms Coulomb force.

    state: its neighbour list must be good; exact: (T, 3) of `exact_coulomb_forces`. Without any exact force 0 where
    none was found either, else infinite.
    """
    found = jax.jit(coulomb_forces)(state.position, state.species, state.reaction.electrons, state.neighbors, system)
    deviation = np.asarray(found, np.float64)[targets] / float(system.force_field.coulomb) - exact
    missed, whole = float((deviation**2).sum()), float((exact**2).sum())
    # Without charges there is no force to be relative to.
    return math.sqrt(missed / whole) if whole > 0 else (0.0 if missed == 0 else math.inf)
