"""Reactions with known laws: first order, capture of diffusing beads, balance of a reversible pair, titration; and
what a result may not depend on: how often the reaction is looked at, and the order of the beads.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.box import Box
from dropsim_kernels.charge_transfer import (
    INTERMEDIATE,
    LIQUID,
    SOLID,
    Drive,
    ReactionParameters,
    charge_transfer_step,
    drive_at,
)
from dropsim_kernels.integrators import INTEGRATORS, Dynamics
from dropsim_kernels.noise import replica_key
from jax import Array
from scipy import stats
from scipy.special import erfc

from dropsim.validation import transfer_laws as laws
from dropsim.validation.brownian import SIGMAS, mean_result
from dropsim.validation.held_beads import (
    LENGTHS,
    LI_BRIDGE,
    MO_CONTACT,
    SULFUR_CONTACT,
    THERMAL_VOLTAGE,
    Scene,
    chain,
    chi_square_result,
    drive_of,
    exact_result,
    filled,
    first_seen,
    kolmogorov_result,
    largest_deviation_result,
    random_marks,
    rate_law,
    rates,
    rule,
    run,
    slab,
)
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings

M = laws.M


def replicas(settings: Settings, quick: int) -> int:
    """Number of replicas: eight times as many in the full battery."""
    return 8 * quick if settings.full else quick


def share_result(quantity: str, happened: np.ndarray, probability: float) -> Result:
    """How often something happened beside its probability, whose binomial error is the standard error."""
    error = float(np.sqrt(probability * (1 - probability) / happened.size))
    return Result(quantity, float(happened.mean()), float(probability), SIGMAS, standard_error=error,
                  basis=f"binomial, n = {happened.size}")  # fmt: skip


# --- R2: laws of single reactions ------------------------------------------------------------------------


def reaction_laws(settings: Settings) -> Outcome:
    """First-order reactions, capture by diffusion, a reversible pair at E0, and the titration curve."""
    results, curves = [], []
    for part in (ejection, opening, bare_electrode, capture, reversible_pair, titration):
        found = part(settings)
        results += found.results
        curves += found.curves
    return Outcome(tuple(results), tuple(curves))


def ejection(settings: Settings) -> Outcome:
    """Ten electrons leave a bead one by one, each at the same rate: n(t) is Binomial(10, exp(-c k_out t))."""
    n, rate, contacts = replicas(settings, 20_000), 0.05, 2
    scene = chain(1, (contacts,))
    drive = drive_of(settings, rates(0.0, rate))
    time = np.array([0.2, 0.7, 1.5]) / (rate * contacts)
    intervals = np.diff(np.concatenate([[0.0], time]))
    _, kept = run(settings, scene, rule(settings, "mixed"), drive, intervals, filled(n, np.array([M])), stream=50)
    electrons = kept["electrons"][:, :, 0]
    results = []
    for index, exact in enumerate(np.exp(-rate * contacts * time)):
        when = f"c k_out t = {rate * contacts * time[index]:.2g}"
        results.append(mean_result(f"ejection, {when}: <n> / 10", electrons[:, index] / M, exact))
        seen = np.bincount(electrons[:, index], minlength=M + 1)
        law = n * stats.binom.pmf(np.arange(M + 1), M, exact)
        results.append(chi_square_result(f"ejection, {when}: binomial", seen, law))
    return Outcome(tuple(results))


def opening(settings: Settings) -> Outcome:
    """Solid units open at a constant hazard: with the barrier of the first cycle, with that of later ones, without one
    beside a liquid unit, and never beyond the tunnelling range."""
    n, rate, first, later = replicas(settings, 20_000), 0.1, 1.0, 0.4
    # Four places 8 nm apart: a unit at a centre, another at a centre, one beside a liquid unit, one far from any.
    sulfur = np.array([[4.0, 4, 9], [12.0, 4, 9], [20.0, 4, 9], [21.0, 4, 9], [28.0, 4, 9]])
    mo = np.array([[4.0, 4.5, 9], [12.0, 4.5, 9], [20.0, 4.5, 9], [28.0, 7.5, 9]])
    scene = Scene(sulfur, mo)
    parameters = rule(settings, "mixed", opening_rate=rate, opening_barrier=first, opening_barrier_later=later,
        tunnelling_range=3.0,
    )  # fmt: skip
    phase = np.array([SOLID, SOLID, SOLID, LIQUID, SOLID])
    start = dataclasses.replace(
        filled(n, np.where(phase == SOLID, M, 0)),
        phase=jnp.broadcast_to(jnp.asarray(phase, jnp.int32), (n, 5)),
        cycles=jnp.broadcast_to(jnp.asarray([0, 1, 0, 0, 0], jnp.int32), (n, 5)),
    )
    drive = drive_of(settings, rates(0.0, 0.0, oxidising=True))
    width = 0.25 * np.exp(first) / rate
    intervals = random_marks(settings, n, width, 80, 51)
    _, kept = run(settings, scene, parameters, drive, intervals, start, ("phase", "opened"), stream=51)
    results = []
    cases = (("first cycle", 0, first), ("later cycle", 1, later), ("beside a liquid unit", 2, 0.0))
    for name, bead, barrier in cases:
        time = first_seen(kept["opened"][:, :, bead] > 0, intervals)
        hazard = rate * np.exp(-barrier)
        law = laws.seen_on_grid(lambda t, h=hazard: -np.expm1(-h * np.maximum(t, 0)), width)
        results.append(kolmogorov_result(f"opening of a solid unit, {name}: distribution", time, law))
        results.append(mean_result(f"opening of a solid unit, {name}: mean x hazard", (time - width / 2) * hazard, 1.0))
    results.append(exact_result("openings beyond the tunnelling range", kept["opened"][:, :, 4].sum()))
    results.append(exact_result("openings per unit within it", kept["opened"][:, :, :3].sum() / (3 * n), 1.0))
    return Outcome(tuple(results))


def bare_electrode(settings: Settings) -> Outcome:
    """An adsorbed bead takes four electrons, then goes on or is released; a released one takes six more at rods."""
    n, rate, rod = replicas(settings, 20_000), 0.05, 0.02
    results = []
    scene = Scene(np.array([[5.0, 5.0, 0.3]]), np.zeros((0, 3)))
    law = rate_law(settings, surface_rate_constant=1.0, rod_rate_constant=1.0)
    parameters = rule(settings, "none", law=law)
    width = 0.1 / rate
    for stream, potential in ((52, -0.5), (53, -0.1)):
        branch = float(drive_at(jnp.asarray(potential, settings.dtype), jnp.asarray(True), law).direct_probability)
        exact = 1 / (1 + np.exp((potential + 0.5) / 0.15))
        results.append(Result(f"b(E) at {potential:g} V", branch, exact, 20 * np.finfo(settings.dtype).eps,
                              basis="20 roundings"))  # fmt: skip
        drive = drive_of(settings, rates(0.0, 0.0, surface_in=rate, direct_probability=branch))
        intervals = random_marks(settings, n, width, 60, stream)
        _, kept = run(
            settings, scene, parameters, drive, intervals, filled(n, np.zeros(1)), ("phase", "electrons"), stream=stream
        )
        phase, electrons = kept["phase"][:, :, 0], kept["electrons"][:, :, 0]
        released = np.any(phase == INTERMEDIATE, axis=1)
        results.append(share_result(f"released with four electrons at {potential:g} V", released, 1 - exact))
        results.append(exact_result(f"released ones that held other than four electrons, {potential:g} V",
                                    np.sum(electrons[phase == INTERMEDIATE] != 4)))  # fmt: skip
        time = first_seen((electrons >= 4) | (phase != LIQUID), intervals)
        four = laws.seen_on_grid(lambda t: stats.binom.sf(3, M, -np.expm1(-rate * np.maximum(t, 0))), width)
        results.append(kolmogorov_result(f"four electrons at the bare electrode, {potential:g} V: distribution",
                                         time, four))  # fmt: skip
        direct = first_seen(phase[~released] == SOLID, intervals[~released])
        ten = laws.seen_on_grid(lambda t: laws.full_reduction(t, rate), width)
        results.append(kolmogorov_result(f"single-step reduction, {potential:g} V: distribution", direct, ten))

    # A released unit between two rods that stand on the electrode: six electrons at r k_rod each.
    scene = Scene(np.array([[5.0, 5.0, 1.5], [4.5, 5.0, 1.0], [5.5, 5.0, 1.0]]), np.zeros((0, 3)))
    parameters = rule(settings, "none", law=law, tunnelling_range=3.0)
    start = dataclasses.replace(
        filled(n, np.array([4, M, M])),
        phase=jnp.broadcast_to(jnp.asarray([INTERMEDIATE, SOLID, SOLID], jnp.int32), (n, 3)),
    )
    drive = drive_of(settings, rates(0.0, 0.0, rod_in=rod))
    width = 0.15 / rod
    intervals = random_marks(settings, n, width, 60, 54)
    _, kept = run(settings, scene, parameters, drive, intervals, start, ("phase",), stream=54)
    time = first_seen(kept["phase"][:, :, 0] == SOLID, intervals)
    six = laws.seen_on_grid(lambda t: (-np.expm1(-2 * rod * np.maximum(t, 0))) ** 6, width)
    results.append(kolmogorov_result("six electrons of Li2S2 at two rods: distribution", time, six))
    return Outcome(tuple(results))


# --- beads that move -------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames="n_beads")
def _diffuse_and_react(
    key: Array, start: Array, dynamics: Dynamics, drive: Drive, interval: Array, box: Box,
    parameters: ReactionParameters, n_checks: Array, n_beads: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Independent beads, each beside a centre of its own at the middle of the box: (R,) solid at the end, trouble."""
    centre = 0.5 * box.lengths[None, :]
    row = INTEGRATORS["euler-maruyama"]
    parameters = dataclasses.replace(parameters, interval=interval)
    keys = jax.vmap(
        lambda i: jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), i))
    )(jnp.arange(n_beads, dtype=jnp.uint32))
    none = jnp.zeros((0, 3), start.dtype)

    def react(key, step, state, position):
        return charge_transfer_step(
            key,
            step,
            state,
            drive,
            position,
            none,
            jnp.zeros((0,), bool),
            centre,
            jnp.ones((1,), bool),
            box,
            parameters,
        )

    def check(_, carry):
        step, x, v, state, trouble = carry
        x, v = row.advance(key, step, x, v, jnp.zeros_like(x), dynamics)
        state, info = jax.vmap(react, in_axes=(0, None, 0, 0))(keys, step, state, (x + centre)[:, None])
        return step + jnp.ones_like(step), x, v, state, trouble | jnp.max(info.trouble)

    # Nine electrons on board: the next one makes the bead solid, so that a reaction is one event.
    state = filled(n_beads, np.array([M - 1]))
    zero = jnp.zeros((), jnp.int32)
    carry = (zero, start, jnp.zeros_like(start), state, zero)
    _, _, _, state, trouble = jax.lax.fori_loop(jnp.zeros_like(n_checks), n_checks, check, carry)
    return state.phase[:, 0] == SOLID, trouble


