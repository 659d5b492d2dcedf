"""Beads that are held still, the reaction run on many replicas of them, and how samples of it are judged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import (
    Drive,
    RateLaw,
    ReactionInfo,
    ReactionParameters,
    ReactionState,
    charge_transfer_step,
    initial_reaction_state,
)
from dropsim_kernels.contacts import ContactSettings, allocate_contacts
from dropsim_kernels.noise import replica_key
from jax import Array
from scipy import special, stats

from dropsim.validation.rows import Result, Settings

BATCH, BEADS, LI, CENTRES = 1000, 8, 5, 8
"""Replicas in one call, and what every scene is filled up to: one compiled program for each way of sharing."""

LENGTHS = (40.0, 40.0, 20.0)
MO_CONTACT, LI_BRIDGE, SULFUR_CONTACT, SURFACE_CONTACT = 0.8, 0.63, 1.05, 0.6
THERMAL_VOLTAGE = 0.025852


@dataclasses.dataclass(frozen=True)
class Scene:
    """Where everything is: sulfur (S, 3), mo (C, 3), li (L, 3), nm; wired: (C,) bool. In y below 24 nm, or near 40."""

    sulfur: np.ndarray
    mo: np.ndarray
    li: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    wired: np.ndarray | None = None

    @property
    def in_contact(self) -> np.ndarray:
        """Which centres are wired: (C,) bool."""
        return np.ones(len(self.mo), bool) if self.wired is None else self.wired

    def filled_up(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """sulfur, li, present, mo, wired, with idle ones far from everything: sulfur without contacts, vacant Li,
        centres that are not wired."""
        parts = []
        for positions, n, y in ((self.sulfur, BEADS, 34.0), (self.li, LI, 31.0), (self.mo, CENTRES, 28.0)):
            if len(positions) > n:
                raise ValueError(f"a scene has room for {n} of a kind, not {len(positions)}")
            idle = np.array([[3.0 + 4.0 * k, y, 15.0] for k in range(n - len(positions))]).reshape(-1, 3)
            parts.append(np.concatenate([positions, idle]))
        sulfur, li, mo = parts
        wired = np.append(self.in_contact, np.zeros(CENTRES - len(self.mo), bool))
        return sulfur, li, np.arange(LI) < len(self.li), mo, wired


def chain(n_beads: int, contacts: tuple[int, ...]) -> Scene:
    """Beads in a row, 1 nm apart, each touching the next; contacts: centres beside each of the first beads."""
    sulfur = np.array([[5.0 + i, 5.0, 5.0] for i in range(n_beads)])
    # Beside the row, where a centre is 1.12 nm or more from every other bead.
    mo = [[5.0 + i, 5.5, 5.0 + 0.05 * k] for i, count in enumerate(contacts) for k in range(count)]
    return Scene(sulfur, np.array(mo).reshape(-1, 3))


def rates(
    rate_in: float,
    rate_out: float,
    *,
    surface_in: float = 0.0,
    surface_out: float = 0.0,
    rod_in: float = 0.0,
    rod_out: float = 0.0,
    direct_probability: float = 0.0,
    oxidising: bool = False,
) -> dict[str, Any]:
    """The fields of a `Drive`; rates in 1/ps."""
    return dict(locals())


def drive_of(settings: Settings, fields: dict[str, Any]) -> Drive:
    """A `Drive` in the precision of the settings."""
    values = {
        name: jnp.asarray(value, bool if name == "oxidising" else settings.dtype) for name, value in fields.items()
    }
    return Drive(**values)


def rate_law(
    settings: Settings,
    kinetics: Literal["butler-volmer", "marcus"] = "butler-volmer",
    *,
    rate_constant: float = 0.05,
    transfer_coefficient: float = 0.3,
    surface_rate_constant: float = 0.0,
    surface_transfer_coefficient: float = 0.04,
    rod_rate_constant: float = 0.0,
    standard_potential: float = 0.0,
    thermal_voltage: float = THERMAL_VOLTAGE,
    reorganisation: float = 0.5,
    branch_potential: float = -0.5,
    branch_width: float = 0.15,
) -> RateLaw:
    """A `RateLaw` of round numbers."""
    given = locals()
    names = (field.name for field in dataclasses.fields(RateLaw) if field.name != "kinetics")
    return RateLaw(**{name: jnp.asarray(given[name], settings.dtype) for name in names}, kinetics=kinetics)


def rule(
    settings: Settings,
    sharing: Literal["mixed", "finite", "none"],
    *,
    law: RateLaw | None = None,
    interval: float = 1.0,
    hop_rate: float = 0.0,
    site_energy: float = 0.0,
    neighbor_energy: float = 0.0,
    threshold: float = 0.2,
    nucleation_rate: float = 0.0,
    nucleation_barrier: float = 0.05,
    minimum_size: float = 1.0,
    front_acceleration: float = 1.0,
    tunnelling_range: float = 3.0,
    opening_rate: float = 0.0,
    opening_barrier: float = 0.0,
    opening_barrier_later: float = 0.0,
) -> ReactionParameters:
    """The rule's numbers: no interaction, no nucleation and no dissolution unless they are given."""

    def array(value: float) -> jax.Array:
        return jnp.asarray(value, settings.dtype)

    return ReactionParameters(
        interval=array(interval),
        mo_contact=array(MO_CONTACT),
        li_bridge=array(LI_BRIDGE),
        sulfur_contact=array(SULFUR_CONTACT),
        surface_contact=array(SURFACE_CONTACT),
        tunnelling_range=array(tunnelling_range),
        hop_rate=array(hop_rate),
        site_energy=array(site_energy),
        neighbor_energy=array(neighbor_energy),
        threshold=array(threshold),
        nucleation_rate=array(nucleation_rate),
        nucleation_barrier=array(nucleation_barrier),
        minimum_size=array(minimum_size),
        front_acceleration=array(front_acceleration),
        opening_rate=array(opening_rate),
        opening_barrier=array(opening_barrier),
        opening_barrier_later=array(opening_barrier_later),
        law=rate_law(settings) if law is None else law,
        sharing=sharing,
        interactions=bool(site_energy or neighbor_energy),
        contacts=room(sharing == "finite"),
    )


