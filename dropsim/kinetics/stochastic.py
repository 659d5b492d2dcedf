"""The droplet as a jump process: whole units, whole electrons, and many realisations at once.

The events and rates are those of `droplet`; time advances in leaps within which the droplet's size is held at
its predicted midpoint. A leap has two halves:
- electrons: every slot is an independent two-state chain in the well-mixed limit, so the flips of half a leap
  are binomial and exact for a droplet of fixed size, however fast they are;
- captures and escapes: Poisson, between the two half leaps of flips;
- opening of a crystal (E > E0): places of its first layer and its units, binomial, in the first half;
- dissolution of what is unreduced (E > E0): Poisson, after the second half's flips;
- crystallisation: an exponential waiting time; the rest of its leap already converts;
- conversion: Poisson injection, one solid unit for ten electrons.
Electrons that go in and out again within half a leap are not counted in injected and ejected; their
difference is exact. A ramp is a staircase with one tread per leap, at the potential of the leap's middle.
Noise is counter-based: it depends on (seed, realisation, leap) alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray

from dropsim import units
from dropsim.kinetics import droplet as mean_field
from dropsim.kinetics import growth_laws
from dropsim.kinetics.droplet import DropletSolution, Law
from dropsim.kinetics.parameters import (
    DEFAULT_PROTOCOL,
    DEFAULT_SAVE_TIMES_S,
    ELECTRONS_PER_UNIT,
    KineticParameters,
    Segment,
    protocol_segments,
)
from dropsim.kinetics.protocol import PotentialStep

_SLOTS = float(ELECTRONS_PER_UNIT)
# At leap_tolerance 1 (so 0.5 s at the default): resolves charging that is slower than growth.
_LONGEST_LEAP_S = 10.0
# At leap_tolerance 1: of f E over a leap of a ramp (so 0.25, or 6.5 mV, at the default), and of the rates at which
# units open and leave, times the leap (0.2).
_LARGEST_TREAD = 5.0
_LARGEST_LOSS = 4.0
# After E passes E0 the electrons run out first: leaps begin at this times the tolerance, and grow with the time since.
_FIRST_LOSS_S = 0.02
# Leaps are padded to whole blocks and realisations run in batches, so that few shapes are ever compiled.
_LEAP_BLOCK = 512
_BATCH = 64


class Leap(NamedTuple):
    """One row of the schedule; switches are thrown at its start, as 0 or 1."""

    start: Any
    duration: Any
    total_rate: Any
    nernst: Any
    connected: Any
    oxidising: Any
    begins_reduction: Any
    seeds: Any


class Walker(NamedTuple):
    """One realisation; counts are whole numbers held in float64, exact below 2^53."""

    liquid: Any
    electrons: Any
    solid: Any
    taken: Any
    injected: Any
    ejected: Any
    crystal: Any  # 0 or 1
    places: Any  # of the first layer in this charge, 0 before it
    closed: Any  # those that have not opened
    opened_before: Any  # 0 or 1: whether solid opened in an earlier charge
    nucleation_time: Any  # inf before
    x: Any
    y: Any


class _Patch(NamedTuple):
    """What is put in beside the law: nm^2/s, and k_open exp(-W) of the first charge and of later ones, 1/s."""

    centroid_diffusivity: Any
    barrier_rates: Any


class Record(NamedTuple):
    """What is kept of each leap: the walker at its start, and the gathering there."""

    walker: Walker
    probability: Any
    damkohler: Any


def build_leaps(
    parameters: KineticParameters,
    segments: Sequence[Segment],
    save_times: NDArray[np.float64],
    leap_tolerance: float,
) -> tuple[Leap, NDArray[np.int64]]:
    """The schedule of leaps, the same for every realisation, and the leap that starts at each save time.

    A leap is at most leap_tolerance times each of: the time in which a droplet grows e-fold in volume at full capture,
    R / (3 dR/dt); while E > E0, 4 / k of the rates k of dissolution and opening, and 0.02 s and 4 times the time since
    it is; the time in which a ramp changes f E by 5; and 10 s. It never crosses a switch or a save time. Padding leaps
    of zero duration follow the end, the first of which stands for the end itself.
    """
    factor = growth_laws.cap_area_factor(parameters.contact_angle_deg) / growth_laws.cap_volume_factor(
        parameters.contact_angle_deg
    )
    # The full bulk density: a charged droplet has no equilibrium pressure.
    speed = (
        factor * parameters.interface_velocity_nm_per_s * parameters.unit_volume_nm3 * parameters.bulk_density_per_nm3
    )
    loss = max(parameters.dissolution_rate_per_s, parameters.opening_rate_per_s)
    tread = units.thermal_voltage_V(parameters.temperature_K) * _LARGEST_TREAD
    rows: list[tuple[float, ...]] = []
    radius = parameters.seed_radius_nm
    oxidised = 0.0
    for before, segment in itertools.pairwise([segments[0], *segments]):
        if segment.oxidising and not (before.oxidising and before.start_s < segment.start_s):
            oxidised = segment.start_s
        if segment.seeds:
            radius = parameters.seed_radius_nm
        longest = _LONGEST_LEAP_S
        if segment.oxidising and loss > 0:
            longest = min(longest, _LARGEST_LOSS / loss)
        ramp = abs(segment.end_V - segment.start_V)
        if segment.connected and ramp > 0:
            longest = min(longest, tread * (segment.end_s - segment.start_s) / ramp)
        inside = save_times[(save_times > segment.start_s) & (save_times < segment.end_s)]
        nodes = [segment.start_s, *inside.tolist(), segment.end_s]
        first = True
        for left, right in itertools.pairwise(nodes):
            time = left
            while time < right:
                growth = radius / (3.0 * speed) if speed > 0 and not segment.oxidising else math.inf
                since = _LARGEST_LOSS * (time - oxidised) + _FIRST_LOSS_S if segment.oxidising else math.inf
                step = leap_tolerance * min(longest, growth, since)
                # Equal leaps up to the node, so that none is a sliver.
                step = (right - time) / math.ceil((right - time) / step * (1.0 - 1e-12))
                end = right if time + step >= right * (1.0 - 1e-15) else time + step
                switches = (float(segment.begins_reduction and first), float(segment.seeds and first))
                drive = _drive(parameters, segment, 0.5 * (time + end))
                rows.append((time, end - time, *drive, *switches))
                radius += 0.0 if segment.oxidising else speed * (end - time)
                time, first = end, False
    last = segments[-1]
    padding = _LEAP_BLOCK - len(rows) % _LEAP_BLOCK
    idle = (last.end_s, 0.0, *rows[-1][2:6], 0.0, 0.0)
    table = np.asarray(rows + [idle] * padding, dtype=np.float64)
    at_save = np.searchsorted(table[: len(rows) + 1, 0], save_times)
    return Leap(*table.T), at_save


def _drive(parameters: KineticParameters, segment: Segment, time_s: float) -> tuple[float, float, float, float]:
    """total_rate, nernst, connected and oxidising of a leap; at rest no rate, and p of no meaning."""
    if not segment.connected:
        return 0.0, 0.5, 0.0, 0.0
    potential = segment.potential_V(time_s)
    return (
        parameters.total_rate_per_s(potential),
        parameters.nernst_fraction(potential),
        1.0,
        float(segment.oxidising),
    )


def _poisson(key: Array, mean: Array, limit: Array) -> Array:
    """Poisson number up to limit; a mean far above limit is cut so that the sampler stays in range."""
    bounded = jnp.minimum(mean, 4.0 * limit + 1e3)
    return jnp.minimum(jax.random.poisson(key, bounded, shape=jnp.shape(mean)).astype(mean.dtype), limit)


class _Trials(NamedTuple):
    """Binomial trials: how many, and the chance of each."""

    number: Any
    chance: Any


def _flips(walker: Walker, law: Law, leap: Leap, duration: Array) -> _Trials:
    """Empty and filled slots, and the chance that they have flipped after `duration`, exact for a fixed size."""
    contacts = mean_field.contact_number(law, mean_field.cap_radius(law, walker.liquid, walker.solid))
    exists = walker.liquid > 0.0
    rate = jnp.where(exists, contacts / jnp.where(exists, walker.liquid, 1.0), 0.0) * leap.total_rate
    relaxed = -jnp.expm1(-rate * duration)
    return _Trials(
        jnp.stack([_SLOTS * walker.liquid - walker.electrons, walker.electrons]),
        jnp.stack([leap.nernst * relaxed, (1.0 - leap.nernst) * relaxed]),
    )


def _crystallise_pool(walker: Walker) -> Walker:
    """One solid unit for each ten electrons of the pool."""
    converted = jnp.floor(walker.electrons / _SLOTS)
    return walker._replace(
        liquid=walker.liquid - converted,
        electrons=walker.electrons - _SLOTS * converted,
        solid=walker.solid + converted,
    )


def _select(condition: Array, chosen: Walker, other: Walker) -> Walker:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


def _throw_switches(key: Array, walker: Walker, leap: Leap, seed_units: Array) -> Walker:
    """What happens at the start of a leap: see `droplet.begin_reduction`; a seed is rounded at random."""
    begins, seeds = leap.begins_reduction > 0.0, leap.seeds > 0.0
    remnant = walker.liquid + walker.solid < seed_units
    zero = jnp.zeros_like(walker.liquid)
    dispersed = walker._replace(
        liquid=zero,
        electrons=zero,
        solid=zero,
        taken=walker.taken - walker.liquid - walker.solid,
        ejected=walker.ejected + walker.electrons + _SLOTS * walker.solid,
        crystal=zero,
    )
    has_crystal = walker.solid >= 1.0
    kept = _select(has_crystal, _crystallise_pool(walker), walker)._replace(crystal=has_crystal.astype(zero.dtype))
    started = _select(remnant, dispersed, kept)._replace(
        places=zero,
        closed=zero,
        opened_before=jnp.where(walker.closed < walker.places, 1.0, walker.opened_before),
    )
    walker = _select(begins, started, walker)

    present = walker.liquid + walker.solid
    missing = jnp.maximum(seed_units - present, 0.0)
    added = jnp.floor(missing + jax.random.uniform(key, dtype=missing.dtype))
    added = jnp.where(seeds & (walker.crystal == 0.0) & (missing > 0.0), added, 0.0)
    fresh = (added > 0.0) & (present == 0.0)
    return walker._replace(
        liquid=walker.liquid + added,
        taken=walker.taken + added,
        x=jnp.where(fresh, 0.0, walker.x),
        y=jnp.where(fresh, 0.0, walker.y),
    )


class _Gathering(NamedTuple):
    capture_rate: Any
    escape_rate: Any
    hazard: Any
    probability: Any
    damkohler: Any


def _gathering_at(law: Law, walker: Walker, liquid: Array, reduced: Array, taken: Array, slaved) -> _Gathering:
    """Rates of a liquid droplet of this size and charge; slaved: (rate, gain) of `capture_probability`."""
    radius = mean_field.cap_radius(law, liquid, walker.solid)
    density = jnp.maximum(law.bulk_density - taken * law.per_supply_volume, 0.0)
    interface = mean_field.interface_rate(law, radius, density, reduced)
    probability = mean_field.capture_probability(law, interface, *slaved)
    conductance, damkohler = mean_field.capture_conductance(law, radius, probability)
    return _Gathering(
        conductance * density,
        conductance * law.saturation * mean_field.bare_fraction(reduced),
        mean_field.crystallisation_hazard(law, liquid, reduced),
        probability,
        damkohler,
    )


def _predict_gathering(law: Law, walker: Walker, leap: Leap) -> _Gathering:
    """Rates at the predicted middle of a leap: second order in its length.

    The mean charge obeys dN_e/dt = (10 p N(t) - N_e) / tau with N growing linearly, whose solution gives the
    injection averaged over the leap, J = A + B dN/dt, also where tau is much shorter than the leap.
    """
    liquid, electrons = walker.liquid, walker.electrons
    exists = liquid > 0.0
    safe_liquid = jnp.where(exists, liquid, 1.0)
    moving = leap.duration > 0.0
    duration = jnp.where(moving, leap.duration, 1e-12)

    def charging(size: Array) -> tuple[Array, Array, Array]:
        contacts = mean_field.contact_number(law, mean_field.cap_radius(law, size, walker.solid))
        rate = jnp.where(exists, contacts / jnp.where(exists, size, 1.0), 0.0) * leap.total_rate
        relaxed = -jnp.expm1(-rate * duration)
        # Units captured in the middle of a leap, where the scheme puts them, charge for half of it: with
        # this the captures of a steady droplet and the electrons that they draw agree at any stiffness.
        lag = -jnp.expm1(-0.5 * rate * duration)
        target = _SLOTS * leap.nernst
        # The empty slots of the start; those of units that arrive are in the gain.
        offset = jnp.maximum((target * liquid - electrons) * relaxed / duration, 0.0)
        return law.captures_per_electron * offset, law.captures_per_electron * target * lag, rate

    start_charge = mean_field.reduced_fraction(liquid, electrons)
    first = _gathering_at(law, walker, liquid, start_charge, walker.taken, charging(liquid)[:2])
    growth = first.capture_rate - first.escape_rate
    middle = jnp.maximum(liquid + 0.5 * duration * growth, 0.5 * safe_liquid)
    offset, gain, rate = charging(middle)
    decay = jnp.exp(-0.5 * rate * duration)
    goal = _SLOTS * leap.nernst * liquid
    middle_electrons = goal + (electrons - goal) * decay
    # Units captured during the half leap fill within tau of their arrival.
    z = 0.5 * rate * duration
    filled = jnp.where(z < 1e-4, 0.5 * z, 1.0 - (1.0 - decay) / jnp.where(z < 1e-4, 1.0, z))
    middle_electrons = middle_electrons + _SLOTS * leap.nernst * jnp.maximum(middle - liquid, 0.0) * filled
    middle_charge = mean_field.reduced_fraction(middle, middle_electrons)
    taken = walker.taken + 0.5 * duration * growth
    return _gathering_at(law, walker, middle, middle_charge, taken, (offset, gain))


class _Plan(NamedTuple):
    """What a leap holds in store, fixed at its start."""

    gathering: _Gathering
    gathering_time: Any  # s, until nucleation
    nucleates: Any
    wait: Any
    unit_chance: Any  # that a solid unit opens
    place_chance: Any  # that a closed place opens


def _plan(key: Array, walker: Walker, law: Law, leap: Leap, barrier_rates: Array) -> tuple[Walker, _Plan]:
    """Predict a leap from its start; the first leap of a charge on solid counts the places of its first layer."""
    zero = jnp.zeros_like(walker.liquid)
    oxidising = leap.oxidising > 0.0
    is_liquid = ~oxidising & (walker.crystal == 0.0) & (walker.liquid > 0.0)
    rates = _predict_gathering(law, walker, leap)
    # log1p(-u) with u in [0, 1): the waiting time of a constant hazard.
    exposure = -jnp.log1p(-jax.random.uniform(key, dtype=zero.dtype))
    hazardous = is_liquid & (rates.hazard > 0.0)
    wait = jnp.where(hazardous, exposure / jnp.where(hazardous, rates.hazard, 1.0), jnp.inf)
    nucleates = wait < leap.duration

    opens = oxidising & (walker.solid > 0.0)
    _, first_layer = mean_field.reached_units(law, mean_field.cap_radius(law, zero, walker.solid))
    places = jnp.where(opens & (walker.places == 0.0), jnp.maximum(jnp.round(first_layer), 1.0), walker.places)
    closed = jnp.where(walker.places == 0.0, places, walker.closed)
    walker = walker._replace(places=places, closed=closed)
    barrier = jnp.where(walker.opened_before > 0.0, barrier_rates[1], barrier_rates[0])
    share = closed / jnp.maximum(places, 1.0)
    rate, _ = mean_field.solid_opening(law, walker.solid, 1.0 - share, barrier)
    # Again at the middle of the leap.
    share = share * jnp.exp(-0.5 * barrier * leap.duration)
    middle = jnp.maximum(walker.solid - 0.5 * leap.duration * rate, 0.5 * walker.solid)
    rate, _ = mean_field.solid_opening(law, middle, 1.0 - share, barrier)
    hazard = jnp.where(opens, rate / jnp.where(opens, middle, 1.0), 0.0)
    return walker, _Plan(
        gathering=rates,
        gathering_time=jnp.where(is_liquid, jnp.where(nucleates, wait, leap.duration), 0.0),
        nucleates=nucleates,
        wait=wait,
        unit_chance=-jnp.expm1(-hazard * leap.duration),
        place_chance=jnp.where(opens, -jnp.expm1(-barrier * leap.duration), 0.0),
    )


def _half(
    carry: tuple[Walker, Array, Array], row: tuple[Array, Array], law: Law, leap: Leap, plan: _Plan
) -> tuple[tuple[Walker, Array, Array], None]:
    """Half a leap: flips, openings in the first half, then gathering (first) or conversion and dissolution (second).

    The same few random numbers serve every kind of leap, so that their samplers are compiled once.
    carry: the walker; the share of bare units in the middle of the leap, and how many units opened there.
    """
    walker, bare_middle, fresh = carry
    key, second = row
    flip_key, event_key = jax.random.split(key)
    oxidising, last = leap.oxidising > 0.0, second > 0
    flip_time = 0.5 * jnp.where(oxidising, leap.duration, plan.gathering_time)
    flips = _flips(walker, law, leap, flip_time)
    numbers = jnp.concatenate([flips.number, jnp.stack([walker.solid, walker.closed])])
    opening = jnp.where(last, 0.0, jnp.stack([plan.unit_chance, plan.place_chance]))
    drawn = jax.random.binomial(flip_key, numbers, jnp.concatenate([flips.chance, opening]), dtype=numbers.dtype)
    filled, emptied, opened, places_opened = drawn
    flipped = mean_field.bare_fraction(mean_field.reduced_fraction(walker.liquid, walker.electrons + filled - emptied))
    walker = walker._replace(
        liquid=walker.liquid + opened,
        solid=walker.solid - opened,
        electrons=walker.electrons + filled - emptied + _SLOTS * opened,
        injected=walker.injected + filled,
        ejected=walker.ejected + emptied,
        closed=walker.closed - places_opened,
    )

    nucleates = last & plan.nucleates
    first_time = jnp.minimum(walker.nucleation_time, jnp.where(nucleates, leap.start + plan.wait, jnp.inf))
    crystal = jnp.where(nucleates, 1.0, walker.crystal)
    walker = _select(nucleates, _crystallise_pool(walker), walker)._replace(crystal=crystal, nucleation_time=first_time)
    converts = last & ~oxidising & (walker.crystal > 0.0)
    contacts = mean_field.contact_number(law, mean_field.cap_radius(law, walker.liquid, walker.solid))
    pace = contacts * leap.total_rate * leap.nernst * law.acceleration * _SLOTS
    room = _SLOTS * walker.liquid - walker.electrons
    front = jnp.where(converts & (room > 0.0), pace * (leap.duration - plan.gathering_time), 0.0)

    # Only units without electrons can leave: never more than the empty slots leave room for.
    bare_units = jnp.floor(room / _SLOTS)
    dissolves = last & oxidising & (walker.liquid > 0.0)
    spent = law.dissolution_rate * leap.duration
    # What was liquid leaves during the whole leap, at its middle charge; what opened in its middle, for half of it.
    gone = (walker.liquid - fresh) * -jnp.expm1(-spent * bare_middle) + fresh * -jnp.expm1(-0.5 * spent * flipped)
    escaping = jnp.where(last, 0.0, plan.gathering.escape_rate * plan.gathering_time)
    leaving = jnp.where(dissolves, gone, escaping)
    arriving = jnp.where(last, front, plan.gathering.capture_rate * plan.gathering_time)
    supply = jnp.where(
        law.per_supply_volume > 0.0,
        law.bulk_density / jnp.where(law.per_supply_volume > 0.0, law.per_supply_volume, 1.0) - walker.taken,
        1e15,
    )
    limits = jnp.stack([jnp.where(last, room, jnp.floor(jnp.maximum(supply, 0.0))), bare_units])
    came, left = _poisson(event_key, jnp.stack([arriving, leaving]), limits)
    captured, fed = jnp.where(last, 0.0, came), jnp.where(last, came, 0.0)
    walker = walker._replace(
        liquid=walker.liquid + captured - left,
        taken=walker.taken + captured - left,
        electrons=walker.electrons + fed,
        injected=walker.injected + fed,
    )
    walker = _select(converts, _crystallise_pool(walker), walker)
    return (walker, jnp.where(last, bare_middle, flipped), jnp.where(last, fresh, opened)), None


def _leap(key: Array, walker: Walker, law: Law, leap: Leap, seed_units: Array, patch: _Patch) -> tuple[Walker, Record]:
    switch_key, wait_key, half_key, walk_key = jax.random.split(key, 4)
    walker = _throw_switches(switch_key, walker, leap, seed_units)
    walker, plan = _plan(wait_key, walker, law, leap, patch.barrier_rates)
    halves = (jax.random.split(half_key), jnp.arange(2))
    start = (walker, jnp.zeros_like(walker.liquid), jnp.zeros_like(walker.liquid))
    (after, _, _), _ = jax.lax.scan(lambda carry, row: _half(carry, row, law, leap, plan), start, halves)
    oxidising = leap.oxidising > 0.0
    # A crystal that has dissolved leaves a liquid.
    crystal = jnp.where(oxidising & (after.solid < 1.0), 0.0, after.crystal)
    # A droplet moves while it is liquid; what has crystallised stays where it is.
    mobile = (walker.liquid > 0.0) & (walker.solid == 0.0)
    stride = jnp.where(mobile, jnp.sqrt(2.0 * patch.centroid_diffusivity * leap.duration), 0.0)
    dx, dy = stride * jax.random.normal(walk_key, (2,), dtype=walker.x.dtype)
    after = after._replace(crystal=crystal, x=walker.x + dx, y=walker.y + dy)
    gathers = ~oxidising & (walker.crystal == 0.0) & (walker.liquid > 0.0)
    gathering = jnp.where(gathers, 1.0, 0.0)
    return after, Record(walker, gathering * plan.gathering.probability, gathering * plan.gathering.damkohler)


def _start() -> Walker:
    """Every realisation before its seed."""
    zero = np.zeros(_BATCH)
    return Walker(*[zero] * len(Walker._fields))._replace(nucleation_time=zero + np.inf)


@jax.jit
def _run_block(
    seed: Array,
    first: Array,
    walkers: Walker,
    law: Law,
    leaps: Leap,
    first_leap: Array,
    seed_units: Array,
    patch: _Patch,
) -> tuple[Walker, Record]:
    """One block of leaps of one batch, numbered from `first` and `first_leap`; leaves (lanes, leaps)."""

    def one(number: Array, walker: Walker) -> tuple[Walker, Record]:
        own = jax.random.fold_in(jax.random.key(seed), number)

        def step(walker: Walker, row: tuple[Array, Leap]) -> tuple[Walker, Record]:
            index, leap = row
            return _leap(jax.random.fold_in(own, index), walker, law, leap, seed_units, patch)

        index = first_leap + jnp.arange(_LEAP_BLOCK, dtype=jnp.uint32)
        return jax.lax.scan(step, walker, (index, leaps))

    return jax.vmap(one)(first + jnp.arange(_BATCH, dtype=jnp.uint32), walkers)


def simulate_droplets(
    seed: int,
    parameters: KineticParameters,
    protocol: Sequence[PotentialStep] = DEFAULT_PROTOCOL,
    save_times: ArrayLike = DEFAULT_SAVE_TIMES_S,
    n_realisations: int = 64,
    *,
    leap_tolerance: float = 0.05,
) -> DropletSolution:
    """Draw realisations of the droplet's jump process through a protocol.

    Rates as in `droplet.solve_droplet`, of which this is the counterpart with whole counts. seed: 0 to 2^32 -
    1; save_times: (T,) s; n_realisations: K; leap_tolerance: relative growth of the droplet in one leap,
    error second order in it (halve it: means must stay within a standard error). Returns a `DropletSolution`
    whose counts are int64 (K, T), centroid_nm (K, T, 2) relative to the place of the seed (Brownian with
    centroid_diffusivity_nm2_per_s while there is liquid) and nucleation_time_s (K,); realisation i is the
    same for every K. current_fA is the mean since the save before, 0 at the first. Raises ValueError for bad
    inputs. In the charge-slaved closure the injection that drives capture is its mean over a leap; that mean
    neglects diffusion (Da << 1). Bits may differ between JAX versions.
    """
    if not (0 <= seed < 2**32):
        raise ValueError(f"seed is {seed}: 0 to 2^32 - 1 is allowed")
    if n_realisations < 1:
        raise ValueError(f"n_realisations is {n_realisations}: at least 1 is allowed")
    if not 0.0 < leap_tolerance <= 0.5:
        raise ValueError(f"leap_tolerance is {leap_tolerance}: above 0, up to 0.5 is allowed")
    segments = protocol_segments(parameters, protocol)
    times = mean_field.check_save_times(save_times, segments[-1].end_s)
    leaps, at_save = build_leaps(parameters, segments, times, leap_tolerance)
    law = mean_field.build_law(parameters)
    seed_units = np.float64(parameters.seed_units)
    patch = _Patch(
        np.float64(parameters.centroid_diffusivity_nm2_per_s),
        np.array([mean_field.barrier_rate(parameters, before) for before in (False, True)]),
    )
    kept: list[Record] = []
    nucleation_times: list[NDArray[np.float64]] = []
    with jax.enable_x64(True):
        for first in range(0, n_realisations, _BATCH):
            wanted = min(_BATCH, n_realisations - first)
            walkers = _start()
            for begin in range(0, leaps.start.size, _LEAP_BLOCK):
                block = Leap(*(column[begin : begin + _LEAP_BLOCK] for column in leaps))
                walkers, records = _run_block(
                    np.uint32(seed), np.uint32(first), walkers, law, block, np.uint32(begin), seed_units, patch
                )
                inside = at_save[(at_save >= begin) & (at_save < begin + _LEAP_BLOCK)] - begin
                kept.append(jax.tree.map(lambda leaf, n=wanted, i=inside: np.asarray(leaf)[:n, i], records))
            nucleation_times.append(np.asarray(walkers.nucleation_time)[:wanted])
        n_blocks = leaps.start.size // _LEAP_BLOCK
        batches = [
            jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept[i : i + n_blocks])
            for i in range(0, len(kept), n_blocks)
        ]
        whole: Record = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
        radius = np.asarray(mean_field.cap_radius(law, whole.walker.liquid, whole.walker.solid))
    walker = whole.walker
    names = ("liquid", "electrons", "solid", "taken", "injected", "ejected")
    counts = {name: getattr(walker, name).astype(np.int64) for name in names}
    net = counts["injected"] - counts["ejected"]
    current = np.zeros(net.shape)
    current[:, 1:] = np.diff(net, axis=1) / np.diff(times) * mean_field.FEMTOAMPERE_PER_ELECTRON_PER_S
    nucleation = np.concatenate(nucleation_times)
    return mean_field.make_solution(
        parameters,
        times,
        radius,
        counts,
        current,
        whole.damkohler,
        whole.probability,
        np.where(np.isfinite(nucleation), nucleation, np.nan),
        np.stack([walker.x, walker.y], axis=-1),
    )
