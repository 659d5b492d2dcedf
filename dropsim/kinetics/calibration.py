"""Rates of the droplet tier set from the size and the time that the microscope saw. No numpy, no jax: `check`
prints them too. What is computed here is put in; recovering it later tests nothing."""

from __future__ import annotations

import math


def calibrated_interface_velocity(
    radius_nm: float,
    time_s: float,
    dense_density_per_nm3: float,
    bulk_density_per_nm3: float,
    diffusivity_nm2_per_s: float,
    surface_over_volume: float = 1.0,
) -> float:
    """Interface velocity with which a charged droplet grows from nothing to a radius in a time.

        k = R rho_d (1 + Da / 2) / (s c_inf t),  Da = k R / D

    The drive of a charged droplet is c_inf, since reduced units do not redissolve. surface_over_volume: s, exposed
    surface over volume of the cap relative to a sphere's (1 for sphere and hemisphere). Returns nm/s; raises
    ValueError where even diffusion cannot do it, R^2 rho_d > 2 s D c_inf t.
    """
    pull = surface_over_volume * bulk_density_per_nm3 * time_s / (radius_nm * dense_density_per_nm3)
    slack = pull - radius_nm / (2.0 * diffusivity_nm2_per_s)
    if slack <= 0:
        raise ValueError(
            f"calibration_time_s = {time_s:g}: diffusion alone cannot bring a droplet to {radius_nm:g} nm in that "
            "time; raise it, or give interface_velocity_nm_per_s"
        )
    return 1.0 / slack


def calibrated_nucleation_rate(n_units: float, time_s: float) -> float:
    """k_nuc per unit, 1/s, with which half of the droplets that grow as N ~ t^3 to n_units have nucleated by then.

    integral k_nuc N dt = k_nuc N(t) t / 4 = ln 2   (deep in reduction, where the barrier's factor is one)
    """
    return 4.0 * math.log(2.0) / (n_units * time_s)
