"""Reduction and oxidation without centres, as a jump process: one ion at a time on a patch of bare metal.

Li2S6 adsorbs and takes electrons singly (`surface_chain`); what leaves at four electrons is soluble Li2S2, which
nucleates particles that ripen, and which rods of Li2S turn into Li2S with two more electrons; what stays takes all ten
and joins a rod. Many realisations at once, in leaps with whole counts:
- adsorption: binomial (Langmuir: proportional to the free places), at times spread evenly over the leap;
- the chain: multinomial with the exact transition matrices of the leap, for ions that were there and for arrivals;
- Li2S2 in solution: particles shed Poisson numbers, and each molecule is caught with the exact probability of a leap
  with constant rates, taken at the predicted middle of the leap; to whom it goes is multinomial;
- nucleation: Poisson, thinned as each nucleus lowers the supersaturation;
- opening of solid while E > E0: binomial.
Sulfur, lithium and electrons balance exactly. The film is well mixed (it is thin: H^2/D is tens of microseconds).
Noise depends on the seed and the number of the batch alone, so that realisation i is the same for every K.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dropsim import units
from dropsim.errors import SimulationError
from dropsim.kinetics import surface_chain as chain
from dropsim.kinetics.parameters import DEFAULT_PROTOCOL, DEFAULT_SAVE_TIMES_S
from dropsim.kinetics.protocol import PotentialStep, Stretch, potential_at, protocol_duration, stretches
from dropsim.kinetics.rods import reachable_share, reacting_area, rod_shape
from dropsim.kinetics.single_molecule_parameters import SingleMoleculeParameters

FEMTOAMPERE_PER_ELECTRON_PER_S = units.ELEMENTARY_CHARGE_C * 1e15
LI2S_PER_UNIT = 6
LI2S2_PER_UNIT = 3
# A cluster of fewer Li2S2 is no particle: its molecules are in solution.
SMALLEST_PARTICLE = 4
# Nuclei are born above the critical radius, where most of them grow.
_NUCLEUS_OVER_CRITICAL = 1.2
_BATCH = 16
# Longest change of f E within a leap of a ramp.
_LARGEST_RAMP_STEP = 0.2
_LARGEST_CURVATURE = 50.0

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class SingleMoleculeSolution:
    """Histories of K realisations of a patch at T times.

    time_s: (T,); counts, int64 (K, T): n_dissolved (Li2S6 in solution), n_adsorbed (ions on the metal, whatever their
    electrons), n_intermediate (Li2S2 in solution), n_particle_molecules (Li2S2 in particles), n_rod_molecules (Li2S in
    rods, and loose), n_particles, n_rods, n_direct (ions that have become Li2S where they were, cumulative),
    n_transferred (Li2S2 that became Li2S on rods, cumulative), n_opened (units of six Li2S that have dissolved,
    cumulative), net_e (electrons in minus out), n_supplied (Li2S6 that came from beside the patch, net);
    adsorbed_states: (K, T, 12) adsorbed ions by state; particle_molecules: (K, T, slots) Li2S2 in each; rod_molecules:
    (K, T, slots) Li2S in each; first_particle_s, first_single_step_s, first_two_step_s: (K,) when the first particle
    appears, the first rod founded by ions that took all ten electrons on the metal, and the first founded by Li2S2; nan
    where there is none; potential_V, connected: (T,); parameters: the inputs.
    """

    parameters: SingleMoleculeParameters
    time_s: Floats
    potential_V: Floats
    connected: NDArray[np.bool_]
    n_dissolved: Counts
    n_adsorbed: Counts
    adsorbed_states: Counts
    n_intermediate: Counts
    particle_molecules: Counts
    rod_molecules: Counts
    n_loose: Counts
    n_direct: Counts
    n_transferred: Counts
    n_opened: Counts
    net_e: Counts
    n_supplied: Counts
    first_particle_s: Floats
    first_single_step_s: Floats
    first_two_step_s: Floats

    @property
    def first_rod_s(self) -> Floats:
        """When the first rod of either kind appears, (K,); nan where none does."""
        return np.fmin(self.first_single_step_s, self.first_two_step_s)

    @property
    def n_particles(self) -> Counts:
        """Particles of Li2S2, (K, T)."""
        return (self.particle_molecules > 0).sum(axis=-1)

    @property
    def n_rods(self) -> Counts:
        """Rods of Li2S, (K, T)."""
        return (self.rod_molecules > 0).sum(axis=-1)

    @property
    def n_particle_molecules(self) -> Counts:
        """Li2S2 in particles, (K, T)."""
        return self.particle_molecules.sum(axis=-1)

    @property
    def n_rod_molecules(self) -> Counts:
        """Li2S in rods and loose, (K, T)."""
        return self.rod_molecules.sum(axis=-1) + self.n_loose

    @property
    def particle_radius_nm(self) -> Floats:
        """Radius of each particle, 0 in an empty slot, (K, T, slots)."""
        return particle_radius(self.particle_molecules, self.parameters.intermediate_volume_nm3)

    @property
    def rod_length_width_nm(self) -> tuple[Floats, Floats]:
        """Length and width of each rod, 0 in an empty slot, (K, T, slots)."""
        p = self.parameters
        return rod_shape(self.rod_molecules * p.solid_volume_nm3, p.rod_seed_nm, p.rod_growth_ratio)

    @property
    def current_fA(self) -> Floats:
        """Current of the patch, mean since the save before, positive where electrons enter, 0 at the first, (K, T)."""
        current = np.zeros(self.net_e.shape)
        current[:, 1:] = np.diff(self.net_e, axis=1) / np.diff(self.time_s) * FEMTOAMPERE_PER_ELECTRON_PER_S
        return current

    @property
    def current_uA_per_cm2(self) -> Floats:
        """The same per area of electrode, (K, T)."""
        per_s = self.current_fA / FEMTOAMPERE_PER_ELECTRON_PER_S
        return per_s * self.parameters.current_uA_per_cm2(1.0)

    @property
    def single_step_share(self) -> Floats:
        """Share of the Li2S ever made that never was Li2S2, (K, T); nan before there is any."""
        direct, transferred = LI2S_PER_UNIT * self.n_direct, 2 * self.n_transferred
        made = direct + transferred
        return np.where(made > 0, direct / np.maximum(made, 1), np.nan)

    @property
    def sulfur_residual(self) -> Counts:
        """Sulfur atoms found minus those of the film and supplied, (K, T): 0."""
        found = (
            6 * (self.n_dissolved + self.n_adsorbed)
            + 2 * (self.n_intermediate + self.n_particle_molecules)
            + self.n_rod_molecules
        )
        return found - 6 * (self.parameters.total_units + self.n_supplied)

    @property
    def lithium_residual(self) -> Counts:
        """Lithium found minus that of the film, supplied, and brought along by electrons, (K, T): 0."""
        on_ions = 2 * self.n_adsorbed + self.adsorbed_states @ chain.ELECTRONS[: chain.N_STATES]
        others = self.n_dissolved + self.n_intermediate + self.n_particle_molecules + self.n_rod_molecules
        return on_ions + 2 * others - 2 * (self.parameters.total_units + self.n_supplied) - self.net_e

    @property
    def electron_residual(self) -> Counts:
        """Thirds of an electron found minus three times those that passed, (K, T): 0.

        A Li2S2 holds four thirds of an electron over Li2S6, a Li2S five thirds.
        """
        on_ions = 3 * (self.adsorbed_states @ chain.ELECTRONS[: chain.N_STATES])
        solid = 4 * (self.n_intermediate + self.n_particle_molecules) + 5 * self.n_rod_molecules
        return on_ions + solid - 3 * self.net_e


def particle_radius(molecules: Any, volume_nm3: float, xp: Any = np) -> Any:
    """R = [3 N Omega/(4 pi)]^(1/3) of a spherical particle, nm."""
    return xp.cbrt(3.0 * volume_nm3 / (4.0 * math.pi) * molecules)


def exchange_rates(
    parameters: Any, particles: Any, rods: Any, free_share: Any, rod_velocity: Any, xp: Any = np
) -> tuple[Any, Any, Any, Any]:
    """Rates at which dissolved Li2S2 is taken up, per molecule in solution, and shed by particles, 1/s.

        particle: up 4 pi R^2 k/V, down 4 pi R^2 k c_eq e^{l_c/R}, k = k_s/(1 + k_s R/D)

    so that dR/dt = k Omega [c - c_eq e^{l_c/R}]. rods: up k_rod a/V with a the `reacting_area`; the metal: up k_a
    free/H, three at a time. parameters: a `SingleMoleculeParameters`, or an object with the same numbers; particles:
    (..., slots) Li2S2; rods: (..., slots) Li2S; free_share: (...) of the places; rod_velocity: k_rod, nm/s. Returns
    (particle uptake, particle loss, rod uptake, uptake by the metal).
    """
    p = parameters
    exists = particles > SMALLEST_PARTICLE - 1
    radius = particle_radius(xp.where(exists, particles, 1), p.intermediate_volume_nm3, xp)
    velocity = p.particle_velocity_nm_per_s / (1.0 + p.particle_velocity_nm_per_s * radius / p.diffusivity_nm2_per_s)
    face = xp.where(exists, 4.0 * math.pi * radius**2 * velocity, 0.0)
    curvature = xp.minimum(p.capillary_length_nm / radius, _LARGEST_CURVATURE)
    length, width = rod_shape(rods * p.solid_volume_nm3, p.rod_seed_nm, p.rod_growth_ratio, xp)
    rod_face = reacting_area(length, width, p.tunnelling_range_nm, p.rod_growth_ratio, xp)
    metal = p.intermediate_adsorption_velocity_nm_per_s / p.film_height_nm * free_share
    return (
        face / p.film_volume_nm3,
        face * p.solubility_per_nm3 * xp.exp(curvature),
        rod_velocity * rod_face / p.film_volume_nm3,
        metal,
    )


def first_layer(parameters: Any, rods: Any, xp: Any = np) -> Any:
    """Places of a rod's first layer on the metal: L w/v^(2/3), v the volume of six Li2S; 0 without a rod."""
    p = parameters
    length, width = rod_shape(rods * p.solid_volume_nm3, p.rod_seed_nm, p.rod_growth_ratio, xp)
    return length * width / (LI2S_PER_UNIT * p.solid_volume_nm3) ** (2.0 / 3.0)


