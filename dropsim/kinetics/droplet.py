"""The deterministic droplet: mean-field rate equations of gathering, charging, crystallisation and
dissolution.

One droplet holds N liquid units (Li2S6) that share N_e electrons, and N_s solid units (6 Li2S, 10 electrons
each). While E <= E0 it gathers units and charges; once the integrated crystallisation hazard reaches ln 2
(the median of the nucleation time) it stops gathering and converts; while E > E0 it ejects electrons and
dissolves.

What is put in, beyond the inputs:
- Only unreduced Li2S6 leaves the liquid. With electrons shared uniformly a unit holds none with probability
  (1 - x)^10, x = N_e / (10 N), so that c_eq(x) = c_sat (1 - x)^10: the loss of electrons raises the
  solubility.
- Capture is off while E > E0; unreduced units then leave at dissolution_rate_per_s each.
- Solid units open by the rules of `charging`: an opened unit is liquid with ten electrons, which leave through the
  contacts before the unit does. The barrier of the first layer is that of later charges once a charge has begun on
  solid.
- Conversion passes every electron of the pool on to the solid at once; from then on the pool is empty and
  injected electrons are solid at the pace N_c chi k_in (units per second).
- At open circuit no electron passes: the droplet gathers on, and a pool that nucleates, or that holds crystal, converts
  N_e / 10 units.
- A remnant smaller than the seed disperses when a reduction begins; crystal that is left covers the centres.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import LSODA
from scipy.optimize import brentq

from dropsim import units
from dropsim.errors import SimulationError
from dropsim.kinetics import charging, growth_laws
from dropsim.kinetics.parameters import (
    CLOSURE_NOTE,
    DEFAULT_PROTOCOL,
    DEFAULT_SAVE_TIMES_S,
    ELECTRONS_PER_UNIT,
    LITHIUM_PER_LIQUID_UNIT,
    LITHIUM_PER_SOLID_UNIT,
    KineticParameters,
    Segment,
    protocol_segments,
)
from dropsim.kinetics.protocol import PotentialStep

NUCLEATION_HAZARD = math.log(2.0)
FEMTOAMPERE_PER_ELECTRON_PER_S = units.ELEMENTARY_CHARGE_C * 1e15
_SLOTS = float(ELECTRONS_PER_UNIT)
# A volume below this (a 1e-6th of a unit) is no droplet: its radius, contacts and surface are 0.
_NO_VOLUME_NM3 = 1e-7
# The mean field cuts hazards here, 10 microseconds of waiting, so that a sharp threshold can be integrated.
_MAX_HAZARD_PER_S = 1e5
# Likewise the rates of electron slots, which are at equilibrium within a microsecond then, or within a millionth of a
# segment that is shorter than a second (a compressed clock): stiffer equations the integrator gives up on.
_MAX_SLOT_RATE_PER_S = 1e6
# Save times are padded to whole blocks, so that few shapes are ever compiled.
_SAVE_BLOCK = 128
# Liquid left beside this much more solid counts as converted (it stays as liquid in the ledgers).
_NO_LIQUID = 1e-9
# A droplet of fewer units has vanished: the mean field would go on to shrink it for ever.
_VANISHED = 1e-6


@dataclasses.dataclass(frozen=True)
class DropletSolution:
    """History of one droplet, or of many with a leading realisation axis on every field but time_s.

    time_s: (T,); radius_nm: of curvature; area_nm2: projected; n_liquid, n_electrons (on liquid units),
    n_solid; n_taken: net units taken from the electrolyte; injected_e, ejected_e: cumulative electrons;
    current_fA: positive where electrons enter (ODE: at that time; jump process: mean since the save before);
    damkohler: k R / D at the present capture probability; capture_probability; bulk_density_per_nm3: Li2S6
    left far away; sulfur_residual, lithium_residual (atoms), electron_residual (e): droplet minus what was
    exchanged, 0 where the ledgers close; nucleation_time_s: (), of the first crystallisation, nan where there
    was none; centroid_nm: (..., T, 2), jump process only; closure_note: what the growth law was made to
    follow.
    """

    time_s: NDArray[np.float64]
    radius_nm: NDArray[np.float64]
    area_nm2: NDArray[np.float64]
    n_liquid: NDArray[Any]
    n_electrons: NDArray[Any]
    n_solid: NDArray[Any]
    n_taken: NDArray[Any]
    injected_e: NDArray[Any]
    ejected_e: NDArray[Any]
    current_fA: NDArray[np.float64]
    damkohler: NDArray[np.float64]
    capture_probability: NDArray[np.float64]
    bulk_density_per_nm3: NDArray[np.float64]
    sulfur_residual: NDArray[Any]
    lithium_residual: NDArray[Any]
    electron_residual: NDArray[Any]
    nucleation_time_s: NDArray[np.float64]
    closure_note: str
    centroid_nm: NDArray[np.float64] | None = None


class Law(NamedTuple):
    """The numbers of `KineticParameters` that the traced equations read, as float64 scalars."""

    unit_volume: Any
    solid_volume: Any
    cosine: Any  # of the contact angle
    cap_volume: Any  # 4 pi v / 3
    cap_surface: Any  # 4 pi f
    bulk_density: Any
    saturation: Any
    per_supply_volume: Any
    diffusivity: Any
    interface_velocity: Any
    slaved: Any  # 0 or 1
    capture_floor: Any
    captures_per_electron: Any
    contact_coefficient: Any
    contact_power: Any
    rate_constant: Any
    first_exponent: Any  # a and b of `KineticParameters.rate_exponents`
    second_exponent: Any
    standard_potential: Any
    thermal_voltage: Any
    threshold: Any
    nucleation_rate: Any
    nucleation_barrier: Any
    minimum_size: Any
    acceleration: Any
    dissolution_rate: Any
    opening_rate: Any
    tunnelling_range: Any


class Drive(NamedTuple):
    """What the protocol imposes on a piece of time, counted from its start, and switches as 0 or 1."""

    potential: Any  # V, at the start
    slope: Any  # V/s
    connected: Any
    barrier_rate: Any  # k_open exp(-W), 1/s
    oxidising: Any
    crystal: Any
    fastest: Any  # 1/s, where the rate of electron slots is cut


class Droplet(NamedTuple):
    """The integrated state; counts are mean values here."""

    liquid: Any
    electrons: Any
    solid: Any
    taken: Any
    injected: Any
    ejected: Any
    hazard: Any
    open_share: Any


def build_law(parameters: KineticParameters) -> Law:
    """The traced constants of a parameter set."""
    angle = parameters.contact_angle_deg
    first, second = parameters.rate_exponents
    values = Law(
        unit_volume=parameters.unit_volume_nm3,
        solid_volume=parameters.solid_volume_nm3,
        cosine=1.0 - growth_laws.cap_height(1.0, angle),
        cap_volume=4.0 / 3.0 * math.pi * growth_laws.cap_volume_factor(angle),
        cap_surface=4.0 * math.pi * growth_laws.cap_area_factor(angle),
        bulk_density=parameters.bulk_density_per_nm3,
        saturation=parameters.saturation_density_per_nm3,
        per_supply_volume=1.0 / parameters.supply_volume_nm3,
        diffusivity=parameters.bulk_diffusivity_nm2_per_s,
        interface_velocity=parameters.interface_velocity_nm_per_s,
        slaved=1.0 if parameters.closure == "charge-slaved" else 0.0,
        capture_floor=parameters.capture_floor,
        captures_per_electron=1.0 / parameters.electrons_per_capture,
        contact_coefficient=parameters.contact_coefficient,
        contact_power=parameters.contact_power,
        rate_constant=parameters.rate_constant_per_s,
        first_exponent=first,
        second_exponent=second,
        standard_potential=parameters.standard_potential_V,
        thermal_voltage=units.thermal_voltage_V(parameters.temperature_K),
        threshold=parameters.threshold,
        nucleation_rate=parameters.nucleation_rate_per_s,
        nucleation_barrier=parameters.nucleation_barrier,
        minimum_size=parameters.minimum_size_units,
        acceleration=parameters.front_acceleration,
        dissolution_rate=parameters.dissolution_rate_per_s,
        opening_rate=parameters.opening_rate_per_s,
        tunnelling_range=parameters.tunnelling_range_nm,
    )
    return Law(*(np.float64(value) for value in values))


def build_drive(
    parameters: KineticParameters, segment: Segment, crystal: bool, opened_before: bool = False, start_s: float = -1.0
) -> Drive:
    """The drive of one protocol segment, from start_s within it (before it: from its start)."""
    slope = (segment.end_V - segment.start_V) / (segment.end_s - segment.start_s)
    values = Drive(
        potential=segment.potential_V(max(start_s, segment.start_s)),
        slope=slope,
        connected=segment.connected,
        barrier_rate=barrier_rate(parameters, opened_before),
        oxidising=segment.oxidising,
        crystal=crystal,
        fastest=_MAX_SLOT_RATE_PER_S / min(segment.end_s - segment.start_s, 1.0),
    )
    return Drive(*(np.float64(value) for value in values))


def barrier_rate(parameters: KineticParameters, opened_before: bool) -> float:
    """k_open exp(-W) in 1/s, of the first charge or of later ones."""
    barrier = parameters.opening_barrier_later_kT if opened_before else parameters.opening_barrier_kT
    return parameters.opening_rate_per_s * math.exp(-barrier)


# --- the laws, shared with the jump process -------------------------------------------------------------


def cap_radius(law: Law, liquid: Array, solid: Array) -> Array:
    """R = [3 (N Omega + N_s v_s) / (4 pi v)]^(1/3) in nm; 0 where there is no droplet."""
    volume = liquid * law.unit_volume + solid * law.solid_volume
    exists = volume > _NO_VOLUME_NM3
    return jnp.where(exists, jnp.cbrt(jnp.where(exists, volume, 1.0) / law.cap_volume), 0.0)


def slot_rates(law: Law, potential: Array, connected: Array) -> tuple[Array, Array]:
    """k_in + k_out in 1/s and p = k_in / (k_in + k_out) = 1 / (1 + exp(f eta)) at a potential in V.

    k_in = k0 exp[-a f eta - b (f eta)^2], k_out = k_in exp(f eta); no rate without connection.
    """
    reduced = (potential - law.standard_potential) / law.thermal_voltage
    common = law.rate_constant * jnp.exp(-law.second_exponent * reduced**2)
    enters = common * jnp.exp(-law.first_exponent * reduced)
    leaves = common * jnp.exp((1.0 - law.first_exponent) * reduced)
    return connected * (enters + leaves), 0.5 * (1.0 - jnp.tanh(0.5 * reduced))


def contact_number(law: Law, radius: Array) -> Array:
    """N_c = a R^m, a mean-field (fractional) number; 0 where there is no droplet."""
    exists = radius > 0.0
    return jnp.where(exists, law.contact_coefficient * jnp.where(exists, radius, 1.0) ** law.contact_power, 0.0)


def reduced_fraction(liquid: Array, electrons: Array) -> Array:
    """x = N_e / (10 N), within 0..1 (an emptying droplet loses its digits); 0 without liquid."""
    exists = liquid * 1e7 > 1.0
    return jnp.where(exists, jnp.clip(electrons / (_SLOTS * jnp.where(exists, liquid, 1.0)), 0.0, 1.0), 0.0)


def bare_fraction(reduced: Array) -> Array:
    """(1 - x)^10, the share of liquid units that hold no electron under uniform sharing."""
    return (1.0 - reduced) ** ELECTRONS_PER_UNIT


def interface_rate(law: Law, radius: Array, density: Array, reduced: Array) -> Array:
    """G = 4 pi f R^2 k (c_inf - c_eq)+, the net capture in 1/s that the interface allows at probability 1."""
    drive = density - law.saturation * bare_fraction(reduced)
    return law.cap_surface * radius**2 * law.interface_velocity * jnp.maximum(drive, 0.0)


def capture_probability(law: Law, interface: Array, slaved_rate: Array, slaved_gain: Array) -> Array:
    """Probability that a unit which meets the interface stays.

    Constant closure: 1. Charge-slaved closure: the electrons injected per second, J, permit q = J / nu
    captures per second (nu electrons each); in series with the interface's G they give the activity q / (q +
    G), and
        p = p0 + (1 - p0) q / (q + G).
    For q << G and p0 = 0 the uptake is q, proportional to the contacts; for q >> G it is G. Where J itself
    depends on the uptake of the interval, q = slaved_rate + slaved_gain * G p (slaved_gain = 0: plain rates)
    and the equation is solved for p. interface: G, 1/s; slaved_rate: 1/s, not negative; slaved_gain: 1, not
    negative.
    """
    flows = interface > 0.0
    alpha = jnp.where(flows, slaved_rate / jnp.where(flows, interface, 1.0), 0.0)
    # beta p^2 + (1 + alpha - beta) p - (alpha + p0) = 0 for q/G = alpha + beta p; the root is written without
    # cancellation and holds for beta = 0. The square root is that of a number that can be 0 only for p = 0.
    b = 1.0 + alpha - slaved_gain
    discriminant = b**2 + 4.0 * slaved_gain * (alpha + law.capture_floor)
    root = jnp.sqrt(jnp.maximum(discriminant, 1e-300))
    closed = jnp.where(b > 0.0, 2.0 * (alpha + law.capture_floor) / jnp.where(b > 0.0, b + root, 1.0), 1.0)
    stable = jnp.where(slaved_gain > 0.0, (root - b) / (2.0 * jnp.where(slaved_gain > 0.0, slaved_gain, 1.0)), closed)
    probability = jnp.where(b > 0.0, closed, stable)
    return jnp.where(law.slaved > 0.0, jnp.where(flows, probability, law.capture_floor), 1.0)


def capture_conductance(law: Law, radius: Array, probability: Array) -> tuple[Array, Array]:
    """Collins-Kimball conductance 4 pi f D R k R / (D + k R), nm^3/s, and Da = k R / D, with k = k_1 p."""
    velocity = law.interface_velocity * probability
    damkohler = velocity * radius / law.diffusivity
    return law.cap_surface * radius**2 * velocity / (1.0 + damkohler), damkohler


def crystallisation_hazard(law: Law, liquid: Array, reduced: Array) -> Array:
    """h = k_nuc N exp[-B / (x / x_s - 1)^2] in 1/s for x > x_s and N >= minimum size, else 0."""
    excess = reduced / law.threshold - 1.0
    active = (excess > 0.0) & (liquid >= law.minimum_size)
    safe = jnp.where(active, excess, 1.0)
    return jnp.where(active, law.nucleation_rate * liquid * jnp.exp(-law.nucleation_barrier / safe**2), 0.0)


def solid_opening(law: Law, solid: Array, open_share: Array, barrier: Array) -> tuple[Array, Array]:
    """Units of a crystal that open per second, and the growth of the open share of its first layer, 1/s.

    The crystal is a cap of its own volume on the electrode, and its N_c contacts lie at random under it: see
    `charging`.
    """
    radius = cap_radius(law, jnp.zeros_like(solid), solid)
    reached, first_layer = reached_units(law, radius)
    return charging.opening_rates(reached, first_layer, open_share, law.opening_rate, barrier)


def reached_units(law: Law, radius: Array) -> tuple[Array, Array]:
    """Solid units of a crystalline cap within the tunnelling range, and those of them in its first layer."""
    section = charging.widest_section(radius, law.cosine, law.tunnelling_range)
    exists = section > 0.0
    density = jnp.where(exists, contact_number(law, radius) / jnp.where(exists, section, 1.0), 0.0)
    reach = (radius, law.cosine, density, law.tunnelling_range)
    whole = charging.reached_volume(*reach, jnp.full_like(radius, jnp.inf))
    # One unit is one layer thick.
    layer = charging.reached_volume(*reach, jnp.cbrt(law.solid_volume))
    return whole / law.solid_volume, layer / law.solid_volume


class Rates(NamedTuple):
    """Instantaneous rates in 1/s, and what was needed for them."""

    gathered: Any
    dissolved: Any
    opened: Any
    converted: Any
    injected: Any
    ejected: Any
    hazard: Any
    opening: Any
    probability: Any
    damkohler: Any


def droplet_rates(time: Array, droplet: Droplet, law: Law, drive: Drive) -> Rates:
    """All rates of the mean-field droplet in the well-mixed limit (k_hop -> infinity), `time` into the drive.

    injected J_in = N_c k_in (10 - n), ejected J_out = N_c k_out n with n = N_e / N; gathered
    4 pi f D R [kR / (D + kR)] (c_inf - c_eq(x)).
    """
    radius = cap_radius(law, droplet.liquid, droplet.solid)
    reduced = reduced_fraction(droplet.liquid, droplet.electrons)
    reducing, liquid_only = 1.0 - drive.oxidising, 1.0 - drive.crystal
    converting = reducing * drive.crystal
    total_rate, nernst = slot_rates(law, drive.potential + drive.slope * time, drive.connected)
    slot_rate = contact_number(law, radius) * jnp.minimum(total_rate, drive.fastest) * _SLOTS
    # A converting droplet's pool is empty: every injected electron is in the solid, none comes back.
    # The front runs at full pace through N = 0, where the solver looks for its end.
    front = converting * slot_rate * nernst * law.acceleration
    pool = jnp.where(droplet.liquid > 0.0, (1.0 - converting) * slot_rate, 0.0)
    injected = pool * nernst * (1.0 - reduced)
    ejected = pool * (1.0 - nernst) * reduced

    density = law.bulk_density - droplet.taken * law.per_supply_volume
    interface = interface_rate(law, radius, density, reduced)
    allowed = jnp.maximum(injected - ejected, 0.0) * law.captures_per_electron
    probability = capture_probability(law, interface, allowed, jnp.zeros_like(allowed))
    conductance, damkohler = capture_conductance(law, radius, probability)
    gathers = reducing * liquid_only
    gathered = gathers * conductance * (density - law.saturation * bare_fraction(reduced))

    opened, opening = solid_opening(law, droplet.solid, droplet.open_share, drive.barrier_rate)
    return Rates(
        gathered=gathered,
        dissolved=drive.oxidising * law.dissolution_rate * droplet.liquid * bare_fraction(reduced),
        opened=drive.oxidising * opened,
        converted=front / _SLOTS,
        injected=injected + front,
        ejected=ejected,
        hazard=gathers * jnp.minimum(crystallisation_hazard(law, droplet.liquid, reduced), _MAX_HAZARD_PER_S),
        opening=drive.oxidising * opening,
        probability=gathers * probability,
        damkohler=gathers * damkohler,
    )


@jax.jit
def _slope(time: Array, state: Array, law: Array, drive: Array) -> Array:
    """Time derivative of a `Droplet` in a row; `Law` and `Drive` come in rows too, which are passed quickly."""
    rates = droplet_rates(time, Droplet(*state), Law(*law), Drive(*drive))
    slope = Droplet(
        liquid=rates.gathered - rates.dissolved - rates.converted + rates.opened,
        electrons=rates.injected - rates.ejected + _SLOTS * (rates.opened - rates.converted),
        solid=rates.converted - rates.opened,
        taken=rates.gathered - rates.dissolved,
        injected=rates.injected,
        ejected=rates.ejected,
        hazard=rates.hazard,
        open_share=rates.opening,
    )
    return jnp.stack(slope)


_jacobian = jax.jit(jax.jacfwd(_slope, argnums=1))


# --- the solve -------------------------------------------------------------------------------------------


def _switch(state: NDArray[np.float64], drive: Drive) -> float:
    """Falls to 0 where a piece ends: nucleation, the end of conversion, or of the droplet."""
    droplet = Droplet(*state)
    left = droplet.liquid + droplet.solid - _VANISHED
    if drive.oxidising > 0.0:
        return left
    return droplet.liquid if drive.crystal > 0.0 else min(NUCLEATION_HAZARD - droplet.hazard, left)


def _solve_piece(
    law: Law, drive: Drive, duration: float, state: Droplet, times: NDArray[np.float64], rtol: float, max_steps: int
) -> tuple[NDArray[np.float64], float, bool, NDArray[np.float64]]:
    """Integrate to the end of a piece or its switch: (state there, time, whether it is the switch, states at times).

    States after the switch are left at 0. Raises RuntimeError where the integrator gives up.
    """
    constants, imposed = np.array(law), np.array(drive)
    # LSODA chooses between stiff and non-stiff steps, and its interpolation is as accurate as they are. With the exact
    # Jacobian the ledgers, which are linear in the state, hold to rounding.
    solver = LSODA(
        lambda t, y: np.asarray(_slope(t, y, constants, imposed)),
        0.0,
        np.array(state),
        duration,
        rtol=rtol,
        atol=rtol,
        jac=lambda t, y: np.asarray(_jacobian(t, y, constants, imposed)),
    )
    saved = np.zeros((times.size, len(state)))
    saved[times <= 0.0] = np.array(state)
    for _ in range(max_steps):
        before = solver.t
        message = solver.step()
        if solver.status == "failed":
            raise RuntimeError(message)
        curve = solver.dense_output()
        end: Any = solver.t
        fired, last = False, solver.y
        if _switch(solver.y, drive) <= 0.0:
            end = brentq(lambda t, c=curve: _switch(c(t), drive), before, solver.t, xtol=1e-15, rtol=np.float64(1e-14))
            fired, last = True, curve(end)
        passed = (times > before) & (times <= end)
        if passed.any():
            saved[passed] = curve(times[passed]).T
        if fired or solver.status == "finished":
            return last, float(end), fired, saved
    raise RuntimeError(f"more than {max_steps} steps")


@jax.jit
def _outputs(law: Array, drive: Array, times: Array, states: Array) -> tuple[Rates, Array]:
    constants, imposed, rows = Law(*law), Drive(*drive), Droplet(*states)
    rates = jax.vmap(lambda time, state: droplet_rates(time, state, constants, imposed))(times, rows)
    # The front of the equations runs through N = 0; what is reported stops there.
    finished = (imposed.crystal * (1.0 - imposed.oxidising) > 0.0) & (rows.liquid <= _NO_LIQUID * rows.solid)
    rates = rates._replace(
        injected=jnp.where(finished, 0.0, rates.injected), converted=jnp.where(finished, 0.0, rates.converted)
    )
    return rates, cap_radius(constants, rows.liquid, rows.solid)


def begin_reduction(state: Droplet, seed_units: float) -> tuple[Droplet, bool]:
    """The switches thrown where a reduction begins: a remnant disperses, what holds crystal converts on.

    Returns the state and whether it holds crystal (at least one solid unit).
    """
    if state.liquid + state.solid < seed_units:
        return disperse(state), False
    crystal = bool(state.solid >= 1.0)
    state = state._replace(hazard=0.0, open_share=0.0)
    return (crystallise(state) if crystal else state), crystal


def has_vanished(state: Droplet) -> bool:
    """Whether less than a millionth of a unit is left (with the slack of a root finder)."""
    return state.liquid + state.solid <= 2.0 * _VANISHED


def disperse(state: Droplet) -> Droplet:
    """Return everything to the electrolyte, and the electrons to the electrode."""
    return state._replace(
        liquid=0.0,
        electrons=0.0,
        solid=0.0,
        taken=state.taken - state.liquid - state.solid,
        ejected=state.ejected + _SLOTS * state.solid + state.electrons,
        hazard=0.0,
        open_share=0.0,
    )


def crystallise(state: Droplet) -> Droplet:
    """Turn the pool of electrons into solid: N_e / 10 units, one for ten electrons."""
    converted = state.electrons / _SLOTS
    return state._replace(liquid=state.liquid - converted, electrons=0.0, solid=state.solid + converted, hazard=0.0)


def check_save_times(save_times: ArrayLike, end_s: float) -> NDArray[np.float64]:
    """Save times as an array. Raises ValueError unless they increase within the protocol."""
    times = np.atleast_1d(np.asarray(save_times, dtype=np.float64))
    if times.ndim != 1 or times.size == 0 or not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise ValueError("save_times must be one increasing row of finite times in s")
    # Frame times made by multiplication may pass the end by a rounding error.
    if times[0] < 0 or times[-1] > end_s * (1 + 1e-9):
        raise ValueError(f"save_times run from {times[0]} to {times[-1]} s: 0 to {end_s} s is allowed")
    return np.minimum(times, end_s)


def solve_droplet(
    parameters: KineticParameters,
    protocol: Sequence[PotentialStep] = DEFAULT_PROTOCOL,
    save_times: ArrayLike = DEFAULT_SAVE_TIMES_S,
    *,
    relative_tolerance: float = 1e-8,
    max_steps: int = 200_000,
) -> DropletSolution:
    """Integrate the mean-field droplet through a protocol.

    dN/dt = 4 pi f D R [kR / (D + kR)] (c_inf - c_eq), dN_e/dt = N_c [k_in (10 - n) - k_out n] while it
    gathers; the other pieces are in the module's docstring. protocol: held potentials, ramps, rests; save_times:
    (T,) s, increasing within the protocol; relative_tolerance: of the multistep integration
    (LSODA), also the absolute one in counts. Pieces end at steps, crossings of E0, onsets, nucleation and the end
    of conversion. Returns a `DropletSolution` with (T,) fields; a save at a switch shows the state after it.
    Raises ValueError for bad inputs and SimulationError where the integration fails. Mean field: no
    fluctuations, and fractional contacts in a droplet smaller than the spacing of the centres. Works in
    float64 whatever JAX is set to.
    """
    segments = protocol_segments(parameters, protocol)
    times = check_save_times(save_times, segments[-1].end_s)
    law = build_law(parameters)
    rows: list[tuple[Any, Any, Any, Any]] = []
    nucleation_time = math.nan
    state, crystal, opens, opened_before = Droplet(*[0.0] * len(Droplet._fields)), False, False, False
    with jax.enable_x64(True):
        for index, segment in enumerate(segments):
            if segment.begins_reduction:
                state, crystal = begin_reduction(state, parameters.seed_units)
                opens, opened_before = False, opened_before or opens
            opens = opens or (segment.oxidising and state.solid >= 1.0)
            if crystal and not segment.oxidising:
                # At rest after an oxidation the electrons that are left on its liquid turn solid too.
                state = crystallise(state)
            if segment.seeds and not crystal:
                seed = max(parameters.seed_units - state.liquid - state.solid, 0.0)
                state = state._replace(liquid=state.liquid + seed, taken=state.taken + seed)
            start = segment.start_s
            closed = index == len(segments) - 1
            while True:
                drive = build_drive(parameters, segment, crystal, opened_before, start)
                state, end, fired, saved = _advance(
                    law, drive, start, segment.end_s, state, times, relative_tolerance, max_steps
                )
                last = closed and end >= segment.end_s
                mine = (times >= start) & ((times <= end) if last else (times < end))
                if mine.any():
                    kept = np.where(mine[:, None], saved, 0.0)
                    padding = -times.size % _SAVE_BLOCK
                    rates, radius = _outputs(
                        np.array(law),
                        np.array(drive),
                        np.pad(np.clip(times - start, 0.0, None), (0, padding)),
                        np.pad(kept, ((0, padding), (0, 0))).T,
                    )
                    cut = jax.tree.map(lambda leaf: np.asarray(leaf)[: times.size], (rates, radius))
                    rows.append((mine, Droplet(*kept.T), *cut))
                start = end
                if not fired:
                    break
                if has_vanished(state):
                    state = disperse(state)
                elif crystal:
                    # The root finder leaves a rest of order 1e-10 of a unit, with no electrons of its own.
                    state = state._replace(liquid=0.0, taken=state.taken - state.liquid)
                else:
                    nucleation_time = end if math.isnan(nucleation_time) else nucleation_time
                    crystal, state = True, crystallise(state)
                if start >= segment.end_s:
                    break
            if segment.oxidising:
                crystal = crystal and state.solid >= 1.0
    return _assemble(parameters, times, rows, nucleation_time)


def _advance(
    law: Law,
    drive: Drive,
    start: float,
    end: float,
    state: Droplet,
    times: NDArray[np.float64],
    rtol: float,
    max_steps: int,
) -> tuple[Droplet, float, bool, NDArray[np.float64]]:
    """One piece: (state at its end, its end, whether a switch was thrown there, states at all times)."""
    converting = bool(drive.crystal) and not bool(drive.oxidising)
    empty = state.liquid <= 0.0 and state.solid <= 0.0
    converted = converting and state.liquid <= _NO_LIQUID * state.solid
    # Without current nothing happens to a crystal.
    idle = law.contact_coefficient == 0.0 or not bool(drive.connected)
    if empty or converted or (converting and idle):
        return state, end, False, np.tile(np.array(state), (times.size, 1))
    try:
        # Time counts from the piece's start: conversion may take less than the spacing of floats at minutes.
        last, stopped, fired, saved = _solve_piece(
            law, drive, end - start, state, np.clip(times, start, end) - start, rtol, max_steps
        )
    except RuntimeError as error:
        raise SimulationError(
            f"the droplet equations could not be integrated between {start:g} and {end:g} s ({error}): "
            "raise max_steps or relative_tolerance, or look for an extreme rate among the inputs"
        ) from error
    return Droplet(*(float(leaf) for leaf in last)), min(start + stopped, end) if fired else end, fired, saved


def _assemble(parameters, times, rows, nucleation_time) -> DropletSolution:
    states = {name: np.zeros(times.shape) for name in Droplet._fields}
    rates = {name: np.zeros(times.shape) for name in Rates._fields}
    radius = np.zeros(times.shape)
    for mine, kept, rate, size in rows:
        for name in Droplet._fields:
            states[name][mine] = getattr(kept, name)[mine]
        for name in Rates._fields:
            rates[name][mine] = np.asarray(getattr(rate, name))[mine]
        radius[mine] = np.asarray(size)[mine]
    current = (rates["injected"] - rates["ejected"]) * FEMTOAMPERE_PER_ELECTRON_PER_S
    return make_solution(
        parameters,
        times,
        radius,
        {name: states[name] for name in Droplet._fields if name not in ("hazard", "open_share")},
        current,
        rates["damkohler"],
        rates["probability"],
        np.asarray(nucleation_time, dtype=np.float64),
        None,
    )


def make_solution(
    parameters: KineticParameters,
    times: NDArray[np.float64],
    radius: NDArray[np.float64],
    counts: dict[str, NDArray[Any]],
    current_fA: NDArray[np.float64],
    damkohler: NDArray[np.float64],
    probability: NDArray[np.float64],
    nucleation_time_s: NDArray[np.float64],
    centroid_nm: NDArray[np.float64] | None,
) -> DropletSolution:
    """A solution with its areas, ledgers and bulk density from the counts (`Droplet` without hazard and open_share)."""
    liquid, electrons, solid = counts["liquid"], counts["electrons"], counts["solid"]
    taken, net = counts["taken"], counts["injected"] - counts["ejected"]
    # Every injected electron brings one Li+ from the salt, so lithium closes on both exchanges.
    lithium = LITHIUM_PER_LIQUID_UNIT * liquid + electrons + LITHIUM_PER_SOLID_UNIT * solid
    return DropletSolution(
        time_s=times,
        radius_nm=radius,
        area_nm2=growth_laws.projected_area_factor(parameters.contact_angle_deg) * radius**2,
        n_liquid=liquid,
        n_electrons=electrons,
        n_solid=solid,
        n_taken=taken,
        injected_e=counts["injected"],
        ejected_e=counts["ejected"],
        current_fA=current_fA,
        damkohler=damkohler,
        capture_probability=probability,
        bulk_density_per_nm3=parameters.bulk_density_per_nm3 - taken / parameters.supply_volume_nm3,
        sulfur_residual=6 * (liquid + solid - taken),
        lithium_residual=lithium - LITHIUM_PER_LIQUID_UNIT * taken - net,
        electron_residual=electrons + ELECTRONS_PER_UNIT * solid - net,
        nucleation_time_s=nucleation_time_s,
        closure_note=CLOSURE_NOTE[parameters.closure],
        centroid_nm=centroid_nm,
    )
