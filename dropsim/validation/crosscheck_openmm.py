"""Coulomb sums of periodic boxes from OpenMM, on its double-precision Reference platform."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np


def openmm_coulomb(
    position: np.ndarray,
    charge: np.ndarray,
    lengths: np.ndarray,
    *,
    cutoff: float,
    method: str = "Ewald",
    tolerance: float = 1e-8,
    alpha: float = 0.0,
    mesh: int = 0,
) -> tuple[float, np.ndarray]:
    """Coulomb energy (kJ/mol) and forces (N, 3) (kJ/(mol nm)) of all charges in vacuum, eps_r = 1.

    position: (N, 3) nm; charge: (N,) e; lengths: (3,) nm; cutoff: of the pair sum, nm, at most half the shortest
    length; method: "Ewald" (splitting from tolerance) or "PME" (splitting alpha, 1/nm, and mesh points along each
    axis given); the spline order of PME is 5. OpenMM's Coulomb constant is the CODATA 2018 value of `units`.
    """
    mm: Any = importlib.import_module("openmm")
    system = mm.System()
    system.setDefaultPeriodicBoxVectors(*np.diag(np.asarray(lengths, float)))
    force = mm.NonbondedForce()
    for q in charge:
        system.addParticle(1.0)
        force.addParticle(float(q), 1.0, 0.0)
    force.setNonbondedMethod(getattr(force, method))
    force.setCutoffDistance(cutoff)
    force.setUseDispersionCorrection(False)
    force.setEwaldErrorTolerance(tolerance)
    if method == "PME":
        force.setPMEParameters(alpha, mesh, mesh, mesh)
    system.addForce(force)
    integrator = mm.VerletIntegrator(0.001)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.asarray(position, float))
    state = context.getState(getEnergy=True, getForces=True)
    energy = float(state.getPotentialEnergy().value_in_unit(mm.unit.kilojoule_per_mole))
    forces = state.getForces(asNumpy=True).value_in_unit(mm.unit.kilojoule_per_mole / mm.unit.nanometer)
    return energy, np.array(forces, float)