def reached_units(parameters: Any, rods: Any, xp: Any = np) -> Any:
    """Units of six Li2S of each rod within tunnelling range of the metal: N min(1, l_tun/w)/6."""
    p = parameters
    _, width = rod_shape(rods * p.solid_volume_nm3, p.rod_seed_nm, p.rod_growth_ratio, xp)
    return rods / LI2S_PER_UNIT * reachable_share(width, p.tunnelling_range_nm, xp)


def supersaturation(parameters: SingleMoleculeParameters, dissolved: Any) -> Any:
    """S = c/c_eq of a number of Li2S2 in the film."""
    return dissolved / (parameters.solubility_per_nm3 * parameters.film_volume_nm3)


def particle_nucleation_rate(parameters: SingleMoleculeParameters, ratio: Any) -> Any:
    """J V = A V exp(-B/ln^2 S) of Li2S2 particles in the film for S > 1, else 0, 1/s."""
    p = parameters
    above = ratio > 1.0 + 1e-9
    logarithm = np.log(np.where(above, ratio, 2.0))
    rate = p.nucleation_prefactor_per_nm3_s * p.film_volume_nm3
    return np.where(above, rate * np.exp(-p.barrier / logarithm**2), 0.0)


def rod_nucleation_rate(parameters: SingleMoleculeParameters, ratio: Any, potential_V: float) -> Any:
    """J_r V = A_r V S exp(-B_r/[ln S - 2 f eta]^2) of rods out of Li2S2, 1/s.

    The two electrons add their work to the supersaturation, as in electrodeposition; encounters go with c.
    """
    p = parameters
    drive = np.log(np.maximum(ratio, 1e-300)) - 2.0 * p.reduced_overpotential(potential_V)
    above = (ratio > 0.0) & (drive > 1e-9)
    rate = p.rod_nucleation_prefactor_per_nm3_s * p.film_volume_nm3 * ratio
    return np.where(above, rate * np.exp(-p.rod_barrier / np.where(above, drive, 1.0) ** 2), 0.0)


