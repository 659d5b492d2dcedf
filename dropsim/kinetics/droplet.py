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
- Solid units dissolve at the same rate and eject their ten electrons. One first-order law: a placeholder that
  has neither the slow first layer nor the limited reach of electron tunnelling into thick Li2S.
- Conversion passes every electron of the pool on to the solid at once; from then on the pool is empty and
  injected electrons are solid at the pace N_c chi k_in (units per second).
- A remnant smaller than the seed disperses when a reduction begins; crystal that is left covers the centres.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax import Array
from numpy.typing import ArrayLike, NDArray

from dropsim import units
from dropsim.errors import SimulationError
from dropsim.kinetics import growth_laws
from dropsim.kinetics.parameters import (
    CLOSURE_NOTE,
    DEFAULT_PROTOCOL,
    DEFAULT_SAVE_TIMES_S,
    ELECTRONS_PER_UNIT,
    LITHIUM_PER_LIQUID_UNIT,
    LITHIUM_PER_SOLID_UNIT,
    KineticParameters,
    PotentialStep,
    Segment,
    protocol_segments,
)

NUCLEATION_HAZARD = math.log(2.0)
FEMTOAMPERE_PER_ELECTRON_PER_S = units.ELEMENTARY_CHARGE_C * 1e15
_SLOTS = float(ELECTRONS_PER_UNIT)
# A volume below this (a 1e-6th of a unit) is no droplet: its radius, contacts and surface are 0.
_NO_VOLUME_NM3 = 1e-7
# The mean field cuts hazards here, 10 microseconds of waiting, so that a sharp threshold can be integrated.
_MAX_HAZARD_PER_S = 1e5
# Save times are padded to whole blocks, so that few shapes are ever compiled.
_SAVE_BLOCK = 128
# Liquid left beside this much more solid counts as converted (it stays as liquid in the ledgers).
_NO_LIQUID = 1e-9


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
    threshold: Any
    nucleation_rate: Any
    nucleation_barrier: Any
    minimum_size: Any
    acceleration: Any
    dissolution_rate: Any


class Drive(NamedTuple):
    """What the protocol imposes: k_in + k_out (1/s), p = k_in / (k_in + k_out), and switches as 0 or 1."""

    total_rate: Any
    nernst: Any
    oxidising: Any
    crystal: Any


class Droplet(NamedTuple):
    """The integrated state; counts are mean values here."""

    liquid: Any
    electrons: Any
    solid: Any
    taken: Any
    injected: Any
    ejected: Any
    hazard: Any


def build_law(parameters: KineticParameters) -> Law:
    """The traced constants of a parameter set."""
    angle = parameters.contact_angle_deg
    values = Law(
        unit_volume=parameters.unit_volume_nm3,
        solid_volume=parameters.solid_volume_nm3,
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
        threshold=parameters.threshold,
        nucleation_rate=parameters.nucleation_rate_per_s,
        nucleation_barrier=parameters.nucleation_barrier,
        minimum_size=parameters.minimum_size_units,
        acceleration=parameters.front_acceleration,
        dissolution_rate=parameters.dissolution_rate_per_s,
    )
    return Law(*(np.float64(value) for value in values))


def build_drive(parameters: KineticParameters, segment: Segment, crystal: bool) -> Drive:
    """The drive of one protocol segment."""
    rates = parameters.total_rate_per_s(segment.potential_V)
    nernst = parameters.nernst_fraction(segment.potential_V)
    return Drive(np.float64(rates), np.float64(nernst), np.float64(segment.oxidising), np.float64(crystal))


# --- the laws, shared with the jump process -------------------------------------------------------------


def cap_radius(law: Law, liquid: Array, solid: Array) -> Array:
    """R = [3 (N Omega + N_s v_s) / (4 pi v)]^(1/3) in nm; 0 where there is no droplet."""
    volume = liquid * law.unit_volume + solid * law.solid_volume
    exists = volume > _NO_VOLUME_NM3
    return jnp.where(exists, jnp.cbrt(jnp.where(exists, volume, 1.0) / law.cap_volume), 0.0)


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


class Rates(NamedTuple):
    """Instantaneous rates in 1/s, and what was needed for them."""

    gathered: Any
    dissolved_liquid: Any
    dissolved_solid: Any
    converted: Any
    injected: Any
    ejected: Any
    hazard: Any
    probability: Any
    damkohler: Any