def captured(
    settings: Settings, n: int, distance: float, time: float, n_checks: int, rate: float, stream: int
) -> np.ndarray:
    """Which of n beads that start `distance` nm from a centre have reacted there; D = 1 nm^2/ps. (n,) bool."""
    dtype, interval = settings.dtype, time / n_checks
    one = jnp.ones((), dtype)
    column = jnp.ones((n, 1), dtype)
    dynamics = Dynamics(jnp.asarray(interval, dtype), one, column, column, column, None)
    start = np.zeros((n, 3))
    start[:, 0] = distance
    solid, trouble = _diffuse_and_react(
        replica_key(settings.seed, 1000 + stream), jnp.asarray(start, dtype), dynamics,
        drive_of(settings, rates(rate, 0.0)), jnp.asarray(interval, dtype), slab(dtype),
        rule(settings, "none"), jnp.asarray(n_checks, jnp.int32), n,
    )  # fmt: skip
    if int(trouble):
        raise RuntimeError(f"the reaction reports trouble, bits {int(trouble)}")
    return np.asarray(solid)


def capture(settings: Settings) -> Outcome:
    """A + B -> C: diffusing beads that react as soon as they are found within reach of a centre.

    Looked at every interval, the law of each is known (`capture_with_checks`); carried to interval zero by three of
    them, the rate is Smoluchowski's 4 pi D R.
    """
    n, distance = replicas(settings, 40_000), 2 * MO_CONTACT
    checks = np.array([112, 28, 7])
    time = 2.25 * MO_CONTACT**2
    shares, exact, results = [], [], []
    for stream, n_checks in enumerate(checks):
        hit = captured(settings, n, distance, time, int(n_checks), 1e9, stream)
        law = laws.capture_with_checks(distance, MO_CONTACT, 1.0, time / n_checks, int(n_checks))
        step = np.sqrt(2 * time / n_checks) / MO_CONTACT
        results.append(share_result(f"captured, rms step {step:.2g} R", hit, law))
        shares.append(hit.mean())
        exact.append(law)
    # Through 1, 2 and 4 times the rms step, to zero: the law is a series in the rms step.
    lever = np.array([8, -6, 1]) / 3
    reached = float(erfc((distance - MO_CONTACT) / np.sqrt(4 * time)))
    to_rate = distance / (MO_CONTACT * reached)
    shares, exact = np.array(shares), np.array(exact)
    error = to_rate * np.sqrt(np.sum(lever**2 * exact * (1 - exact) / n))
    basis = f"three intervals carried to zero, n = {n}"
    results.append(Result("rate over 4 pi D R", float(to_rate * lever @ shares), 1.0, SIGMAS,
                          standard_error=float(error), basis=basis))  # fmt: skip
    results.append(Result("the same from the exact laws of the three intervals", float(to_rate * lever @ exact), 1.0,
                          0.01, basis="fourth term of the series in the step"))  # fmt: skip
    x = np.sqrt(2 * time / checks) / MO_CONTACT
    curve = Curve("capture of diffusing beads", x, to_rate * shares, to_rate * exact, "rms step between looks / R",
                  "rate / 4πDR", to_rate * np.sqrt(exact * (1 - exact) / n))  # fmt: skip
    return Outcome(tuple(results), (curve,))


