"""Closed forms of droplet growth, capture, mobility and cap geometry that the droplet tier is held to.

All functions take floats or numpy arrays, in nm, s and nm^-3, and return the same. Symbols used throughout:
R radius of curvature, D diffusivity in the electrolyte, k interface velocity, Omega = 1/rho_dense volume
of one liquid unit, dc = c_inf - c_eq, Da = k R / D.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim import units

Float = float | NDArray[np.float64]


def _array(value: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(value, dtype=np.float64)


def _plain(value: NDArray[np.float64]) -> Float:
    return float(value) if np.ndim(value) == 0 else value


# --- growth of one isolated droplet at constant supersaturation ---------------------------------------


def damkohler_number(velocity_nm_per_s: ArrayLike, radius_nm: ArrayLike, diffusivity_nm2_per_s: float) -> Float:
    """Interface conductance over diffusive conductance, Da = k R / D.

    k: velocity_nm_per_s; R: radius_nm; D: diffusivity_nm2_per_s. Da << 1: the interface limits;
    Da >> 1: diffusion limits.
    """
    return _plain(_array(velocity_nm_per_s) * _array(radius_nm) / diffusivity_nm2_per_s)


def isolated_diffusion_radius(
    time_s: ArrayLike,
    initial_radius_nm: float,
    diffusivity_nm2_per_s: float,
    unit_volume_nm3: float,
    supersaturation_per_nm3: float,
) -> Float:
    """Radius of a diffusion-limited isolated droplet.

    R^2 - R0^2 = 2 D Omega dc t.
    t: time_s; R0: initial_radius_nm; D: diffusivity_nm2_per_s; Omega: unit_volume_nm3; dc:
    supersaturation_per_nm3 (negative: dissolution, R = 0 once gone). Returns nm. Valid in the
    quasi-steady limit Omega dc << 1. Source: F. C. Frank, Proc. R. Soc. A 201, 586 (1950),
    doi 10.1098/rspa.1950.0080, slow-growth limit.
    """
    growth = 2.0 * diffusivity_nm2_per_s * unit_volume_nm3 * supersaturation_per_nm3 * _array(time_s)
    return _plain(np.sqrt(np.maximum(initial_radius_nm**2 + growth, 0.0)))


def isolated_interface_radius(
    time_s: ArrayLike,
    initial_radius_nm: float,
    velocity_nm_per_s: float,
    unit_volume_nm3: float,
    supersaturation_per_nm3: float,
) -> Float:
    """Radius of an interface-limited isolated droplet.

    R - R0 = k Omega dc t.
    k: velocity_nm_per_s; other symbols as in `isolated_diffusion_radius`. Returns nm, 0 once dissolved.
    """
    growth = velocity_nm_per_s * unit_volume_nm3 * supersaturation_per_nm3 * _array(time_s)
    return _plain(np.maximum(initial_radius_nm + growth, 0.0))


def isolated_mixed_radius(
    time_s: ArrayLike,
    initial_radius_nm: float,
    velocity_nm_per_s: float,
    diffusivity_nm2_per_s: float,
    unit_volume_nm3: float,
    supersaturation_per_nm3: float,
) -> Float:
    """Radius of an isolated droplet under mixed interface and diffusion control.

    dR/dt = k Omega dc / (1 + k R / D), hence
    R = (D/k) [sqrt((1 + Da0)^2 + 2 k^2 Omega dc t / D) - 1], Da0 = k R0 / D.
    Symbols as in `isolated_diffusion_radius` and `isolated_interface_radius`, which are its limits for
    Da -> infinity and Da -> 0. Returns nm, 0 once dissolved; no cancellation at small Da.
    """
    ratio = velocity_nm_per_s / diffusivity_nm2_per_s
    initial = ratio * initial_radius_nm
    drive = 2.0 * velocity_nm_per_s * ratio * unit_volume_nm3 * supersaturation_per_nm3 * _array(time_s)
    excess = np.maximum(initial * (2.0 + initial) + drive, 0.0)
    return _plain(excess / (np.sqrt(1.0 + excess) + 1.0) / ratio)


def area_exponent(damkohler: ArrayLike) -> Float:
    """Local exponent n = d ln A / d ln t of an isolated droplet grown from nothing.

    n = 1 + 1 / (1 + Da).
    Da: damkohler at that time. Runs from 2 (interface limits) to 1 (diffusion limits): n = 1 is no sign of a
    reaction limit here. Needs R0 = 0, constant dc and no depletion.
    """
    return _plain(1.0 + 1.0 / (1.0 + _array(damkohler)))


def constant_flux_radius(
    time_s: ArrayLike,
    initial_radius_nm: float,
    flux_per_s: float,
    unit_volume_nm3: float,
    volume_factor: float = 1.0,
) -> Float:
    """Radius of a droplet that receives a constant number of units per second.

    R^3 = R0^3 + 3 Omega J t / (4 pi v), so A ~ t^(2/3) at long times.
    J: flux_per_s; v: volume_factor (`cap_volume_factor`, 1 for a full sphere). Returns nm.
    """
    growth = 3.0 * unit_volume_nm3 * flux_per_s * _array(time_s) / (4.0 * np.pi * volume_factor)
    return _plain(np.cbrt(np.maximum(initial_radius_nm**3 + growth, 0.0)))


def contact_limited_radius(
    time_s: ArrayLike,
    initial_radius_nm: float,
    units_per_contact_per_s: float,
    contact_prefactor: float,
    contact_power: float,
    unit_volume_nm3: float,
    volume_factor: float = 1.0,
) -> Float:
    """Radius of a droplet whose uptake is slaved to its N_c = a R^m charge-transfer contacts.

    dV/dt = Omega k_e a R^m, hence R^(3-m) = R0^(3-m) + (3 - m) Omega k_e a t / (4 pi v).
    k_e: units_per_contact_per_s; a: contact_prefactor (nm^-m); m: contact_power in [0, 3); v: volume_factor.
    Returns nm. Raises ValueError for m outside [0, 3).
    """
    _check_contact_power(contact_power)
    power = 3.0 - contact_power
    rate = power * unit_volume_nm3 * units_per_contact_per_s * contact_prefactor / (4.0 * np.pi * volume_factor)
    return _plain(np.maximum(initial_radius_nm**power + rate * _array(time_s), 0.0) ** (1.0 / power))


def contact_limited_exponent(contact_power: float) -> float:
    """Area exponent of contact-limited growth from nothing: n = 2 / (3 - m).

    m: contact_power; fixed contacts 2/3, perimeter 1, area 2. Raises ValueError for m outside [0, 3).
    """
    _check_contact_power(contact_power)
    return 2.0 / (3.0 - contact_power)


def _check_contact_power(contact_power: float) -> None:
    if not 0.0 <= contact_power < 3.0:
        raise ValueError(f"contact_power is {contact_power}: the power law holds for 0 <= m < 3")


# --- capture and mobility ------------------------------------------------------------------------------


def collins_kimball_rate(
    diffusivity_nm2_per_s: ArrayLike,
    radius_nm: ArrayLike,
    density_per_nm3: ArrayLike,
    velocity_nm_per_s: ArrayLike,
) -> Float:
    """Steady flux onto a partially absorbing sphere.

    J = 4 pi D R c k R / (D + k R).
    D: diffusivity_nm2_per_s; R: radius_nm; c: density_per_nm3 far away; k: velocity_nm_per_s. Returns 1/s;
    limits 4 pi D R c (k -> infinity) and 4 pi R^2 k c (k -> 0). A hemisphere on a reflecting wall takes
    half. Source: F. C. Collins, G. E. Kimball, J. Colloid Sci. 4, 425 (1949),
    doi 10.1016/0095-8522(49)90023-9.
    """
    diffusivity, radius, velocity = (
        _array(diffusivity_nm2_per_s),
        _array(radius_nm),
        _array(velocity_nm_per_s),
    )
    smoluchowski = 4.0 * np.pi * diffusivity * radius * _array(density_per_nm3)
    return _plain(smoluchowski * (velocity * radius) / (diffusivity + velocity * radius))


def debye_smoluchowski_rate(diffusivity_nm2_per_s: float, onsager_radius_nm: ArrayLike, radius_nm: ArrayLike) -> Float:
    """Capture rate constant of a sphere in an unscreened Coulomb potential.

    k_D = 4 pi D r_O / (1 - exp(-r_O / R)).
    r_O: onsager_radius_nm = |z Q| l_B, positive for attraction, negative for repulsion; R: radius_nm.
    Returns nm^3/s; r_O -> 0 gives 4 pi D R. Source: P. Debye, Trans. Electrochem. Soc. 82, 265 (1942),
    doi 10.1149/1.3071413.
    """
    onsager, radius = np.broadcast_arrays(_array(onsager_radius_nm), _array(radius_nm))
    reduced = onsager / radius
    small = np.abs(reduced) < 1e-8
    safe = np.where(small, 1.0, reduced)
    # For strong repulsion the denominator overflows to -inf and the rate is rightly 0.
    with np.errstate(over="ignore"):
        enhancement = np.where(small, 1.0 + 0.5 * reduced, safe / -np.expm1(-safe))
    return _plain(4.0 * np.pi * diffusivity_nm2_per_s * radius * enhancement)


def stokes_einstein_diffusivity(temperature_K: float, viscosity_mPa_s: float, radius_nm: ArrayLike) -> Float:
    """Diffusivity of a free sphere with no slip.

    D = kT / (6 pi eta R).
    eta: viscosity_mPa_s; R: radius_nm. Returns nm^2/s (1 mPa s = 1e-9 pN s nm^-2). A liquid droplet with
    internal flow is up to 1.5 times faster.
    """
    friction = 6.0 * np.pi * viscosity_mPa_s * 1e-9 * _array(radius_nm)
    return _plain(units.thermal_energy_pN_nm(temperature_K) / friction)


def anchored_diffusivity(
    temperature_K: float, viscosity_mPa_s: float, radius_nm: ArrayLike, anchor_friction_pN_s_per_nm: ArrayLike
) -> Float:
    """Diffusivity of a droplet that drags along the friction of its anchors.

    D = D_SE / (1 + sum_a zeta_a / (6 pi eta R)) = kT / (6 pi eta R + sum_a zeta_a).
    sum_a zeta_a: anchor_friction_pN_s_per_nm, summed over the anchors; other symbols as in
    `stokes_einstein_diffusivity`. Returns nm^2/s. Additive frictions: the anchors act in parallel.
    """
    friction = 6.0 * np.pi * viscosity_mPa_s * 1e-9 * _array(radius_nm) + _array(anchor_friction_pN_s_per_nm)
    return _plain(units.thermal_energy_pN_nm(temperature_K) / friction)


# --- well-mixed charging -------------------------------------------------------------------------------


def charging_time(n_units: ArrayLike, n_contacts: ArrayLike, total_rate_per_s: float) -> Float:
    """Relaxation time of the electrons of a well-mixed droplet of fixed size.

    tau = N / [N_c (k_in + k_out)].
    N: n_units; N_c: n_contacts; k_in + k_out: total_rate_per_s. Returns s, infinite without contacts.
    """
    rate = _array(n_contacts) * total_rate_per_s
    with np.errstate(divide="ignore"):
        return _plain(_array(n_units) / rate)


def threshold_time(charging_time_s: ArrayLike, nernst_fraction: float, threshold: ArrayLike) -> Float:
    """Time at which the mean reduced fraction of a droplet that started at 0 reaches the threshold.

    t* = tau ln[p / (p - x)].
    tau: charging_time_s; p: nernst_fraction = k_in / (k_in + k_out); x: threshold. Returns s, infinite where
    x >= p. Valid for fixed N and infinitely fast sharing of the electrons.
    """
    fraction = _array(threshold) / nernst_fraction
    reached = fraction < 1.0
    with np.errstate(divide="ignore"):
        return _plain(np.where(reached, -_array(charging_time_s) * np.log1p(-np.where(reached, fraction, 0.0)), np.inf))


def spectral_gap_of_liquid(density_per_nm3: float, contact_nm: float, extent_nm: ArrayLike) -> Float:
    """Spectral gap of the contact graph of a dense liquid drop: the slowest rate, over k_hop, at which it levels out.

    lambda_2 = (z <r^2> / 6) (x / R)^2,  z <r^2> = 4 pi rho a^5 / 5,  x = 2.0816
    Hops between neighbours at distance r are diffusion with the coefficient z <r^2> / 6 on long wavelengths, and x / R
    is the smallest wave number of a sphere without flux through its surface (first zero of the derivative of j_1). A
    hemisphere on a wall has the same mode, along the wall.
    rho: density_per_nm3 of units, strewn without structure up to a: contact_nm; R: extent_nm, of sphere or hemisphere.
    Returns a pure number. Validity: an upper value. Surface and disorder lower it, in a liquid with cores by a quarter
    at R = 8 nm and by 40 % at 4 nm. Source: J. Crank, The Mathematics of Diffusion, 2nd ed. (1975), section 6.3.
    """
    spread = 4.0 * np.pi * density_per_nm3 * contact_nm**5 / 30.0
    return _plain(spread * (2.081575977818101 / _array(extent_nm)) ** 2)


# --- spherical cap -------------------------------------------------------------------------------------


def cap_volume_factor(contact_angle_deg: float) -> float:
    """Volume of a spherical cap over that of the full sphere of the same radius of curvature.

    v = (2 + cos theta) (1 - cos theta)^2 / 4.
    theta: contact_angle_deg in (0, 180]: 1/2 for a hemisphere, 1 for a sphere. Raises ValueError outside.
    """
    cosine = _cosine(contact_angle_deg)
    return (2.0 + cosine) * (1.0 - cosine) ** 2 / 4.0


def cap_area_factor(contact_angle_deg: float) -> float:
    """Liquid surface of a spherical cap over that of the full sphere.

    f = (1 - cos theta) / 2.
    Also the share of the full sphere's capture rate: exact in the interface limit at every angle and in the
    diffusion limit for the hemisphere on a reflecting wall, an approximation between.
    """
    return (1.0 - _cosine(contact_angle_deg)) / 2.0


def cap_radius(volume_nm3: ArrayLike, contact_angle_deg: float) -> Float:
    """Radius of curvature of a cap of given volume: R = [3 V / (4 pi v)]^(1/3), in nm."""
    return _plain(np.cbrt(3.0 * _array(volume_nm3) / (4.0 * np.pi * cap_volume_factor(contact_angle_deg))))


def cap_base_radius(radius_nm: ArrayLike, contact_angle_deg: float) -> Float:
    """Radius of the contact line on the wall: R sin theta, in nm (0 at 180 degrees)."""
    return _plain(_array(radius_nm) * _sine(contact_angle_deg))


def cap_height(radius_nm: ArrayLike, contact_angle_deg: float) -> Float:
    """Height of the cap above the wall: R (1 - cos theta), in nm."""
    return _plain(_array(radius_nm) * (1.0 - _cosine(contact_angle_deg)))


def cap_projected_area(radius_nm: ArrayLike, contact_angle_deg: float) -> Float:
    """Area of the cap seen from above, as in TEM, in nm^2.

    A = pi R^2 for theta >= 90 degrees (the equator is seen), pi (R sin theta)^2 below.
    """
    return _plain(projected_area_factor(contact_angle_deg) * _array(radius_nm) ** 2)


def projected_area_factor(contact_angle_deg: float) -> float:
    """A / R^2 of `cap_projected_area`."""
    return float(np.pi) * (1.0 if contact_angle_deg >= 90.0 else _sine(contact_angle_deg) ** 2)


def _cosine(contact_angle_deg: float) -> float:
    if not 0.0 < contact_angle_deg <= 180.0:
        raise ValueError(f"contact_angle_deg is {contact_angle_deg}: 0 < angle <= 180 is allowed")
    # Exact at the three angles in common use, where cos(pi/2) = 6e-17 would spoil factors of a half.
    exact = {90.0: 0.0, 180.0: -1.0, 60.0: 0.5}
    return exact.get(float(contact_angle_deg), float(np.cos(np.radians(contact_angle_deg))))


def _sine(contact_angle_deg: float) -> float:
    cosine = _cosine(contact_angle_deg)
    return float(np.sqrt((1.0 - cosine) * (1.0 + cosine)))
