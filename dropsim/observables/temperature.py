"""The temperature that the positions alone show: a check of the time step that needs no velocities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dropsim.errors import AnalysisError
from dropsim.observables.estimate import Estimate
from dropsim.observables.statistics import checked_samples, mean_estimate
from dropsim.units import BOLTZMANN_KJ_PER_MOL_K


def configurational_temperature(
    force_squared: NDArray, laplacian: NDArray, *, discard_fraction: float = 0.2
) -> Estimate:
    """Configurational temperature of one stage.

    T = <sum_i |F_i|^2> / (k_B <sum_i nabla_i^2 U>)

    F -> `force_squared`: (T,) kJ^2/(mol nm)^2 and nabla^2 U -> `laplacian`: (T,) kJ/(mol nm^2), one value a frame;
    discard_fraction: of the start. Returns an Estimate in K; the error is that of the residual F^2 - k_B T nabla^2 U,
    whose mean is zero. Raises AnalysisError for fewer than 8 frames left, or where the Laplacian is not positive.
    Validity: a canonical ensemble, also a local one (contacts equilibrate in picoseconds while a droplet still grows);
    a time step that is too long shows as a temperature that is not the bath's. Independent of the integrator.
    Source: Rugh, doi 10.1103/PhysRevLett.78.772; Butler et al., doi 10.1063/1.477301.
    """
    start = math.ceil(discard_fraction * len(force_squared))
    squared = checked_samples(np.asarray(force_squared, float)[start:], 8)
    curvature = checked_samples(np.asarray(laplacian, float)[start:], 8)
    if curvature.mean() <= 0:
        raise AnalysisError("the mean Laplacian of the energy is not positive: the beads hardly interact")
    ratio = float(squared.mean() / curvature.mean())
    residual = mean_estimate(squared - ratio * curvature, "1")
    value = ratio / BOLTZMANN_KJ_PER_MOL_K
    error = residual.standard_error / float(curvature.mean()) / BOLTZMANN_KJ_PER_MOL_K
    half = float(stats.t.ppf(0.975, max(residual.n_effective - 1.0, 1.0))) * error
    return Estimate(
        value, error, "K", residual.n_effective, "<|grad U|^2>/(k_B <laplacian U>)", (value - half, value + half)
    )