# --- balance ---------------------------------------------------------------------------------------------


def reversible_pair(settings: Settings) -> Outcome:
    """At E = E0 nothing flows on the average: neither through the cell nor around from one contact to another.

    Two beads with 1 and 3 contacts at the ends of a row of three, with interaction energies, started in the Gibbs law:
    forward and backward electrons are counted at each end.
    """
    n = replicas(settings, 10_000)
    scene = chain(3, (1, 0, 3))
    graph = laws.adjacency(scene.sulfur, scene.li, np.array(LENGTHS), SULFUR_CONTACT, LI_BRIDGE)
    states = laws.occupations(3)
    law = laws.gibbs_law(states, graph, 0.5, 0.06, 0.08)
    drawn = states[np.random.default_rng([settings.seed, 55]).choice(len(states), size=n, p=law)]
    rates_of = rate_law(settings, rate_constant=0.05)
    drive = drive_at(jnp.asarray(0.0, settings.dtype), jnp.asarray(True), rates_of)
    parameters = rule(settings, "finite", hop_rate=0.01, site_energy=0.06, neighbor_energy=0.08)
    _, kept = run(
        settings, scene, parameters, drive, np.array([20.0]), filled(n, drawn), ("entered", "left", "electrons"),
        stream=55,
    )  # fmt: skip
    forward, backward = (kept[name][:, 0].astype(float) for name in ("entered", "left"))
    # The mean number of injections in the stationary law, rate by rate.
    contacts, expected = np.array([1, 0, 3]), []
    for bead in (0, 2):
        more = states.copy()
        more[:, bead] += 1
        change = laws.interaction(more, graph, 0.06, 0.08) - laws.interaction(states, graph, 0.06, 0.08)
        expected.append(20.0 * 0.05 * contacts[bead] * law @ ((M - states[:, bead]) * np.exp(-0.5 * change)))
    results = []
    for bead, exact in zip((0, 2), expected, strict=True):
        where = f"end with {contacts[bead]} contacts"
        results.append(mean_result(f"net electrons over forward ones, {where}",
                                   (forward - backward)[:, bead] / exact, 0.0))  # fmt: skip
        results.append(mean_result(f"forward electrons over the exact number, {where}", forward[:, bead] / exact, 1.0))
        results.append(
            mean_result(f"backward electrons over the exact number, {where}", backward[:, bead] / exact, 1.0)
        )
    seen = np.bincount(kept["electrons"][:, 0] @ np.array([121, 11, 1]), minlength=len(states))
    results.append(chi_square_result("the Gibbs law is kept", seen, n * law, least=60.0))
    return Outcome(tuple(results))