def droplet_rates(droplet: Droplet, law: Law, drive: Drive) -> Rates:
    """All rates of the mean-field droplet in the well-mixed limit (k_hop -> infinity).

    injected J_in = N_c k_in (10 - n), ejected J_out = N_c k_out n with n = N_e / N; gathered
    4 pi f D R [kR / (D + kR)] (c_inf - c_eq(x)).
    """
    radius = cap_radius(law, droplet.liquid, droplet.solid)
    reduced = reduced_fraction(droplet.liquid, droplet.electrons)
    reducing, liquid_only = 1.0 - drive.oxidising, 1.0 - drive.crystal
    converting = reducing * drive.crystal
    slot_rate = contact_number(law, radius) * drive.total_rate * _SLOTS
    # A converting droplet's pool is empty: every injected electron is in the solid, none comes back.
    # The front runs at full pace through N = 0, where the solver looks for its end.
    front = converting * slot_rate * drive.nernst * law.acceleration
    pool = jnp.where(droplet.liquid > 0.0, (1.0 - converting) * slot_rate, 0.0)
    injected = pool * drive.nernst * (1.0 - reduced)
    ejected = pool * (1.0 - drive.nernst) * reduced

    density = law.bulk_density - droplet.taken * law.per_supply_volume
    interface = interface_rate(law, radius, density, reduced)
    allowed = jnp.maximum(injected - ejected, 0.0) * law.captures_per_electron
    probability = capture_probability(law, interface, allowed, jnp.zeros_like(allowed))
    conductance, damkohler = capture_conductance(law, radius, probability)
    gathers = reducing * liquid_only
    gathered = gathers * conductance * (density - law.saturation * bare_fraction(reduced))

    liquid_lost = drive.oxidising * law.dissolution_rate * droplet.liquid * bare_fraction(reduced)
    solid_lost = drive.oxidising * law.dissolution_rate * droplet.solid
    return Rates(
        gathered=gathered,
        dissolved_liquid=liquid_lost,
        dissolved_solid=solid_lost,
        converted=front / _SLOTS,
        injected=injected + front,
        ejected=ejected + _SLOTS * solid_lost,
        hazard=gathers * jnp.minimum(crystallisation_hazard(law, droplet.liquid, reduced), _MAX_HAZARD_PER_S),
        probability=gathers * probability,
        damkohler=gathers * damkohler,
    )


def _slope(time: Any, droplet: Droplet, args: tuple[Law, Drive]) -> Droplet:
    rates = droplet_rates(droplet, *args)
    return Droplet(
        liquid=rates.gathered - rates.dissolved_liquid - rates.converted,
        electrons=rates.injected - rates.ejected + _SLOTS * (rates.dissolved_solid - rates.converted),
        solid=rates.converted - rates.dissolved_solid,
        taken=rates.gathered - rates.dissolved_liquid - rates.dissolved_solid,
        injected=rates.injected,
        ejected=rates.ejected,
        hazard=rates.hazard,
    )


# --- the solve -------------------------------------------------------------------------------------------


def _switch(t: Any, y: Droplet, args: tuple[Law, Drive], **solver_state: Any) -> Array:
    """Falls through 0 where a piece ends: nucleation of a liquid, or the end of its conversion.

    The names are those by which diffrax passes its arguments, with its solver's state that is not needed
    here.
    """
    drive = args[1]
    return jnp.where(drive.crystal > 0.0, y.liquid + drive.oxidising, NUCLEATION_HAZARD - y.hazard)


@eqx.filter_jit
def _solve_piece(law: Law, drive: Drive, duration: Any, state: Droplet, times: Any, rtol: Any, max_steps: int):
    at_times = diffrax.SubSaveAt(ts=times)
    at_end = diffrax.SubSaveAt(t1=True)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_slope),  # pyright: ignore[reportArgumentType]
        diffrax.Kvaerno5(),
        t0=jnp.zeros_like(duration),
        t1=duration,
        dt0=None,
        y0=state,
        args=(law, drive),
        saveat=diffrax.SaveAt(subs=[at_times, at_end]),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol),
        event=diffrax.Event(_switch, optx.Newton(rtol=1e-10, atol=1e-10)),
        max_steps=max_steps,
        throw=False,
        adjoint=diffrax.ForwardMode(),
    )
    saved, last = solution.ys  # pyright: ignore[reportGeneralTypeIssues]
    ended = jax.tree.map(lambda leaf: leaf[-1], last)
    fired = solution.result == diffrax.RESULTS.event_occurred
    well = diffrax.is_okay(solution.result)
    end = solution.ts[1][-1]  # pyright: ignore[reportOptionalSubscript]
    return saved, ended, end, fired, well


@eqx.filter_jit
def _outputs(law: Law, drive: Drive, states: Droplet) -> tuple[Rates, Array]:
    rates = jax.vmap(lambda state: droplet_rates(state, law, drive))(states)
    # The front of the equations runs through N = 0; what is reported stops there.
    finished = (drive.crystal * (1.0 - drive.oxidising) > 0.0) & (states.liquid <= _NO_LIQUID * states.solid)
    rates = rates._replace(
        injected=jnp.where(finished, 0.0, rates.injected), converted=jnp.where(finished, 0.0, rates.converted)
    )
    return rates, cap_radius(law, states.liquid, states.solid)


