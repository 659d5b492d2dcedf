"""The collective rule as plain numpy events, for one droplet of a few beads that all touch: a second program.

It shares no line with the kernel: its electrons, sinks and pools are those of docs/reaction.md, one event at a time,
all replicas side by side.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from dropsim.validation.transfer_laws import M, nucleation_hazard


@dataclasses.dataclass(frozen=True)
class Droplet:
    """One droplet and its rates: contacts, (S,); order, (S,): beads from the nearest to a centre outwards; rates, 1/ps;
    threshold, nucleation_rate, barrier of the hazard; front: multiplies injection once nucleated."""

    contacts: np.ndarray
    order: np.ndarray
    rate_in: float
    rate_out: float
    hop_rate: float
    nucleation_rate: float
    barrier: float
    threshold: float
    front: float
    sharing: Literal["mixed", "finite"]


def simulate(
    droplet: Droplet, n_replicas: int, looks: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Electrons and solid units of an empty droplet at each look: two of (R, T); looks: (T,) ps, increasing."""
    n_beads = len(droplet.contacts)
    held = np.zeros((n_replicas, n_beads), int)
    solid = np.zeros((n_replicas, n_beads), bool)
    nucleated = np.zeros(n_replicas, bool)
    time = np.zeros(n_replicas)
    seen = np.zeros((2, n_replicas, len(looks)), int)
    done = np.zeros(n_replicas, int)
    everyone = np.arange(n_replicas)
    while np.any(done < len(looks)):
        rates = _rates(droplet, held, solid, nucleated)
        total = rates.sum(axis=1)
        wait = random.exponential(size=n_replicas) / np.where(total > 0, total, 1.0)
        after = np.where(total > 0, time + wait, np.inf)
        # Whatever look lies before the next event sees the state as it is.
        for _ in range(len(looks)):
            passed = (done < len(looks)) & (after > looks[np.minimum(done, len(looks) - 1)])
            seen[0, passed, done[passed]] = held[passed].sum(axis=1)
            seen[1, passed, done[passed]] = solid[passed].sum(axis=1)
            done[passed] += 1
        alive = everyone[np.isfinite(after)]
        time = np.where(np.isfinite(after), after, time)
        which = np.sum(np.cumsum(rates, axis=1) < (random.uniform(size=n_replicas) * total)[:, None], axis=1)
        _carry_out(droplet, held, solid, nucleated, alive, which)
    return seen[0], seen[1]


def _rates(droplet: Droplet, held: np.ndarray, solid: np.ndarray, nucleated: np.ndarray) -> np.ndarray:
    """Rates of in (S), out (S), hops (S S) and nucleation (1), side by side.

    What the sink of a nucleated droplet holds is Li2S: it stays, and leaves the slots of the liquid free.
    """
    n_replicas, n_beads = held.shape
    liquid = ~solid
    n_liquid = liquid.sum(axis=1)
    pool = np.sum(held * liquid, axis=1)
    first = np.argmax(liquid[:, droplet.order], axis=1)
    sink = np.where(nucleated & (n_liquid > 0), droplet.order[first], -1)
    front = np.where(nucleated, droplet.front, 1.0)
    # What Li2S covers serves the liquid, all of which touches it.
    covered = np.sum(droplet.contacts * solid, axis=1, keepdims=True) / np.maximum(n_liquid, 1)[:, None]
    serving = (droplet.contacts + covered) * liquid
    hops = np.zeros((n_replicas, n_beads, n_beads))
    if droplet.sharing == "finite":
        is_sink = np.arange(n_beads)[None] == sink[:, None]
        may_leave, free = liquid & ~is_sink, np.where(is_sink, M, M - held) * liquid
        enter = droplet.rate_in * front[:, None] * serving * free
        leave = droplet.rate_out * serving * held * may_leave
        hops = droplet.hop_rate * (held * may_leave)[:, :, None] * free[:, None, :]
        hops[:, np.arange(n_beads), np.arange(n_beads)] = 0.0
    else:
        # Every bead holds the mean load; only the pool counts, so that it may be booked on any bead.
        contacts = np.sum(serving, axis=1)
        load = np.where(nucleated, 0.0, pool / np.maximum(n_liquid, 1))
        enter, leave = np.zeros((n_replicas, n_beads)), np.zeros((n_replicas, n_beads))
        enter[:, 0] = droplet.rate_in * front * contacts * (M - load)
        leave[:, 0] = droplet.rate_out * contacts * load
    hazard = np.zeros(n_replicas)
    for size in np.unique(n_liquid[n_liquid > 0]):
        one = (n_liquid == size) & ~nucleated
        law = nucleation_hazard(droplet.nucleation_rate, droplet.barrier, droplet.threshold, int(size))
        hazard[one] = law(pool[one] / (M * size))
    flat = hops.reshape(n_replicas, -1)
    return np.concatenate([enter, leave, flat, hazard[:, None]], axis=1)


def _carry_out(
    droplet: Droplet, held: np.ndarray, solid: np.ndarray, nucleated: np.ndarray, alive: np.ndarray, which: np.ndarray,
) -> None:  # fmt: skip
    """One event of each replica that is alive, in place, and the units that turn with it."""
    n_beads = held.shape[1]
    kind, finite = which[alive], droplet.sharing == "finite"
    starts = np.cumsum([0, n_beads, n_beads, n_beads * n_beads])
    into, out, hop = ((kind >= starts[i]) & (kind < starts[i + 1]) for i in range(3))
    nucleated[alive[kind >= starts[3]]] = True
    if finite:
        np.add.at(held, (alive[into], kind[into]), 1)
        np.add.at(held, (alive[out], kind[out] - starts[1]), -1)
        origin, target = np.divmod(kind[hop] - starts[2], n_beads)
        np.add.at(held, (alive[hop], origin), -1)
        np.add.at(held, (alive[hop], target), 1)
    else:
        # The pool stands on one liquid bead, whichever; it may exceed ten there.
        book = np.argmax(~solid[alive], axis=1)
        np.add.at(held, (alive[into], book[into]), 1)
        np.add.at(held, (alive[out], book[out]), -1)
    # What is full, or paid for, turns: the nearest liquid bead, as often as need be.
    for _ in range(n_beads):
        liquid = ~solid
        n_liquid = liquid.sum(axis=1)
        nearest = droplet.order[np.argmax(liquid[:, droplet.order], axis=1)]
        rows = np.arange(len(held))
        if finite:
            turns = nucleated & (n_liquid > 0) & (held[rows, nearest] >= M)
        else:
            pool = np.sum(held * liquid, axis=1)
            turns = nucleated & (n_liquid > 0) & (pool >= M)
            left = pool - M
            if np.any(turns):
                held[turns] *= ~liquid[turns]
                held[rows[turns], nearest[turns]] = M
        solid[rows[turns], nearest[turns]] = True
        if not finite and np.any(turns):
            where = np.argmax(~solid[turns], axis=1)
            has = np.any(~solid[turns], axis=1)
            held[rows[turns][has], where[has]] = left[turns][has]