def titration(settings: Settings) -> Outcome:
    """Filling of a droplet against the potential, after all change: the Nernst curve 1 / (1 + exp(f eta))."""
    n = replicas(settings, 2000)
    scene = chain(2, (1, 1))
    potentials = np.array([-0.12, -0.06, -0.03, 0.0, 0.03, 0.06, 0.12])
    results, curves = [], []
    parameters = rule(settings, "mixed")
    kinetics: tuple[Literal["butler-volmer", "marcus"], ...] = ("butler-volmer", "marcus")
    for kind, stream in zip(kinetics, (56, 57), strict=True):
        law = rate_law(settings, kind)
        drives = jax.vmap(lambda e, law=law: drive_at(e, jnp.asarray(True), law))(
            jnp.asarray(potentials, settings.dtype)
        )
        # Each look is long after the one before; the next potential starts where this one ended.
        slowest = float(np.min(np.asarray(drives.rate_in) + np.asarray(drives.rate_out)))
        _, kept = run(
            settings, scene, parameters, drives, np.full(len(potentials), 12.0 / slowest),
            filled(n, np.zeros(2)), stream=stream,
        )  # fmt: skip
        filling = kept["electrons"].sum(axis=2) / (2 * M)
        exact = 1 / (1 + np.exp(potentials / THERMAL_VOLTAGE))
        results.append(largest_deviation_result(f"Nernst curve at seven potentials, {kind}", filling, exact))
        error = filling.std(axis=0, ddof=1) / np.sqrt(n)
        # The potential that each filling stands for: an error of 1 mV is seen.
        slope = -exact * (1 - exact) / THERMAL_VOLTAGE
        weight = (slope / error) ** 2
        shift = np.sum(weight * (filling.mean(axis=0) - exact) / slope) / weight.sum()
        results.append(Result(f"half-filling potential - E0, {kind}", float(1e3 * shift), 0.0, SIGMAS, "mV",
                              standard_error=float(1e3 / np.sqrt(weight.sum())),
                              basis=f"seven potentials, n = {n}"))  # fmt: skip
        curves.append(Curve(f"titration, {kind}", 1e3 * potentials, filling.mean(axis=0), exact, "E - E0 / mV",
                            "<n> / M", error))  # fmt: skip
    return Outcome(tuple(results), tuple(curves))