@functools.cache
def room(with_edges: bool) -> ContactSettings:
    """Capacities of the tables of contacts: of all beads in one place, so that they hold for any scene."""
    sulfur, li, _, mo, _ = (np.zeros((n, 3)) for n in (BEADS, LI, 1, CENTRES, 1))
    return allocate_contacts(
        sulfur, li, mo, slab(np.dtype("float32")), SULFUR_CONTACT, LI_BRIDGE, MO_CONTACT, with_edges
    )


def slab(dtype: np.dtype) -> Box:
    """The box of all scenes, periodic along x and y."""
    return Box(jnp.asarray(LENGTHS, dtype), (True, True, False))


def filled(n_replicas: int, electrons: np.ndarray) -> ReactionState:
    """States of `n_replicas` with these electrons, (S,) or (R, S), all of which came through centres."""
    electrons = np.broadcast_to(np.asarray(electrons, np.int32), (n_replicas, np.shape(electrons)[-1]))
    empty = initial_reaction_state(electrons.shape[1])
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n_replicas, *leaf.shape)), empty)
    held = jnp.asarray(electrons)
    return dataclasses.replace(state, electrons=held, injected=jnp.sum(held, axis=1, dtype=jnp.int32))


@jax.jit
def _check(
    key: Array, step: Array, state: ReactionState, interval: Array, drive: Drive, places: tuple[Array, ...], box: Box,
    parameters: ReactionParameters,
) -> tuple[ReactionState, ReactionInfo]:  # fmt: skip
    """One interval of replicas: leading axis of key, state and interval."""

    def replica(key: Array, state: ReactionState, interval: Array):
        now = dataclasses.replace(parameters, interval=interval)
        sulfur, li, present, mo, wired = places
        return charge_transfer_step(key, step, state, drive, sulfur, li, present, mo, wired, box, now)

    return jax.vmap(replica)(key, state, interval)


def run(
    settings: Settings,
    scene: Scene,
    parameters: ReactionParameters,
    drives: Drive,
    intervals: np.ndarray,
    start: ReactionState,
    keep: tuple[str, ...] = ("electrons",),
    stream: int = 0,
    first: int = 0,
) -> tuple[ReactionState, dict[str, np.ndarray]]:
    """Many replicas of the reaction on held beads.

    drives: () leaves, or (T,) for one per check; intervals: (T,) or (R, T) ps; start: leaves (R, ...); keep: what to
    return of each check; stream: another number, other noise; first: number of the first check.
    Returns the last state and {name: (R, T, ...)}. Raises RuntimeError where the kernel reports trouble.
    """
    n_replicas, n_beads = start.electrons.shape
    intervals = np.broadcast_to(np.asarray(intervals, settings.dtype), (n_replicas, np.shape(intervals)[-1]))
    n_checks = intervals.shape[1]
    each = [jax.tree.map(lambda leaf, t=t: leaf[t] if leaf.ndim else leaf, drives) for t in range(n_checks)]
    places = tuple(jnp.asarray(x, settings.dtype if x.dtype == float else bool) for x in scene.filled_up())
    ends, found = [], []
    for begin in range(0, n_replicas, BATCH):
        # The last batch is filled up with its first replica.
        rows = begin + np.arange(BATCH)
        rows = np.where(rows < n_replicas, rows, begin)
        n_rows = min(BATCH, n_replicas - begin)
        state = jax.tree.map(lambda leaf, rows=rows: _with_idle(leaf[rows]), start)
        key = _keys(settings.seed, jnp.asarray(1 + rows + 10_000_000 * stream, jnp.uint32))
        kept: dict[str, list[np.ndarray]] = {name: [] for name in keep}
        for check in range(n_checks):
            interval = jnp.asarray(intervals[rows, check])
            state, info = _check(
                key, jnp.asarray(first + check, jnp.int32), state, interval, each[check], places,
                slab(settings.dtype), parameters,
            )  # fmt: skip
            trouble = int(np.max(np.asarray(info.trouble)))
            if trouble:
                raise RuntimeError(f"the reaction reports trouble, bits {trouble}")
            for name in keep:
                array = np.asarray(getattr(info if hasattr(info, name) else state, name))[:n_rows]
                kept[name].append(array[:, :n_beads] if array.ndim > 1 else array)
        ends.append(jax.tree.map(lambda leaf, n=n_rows: leaf[:n, :n_beads] if leaf.ndim > 1 else leaf[:n], state))
        found.append({name: np.stack(arrays, axis=1) for name, arrays in kept.items()})
    end = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *ends)
    return end, {name: np.concatenate([one[name] for one in found]) for name in keep}


