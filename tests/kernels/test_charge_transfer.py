"""The jump process of the charge transfer: rule by rule, against a naive simulation, and its books."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import (
    CONTACT_OVERFLOW,
    INTERMEDIATE,
    LIQUID,
    SLOTS,
    SOLID,
    TOO_MANY_EVENTS,
    ContactSettings,
    RateLaw,
    ReactionParameters,
    charge_transfer_step,
    deal,
    drive_at,
    electron_imbalance,
    initial_reaction_state,
    nucleation_hazard,
)
from dropsim_kernels.noise import replica_key
from dropsim_kernels.reaction_events import choose, fine_uniform, rank_within
from scipy import stats
from scipy.linalg import expm

LAW = {
    "rate_constant": 0.3, "transfer_coefficient": 0.3, "surface_rate_constant": 0.0,
    "surface_transfer_coefficient": 0.04, "rod_rate_constant": 0.2, "standard_potential": 0.0,
    "thermal_voltage": 0.025, "reorganisation": 0.5, "branch_potential": -0.05, "branch_width": 0.05,
}  # fmt: skip
NUMBERS = {
    "interval": 1.0, "mo_contact": 0.8, "li_bridge": 0.63, "sulfur_contact": 1.05, "surface_contact": 0.5,
    "tunnelling_range": 3.0, "hop_rate": 1.0, "site_energy": 0.0, "neighbor_energy": 0.0, "threshold": 0.2,
    "nucleation_rate": 0.5, "nucleation_barrier": 0.05, "minimum_size": 2.0, "front_acceleration": 3.0,
    "opening_rate": 0.4, "opening_barrier": 1.5, "opening_barrier_later": 0.3,
}  # fmt: skip
BOX = (8.0, 8.0, 6.0)
# Enough for eight beads, so that few programs serve all tests.
ROOM = ContactSettings((6, 6, 4), 8, 8, 8, 8, li_cells=(1, 1, 1), li_run=8, edge_capacity=8, bound_capacity=8)
N_REPLICAS = 2000
# A chain of four over two centres, two adsorbed beads of which one touches a centre, Li2S beside the other one,
# and Li2S far from everything.
CHAIN = [[1.0, 2.0, 0.75], [1.9, 2.0, 0.75], [2.8, 2.0, 0.75], [3.7, 2.0, 0.75]]
ADSORBED = [[1.5, 4.0, 0.3], [2.4, 4.0, 0.3]]
RODS = [[0.7, 4.0, 0.6], [6.0, 6.0, 5.0]]
CENTRES = [[1.0, 2.0, 0.1], [2.8, 2.0, 0.1], [2.4, 4.5, 0.1]]


class Setting:
    """Beads at fixed places and the rule for them, in one precision."""

    def __init__(self, sulfur, centres, dtype=jnp.float64, li=((0.1, 0.1, 5.9),), wired=None, law=None,
                 kinetics="butler-volmer", sharing="mixed", surface_sharing=False, interactions=True,
                 max_events=100_000, contacts=None, **numbers):  # fmt: skip
        def places(rows):
            return jnp.asarray(np.reshape(np.asarray(rows, float), (-1, 3)), dtype)

        self.dtype, self.sulfur, self.li, self.mo = dtype, places(sulfur), places(li), places(centres)
        self.box = Box(jnp.asarray(BOX, dtype), (True, True, False))
        self.wired = jnp.ones((len(centres),), bool) if wired is None else jnp.asarray(wired)
        contacts = contacts or ROOM
        rates = RateLaw(
            **{name: jnp.asarray(value, dtype) for name, value in {**LAW, **(law or {})}.items()}, kinetics=kinetics
        )
        self.rule = ReactionParameters(
            **{name: jnp.asarray(value, dtype) for name, value in {**NUMBERS, **numbers}.items()},
            law=rates,
            contacts=contacts,
            sharing=sharing,
            surface_sharing=surface_sharing,
            interactions=interactions,
            max_events=max_events,
        )

    def drive(self, potential):
        """Open circuit for a potential of None."""
        value = jnp.asarray(0.0 if potential is None else potential, self.dtype)
        return drive_at(value, jnp.asarray(potential is not None), self.rule.law)

    def step(self, state, potential, number=0, replica=0):
        args = (self.sulfur, self.li, jnp.ones((len(self.li),), bool), self.mo, self.wired, self.box, self.rule)
        return advance(replica_key(3, replica), jnp.asarray(number, jnp.int32), state, self.drive(potential), *args)

    def many(self, state, potentials):
        """States and infos after each of five intervals, one per potential, of many replicas."""
        assert len(potentials) == 5
        drives = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[self.drive(p) for p in potentials])
        return follow(jnp.arange(N_REPLICAS), state, drives, self.sulfur, self.li, self.mo, self.wired, self.box,
                      self.rule)  # fmt: skip


advance = jax.jit(charge_transfer_step)


@jax.jit
def follow(replicas, state, drives, sulfur, li, mo, wired, box, rule):
    def one(replica):
        key = replica_key(11, replica)

        def interval(state, given):
            number, drive = given
            present = jnp.ones((li.shape[0],), bool)
            state, info = charge_transfer_step(key, number, state, drive, sulfur, li, present, mo, wired, box, rule)
            return state, (state, info)

        steps = jnp.arange(drives.rate_in.shape[0], dtype=jnp.int32)
        return jax.lax.scan(interval, state, (steps, drives))[1]

    return jax.vmap(one)(replicas)


def state_of(n_units, electrons=None, phase=None, **flags):
    """A state with given electrons and phases, all of which came through the centres."""
    state = initial_reaction_state(n_units)
    given = {"electrons": electrons, "phase": phase, "cycles": flags.pop("cycles", None)}
    for name, values in given.items():
        if values is not None:
            state = dataclasses.replace(state, **{name: jnp.asarray(values, jnp.int32)})
    for name, values in flags.items():
        state = dataclasses.replace(state, **{name: jnp.asarray(values)})
    return dataclasses.replace(state, injected=jnp.sum(state.electrons, dtype=jnp.int32))


def everything(sharing, surface_sharing=False, **changes):
    return Setting(CHAIN + ADSORBED + RODS, CENTRES, law={"surface_rate_constant": 0.15}, sharing=sharing,
                   surface_sharing=surface_sharing, **changes)  # fmt: skip


START = {"electrons": [0, 0, 0, 0, 0, 0, 10, 10], "phase": [0, 0, 0, 0, 0, 0, 2, 2]}


class Naive:
    """The rule once more, unit by unit and event by event, as slow as it is plain."""

    def __init__(self, setting, rng):
        rule, law = setting.rule, setting.rule.law
        self.p = {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}
        self.p = {name: float(v) if isinstance(v, jax.Array) else v for name, v in self.p.items()}
        self.rng, self.law, self.sharing = rng, law, rule.sharing
        place, mo = np.asarray(setting.sulfur), np.asarray(setting.mo)
        apart = np.linalg.norm(place[:, None] - place[None], axis=-1)
        self.touch = (apart < self.p["sulfur_contact"]) & ~np.eye(len(place), dtype=bool)
        to_mo = np.linalg.norm(place[:, None] - mo[None], axis=-1)
        self.contacts = (to_mo < self.p["mo_contact"]).sum(1)
        self.distance = to_mo.min(1)
        self.on_plane = place[:, 2] < self.p["surface_contact"]
        self.alone = np.ones(len(place), bool) if self.sharing == "none" else (
            self.on_plane & (not rule.surface_sharing))  # fmt: skip
        self.edges = self.touch & ~self.alone & ~self.alone[:, None]
        self.field_edges = self.touch & ~self.on_plane & ~self.on_plane[:, None]
        self.bonds = self.field_edges.astype(float)
        self.reach = (self.distance < self.p["tunnelling_range"]) | (place[:, 2] < self.p["tunnelling_range"])
        n = len(place)
        label = np.arange(n)
        for _ in range(n):
            label = np.array([min([label[i], *label[self.edges[i]]]) for i in range(n)])
        self.label = label

    def members(self, d):
        return [i for i in np.flatnonzero(self.label == d) if not self.alone[i]]

    def liquid(self, d):
        return sorted((i for i in self.members(d) if self.phase[i] == LIQUID), key=lambda i: (self.distance[i], i))

    def serving(self, i):
        """Contacts of a liquid unit, with its part of those that Li2S of its droplet covers."""
        if self.alone[i]:
            return self.contacts[i]
        d = self.label[i]
        solid = [j for j in self.members(d) if self.phase[j] == SOLID]
        surface = {k: sum(self.touch[k, j] and self.reach[j] for j in solid) for k in self.liquid(d)}
        covered = sum(self.contacts[j] for j in solid)
        return self.contacts[i] + (covered * surface[i] / sum(surface.values()) if any(surface.values()) else 0)

    def settle(self, oxidising):
        again = True
        while again:
            again = False
            for i in range(len(self.n)):
                if self.alone[i] and self.phase[i] == LIQUID and self.n[i] == SLOTS and not oxidising:
                    self.phase[i], again = SOLID, True
            for d in self.converting:
                order = self.liquid(d)
                if order and self.sharing == "mixed" and self.pool[d] >= SLOTS:
                    self.pool[d] -= SLOTS
                    self.n[order[0]], self.phase[order[0]], again = SLOTS, SOLID, True
                if order and self.sharing == "finite" and self.n[order[0]] == SLOTS:
                    self.phase[order[0]], again = SOLID, True

    def energy(self, held, site, pair):
        return site * (held @ held) / 2 + pair * (held @ self.bonds @ held) / 2

    def interval(self, drive):
        p, n_units = self.p, len(self.n)
        oxidising = bool(drive.oxidising)
        rate = {f.name: float(getattr(drive, f.name)) for f in dataclasses.fields(drive) if f.name != "oxidising"}
        droplets = sorted({self.label[i] for i in range(n_units) if not self.alone[i]})
        self.converting = set()
        for d in droplets:
            flagged = any(self.flag[i] for i in self.members(d)) and len(self.members(d)) >= p["minimum_size"]
            if not oxidising and (flagged or any(self.phase[i] == SOLID for i in self.members(d))):
                self.converting.add(d)
        self.pool = {d: sum(self.n[i] for i in self.liquid(d)) for d in droplets}
        left = p["interval"]
        while True:
            self.settle(oxidising)
            sinks = {self.liquid(d)[0] for d in self.converting if self.liquid(d)} - (
                set() if self.sharing != "none" else set(range(n_units)))  # fmt: skip
            events = []
            held, free = np.zeros(n_units), np.zeros(n_units)
            for i in range(n_units):
                if self.phase[i] != LIQUID:
                    continue
                held[i], free[i] = self.n[i], SLOTS - self.n[i]
                d = self.label[i]
                if self.sharing == "mixed" and not self.alone[i]:
                    share = 0.0 if d in self.converting else self.pool[d] / len(self.liquid(d))
                    held[i], free[i] = share, SLOTS - share
                elif i in sinks:
                    held[i], free[i] = 0, SLOTS
            contacts = self.contacts.astype(float)
            for d in droplets if self.sharing != "none" else []:
                solid = [i for i in self.members(d) if self.phase[i] == SOLID]
                ends = [i for i in self.liquid(d) for j in solid if self.touch[i, j] and self.reach[j]]
                for i in ends:
                    contacts[i] += self.contacts[solid].sum() / len(ends)
            before = self.energy(held, p["site_energy"], p["neighbor_energy"])

            def factor(*changes, held=held, before=before):
                if not p["site_energy"] and not p["neighbor_energy"]:
                    return 1.0
                after = held.copy()
                for i, change in changes:
                    after[i] += change
                return np.exp(-(self.energy(after, p["site_energy"], p["neighbor_energy"]) - before) / 2)

            for i in range(n_units):
                d, plane = self.label[i], self.on_plane[i]
                if self.phase[i] == LIQUID:
                    chi = p["front_acceleration"] if not self.alone[i] and d in self.converting else 1.0
                    come, go = chi * free[i] * factor((i, 1)), held[i] * factor((i, -1))
                    events += [(rate["rate_in"] * self.serving(i) * come, "centre", i, 1)]
                    events += [(rate["rate_out"] * self.serving(i) * go, "centre", i, -1)]
                    events += [(rate["surface_in"] * plane * come, "surface", i, 1)]
                    events += [(rate["surface_out"] * plane * go, "surface", i, -1)]
                    if self.sharing == "finite":
                        for j in np.flatnonzero(self.edges[i]):
                            if held[i] and free[j]:
                                hop = p["hop_rate"] * held[i] * free[j] * factor((i, -1), (j, 1))
                                events += [(hop, "hop", i, j)]
                elif self.phase[i] == INTERMEDIATE:
                    rods = sum(self.touch[i] & (self.phase == SOLID) & self.reach)
                    events += [(rate["rod_in"] * rods * (SLOTS - self.n[i]), "surface", i, 1)]
                    events += [(rate["rod_out"] * rods * (self.n[i] - 4), "surface", i, -1)]
                    events += [(rate["surface_out"] * plane * self.n[i] * oxidising, "surface", i, -1)]
                elif oxidising and self.reach[i]:
                    wet = np.any(self.touch[i] & (self.phase == LIQUID))
                    barrier = p["opening_barrier"] if self.cycles[i] == 0 else p["opening_barrier_later"]
                    events += [(p["opening_rate"] * (1.0 if wet else np.exp(-barrier)), "opening", i, 0)]
            for d in droplets:
                size = len(self.liquid(d))
                if self.sharing != "none" and d not in self.converting and not oxidising and size:
                    x = self.pool[d] / (SLOTS * size)
                    if x > p["threshold"] and size >= p["minimum_size"]:
                        barrier = p["nucleation_barrier"] / (x / p["threshold"] - 1) ** 2
                        events += [(p["nucleation_rate"] * size * np.exp(-barrier), "nucleation", d, 0)]
            weights = np.array([e[0] for e in events])
            left -= self.rng.exponential(1 / weights.sum()) if weights.sum() > 0 else np.inf
            if left <= 0:
                break
            _, kind, i, change = events[self.rng.choice(len(events), p=weights / weights.sum())]
            if kind == "nucleation":
                self.converting.add(i)
            elif kind == "opening":
                self.phase[i], self.direct[i] = LIQUID, True
                self.cycles[i] += 1
                if not self.alone[i] and self.sharing != "none":
                    self.pool[self.label[i]] += SLOTS
            elif kind == "hop":
                self.n[i] -= 1
                self.n[change] += 1
            else:
                self.passed[kind] += change
                if self.phase[i] == LIQUID and not self.alone[i]:
                    self.pool[self.label[i]] += change
                    if self.sharing == "finite":
                        self.n[i] += change
                    continue
                self.n[i] += change
                if self.phase[i] == INTERMEDIATE and self.n[i] == SLOTS:
                    self.phase[i] = SOLID
                elif self.phase[i] == INTERMEDIATE and self.n[i] < 4:
                    self.phase[i] = LIQUID
                elif self.phase[i] == LIQUID and change > 0 and self.n[i] == 4 and self.on_plane[i]:
                    if not self.direct[i] and not self.rng.random() < rate["direct_probability"]:
                        self.phase[i] = INTERMEDIATE
                    else:
                        self.direct[i] = True
                self.direct[i] &= self.n[i] > 0
        self.flag = [not self.alone[i] and self.label[i] in self.converting for i in range(n_units)]
        if self.sharing == "mixed":
            for d in droplets:
                order = self.liquid(d)
                if order and d in self.converting:
                    self.n[order] = 0
                    self.n[order[0]] = self.pool[d]
                elif order:
                    self.n[order] = self.rng.multivariate_hypergeometric([SLOTS] * len(order), self.pool[d])
        self.direct &= self.n > 0

    def run(self, state, drives):
        self.n, self.phase = np.array(state.electrons, int), np.array(state.phase, int)
        self.flag, self.direct = np.array(state.converting), np.array(state.direct)
        self.cycles, self.passed = np.array(state.cycles, int), {"centre": 0, "surface": 0}
        seen = []
        for drive in drives:
            self.interval(drive)
            seen.append(np.concatenate([
                self.n, self.phase == SOLID, self.phase == INTERMEDIATE, self.cycles,
                [self.passed["centre"], self.passed["surface"], self.n.sum() ** 2],
            ]))  # fmt: skip
        return np.array(seen, float)


@pytest.mark.parametrize(
    ("sharing", "changes"),
    [
        ("mixed", {}),
        ("mixed", {"surface_sharing": True}),
        ("finite", {"hop_rate": 0.2, "site_energy": 0.12, "neighbor_energy": 0.05}),
        ("none", {"site_energy": 0.12, "neighbor_energy": 0.05}),
    ],
)
def test_the_law_is_that_of_a_naive_simulation(sharing, changes):
    """Means of every bead's electrons, phases and cycles, currents and the spread, through both half cycles."""
    setting = everything(sharing, **changes)
    potentials = [-0.04, None, 0.05, 0.06, -0.04]
    states, infos = setting.many(state_of(8, **START), potentials)
    books(states, infos, state_of(8, **START))
    electrons, phase = np.asarray(states.electrons), np.asarray(states.phase)
    total = electrons.sum(-1)[..., None]
    centre, surface = (np.asarray(passed)[..., None] for passed in (states.injected - 20, states.injected_surface))
    parts = [electrons, phase == SOLID, phase == INTERMEDIATE, np.asarray(states.cycles), centre, surface, total**2]
    here = np.concatenate(parts, axis=-1).astype(float)
    naive = Naive(setting, np.random.default_rng(8))
    drives = [setting.drive(p) for p in potentials]
    n_here, n_there = N_REPLICAS, 250
    there = np.array([naive.run(state_of(8, **START), drives) for _ in range(n_there)])
    pooled = (here.var(0) * n_here + there.var(0) * n_there) / (n_here + n_there)
    error = np.sqrt(pooled * (1 / n_here + 1 / n_there))
    difference = here.mean(0) - there.mean(0)
    same = pooled == 0
    assert np.all(difference[same] == 0)
    # Some events are so seldom that a mean is far from Gaussian; those are left to the tests of single rules.
    counted = pooled > 0.02
    assert counted.sum() > 40
    assert np.abs(difference[counted] / error[counted]).max() < 4.8
    law, other = total[:, 2, 0], there[:, 2, :8].sum(-1)
    edges = np.unique(np.quantile(law, np.linspace(0, 1, 7)[1:-1]))
    table = [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (law, other)]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def books(states, infos, start):
    """Integers that must agree after every interval of every replica."""
    electrons, phase = np.asarray(states.electrons), np.asarray(states.phase)
    assert not np.any(jax.vmap(jax.vmap(electron_imbalance))(states))
    assert np.all((electrons >= 0) & (electrons <= SLOTS))
    assert np.all(electrons[phase == SOLID] == SLOTS)
    assert np.all((electrons[phase == INTERMEDIATE] >= 4) & (electrons[phase == INTERMEDIATE] < SLOTS))
    assert not np.any(np.asarray(states.direct) & (electrons == 0))
    count = {f.name: np.asarray(getattr(infos, f.name)) for f in dataclasses.fields(infos)}
    assert not count["trouble"].any()
    net = count["entered"] - count["left"]
    np.testing.assert_array_equal(np.diff(states.injected, axis=1, prepend=int(start.injected)), net.sum(-1))
    net = count["surface_entered"] - count["surface_left"]
    np.testing.assert_array_equal(np.diff(states.injected_surface, axis=1, prepend=0), net.sum(-1))
    before = np.concatenate([np.broadcast_to(start.phase, phase[:, :1].shape), phase[:, :-1]], axis=1)
    solid = (phase == SOLID).astype(int) - (before == SOLID)
    np.testing.assert_array_equal(solid, count["turned"] - count["opened"])
    opened = np.cumsum(count["opened"], axis=1) + np.asarray(start.cycles)
    np.testing.assert_array_equal(states.cycles, opened)