# --- R3: what must not matter ----------------------------------------------------------------------------


def independence(settings: Settings) -> Outcome:
    """How often the reaction is looked at, in what order the beads are stored, and ties."""
    parts = (held_beads_at_three_intervals, moving_beads_at_three_intervals, order_of_beads, ties)
    found = [part(settings) for part in parts]
    return Outcome(tuple(r for one in found for r in one.results), tuple(c for one in found for c in one.curves))


def held_beads_at_three_intervals(settings: Settings) -> Outcome:
    """Charging, nucleation and conversion of held beads are exact at any interval: no slope in it."""
    n, time = replicas(settings, 10_000), 48.0
    scene = chain(4, (2,))
    drive = drive_of(settings, rates(0.05, 0.01))
    results: list[Result] = []
    sharings: tuple[Literal["mixed", "finite"], ...] = ("mixed", "finite")
    for kind, sharing in enumerate(sharings):
        parameters = rule(settings, sharing, hop_rate=0.01, nucleation_rate=0.05)
        values: dict[str, list[tuple[float, float]]] = {"electrons": [], "solid units": []}
        counts = np.array([1, 4, 16])
        for index, n_checks in enumerate(counts):
            end, _ = run(
                settings, scene, parameters, drive, np.full(n_checks, time / n_checks), filled(n, np.zeros(4)), (),
                stream=60 + 3 * kind + index,
            )  # fmt: skip
            held, solid = np.asarray(end.electrons).sum(axis=1), np.sum(np.asarray(end.phase) == SOLID, axis=1)
            for name, sample in (("electrons", held), ("solid units", solid)):
                values[name].append((float(sample.mean()), float(sample.std(ddof=1) / np.sqrt(n))))
        x = time / counts
        for name, pairs in values.items():
            mean, error = np.array(pairs).T
            zero, slope, errors = line(x, mean, error)
            what = f"{sharing}: {name} at {time:g} ps"
            results.append(Result(f"{what}, slope in the interval over the value", slope / zero, 0.0, SIGMAS, "1/ps",
                                  standard_error=errors[1] / zero,
                                  basis=f"{time:g}, {time / 4:g}, {time / 16:g} ps, n = {n}"))  # fmt: skip
            results.append(Result(f"{what}, carried to interval zero over that of one interval", zero / mean[0], 1.0,
                                  SIGMAS, standard_error=errors[2] / mean[0], basis=f"{zero:.4g} here"))  # fmt: skip
    return Outcome(tuple(results))