def nucleus_size(parameters: SingleMoleculeParameters, ratio: float) -> int:
    """Li2S2 in a new particle: a sphere of 1.2 R*, R* = l_c/ln S."""
    radius = _NUCLEUS_OVER_CRITICAL * parameters.capillary_length_nm / math.log(ratio)
    size = math.ceil(4.0 * math.pi / 3.0 * radius**3 / parameters.intermediate_volume_nm3)
    return max(size, SMALLEST_PARTICLE)


# --- schedule ---------------------------------------------------------------------------------------------


class Leap(NamedTuple):
    """One row of the schedule."""

    start_s: float
    duration_s: float
    potential_V: float
    connected: bool
    oxidising: bool
    begins_oxidation: bool


def build_leaps(
    parameters: SingleMoleculeParameters, protocol: Sequence[PotentialStep], save_times: Floats, leap_s: float
) -> tuple[list[Leap], NDArray[np.int64]]:
    """The leaps of a protocol, none longer than leap_s or across a save time, and the index of the one at each save.

    A ramp is a staircase with the potential of each leap's middle, and f E changes by at most 0.2 within one.
    """
    leaps: list[Leap] = []
    was_oxidising = False
    for part in stretches(protocol, parameters.standard_potential_V):
        oxidising = part.kind == "oxidation"
        begins = oxidising and not was_oxidising
        if part.kind != "rest":
            was_oxidising = oxidising
        longest = min(leap_s, _ramp_limit(parameters, part))
        inside = save_times[(save_times > part.start_s) & (save_times < part.end_s)]
        for left, right in itertools.pairwise([part.start_s, *inside.tolist(), part.end_s]):
            number = max(1, math.ceil((right - left) / longest * (1.0 - 1e-12)))
            edges = np.linspace(left, right, number + 1)
            for a, b in itertools.pairwise(edges.tolist()):
                share = (0.5 * (a + b) - part.start_s) / (part.end_s - part.start_s)
                potential = part.start_V + share * (part.end_V - part.start_V)
                leaps.append(Leap(a, b - a, potential, part.kind != "rest", oxidising, begins))
                begins = False
    starts = np.array([leap.start_s for leap in leaps] + [protocol_duration(protocol)])
    return leaps, np.searchsorted(starts, save_times * (1.0 - 1e-12))