def begin_reduction(state: Droplet, seed_units: float) -> tuple[Droplet, bool]:
    """The switches thrown where a reduction begins: a remnant disperses, what holds crystal converts on.

    Returns the state and whether it holds crystal (at least one solid unit).
    """
    if state.liquid + state.solid < seed_units:
        left = _SLOTS * state.solid + state.electrons
        return state._replace(
            liquid=0.0,
            electrons=0.0,
            solid=0.0,
            taken=state.taken - state.liquid - state.solid,
            ejected=state.ejected + left,
            hazard=0.0,
        ), False
    crystal = bool(state.solid >= 1.0)
    return (crystallise(state) if crystal else state._replace(hazard=0.0)), crystal


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
    gathers; the other pieces are in the module's docstring. protocol: steps of potential (V) and duration
    (s); save_times: (T,) s, increasing within the protocol; relative_tolerance: of the implicit Runge-Kutta
    steps (Kvaerno 5(4)), also the absolute one in counts. Pieces end at steps, onsets, nucleation and the end
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
    state, crystal = Droplet(*[0.0] * 7), False
    with jax.enable_x64(True):
        for index, segment in enumerate(segments):
            if segment.begins_reduction:
                state, crystal = begin_reduction(state, parameters.seed_units)
            if segment.seeds and not crystal:
                seed = max(parameters.seed_units - state.liquid - state.solid, 0.0)
                state = state._replace(liquid=state.liquid + seed, taken=state.taken + seed)
            start = segment.start_s
            closed = index == len(segments) - 1
            while True:
                drive = build_drive(parameters, segment, crystal)
                state, end, fired, saved = _advance(
                    law, drive, start, segment.end_s, state, times, relative_tolerance, max_steps
                )
                last = closed and end >= segment.end_s
                mine = (times >= start) & ((times <= end) if last else (times < end))
                if mine.any():
                    kept = Droplet(*(np.where(mine, leaf, 0.0) for leaf in saved))
                    padded = (np.pad(leaf, (0, -times.size % _SAVE_BLOCK)) for leaf in kept)
                    rates, radius = jax.tree.map(
                        lambda leaf: np.asarray(leaf)[: times.size], _outputs(law, drive, Droplet(*padded))
                    )
                    rows.append((mine, kept, rates, radius))
                start = end
                if not fired:
                    break
                if crystal:
                    # The root finder leaves a rest of order 1e-10 of a unit, with no electrons of its own.
                    state = state._replace(liquid=0.0, taken=state.taken - state.liquid)
                else:
                    nucleation_time = end if math.isnan(nucleation_time) else nucleation_time
                    crystal, state = True, crystallise(state)
                if start >= segment.end_s:
                    break
    return _assemble(parameters, times, rows, nucleation_time)


def _advance(law, drive, start, end, state, times, rtol, max_steps):
    """One piece: (state at its end, its end, whether a switch was thrown there, states at all times)."""
    crystal, oxidising = bool(drive.crystal), bool(drive.oxidising)
    empty = state.liquid <= 0.0 and state.solid <= 0.0
    converted = crystal and not oxidising and state.liquid <= _NO_LIQUID * state.solid
    if empty or converted or (crystal and not oxidising and law.contact_coefficient == 0.0):
        return state, end, False, Droplet(*(np.full(times.shape, leaf) for leaf in state))
    # Time counts from the piece's start: conversion may take less than the spacing of floats at minutes.
    inside = np.clip(times, start, end) - start
    inside = np.concatenate([inside, np.full(-times.size % _SAVE_BLOCK, end - start)])
    initial = Droplet(*(np.float64(leaf) for leaf in state))
    saved, ended, stopped, fired, well = _solve_piece(
        law, drive, np.float64(end - start), initial, inside, np.float64(rtol), max_steps
    )
    if not bool(well):
        raise SimulationError(
            f"the droplet equations could not be integrated between {start:g} and {end:g} s: "
            "raise max_steps or relative_tolerance, or look for an extreme rate among the inputs"
        )
    final = Droplet(*(float(leaf) for leaf in ended))
    return (
        final,
        min(start + float(stopped), end) if bool(fired) else end,
        bool(fired),
        Droplet(*(np.asarray(leaf)[: times.size] for leaf in saved)),
    )


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
        {name: states[name] for name in Droplet._fields if name != "hazard"},
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
    """A solution with its areas, ledgers and bulk density from the counts (`Droplet` without hazard)."""
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