@jax.jit
def _keys(seed: int, numbers: Array) -> Array:
    return jax.vmap(lambda number: replica_key(seed, number))(numbers)


def _with_idle(leaf: Array) -> Array:
    """A field of many replicas, (R, S) or (R,), with the beads that fill up a scene."""
    return jnp.pad(leaf, ((0, 0), (0, BEADS - leaf.shape[1]))) if leaf.ndim > 1 else leaf


def random_marks(settings: Settings, n_replicas: int, width: float, n_marks: int, stream: int) -> np.ndarray:
    """Intervals between looks that are `width` apart, with a random phase for each replica: (R, n_marks)."""
    intervals = np.full((n_replicas, n_marks), width)
    intervals[:, 0] *= np.random.default_rng([settings.seed, stream]).uniform(size=n_replicas)
    return intervals


def first_seen(happened: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Times of the first look at which something has happened, inf where it never has; (R, T) bool -> (R,)."""
    time = np.cumsum(intervals, axis=1)
    index = np.argmax(happened, axis=1)
    return np.where(happened.any(axis=1), time[np.arange(len(time)), index], np.inf)


# --- verdicts --------------------------------------------------------------------------------------------

CHANCE = 1e-4
"""How often a right kernel may fail one of the tests below."""


def kolmogorov_result(quantity: str, sample: np.ndarray, law: Callable[[np.ndarray], np.ndarray]) -> Result:
    """Kolmogorov's largest difference of the distribution functions; law: of the times."""
    n = sample.size
    expected = law(np.sort(sample[np.isfinite(sample)]))
    rank = np.arange(1, expected.size + 1) / n
    distance = float(max(np.max(rank - expected), np.max(expected - rank + 1 / n)))
    return Result(
        quantity, distance, 0.0, round(float(special.kolmogi(CHANCE)), 2), standard_error=1 / np.sqrt(n),
        relation="at most", basis=f"Kolmogorov, exceeded once in {1 / CHANCE:.0f}; SE stands for 1/sqrt(n), n = {n}",
    )  # fmt: skip


def chi_square_result(quantity: str, observed: np.ndarray, expected: np.ndarray, least: float = 20.0) -> Result:
    """Pearson's chi-square of counts; neighbouring bins are joined until each expects `least`."""
    merged, left = [], np.zeros(2)
    for pair in zip(observed, expected, strict=True):
        left = left + np.array(pair, float)
        if left[1] >= least:
            merged.append(left)
            left = np.zeros(2)
    merged[-1] = merged[-1] + left
    found, wanted = np.array(merged).T
    degrees = len(found) - 1
    if degrees < 1:
        raise ValueError(f"{quantity}: too few samples for two bins")
    chi_square = float(np.sum((found - wanted) ** 2 / wanted))
    error = float(np.sqrt(2 * degrees))
    # In standard errors of chi-square, as everywhere; the number is that of its own law and not of a Gaussian.
    tolerance = (float(stats.chi2.isf(CHANCE, degrees)) - degrees) / error
    return Result(
        quantity, chi_square, float(degrees), round(tolerance, 2), standard_error=error, relation="at most",
        basis=f"chi-square, exceeded once in {1 / CHANCE:.0f}, n = {observed.sum():.0f}",
    )  # fmt: skip


def largest_deviation_result(quantity: str, sample: np.ndarray, expected: np.ndarray) -> Result:
    """The largest of many deviations of means, in standard errors; sample: (R, ...), expected: (...)."""
    error = np.std(sample, axis=0, ddof=1) / np.sqrt(len(sample))
    difference = np.abs(np.mean(sample, axis=0) - expected)
    known = error > 0
    # A mean without scatter has to be right to rounding.
    wrong = np.any(difference[~known] > 1e-9)
    score = np.inf if wrong else float(np.max(difference[known] / error[known], initial=0.0))
    tolerance = float(stats.norm.isf(CHANCE / 2 / max(1, int(known.sum()))))
    return Result(
        quantity, score, 0.0, round(tolerance, 2), "SE", relation="at most",
        basis=f"largest of {known.sum()} means, exceeded once in {1 / CHANCE:.0f}, n = {len(sample)}",
    )  # fmt: skip


def exact_result(quantity: str, value: float, reference: float = 0.0, unit: str = "1") -> Result:
    """A count that has no error."""
    return Result(quantity, float(value), float(reference), 0.0, unit, basis="integers")