def _ramp_limit(parameters: SingleMoleculeParameters, part: Stretch) -> float:
    change = abs(part.end_V - part.start_V) / units.thermal_voltage_V(parameters.temperature_K)
    return _LARGEST_RAMP_STEP * (part.end_s - part.start_s) / change if change > 0 and part.kind != "rest" else math.inf


# --- the process --------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Patch:
    """A batch of realisations, changed in place; counts (lanes, ...)."""

    dissolved: Counts
    states: Counts
    intermediate: Counts
    particles: Counts
    rods: Counts
    loose: Counts
    direct: Counts
    transferred: Counts
    opened_total: Counts
    net: Counts
    supplied: Counts
    places: Counts  # of the first layer of each rod, when the oxidation began
    open_places: Counts
    dissolving: NDArray[np.bool_]  # whether this oxidation has dissolved solid
    later: NDArray[np.bool_]  # whether an earlier one has
    first_particle: Floats
    first_single_step: Floats
    first_two_step: Floats


def _start(parameters: SingleMoleculeParameters, particle_slots: int, rod_slots: int) -> _Patch:
    def zeros(*shape: int) -> Counts:
        return np.zeros((_BATCH, *shape), dtype=np.int64)

    return _Patch(
        dissolved=zeros() + parameters.total_units,
        states=zeros(chain.N_STATES),
        intermediate=zeros(),
        particles=zeros(particle_slots),
        rods=zeros(rod_slots),
        loose=zeros(),
        direct=zeros(),
        transferred=zeros(),
        opened_total=zeros(),
        net=zeros(),
        supplied=zeros(),
        places=zeros(rod_slots),
        open_places=zeros(rod_slots),
        dissolving=np.zeros(_BATCH, dtype=bool),
        later=np.zeros(_BATCH, dtype=bool),
        first_particle=np.full(_BATCH, np.nan),
        first_single_step=np.full(_BATCH, np.nan),
        first_two_step=np.full(_BATCH, np.nan),
    )