def line(x: np.ndarray, y: np.ndarray, error: np.ndarray) -> tuple[float, float, tuple[float, float, float]]:
    """Weighted straight line: value at 0, slope, and the standard errors of value, slope, and value minus y[0]."""
    design = np.stack([np.ones_like(x), x], axis=1)
    hat = np.linalg.solve((design / error[:, None] ** 2).T @ design, (design / error[:, None] ** 2).T)
    value, slope = hat @ y
    apart = hat[0].copy()
    apart[0] -= 1.0
    errors = (np.sqrt(np.sum((row * error) ** 2)) for row in (hat[0], hat[1], apart))
    return float(value), float(slope), tuple(float(e) for e in errors)  # pyright: ignore[reportReturnType]


def moving_beads_at_three_intervals(settings: Settings) -> Outcome:
    """Beads that diffuse through the reach of a centre and react there at a finite rate: three intervals.

    Each has its own exact law; the error is of second order in the interval, and two are carried to zero.
    """
    n, distance, time = replicas(settings, 40_000), 1.5 * MO_CONTACT, 1.0
    rate = 4.0 / MO_CONTACT**2
    checks = np.array([32, 16, 8])
    shares, exact, results = [], [], []
    for stream, n_checks in enumerate(checks):
        hit = captured(settings, n, distance, time, int(n_checks), rate, 10 + stream)
        law = laws.capture_with_checks(distance, MO_CONTACT, 1.0, time / n_checks, int(n_checks), rate)
        results.append(share_result(f"reacted, looked at every {1e3 * time / n_checks:g} fs", hit, law))
        shares.append(hit.mean())
        exact.append(law)
    shares, exact = np.array(shares), np.array(exact)
    fine = laws.capture_with_checks(distance, MO_CONTACT, 1.0, time / 256, 256, rate)
    variance = exact * (1 - exact) / n
    lever = np.array([4.0, -1.0, 0.0]) / 3
    results.append(Result("reacted, carried to interval zero", float(lever @ shares), float(fine), SIGMAS,
                          standard_error=float(np.sqrt(lever**2 @ variance)),
                          basis=f"second order in the interval, n = {n}; exact law at 1/256"))  # fmt: skip
    # Slope of the share over the square of the interval, in units of the limit.
    square = (time / checks) ** 2
    lever = (square - square.mean()) / np.sum((square - square.mean()) ** 2)
    results.append(Result("slope of the share over the square of the interval", float(lever @ shares),
                          float(lever @ exact), SIGMAS, "1/ps^2",
                          standard_error=float(np.sqrt(lever**2 @ variance)), basis="exact laws"))  # fmt: skip
    curve = Curve("reaction of moving beads", time / checks, shares, exact, "interval / ps", "share reacted",
                  np.sqrt(variance))  # fmt: skip
    return Outcome(tuple(results), (curve,))