def near_to(count, trials, probability):
    """A count of independent events, within five standard errors of what is expected."""
    return abs(count - trials * probability) < 5 * np.sqrt(trials * probability * (1 - probability)) + 1e-9


ISOLATED = [[1.0 + 2 * (i % 4), 2.0 + 3 * (i // 4), 0.3] for i in range(8)]
FAR = [[6.0, 7.5, 5.0], [6.5, 7.5, 5.0], [7.0, 7.5, 5.0]]
FOUR_ON = [-0.05] * 5


def test_the_branch_at_four_electrons():
    """Li2S2 dissolves and stays where it is with four electrons, or the bead goes on to Li2S on the spot."""
    law = {"surface_rate_constant": 30.0, "rate_constant": 0.0, "standard_potential": 0.2, "branch_potential": -0.1}
    setting = Setting(ISOLATED, FAR, law=law)
    states, infos = setting.many(state_of(8), FOUR_ON)
    books(states, infos, state_of(8))
    phase, electrons = np.asarray(states.phase)[:, -1], np.asarray(states.electrons)[:, -1]
    probability = 1 / (1 + np.exp(1.0))
    assert float(setting.drive(-0.05).direct_probability) == pytest.approx(probability, rel=1e-12)
    assert np.all((phase == SOLID) | (phase == INTERMEDIATE))
    assert np.all(electrons[phase == INTERMEDIATE] == 4)
    assert near_to((phase == SOLID).sum(), phase.size, probability)
    np.testing.assert_array_equal(np.asarray(states.direct)[:, -1], phase == SOLID)
    np.testing.assert_array_equal(np.asarray(infos.released).sum(1), phase == INTERMEDIATE)
    assert np.all(np.asarray(infos.at_surface))


def test_dissolved_li2s2_needs_li2s_within_reach():
    """Beside a rod on the plane, beside one near a centre, beside one out of reach, and beside nothing."""
    place = [[1, 2, 0.6], [1.9, 2, 0.6], [3, 2, 4.5], [3.9, 2, 4.5], [6, 2, 4.5], [6.9, 2, 4.5], [3, 6, 0.6], [7, 6, 4]]
    phase = [SOLID, INTERMEDIATE] * 3 + [INTERMEDIATE, LIQUID]
    electrons = [10, 4] * 3 + [4, 0]
    law = {"surface_rate_constant": 1e-9, "rod_rate_constant": 0.3, "rate_constant": 0.0, "standard_potential": 1.0}
    setting = Setting(place, [[3.0, 2.0, 5.9], FAR[0], FAR[1]], law=law, tunnelling_range=1.5, nucleation_rate=0.0)
    start = state_of(8, electrons, phase)
    states, infos = setting.many(start, FOUR_ON)
    books(states, infos, start)
    after = np.asarray(states.electrons)
    assert np.all(after[:, :, [5, 6]] == 4)
    rate = float(setting.drive(-0.05).rod_in)
    for bead in (1, 3):  # six slots, each filled at the rate of one rod
        assert near_to((after[:, 0, bead] == SLOTS).sum(), N_REPLICAS, (1 - np.exp(-rate)) ** 6)
    assert np.asarray(infos.surface_entered)[:, :, [1, 3]].sum() > 0
    unwired = Setting(place, [[3.0, 2.0, 5.9], FAR[0], FAR[1]], law=law, tunnelling_range=1.5, nucleation_rate=0.0,
                      wired=[False, True, True])  # fmt: skip
    assert np.all(np.asarray(unwired.many(start, FOUR_ON)[0].electrons)[:, :, 3] == 4)


def test_solids_open_slowly_first_then_fast_and_only_in_range():
    """The first time, a later time, beside liquid, out of range; the first opening exponential in time."""
    place = [[1, 1, 2], [3, 1, 2], [5, 1, 2], [5.9, 1, 2], [1, 5, 2], [3, 5, 2], [5, 5, 5.5], [7, 5, 2]]
    phase = [SOLID, SOLID, SOLID, LIQUID, SOLID, LIQUID, SOLID, SOLID]
    electrons = [10, 10, 10, 0, 10, 0, 10, 10]
    cycles = [0, 1, 0, 0, 0, 0, 0, 0]
    centres = [[2.0, 1.0, 0.1], [5.0, 1.0, 0.1], [2.0, 6.0, 0.1]]
    setting = Setting(place, centres, law={"rate_constant": 0.0}, wired=[True, True, False], tunnelling_range=2.3,
                      interval=0.5)  # fmt: skip
    start = state_of(8, electrons, phase, cycles=cycles)
    states, infos = setting.many(start, [0.05] * 5)
    books(states, infos, start)
    liquid = np.asarray(states.phase) == LIQUID
    for bead, hazard in ((0, 0.4 * np.exp(-1.5)), (1, 0.4 * np.exp(-0.3)), (2, 0.4), (4, 0.0), (6, 0.0), (7, 0.0)):
        for number in range(5):
            opened = 1 - np.exp(-hazard * 0.5 * (number + 1))
            assert near_to(liquid[:, number, bead].sum(), N_REPLICAS, opened), (bead, number)
    np.testing.assert_array_equal(np.asarray(states.cycles)[:, -1, 1], 1 + liquid[:, -1, 1])
    # Nobody took the electrons of the bead that opened alone, and it gives them up where it is.
    assert np.all(np.asarray(states.electrons)[:, :, 0] == SLOTS)
    assert np.all(np.asarray(states.direct)[:, -1, 0] == liquid[:, -1, 0])
    # Nothing opens while electrons enter, or where nothing is connected.
    quiet, _ = setting.many(start, [-0.05, None, -0.05, None, -0.05])
    assert not np.any(np.asarray(quiet.cycles) - np.asarray(cycles))


def test_oxidation_takes_dissolved_li2s2_back():
    """On the plane, electron by electron; in solution not at all."""
    place = [*ISOLATED[:4], [1, 7, 4], [3, 7, 4], [5, 7, 4], [7, 7, 4]]
    start = state_of(8, [4, 5, 9, 3, 4, 5, 9, 3], [INTERMEDIATE] * 3 + [LIQUID] + [INTERMEDIATE] * 3 + [LIQUID])
    setting = Setting(place, FAR, law={"surface_rate_constant": 1.0, "standard_potential": -0.5})
    states, infos = setting.many(start, [0.0] * 5)
    books(states, infos, start)
    rate_in, rate_out = (float(getattr(setting.drive(0.0), name)) for name in ("surface_in", "surface_out"))
    assert rate_in < 1e-6 * rate_out
    np.testing.assert_array_equal(np.asarray(states.electrons)[:, -1], np.tile([0, 0, 0, 0, 4, 5, 9, 3], (2000, 1)))
    np.testing.assert_array_equal(np.asarray(states.phase)[:, -1, :4], LIQUID)
    np.testing.assert_array_equal(np.asarray(infos.oxidised).sum(1), np.tile([1, 1, 1, 0, 0, 0, 0, 0], (2000, 1)))


@pytest.mark.parametrize("sharing", ["mixed", "finite"])
def test_open_circuit_converts_what_the_electrons_pay_for_nearest_first(sharing):
    """Two beads equally far from a centre: the first in the list turns, once. Another order of the beads gives the
    same beads."""
    place = [[2.0, 2.0, 0.8], [2.5, 2.0, 0.8], [1.5, 2.0, 0.8], [2.0, 2.75, 0.8], [2.0, 1.25, 0.8],
             [6.0, 6.0, 0.8], [6.0, 6.9, 0.8], [2.0, 5.0, 0.8]]  # fmt: skip
    electrons = np.array([3, 8, 2, 5, 6, 7, 2, 9])
    centres = [[2.0, 2.0, 0.1], [6.0, 7.3, 0.1], FAR[2]]
    numbers = {"nucleation_rate": 1e6, "threshold": 0.1, "hop_rate": 2.0, "interval": 40.0}
    for order in (np.arange(8), np.array([4, 6, 1, 0, 7, 2, 5, 3])):
        setting = Setting(np.array(place)[order], centres, sharing=sharing, **numbers)
        start = state_of(8, electrons[order])
        states, infos = setting.many(start, [None] * 5)
        books(states, infos, start)
        after, phase = (np.empty((N_REPLICAS, 8), int) for _ in range(2))
        after[:, order] = np.asarray(states.electrons)[:, -1]
        phase[:, order] = np.asarray(states.phase)[:, -1]
        # 24 electrons on five units, 9 on two, and one unit alone, too small to nucleate.
        twin = 1 if list(order).index(1) < list(order).index(2) else 2
        expected = np.zeros(8, int)
        expected[[0, twin]] = SOLID
        np.testing.assert_array_equal(phase, np.tile(expected, (N_REPLICAS, 1)))
        # The rest has gathered on the unit that comes next, also in the droplet that could pay for none.
        rest = np.array([10, 0, 0, 0, 0, 0, 9, 9])
        rest[[twin, 3 - twin]] = 10, 4
        np.testing.assert_array_equal(after, np.tile(rest, (N_REPLICAS, 1)))
        assert np.all(np.asarray(infos.nucleated).sum((1, 2)) == 2)


def test_hopping_mean_obeys_the_linear_equation_of_the_graph():
    """d<n>/dt = -[M k_h L + (k_in + k_out) diag(c)] <n> + M k_in c, closed, whatever the occupations."""
    place = [[1, 1, 0.7], [1.9, 1, 0.7], [1.4, 1.7, 0.7], [2.3, 1.8, 0.9], [3.1, 1.4, 0.7], [4, 1.4, 0.7],
             [6.0, 5.0, 0.7], [6.9, 5.0, 0.7]]  # fmt: skip
    centres = [[1.0, 1.0, 0.1], [3.6, 1.4, 0.1], [6.0, 5.2, 0.1]]
    setting = Setting(place, centres, sharing="finite", hop_rate=0.06, nucleation_rate=0.0, interval=0.6,
                      law={"rate_constant": 0.3})  # fmt: skip
    start = state_of(8, [0, 0, 10, 0, 3, 0, 0, 8])
    states, infos = setting.many(start, [-0.01] * 5)
    books(states, infos, start)
    apart = np.linalg.norm(np.array(place)[:, None] - np.array(place), axis=-1)
    edges = (apart < 1.05) & ~np.eye(8, dtype=bool)
    to_mo = np.linalg.norm(np.array(place)[:, None] - np.array(centres), axis=-1)
    contacts = (to_mo < 0.8).sum(1)
    np.testing.assert_array_equal(np.asarray(infos.contacts)[0, 0], contacts)
    assert set(contacts) == {0, 1}
    assert edges.sum() > 14
    drive = setting.drive(-0.01)
    rate_in, rate_out = float(drive.rate_in), float(drive.rate_out)
    laplacian = np.diag(edges.sum(1)) - edges
    matrix = SLOTS * 0.06 * laplacian + (rate_in + rate_out) * np.diag(contacts)
    # A droplet without a contact would make the matrix singular; here both have one.
    steady = np.linalg.solve(matrix, SLOTS * rate_in * contacts)
    for number in range(5):
        expected = steady + expm(-matrix * 0.6 * (number + 1)) @ (np.asarray(start.electrons) - steady)
        sample = np.asarray(states.electrons)[:, number]
        error = sample.std(0, ddof=1) / np.sqrt(N_REPLICAS)
        assert np.abs((sample.mean(0) - expected) / error).max() < 4.5, number


def test_quick_hopping_is_the_mixed_droplet():
    """Also while Li2S nucleates and grows."""
    found = []
    for sharing in ("mixed", "finite"):
        setting = Setting(CHAIN + ISOLATED[4:], CENTRES, sharing=sharing, hop_rate=10.0, interval=0.5, threshold=0.1,
                          nucleation_rate=0.3, law={"rate_constant": 0.25})  # fmt: skip
        states, infos = setting.many(state_of(8), [-0.02] * 5)
        books(states, infos, state_of(8))
        total = np.asarray(states.electrons)[..., :4].sum(-1)
        solid = (np.asarray(states.phase)[..., :4] == SOLID).sum(-1)
        flagged = np.asarray(states.converting)[..., 0]
        found.append(np.concatenate([total, total**2, solid, flagged], axis=1))
    mixed, finite = (np.array(f, float) for f in found)
    error = np.sqrt((mixed.var(0) + finite.var(0)) / N_REPLICAS)
    some = error > 0
    assert some.sum() >= 16
    assert np.abs((mixed - finite).mean(0)[some] / error[some]).max() < 4.5


def test_a_batch_is_its_members_and_types_stay():
    """One replica alone takes the path it takes in a batch; float32 stays float32, integers stay integers."""
    setting, start = everything("mixed"), state_of(8, **START)
    states, _ = setting.many(start, [-0.04] * 5)
    present = jnp.ones((1,), bool)
    for replica in range(3):
        args = (setting.sulfur, setting.li, present, setting.mo, setting.wired, setting.box, setting.rule)
        alone, _ = advance(replica_key(11, replica), jnp.int32(0), start, setting.drive(-0.04), *args)
        for here, there in zip(jax.tree.leaves(alone), jax.tree.leaves(states), strict=True):
            np.testing.assert_array_equal(here, there[replica, 0])
    single = everything("mixed", dtype=jnp.float32)
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), start)
    for number, potential in enumerate([-0.04, -0.04, None, 0.06]):
        start, info = single.step(start, potential, number)
        assert jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), start) == shapes
        assert int(electron_imbalance(start)) == 0
        assert {leaf.dtype for leaf in jax.tree.leaves(info)} == {jnp.dtype("int32"), jnp.dtype(bool)}