class _Process:
    """The laws and the noise of one batch."""

    def __init__(self, parameters: SingleMoleculeParameters, rng: np.random.Generator) -> None:
        self.parameters = parameters
        self.rng = rng

    def leap(self, patch: _Patch, leap: Leap, matrices: tuple[Floats, Floats]) -> None:
        """One leap; matrices: transition matrices of the adsorbed ions over it, and of those that arrive in it."""
        if leap.begins_oxidation:
            patch.later |= patch.dissolving
            patch.dissolving[:] = False
            layer = first_layer(self.parameters, patch.rods)
            patch.places = np.where(patch.rods > 0, np.maximum(np.rint(layer), 1.0), 0.0).astype(np.int64)
            patch.open_places[:] = 0
        self._nucleate(patch, leap)
        arrivals = np.zeros_like(patch.states)
        free = self._free_sites(patch)
        if leap.oxidising:
            arrivals[:, chain.D10] = self._open(patch, leap.duration_s, free)
            free -= arrivals[:, chain.D10]
        p = self.parameters
        rate = p.adsorption_velocity_nm_per_s / p.film_height_nm * free / p.total_sites
        taken = np.minimum(self.rng.binomial(patch.dissolved, -np.expm1(-rate * leap.duration_s)), free)
        patch.dissolved -= taken
        arrivals[:, chain.A0] = taken
        moved = self.rng.multinomial(patch.states, matrices[0]) + self.rng.multinomial(arrivals, matrices[1])
        patch.states[:] = 0
        released, deposited, left = self._settle(patch, moved)
        # Who left during the leap may have come back in what remained of it.
        again = self.rng.binomial(left, np.clip(1.0 - _mean_exponential(rate * leap.duration_s), 0.0, 1.0))
        again = np.minimum(again, self._free_sites(patch))
        patch.dissolved += left - again
        patch.states[:, chain.A0] += again
        # Li2S2 that the metal takes up has the same time to react.
        late = np.zeros_like(patch.states)
        late[:, chain.INTERMEDIATE] = self._exchange(patch, leap, released)
        released, more, left = self._settle(patch, self.rng.multinomial(late, matrices[1]))
        patch.intermediate += LI2S2_PER_UNIT * released
        patch.dissolved += left
        self._deposit(patch, deposited + more, leap)
        self._supply(patch, leap.duration_s)

    def _free_sites(self, patch: _Patch) -> Counts:
        return np.maximum(self.parameters.total_sites - patch.states.sum(axis=1), 0)

    def _settle(self, patch: _Patch, moved: Counts) -> tuple[Counts, Counts, Counts]:
        """Put ions where they went, and count their electrons; moved: (lanes, from, to).

        Returns units released as Li2S2, deposited as Li2S, and gone back into solution: the caller has them to place.
        """
        gained = chain.ELECTRONS[None, :] - chain.ELECTRONS[: chain.N_STATES, None]
        patch.net += (moved * gained).sum(axis=(1, 2))
        arrived = moved.sum(axis=1)
        patch.states += arrived[:, : chain.N_STATES]
        return arrived[:, chain.RELEASED], arrived[:, chain.DEPOSITED], arrived[:, chain.LEFT]

    def _exchange(self, patch: _Patch, leap: Leap, released: Counts) -> Counts:
        """Li2S2 between solution, particles, rods and the metal; returns units (three Li2S2) that the metal took."""
        p, dt = self.parameters, leap.duration_s
        velocity = p.rod_uptake_velocity_nm_per_s(leap.potential_V) if leap.connected else 0.0
        free = self._free_sites(patch)
        share = free / p.total_sites
        fed = LI2S2_PER_UNIT * released
        up, down, rod_up, metal = exchange_rates(p, patch.particles, patch.rods, share, velocity)
        _, middle = _mean_dissolved(patch.intermediate, down.sum(axis=1) + fed / dt, _total(up, rod_up, metal), dt)
        # Never below half, nor below what is a particle: one that vanishes within the leap is left to the draw.
        growth = 0.5 * dt * (up * middle[:, None] - down)
        smallest = np.where(patch.particles > 0, np.maximum(0.5 * patch.particles, SMALLEST_PARTICLE), 0.0)
        sizes = np.maximum(patch.particles + growth, smallest)
        rods = patch.rods + dt * rod_up * middle[:, None]
        up, down, rod_up, metal = exchange_rates(p, sizes, rods, share, velocity)

        shed = np.minimum(self.rng.poisson(down * dt), patch.particles)
        total = _total(up, rod_up, metal)
        stay = total * dt
        source = fed + shed.sum(axis=1)
        early = -np.expm1(-stay)
        # A molecule that comes at a time spread evenly over the leap is caught in what is left of it.
        late = 1.0 - _mean_exponential(stay)
        caught = self.rng.binomial(patch.intermediate, early) + self.rng.binomial(source, np.clip(late, 0.0, 1.0))
        rates = np.concatenate([up, rod_up, metal[:, None]], axis=1)
        weight = np.where(total > 0, total, 1.0)[:, None]
        parts = self.rng.multinomial(caught, _rows(rates / weight, total > 0))
        n_particles, n_rods = up.shape[1], rod_up.shape[1]
        to_particles, to_rods = parts[:, :n_particles], parts[:, n_particles : n_particles + n_rods]
        # Three at a time, rounded at random so that the mean is kept: one or two are left over, or taken along.
        wanted = np.floor(parts[:, -1] / LI2S2_PER_UNIT + self.rng.random(_BATCH)).astype(np.int64)
        there = patch.intermediate + source - caught + parts[:, -1]
        units_adsorbed = np.minimum(np.minimum(wanted, there // LI2S2_PER_UNIT), free)

        patch.intermediate = there - LI2S2_PER_UNIT * units_adsorbed
        patch.particles += to_particles - shed
        patch.rods += 2 * to_rods
        patch.transferred += to_rods.sum(axis=1)
        patch.net += 2 * to_rods.sum(axis=1)
        gone = np.where(patch.particles < SMALLEST_PARTICLE, patch.particles, 0)
        patch.particles -= gone
        patch.intermediate += gone.sum(axis=1)
        return units_adsorbed

    def _nucleate(self, patch: _Patch, leap: Leap) -> None:
        p = self.parameters
        ratio = supersaturation(p, patch.intermediate)
        rate = particle_nucleation_rate(p, ratio)
        slots = patch.particles.shape[1]
        born = self.rng.poisson(np.minimum(rate * leap.duration_s, 4.0 * slots))
        for lane in np.flatnonzero(born):
            for _ in range(born[lane]):
                now = float(supersaturation(p, patch.intermediate[lane]))
                if self.rng.random() * rate[lane] >= particle_nucleation_rate(p, now):
                    continue
                size = nucleus_size(p, now)
                if size > patch.intermediate[lane]:
                    break
                slot = _empty_slot(
                    patch.particles[lane], "particle_slots", "lower nucleation_prefactor_per_nm3_s", leap
                )
                patch.particles[lane, slot] = size
                patch.intermediate[lane] -= size
                if math.isnan(patch.first_particle[lane]):
                    patch.first_particle[lane] = leap.start_s
        reducing = leap.connected and not leap.oxidising and p.reduced_overpotential(leap.potential_V) < 0
        if not reducing or p.rod_nucleation_prefactor_per_nm3_s == 0.0:
            return
        rate = rod_nucleation_rate(p, ratio, leap.potential_V)
        pairs = max(1, round(0.5 * p.rod_seed_nm**3 / p.solid_volume_nm3))
        born = self.rng.poisson(np.minimum(rate * leap.duration_s, 4.0 * patch.rods.shape[1]))
        for lane in np.flatnonzero(born):
            for _ in range(born[lane]):
                if pairs > patch.intermediate[lane]:
                    break
                self._found_rod(patch, lane, 2 * pairs, leap, patch.first_two_step)
                patch.intermediate[lane] -= pairs
                patch.transferred[lane] += pairs
                patch.net[lane] += 2 * pairs

    def _found_rod(self, patch: _Patch, lane: Any, molecules: int, leap: Leap, first: Floats) -> None:
        slot = _empty_slot(
            patch.rods[lane], "rod_slots", "raise rod_capture_nm, or lower rod_nucleation_prefactor_per_nm3_s", leap
        )
        patch.rods[lane, slot] = molecules
        if math.isnan(first[lane]):
            first[lane] = leap.start_s

    def _deposit(self, patch: _Patch, deposited: Counts, leap: Leap) -> None:
        """Six Li2S made on the metal join a rod within reach, or found one.

        With Q rods at random places on the patch, none lies within the capture radius with probability
        exp(-pi r^2 Q/A).
        """
        p = self.parameters
        patch.direct += deposited
        reach = math.pi * p.rod_capture_nm**2 / p.area_nm2
        left = deposited.copy()
        while True:
            lanes = np.flatnonzero(left)
            if not lanes.size:
                return
            alone = np.exp(-reach * (patch.rods[lanes] > 0).sum(axis=1))
            # Units up to and with the next that finds no rod; numpy's geometric overflows at tiny probabilities.
            wait = np.where(alone > 1e-15, self.rng.geometric(np.maximum(alone, 1e-15)), np.iinfo(np.int64).max)
            joining = np.minimum(wait - 1, left[lanes])
            present = patch.rods[lanes] > 0
            number = present.sum(axis=1)
            rows = _rows(present / np.maximum(number, 1)[:, None], number > 0)
            patch.rods[lanes] += LI2S_PER_UNIT * self.rng.multinomial(joining, rows)
            left[lanes] -= joining
            for lane in lanes[left[lanes] > 0]:
                self._found_rod(patch, lane, LI2S_PER_UNIT, leap, patch.first_single_step)
                left[lane] -= 1

    def _open(self, patch: _Patch, duration: float, free: Counts) -> Counts:
        """Solid within tunnelling range dissolves; returns units of six Li2S, each an ion with ten electrons now.

        Closed places of the first layer open with k_b = k_open e^{-W} and lose the unit in them; within the open share
        of the footprint every unit in range opens with k_open: the rates of `charging.opening_rates`, at the predicted
        middle of the leap. An ion needs a place on the metal; the first rods have it first.
        """
        p = self.parameters
        k_open = p.opening_rate_per_s
        barrier = np.where(patch.later, p.opening_barrier_later_kT, p.opening_barrier_kT)
        chance = -np.expm1(-k_open * np.exp(-barrier) * duration)
        whole = patch.rods // LI2S_PER_UNIT
        fresh = self.rng.binomial(np.where(whole > 0, patch.places - patch.open_places, 0), chance[:, None])
        share = (patch.open_places + 0.5 * fresh) / np.maximum(patch.places, 1)

        def hazard(rods: Any) -> Floats:
            units = rods / LI2S_PER_UNIT
            reached = reached_units(p, rods) / np.where(units > 0, units, 1.0)
            return k_open * share * reached

        middle = patch.rods * np.exp(-0.5 * duration * hazard(patch.rods))
        behind = self.rng.binomial(whole, -np.expm1(-hazard(middle) * duration))
        patch.open_places += fresh
        lost = np.minimum(fresh + behind, whole)
        lost = np.minimum(lost, np.maximum(free[:, None] - (np.cumsum(lost, axis=1) - lost), 0))
        loose = self.rng.binomial(patch.loose // LI2S_PER_UNIT, -math.expm1(-k_open * duration))
        loose = np.minimum(loose, np.maximum(free - lost.sum(axis=1), 0))
        patch.rods -= LI2S_PER_UNIT * lost
        patch.loose -= LI2S_PER_UNIT * loose
        total = lost.sum(axis=1) + loose
        patch.opened_total += total
        patch.dissolving |= total > 0
        # What is left of a rod below one unit lies loose, until it makes a unit with what is left of others.
        rest = np.where(patch.rods < LI2S_PER_UNIT, patch.rods, 0)
        patch.rods -= rest
        patch.loose += rest.sum(axis=1)
        return total

    def _supply(self, patch: _Patch, duration: float) -> None:
        """Li2S6 of the film is exchanged with the electrolyte beside the patch."""
        p = self.parameters
        if p.exchange_rate_per_s == 0.0:
            return
        share = -math.expm1(-p.exchange_rate_per_s * duration)
        came = self.rng.poisson(p.total_units * share, size=_BATCH) - self.rng.binomial(patch.dissolved, share)
        patch.dissolved += came
        patch.supplied += came


def _total(up: Floats, rod_up: Floats, metal: Floats) -> Floats:
    return up.sum(axis=1) + rod_up.sum(axis=1) + metal


def _mean_exponential(z: Any) -> Any:
    """(1 - e^{-z})/z, the mean of e^{-z s} for s from 0 to 1."""
    small = z < 1e-6
    safe = np.where(small, 1.0, z)
    return np.where(small, 1.0 - 0.5 * z, -np.expm1(-safe) / safe)


def _mean_dissolved(start: Any, source: Any, rate: Any, duration: float) -> tuple[Any, Any]:
    """End and mean over a time of dm/dt = source - rate m."""
    z = rate * duration
    mean_decay = _mean_exponential(z)
    end = start * np.exp(-z) + source * duration * mean_decay
    safe = np.where(rate > 0, rate, 1.0)
    mean = np.where(z > 1e-6, start * mean_decay + source * (1.0 - mean_decay) / safe, start + 0.5 * source * duration)
    return end, mean


def _rows(shares: Floats, any_rate: NDArray[np.bool_]) -> Floats:
    """Probabilities that sum to one; where there is no rate at all, the last column gets all of nothing."""
    rows = shares / np.where(any_rate, shares.sum(axis=1), 1.0)[:, None]
    rows[~any_rate, -1] = 1.0
    return rows


def _empty_slot(row: Counts, name: str, cause: str, leap: Leap) -> int:
    empty = np.flatnonzero(row == 0)
    if not empty.size:
        raise SimulationError(
            f"more than {row.size} {name.removesuffix('_slots')} at once at {leap.start_s:g} s: make the patch smaller "
            f"(area_um2), {cause}; or give more {name}"
        )
    return int(empty[0])


_RECORDED = (
    "dissolved", "states", "intermediate", "particles", "rods", "loose", "direct", "transferred", "opened_total",
    "net", "supplied",
)  # fmt: skip


def simulate_single_molecules(
    seed: int,
    parameters: SingleMoleculeParameters,
    protocol: Sequence[PotentialStep] = DEFAULT_PROTOCOL,
    save_times: ArrayLike = DEFAULT_SAVE_TIMES_S,
    n_realisations: int = 16,
    *,
    leap_s: float = 0.1,
    particles: Sequence[int] = (),
    rods: Sequence[int] = (),
    dissolved_intermediate: int = 0,
    particle_slots: int = 64,
    rod_slots: int = 32,
) -> SingleMoleculeSolution:
    """Draw realisations of a bare patch through a protocol.

    seed: 0 to 2^32 - 1; save_times: (T,) s, within the protocol; n_realisations: K; leap_s: longest leap, the error is
    second order in it (halve it: means must stay within a standard error); particles, rods, dissolved_intermediate:
    Li2S2 in each particle, Li2S in each rod and Li2S2 in solution that are there from the start, besides the film of
    Li2S6, and whose electrons count as passed; particle_slots, rod_slots: most at a time. Returns a
    `SingleMoleculeSolution`. Raises ValueError for bad inputs, SimulationError where the slots do not suffice.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}: 0 to 2^32 - 1 is allowed")
    if n_realisations < 1:
        raise ValueError(f"n_realisations is {n_realisations}: at least 1 is allowed")
    if not leap_s > 0:
        raise ValueError(f"leap_s is {leap_s}: > 0 is allowed")
    if len(particles) > particle_slots or len(rods) > rod_slots:
        raise ValueError("more particles or rods than slots")
    times = np.atleast_1d(np.asarray(save_times, dtype=np.float64))
    end = protocol_duration(protocol)
    if times.ndim != 1 or not times.size or np.any(np.diff(times) <= 0) or times[0] < 0 or times[-1] > end * (1 + 1e-9):
        raise ValueError(f"save_times must increase from 0 or later to at most {end:g} s")
    leaps, at_save = build_leaps(parameters, protocol, times, leap_s)
    matrices: dict[tuple[float, float, bool, bool], tuple[Floats, Floats]] = {}
    first, initial_sulfur = [], (list(particles), list(rods), dissolved_intermediate)
    kept: list[dict[str, Counts]] = []
    for begin in range(0, n_realisations, _BATCH):
        rng = np.random.Generator(np.random.Philox(key=np.array([seed, begin], dtype=np.uint64)))
        patch, process = _start(parameters, particle_slots, rod_slots), _Process(parameters, rng)
        _place(patch, *initial_sulfur)
        records = {name: [] for name in _RECORDED}
        saves = set(at_save.tolist())
        for index in range(len(leaps) + 1):
            if index in saves:
                for name in _RECORDED:
                    records[name].append(getattr(patch, name).copy())
            if index == len(leaps):
                break
            leap = leaps[index]
            key = (leap.potential_V, round(leap.duration_s, 12), leap.connected, leap.oxidising)
            if key not in matrices:
                rates = chain.generator(
                    parameters, leap.potential_V, connected=leap.connected, oxidising=leap.oxidising
                )
                matrices[key] = chain.transition_matrices(rates, leap.duration_s)
            process.leap(patch, leap, matrices[key])
        kept.append({name: np.stack(values, axis=1) for name, values in records.items()})
        first.append((patch.first_particle, patch.first_single_step, patch.first_two_step))
    joined = {name: np.concatenate([part[name] for part in kept])[:n_realisations] for name in _RECORDED}
    appeared = [np.concatenate(column)[:n_realisations] for column in zip(*first, strict=True)]
    potential, connected = potential_at(protocol, np.clip(times, 0.0, end))
    return SingleMoleculeSolution(
        parameters=parameters,
        time_s=times,
        potential_V=potential,
        connected=connected,
        n_dissolved=joined["dissolved"],
        n_adsorbed=joined["states"].sum(axis=-1),
        adsorbed_states=joined["states"],
        n_intermediate=joined["intermediate"],
        particle_molecules=joined["particles"],
        rod_molecules=joined["rods"],
        n_loose=joined["loose"],
        n_direct=joined["direct"],
        n_transferred=joined["transferred"],
        n_opened=joined["opened_total"],
        net_e=joined["net"],
        n_supplied=joined["supplied"],
        first_particle_s=appeared[0],
        first_single_step_s=appeared[1],
        first_two_step_s=appeared[2],
    )


def _place(patch: _Patch, particles: list[int], rods: list[int], dissolved: int) -> None:
    """Put solids and Li2S2 into a fresh patch: the film's own Li2S6 is what they are made of."""
    sulfur = 2 * (sum(particles) + dissolved) + sum(rods)
    thirds = 4 * (sum(particles) + dissolved) + 5 * sum(rods)
    if sulfur % 6 or thirds % 3:
        raise ValueError(
            f"the solids hold {sulfur} sulfur atoms and {thirds}/3 electrons: whole Li2S6 (six sulfur atoms) and whole "
            "electrons are allowed"
        )
    if sulfur // 6 > patch.dissolved[0]:
        raise ValueError(f"the solids hold {sulfur // 6} Li2S6, the film {patch.dissolved[0]}")
    patch.particles[:, : len(particles)] = particles
    patch.rods[:, : len(rods)] = rods
    patch.intermediate += dissolved
    patch.dissolved -= sulfur // 6
    patch.net += thirds // 3
    if particles:
        patch.first_particle[:] = 0.0