def order_of_beads(settings: Settings) -> Outcome:
    """The same droplet with its beads stored in another order: each bead has the same mean electrons and solids."""
    n, time = replicas(settings, 10_000), np.array([15.0, 15.0])
    scene = chain(5, (1, 0, 0, 1))
    # No ties: an equal distance would be settled by the order.
    scene = dataclasses.replace(scene, mo=scene.mo + np.array([[0.0, 0.0, 0.0], [0.0, 0.1, 0.0]]))
    order = np.array([3, 0, 4, 2, 1])
    drive = drive_of(settings, rates(0.05, 0.01))
    parameters = rule(settings, "finite", hop_rate=0.01, nucleation_rate=0.05)
    found = []
    for stream, places in ((70, np.arange(5)), (71, order)):
        moved = dataclasses.replace(scene, sulfur=scene.sulfur[places])
        _, kept = run(
            settings, moved, parameters, drive, time, filled(n, np.zeros(5)), ("electrons", "phase"), stream=stream
        )
        back = np.argsort(places)
        solid = kept["phase"][:, :, back] == SOLID
        found.append(np.stack([kept["electrons"][:, :, back], solid], axis=1).astype(float))
    here, there = found
    error = np.sqrt((here.var(axis=0, ddof=1) + there.var(axis=0, ddof=1)) / n)
    score = np.abs(here.mean(axis=0) - there.mean(axis=0)) / np.where(error > 0, error, np.inf)
    tolerance = float(stats.norm.isf(0.5e-4 / score.size))
    result = Result("largest difference of a bead's mean electrons or share solid, two orders", float(score.max()), 0.0,
                    round(tolerance, 2), "SE", relation="at most",
                    basis=f"largest of {score.size}, exceeded once in 10000, n = {n}")  # fmt: skip
    return Outcome((result,))


def ties(settings: Settings) -> Outcome:
    """Four beads at exactly the same distance from one centre: as many turn as the electrons pay for, and once.

    The current is off and nucleation certain; nineteen electrons pay for one unit and twenty-five for two, in every
    order of the beads. Two droplets that are copies of each other nucleate once each.
    """
    centre = np.array([10.0, 10.0, 10.0])
    sulfur = centre + 0.5 * np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    results: list[Result] = []
    drive = drive_of(settings, rates(0.0, 0.0))
    for electrons, paid in (((7, 4, 4, 4), 1), ((7, 6, 6, 6), 2)):
        turned, nucleated, kept_sum = [], [], []
        for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
            scene = Scene(sulfur[order], centre[None])
            parameters = rule(settings, "mixed", nucleation_rate=1e6, nucleation_barrier=0.0)
            start = filled(50, np.array(electrons))
            end, kept = run(settings, scene, parameters, drive, np.ones(4), start, ("turned", "nucleated"), stream=72)
            turned += list(kept["turned"].sum(axis=(1, 2)))
            nucleated += list(kept["nucleated"].sum(axis=(1, 2)))
            kept_sum += list(np.asarray(end.electrons).sum(axis=1) - sum(electrons))
        results.append(exact_result(f"replicas and orders in which not {paid} of 4 turned, {sum(electrons)} electrons",
                                    np.sum(np.array(turned) != paid)))  # fmt: skip
        results.append(exact_result(f"electrons made or lost, {sum(electrons)} electrons", np.abs(kept_sum).sum()))
        results.append(exact_result(f"replicas in which the droplet did not nucleate once, {sum(electrons)} electrons",
                                    np.sum(np.array(nucleated) != 1)))  # fmt: skip
    twins = Scene(np.concatenate([sulfur, sulfur + [10.0, 0, 0]]), np.stack([centre, centre + [10.0, 0, 0]]))
    parameters = rule(settings, "mixed", nucleation_rate=1e6, nucleation_barrier=0.0)
    _, kept = run(settings, twins, parameters, drive, np.ones(4), filled(50, np.full(8, 5)), ("nucleated",), stream=73)
    per_droplet = kept["nucleated"].sum(axis=1).reshape(-1, 2, 4).sum(axis=2)
    results.append(exact_result("twin droplets that did not nucleate exactly once", np.sum(per_droplet != 1)))
    return Outcome(tuple(results))


ROWS: tuple[Row, ...] = (
    Row(
        "R2",
        "reactions: first order, capture by diffusion, detailed balance, titration",
        "exponential and binomial laws; Smoluchowski, Z. Phys. Chem. 92, 129 (1918), doi 10.1515/zpch-1918-9209; "
        "Gibbs law; Nernst equation",
        reaction_laws,
    ),
    Row(
        "R3",
        "reactions: no dependence on the interval between looks or on the order of beads; ties",
        "exact laws at each interval",
        independence,
    ),
)