@pytest.mark.parametrize("sharing", ["mixed", "finite"])
@pytest.mark.parametrize("n_sulfur", [0, 1])
def test_without_beads_lithium_or_centres(sharing, n_sulfur):
    setting = Setting(CHAIN[:n_sulfur], (), li=(), sharing=sharing)
    state = state_of(n_sulfur)
    after, info = setting.step(state, -0.1)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert int(electron_imbalance(after)) == 0
    assert int(info.trouble) == 0
    assert all(leaf.shape == (n_sulfur,) for leaf in jax.tree.leaves(dataclasses.replace(info, trouble=info.left)))


def test_trouble_is_reported():
    """More beads around one than there is room for; more events than are allowed; both; neither."""
    spread = [[1.0 + 2 * (i % 4), 2.0 + 3 * (i // 4), 2.0] for i in range(8)]
    crowded = [[1.0 + 0.2 * i, 2.0, 2.0] for i in range(8)]
    narrow = dataclasses.replace(ROOM, sulfur_capacity=2)
    for place, bits in ((spread, 0), (crowded, CONTACT_OVERFLOW)):
        for rate, more in ((0.0, 0), (1e3, TOO_MANY_EVENTS)):
            centres = [[place[0][0], 2.0, 1.5]] * 3
            setting = Setting(place, centres, contacts=narrow, max_events=5, law={"rate_constant": rate})
            state, info = setting.step(state_of(8), -1.0)
            assert int(info.trouble) == bits | more
            assert int(electron_imbalance(state)) == 0
            assert int(state.injected) == (5 if rate else 0)
    # A rate beyond the largest number: nothing can be followed, and it is not passed over.
    setting = Setting(spread, [[1.0, 2.0, 1.5]] * 3, contacts=narrow, max_events=5, law={"rate_constant": 1e308})
    state, info = setting.step(state_of(8), -1.0)
    assert int(info.trouble) == TOO_MANY_EVENTS
    assert int(state.injected) == 0


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="sharing must be one of"):
        Setting(CHAIN, CENTRES, sharing="some").step(state_of(4), -0.1)
    bare = dataclasses.replace(ROOM, edge_capacity=0)
    with pytest.raises(ValueError, match="needs edges"):
        Setting(CHAIN, CENTRES, sharing="finite", contacts=bare).step(state_of(4), -0.1)
    with pytest.raises(ValueError, match="kinetics must be"):
        Setting(CHAIN, CENTRES, kinetics="tafel").drive(-0.1)


@pytest.mark.parametrize("kinetics", ["butler-volmer", "marcus"])
def test_rates_obey_detailed_balance(kinetics):
    """k_in / k_out = exp(-f eta) at each electrode, the rate constant at E0, nothing at open circuit."""
    law = {"surface_rate_constant": 0.7, "rod_rate_constant": 0.2, "standard_potential": 0.03, "reorganisation": 0.4}
    setting = Setting(CHAIN, CENTRES, kinetics=kinetics, law=law)
    for potential in (-0.2, 0.0, 0.03, 0.25):
        drive = setting.drive(potential)
        for name in ("rate", "surface", "rod"):
            ratio = float(getattr(drive, f"{name}_in") / getattr(drive, f"{name}_out"))
            assert ratio == pytest.approx(np.exp(-(potential - 0.03) / 0.025), rel=1e-12)
        assert bool(drive.oxidising) is (potential > 0.03)
    balanced = setting.drive(0.03)
    for name, constant in (("rate", 0.3), ("surface", 0.7), ("rod", 0.2)):
        assert float(getattr(balanced, f"{name}_in")) == pytest.approx(constant, rel=1e-12)
    if kinetics == "marcus":  # one rate against the textbook's form, up to its prefactor
        eta = -0.2 - 0.03
        expected = 0.3 * np.exp(0.4 / (4 * 0.025)) * np.exp(-((0.4 + eta) ** 2) / (4 * 0.4 * 0.025))
        assert float(setting.drive(-0.2).rate_in) == pytest.approx(expected, rel=1e-12)
    off = setting.drive(None)
    assert not any(float(getattr(off, f"{n}_{way}")) for n in ("rate", "surface", "rod") for way in ("in", "out"))
    assert not bool(off.oxidising)


def test_dealing_keeps_sums_and_is_hypergeometric():
    label = jnp.asarray([0, 0, 2, 0, 2, 5, 6, 7], jnp.int32)
    pooled = jnp.asarray([True, True, True, True, True, True, False, True])
    pool = jnp.asarray([13, 13, 20, 13, 20, 7, 4, 0], jnp.int32)
    size = jnp.asarray([3, 3, 2, 3, 2, 1, 1, 1], jnp.int32)
    keys = jax.random.split(jax.random.key(4, impl="threefry2x32"), 4000)
    dealt = np.asarray(jax.jit(jax.vmap(lambda key: deal(key, pool, size, label, pooled)))(keys))
    np.testing.assert_array_equal(dealt[:, [0, 1, 3]].sum(1), 13)
    np.testing.assert_array_equal(dealt[:, [2, 4, 5, 6, 7]], np.tile([10, 10, 7, 0, 0], (4000, 1)))
    for bead in (0, 1, 3):
        expected = stats.hypergeom(30, 10, 13).pmf(np.arange(11)) * 4000
        observed = np.bincount(dealt[:, bead], minlength=11)
        edge = expected > 8
        table = [np.append(x[edge], x[~edge].sum()) for x in (observed, expected)]
        assert stats.chisquare(*table).pvalue > 1e-4


def test_draws_are_in_proportion_and_never_of_weight_zero():
    rng = np.random.default_rng(3)
    weight = np.where(rng.random(300) < 0.7, 0.0, rng.random(300))
    pick = jax.jit(jax.vmap(lambda a, b: choose(jnp.asarray(weight), a, b)))
    found = np.asarray(pick(jnp.asarray(rng.random(40000)), jnp.asarray(rng.random(40000))))
    assert np.all(weight[found] > 0)
    expected = weight / weight.sum() * 40000
    observed = np.bincount(found, minlength=300)
    assert stats.chisquare(observed[weight > 0.02], expected[weight > 0.02] * observed[weight > 0.02].sum()
                           / expected[weight > 0.02].sum()).pvalue > 1e-4  # fmt: skip
    last = jnp.asarray([0.0, 1.0, 0.0], jnp.float32)
    for draw in (0.0, 0.5, 1.0):
        assert int(choose(last, jnp.float32(draw), jnp.float32(draw))) == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_uniform_numbers_resolve_the_smallest(dtype):
    words = jnp.asarray([0, 0, 1, 2**31, 2**32 - 1], jnp.uint32), jnp.asarray([0, 5, 0, 0, 2**32 - 1], jnp.uint32)
    found = np.asarray(fine_uniform(*words, dtype), float)
    np.testing.assert_allclose(found[:4], [2.0**-65, 5.5 * 2.0**-64, 2.0**-32, 0.5], rtol=1e-6)
    assert 0.999 < found[4] < 1.0


def test_rank_within_against_a_loop():
    generator = np.random.default_rng(0)
    label, value = generator.integers(0, 5, 40), generator.integers(0, 4, 40) / 4.0
    expected = [
        sum((label == label[i]) & ((value < value[i]) | ((value == value[i]) & (np.arange(40) < i)))) for i in range(40)
    ]
    np.testing.assert_array_equal(rank_within(jnp.asarray(label, jnp.int32), jnp.asarray(value)), expected)


def test_hazard_is_its_formula_and_zero_below():
    rule = Setting(CHAIN, CENTRES).rule
    fraction, size = jnp.asarray([0.1, 0.2, 0.4, 0.4, 1.0]), jnp.asarray([5.0, 5.0, 5.0, 1.0, 2.0])
    expected = [0.0, 0.0, 0.5 * 5 * np.exp(-0.05), 0.0, 0.5 * 2 * np.exp(-0.05 / 16)]
    np.testing.assert_allclose(nucleation_hazard(fraction, size, rule), expected, rtol=1e-12)
    slope = jax.grad(lambda x: nucleation_hazard(x, jnp.asarray(5.0), rule))
    assert np.isfinite([float(slope(jnp.asarray(x))) for x in (0.1, 0.2, 0.3)]).all()
