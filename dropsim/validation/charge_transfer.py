"""Charge transfer between centres, beads and their neighbours against its exact laws: no, finite and fast hopping.

Beads are held still, many replicas at a time; the laws come from `transfer_laws`, which knows nothing of the kernel.
Sampled numbers are judged in standard errors, distributions by Kolmogorov's test and by chi-square.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from dropsim_kernels.charge_transfer import SOLID, drive_at
from scipy import stats

from dropsim.validation import transfer_laws as laws
from dropsim.validation.brownian import SIGMAS, mean_result
from dropsim.validation.held_beads import (
    CHANCE,
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
)
from dropsim.validation.naive_reaction import Droplet, simulate
from dropsim.validation.rows import Curve, Outcome, Result, Row, Settings

M = laws.M
RULE = "the rule of docs/reaction.md; exact law of a Markov process"


def replicas(settings: Settings, quick: int) -> int:
    """Number of replicas: eight times as many in the full battery."""
    return 8 * quick if settings.full else quick


# --- C1: no hopping --------------------------------------------------------------------------------------


def no_hopping(settings: Settings) -> Outcome:
    """Three beads of one droplet that share nothing, with 1, 3 and 0 contacts: each is a single molecule.

    The looks at the state are a grid of random phase, whose effect on the law of a time is exact (`seen_on_grid`).
    """
    n, n_marks, rate = replicas(settings, 16_000), 30, 0.05
    scene = chain(3, (1, 3, 0))
    parameters = rule(settings, "none")
    start = filled(n, np.zeros(3))
    results, curves = [], []

    def passage(rate_out: float, width: float, electrons: int, stream: int):
        intervals = random_marks(settings, n, width, n_marks, stream)
        drive = drive_of(settings, rates(rate, rate_out))
        _, kept = run(settings, scene, parameters, drive, intervals, start, ("electrons", "phase"), stream)
        held = kept["electrons"]
        return [first_seen(held[:, :, bead] >= electrons, intervals) for bead in (0, 1)], kept

    width = 0.5 / (M * rate)
    times, _ = passage(0.0, width, 1, 1)
    for contacts, time in zip((1, 3), times, strict=True):
        mean, what = 1 / (M * contacts * rate), f"first electron, {contacts} contacts"
        law = laws.seen_on_grid(lambda t, c=contacts: laws.first_electron(t, c * rate), width)
        results.append(kolmogorov_result(f"{what}: distribution", time, law))
        results.append(mean_result(f"{what}: mean x M c k_in", (time - width / 2) / mean, 1.0))

    width = 0.6 / rate
    times, kept = passage(0.0, width, M, 2)
    for contacts, time in zip((1, 3), times, strict=True):
        what = f"ten electrons, {contacts} contacts"
        law = laws.seen_on_grid(lambda t, c=contacts: laws.full_reduction(t, c * rate), width)
        results.append(kolmogorov_result(f"{what}: distribution", time, law))
        harmonic = sum(1 / k for k in range(1, M + 1))
        results.append(mean_result(f"{what}: mean x c k_in", (time - width / 2) * contacts * rate, harmonic))
    mark = np.linspace(0, 8 / rate, 41)
    share = np.mean(times[0][:, None] <= mark, axis=0)
    exact = laws.seen_on_grid(lambda t: laws.full_reduction(t, rate), width)(mark)
    curves.append(
        Curve(
            "full reduction of a single molecule", mark * rate, share, exact, "c k_in t", "share reduced",
            np.sqrt(exact * (1 - exact) / n),
        )
    )  # fmt: skip
    electrons, phase = kept["electrons"], kept["phase"]
    results.append(exact_result("most electrons of a bead without a contact", electrons[:, :, 2].max()))
    results.append(exact_result("beads with ten electrons and not solid, or solid with fewer",
                                np.sum((electrons == M) != (phase == SOLID))))  # fmt: skip

    times, _ = passage(0.3 * rate, width, M, 3)
    fine = np.linspace(0, n_marks * width, 2001)
    table = laws.passage_to_full(fine, rate, 0.3 * rate)
    law = laws.seen_on_grid(lambda t: np.interp(t, fine, table), width)
    results.append(kolmogorov_result("ten electrons against ejection, k_out = 0.3 k_in: distribution", times[0], law))
    return Outcome(tuple(results), tuple(curves))


# --- C2: finite hopping ----------------------------------------------------------------------------------


def random_scene(seed: int, n_sulfur: int = 8, n_li: int = 5, n_mo: int = 4) -> Scene:
    """Beads and centres at random in a cube across the edge of the box; the last centre is not wired.

    Li lie between beads that are too far apart to touch, as far as there are such pairs, and elsewhere at random.
    """
    rng = np.random.default_rng(seed)
    lengths = np.array(LENGTHS)
    corner = np.array([lengths[0] - 1.0, lengths[1] - 1.2, 2.0])
    sulfur, li = (corner + 2.0 * rng.random((n, 3)) for n in (n_sulfur, n_li))
    pairs = [(i, j) for i in range(n_sulfur) for j in range(i)]
    apart = [(i, j) for i, j in pairs if SULFUR_CONTACT < np.linalg.norm(sulfur[i] - sulfur[j]) < 1.9 * LI_BRIDGE]
    for place, (i, j) in enumerate(apart[:n_li]):
        li[place] = 0.5 * (sulfur[i] + sulfur[j])
    direction = rng.normal(size=(n_mo, 3))
    mo = sulfur[rng.permutation(n_sulfur)[:n_mo]] + 0.5 * direction / np.linalg.norm(direction, axis=1)[:, None]
    places = (np.concatenate([x[:, :2] % lengths[:2], x[:, 2:]], axis=1) for x in (sulfur, mo, li))
    return Scene(*places, wired=np.arange(n_mo) < n_mo - 1)


def rates_from_means(sample: np.ndarray, mean_of, logarithms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the logarithms of the rates lie from those put in, by least squares in the means.

    sample: (R, K); mean_of: (logarithms of the rates) -> (K,); its slope by central differences. Returns the
    information matrix and the score: their sums over experiments give rates and covariance.
    """
    covariance = np.atleast_2d(np.cov(sample.T)) / len(sample)
    slope = np.stack(
        [(mean_of(logarithms + d) - mean_of(logarithms - d)) / 2e-4 for d in 1e-4 * np.eye(len(logarithms))], axis=1
    )
    weighted = np.linalg.lstsq(covariance, slope, rcond=1e-10)[0]
    return slope.T @ weighted, weighted.T @ (sample.mean(axis=0) - mean_of(logarithms))


def finite_hopping(settings: Settings) -> Outcome:
    """Random graphs: the mean follows a closed linear equation; the stationary law is Binomial(M, p) on every bead.

    The three rates are also found back from the means of all graphs: a test of the size of each rate by itself.
    """
    n, graphs = replicas(settings, 4000), (1, 2, 5, 12) if settings.full else (1, 2)
    true = np.array([0.05, 0.02, 0.004])  # k_in, k_out, k_hop
    results, curves = [], []
    information, score = np.zeros((3, 3)), np.zeros(3)
    counts, wired_beads = np.zeros(M + 1), 0
    scenes = [random_scene(seed) for seed in graphs]
    for seed, scene in zip(graphs, scenes, strict=True):
        graph = laws.adjacency(scene.sulfur, scene.li, np.array(LENGTHS), SULFUR_CONTACT, LI_BRIDGE)
        contacts = laws.contact_numbers(scene.sulfur, scene.mo, scene.in_contact, np.array(LENGTHS), MO_CONTACT)
        begin = np.array([0, 4, 0, 0, 9, 0, 0, 0])

        def mean_of(logarithms: np.ndarray, time: np.ndarray, graph=graph, contacts=contacts, begin=begin):
            rate_in, rate_out, hop = np.exp(logarithms)
            return laws.mean_electrons(graph, contacts, rate_in, rate_out, hop, time, begin).ravel()

        # The last look is at the end of all change, the others before it.
        laplacian = np.diag(graph.sum(axis=1)) - graph
        decay = np.linalg.eigvalsh(M * true[2] * laplacian + (true[0] + true[1]) * np.diag(contacts))
        time = np.array([4.0, 10.0, 25.0, 60.0])
        last = time[-1] + 7.0 / decay[decay > 1e-9].min()
        intervals = np.diff(np.concatenate([[0.0], time, [last]]))
        parameters = rule(settings, "finite", hop_rate=true[2])
        drive = drive_of(settings, rates(true[0], true[1]))
        _, kept = run(settings, scene, parameters, drive, intervals, filled(n, begin), stream=10 + seed)
        electrons = kept["electrons"].astype(float)
        exact = mean_of(np.log(true), time=np.append(time, last)).reshape(-1, len(begin))
        edges, reached = int(graph.sum()) // 2, int(contacts.sum())
        what = f"graph {seed} ({edges} edges, {reached} contacts)"
        results.append(largest_deviation_result(f"{what}: <n_i>(t), five times", electrons, exact))
        early = electrons[:, :4].reshape(n, -1)
        parts = rates_from_means(early, lambda x, f=mean_of, t=time: f(x, time=t), np.log(true))
        information, score = information + parts[0], score + parts[1]
        # Beads that a contact feeds, directly or through others.
        fed = np.abs(np.linalg.matrix_power(np.eye(len(graph)) + graph, len(graph)) @ contacts) > 0
        counts += np.bincount(kept["electrons"][:, -1, fed].ravel(), minlength=M + 1)
        wired_beads += int(fed.sum()) * n
        if seed == graphs[0]:
            x = np.arange(len(begin)) + 1.0
            error = electrons[:, 1].std(axis=0, ddof=1) / np.sqrt(n)
            curves.append(Curve(f"mean electrons at {time[1]:g} ps", x, electrons[:, 1].mean(axis=0), exact[1],
                                "bead", "<n>", error))  # fmt: skip
    shift = np.linalg.solve(information, score)
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    for name, value, uncertainty in zip(("k_in", "k_out", "k_hop"), shift, error, strict=True):
        results.append(
            Result(f"{name} found from the means, over {name}", float(np.exp(value)), 1.0, SIGMAS,
                   standard_error=float(uncertainty), basis=f"least squares, {len(graphs)} graphs, n = {n}")
        )  # fmt: skip
    filling = true[0] / (true[0] + true[1])
    expected = wired_beads * stats.binom.pmf(np.arange(M + 1), M, filling)
    results.append(chi_square_result(f"stationary law Binomial(10, {filling:.4f}) of a bead", counts, expected))
    return Outcome(tuple(results) + interacting(settings) + detailed_balance(settings), tuple(curves))


def interacting(settings: Settings) -> tuple[Result, ...]:
    """Three beads in a row with energies U n^2 / 2 and J n_i n_j: the law at one time, and the Gibbs law at the end."""
    n, site, neighbor = replicas(settings, 10_000), 0.06, 0.08
    rate_in, rate_out, hop = 0.05, 0.02, 0.004
    scene = chain(3, (2, 0, 1))
    graph = laws.adjacency(scene.sulfur, scene.li, np.array(LENGTHS), SULFUR_CONTACT, LI_BRIDGE)
    contacts = np.array([2, 0, 1])
    states = laws.occupations(3)
    matrix = laws.generator(graph, contacts, rate_in, rate_out, hop, site, neighbor)
    begin = np.zeros(len(states))
    begin[0] = 1.0
    transient = laws.law_at(matrix, begin, 12.0)
    stationary = laws.gibbs_law(states, graph, rate_in / (rate_in + rate_out), site, neighbor)
    late = 250.0
    far = np.abs(laws.law_at(matrix, begin, late) - stationary).sum()
    parameters = rule(settings, "finite", hop_rate=hop, site_energy=site, neighbor_energy=neighbor)
    drive = drive_of(settings, rates(rate_in, rate_out))
    _, kept = run(settings, scene, parameters, drive, np.array([12.0, late - 12.0]), filled(n, np.zeros(3)), stream=20)
    electrons = kept["electrons"]
    results = []
    for name, sample, law in (
        ("law at 12 ps", electrons[:, 0], transient), ("Gibbs law", electrons[:, 1], stationary)
    ):  # fmt: skip
        seen = np.bincount(sample @ np.array([121, 11, 1]), minlength=len(states))
        # Joint counts in the order of the states, and the law of the total alone: the first sees the sharing.
        results.append(chi_square_result(f"with interaction, {name}: joint", seen, n * law, least=60.0))
        total = states.sum(axis=1)
        results.append(
            chi_square_result(f"with interaction, {name}: total", np.bincount(total, seen), n * np.bincount(total, law))
        )
        mean = law @ states
        results.append(largest_deviation_result(f"with interaction, {name}: <n_i>", sample.astype(float), mean))
    results.append(Result("distance of the exact law at the last time from Gibbs", float(far), 0.0, 1e-3,
                          relation="at most", basis="sum of |p - p'|: far below sampling"))  # fmt: skip
    return tuple(results)


def detailed_balance(settings: Settings) -> tuple[Result, ...]:
    """k_in / k_out = exp(-f eta) for both rate laws, and the rates themselves, in the rounding of the dtype."""
    potential = np.linspace(-0.4, 0.4, 33)
    results = []
    shift, reorganisation, k0 = 0.05, 0.7, 0.05
    overpotential = (potential - shift) / THERMAL_VOLTAGE
    kinetics: tuple[Literal["butler-volmer", "marcus"], ...] = ("butler-volmer", "marcus")
    for kind in kinetics:
        law = rate_law(settings, kind, standard_potential=shift, reorganisation=reorganisation, rate_constant=k0)
        drives = jax.vmap(lambda e, law=law: drive_at(e, jnp.asarray(True), law))(
            jnp.asarray(potential, settings.dtype)
        )
        rate_in, rate_out = (np.asarray(x, np.float64) for x in (drives.rate_in, drives.rate_out))
        # A rounding of the exponent x is a relative error |x| eps of the rate; potentials are rounded as well.
        allowed = 8 * np.finfo(settings.dtype).eps * np.max(np.abs(overpotential) + 1)
        balance = np.max(np.abs(np.log(rate_in / rate_out) + overpotential))
        basis = "8 roundings of the largest exponent"
        results.append(Result(f"{kind}: ln(k_in / k_out) + f eta", float(balance), 0.0, float(allowed), basis=basis))
        if kind == "butler-volmer":
            exact = k0 * np.exp(-0.3 * overpotential), k0 * np.exp(0.7 * overpotential)
        else:
            scaled = reorganisation / THERMAL_VOLTAGE
            # Equal to k0 at E0.
            exact = tuple(
                k0 * np.exp(-((scaled + sign * overpotential) ** 2 - scaled**2) / (4 * scaled)) for sign in (1, -1)
            )
        error = max(float(np.max(np.abs(a / b - 1))) for a, b in zip((rate_in, rate_out), exact, strict=True))
        results.append(Result(f"{kind}: k_in and k_out, relative error", error, 0.0, float(4 * allowed),
                              basis="32 roundings of the largest exponent"))  # fmt: skip
    return tuple(results)


# --- C3: fast hopping ------------------------------------------------------------------------------------


def fast_hopping(settings: Settings) -> Outcome:
    """A well-mixed droplet: its electrons are binomial at every time and dealt hypergeometrically; its threshold time;
    its wait for a nucleus."""
    n, n_units, n_contacts, rate_in, rate_out = replicas(settings, 10_000), 6, 3, 0.04, 0.01
    scene = chain(n_units, (2, 1))
    drive = drive_of(settings, rates(rate_in, rate_out))
    filling = rate_in / (rate_in + rate_out)
    tau = laws.charging_time(n_units, n_contacts, rate_in, rate_out)
    threshold = 0.2
    crossing = tau * np.log(filling / (filling - threshold))
    intervals = np.diff(np.array([0.0, 0.5 * crossing, crossing, 2 * crossing, 2 * tau]))
    time = np.cumsum(intervals)
    parameters = rule(settings, "mixed")
    _, kept = run(settings, scene, parameters, drive, intervals, filled(n, np.zeros(n_units)), stream=30)
    electrons = kept["electrons"]
    pool = electrons.sum(axis=2)
    exact = laws.pooled_mean(time, n_units, n_contacts, rate_in, rate_out)
    slots = M * n_units
    results = [largest_deviation_result("<N_e>(t) = N M p (1 - exp(-t / tau))", pool.astype(float), exact)]
    slope = slots * filling / tau * np.exp(-crossing / tau)
    sample = crossing + (threshold * slots - pool[:, 1]) / slope
    results.append(mean_result("time at which <x> = 0.2, over tau ln[p / (p - x)]", sample / crossing, 1.0))
    for index in (1, 3):
        law = n * stats.binom.pmf(np.arange(slots + 1), slots, exact[index] / slots)
        seen = np.bincount(pool[:, index], minlength=slots + 1)
        results.append(chi_square_result(f"N_e at {time[index] / tau:.2g} tau: Binomial(M N, <x>)", seen, law))
    # Given the pool, one bead and any two of them hold a hypergeometric share.
    for beads in ((5,), (0, 3)):
        share = electrons[:, 1, list(beads)].sum(axis=1)
        size = M * len(beads)
        values = np.arange(size + 1)
        chance = stats.hypergeom.pmf(values[None], slots, pool[:, 1][:, None], size).sum(axis=0)
        what = f"share of {len(beads)} of {n_units} beads, given the pool: hypergeometric"
        results.append(chi_square_result(what, np.bincount(share, minlength=size + 1), chance))
    spread = pool[:, 1] / slots
    allowed = M * spread * (1 - spread) * (slots - M) / (slots - 1)
    kept_apart = (pool[:, 1] > 0) & (pool[:, 1] < slots)
    excess = ((electrons[:, 1, 5] - M * spread) ** 2)[kept_apart] / allowed[kept_apart]
    results.append(mean_result("variance of a bead over the hypergeometric one", excess, 1.0))

    # The wait for a nucleus.
    hazard = laws.nucleation_hazard(0.05, 0.05, threshold, n_units)
    width, n_marks = 0.1 * tau, 60
    fine = np.linspace(0.0, n_marks * width, 601)
    table = laws.waiting_for_nucleus(fine, n_units, n_contacts, rate_in, rate_out, hazard)
    intervals = random_marks(settings, n, width, n_marks, 31)
    parameters = rule(settings, "mixed", nucleation_rate=0.05, threshold=threshold)
    _, kept = run(
        settings, scene, parameters, drive, intervals, filled(n, np.zeros(n_units)), ("nucleated",), stream=31
    )
    nucleated = kept["nucleated"].sum(axis=2)
    waits = first_seen(nucleated > 0, intervals)
    law = laws.seen_on_grid(lambda t: np.interp(t, fine, table, left=0.0), width)
    results.append(kolmogorov_result("wait for a nucleus: distribution", waits, law))
    # At open circuit the hazard is constant, and the wait exponential.
    constant = float(hazard(np.array([0.4]))[0])
    still = random_marks(settings, 2 * n, 0.5 / constant, 24, 38)
    start = filled(2 * n, np.full(n_units, 4))
    rest = drive_of(settings, rates(0.0, 0.0))
    _, kept = run(settings, scene, parameters, rest, still, start, ("nucleated",), stream=38)
    idle = first_seen(kept["nucleated"].sum(axis=2) > 0, still) - 0.25 / constant
    results.append(mean_result("wait for a nucleus at open circuit: mean x hazard", idle * constant, 1.0))
    seen, wanted = laws.seen_on_grid, np.linspace(0, 3 * tau, 31)
    curve = Curve(
        "wait for a nucleus", wanted / tau, np.mean(waits[:, None] <= wanted, axis=0),
        seen(lambda t: np.interp(t, fine, table, left=0.0), width)(wanted), "t / τ", "share nucleated",
    )  # fmt: skip
    return Outcome((*results, *to_the_mixed_limit(settings), *conversion(settings)), (curve,))


def to_the_mixed_limit(settings: Settings) -> tuple[Result, ...]:
    """Finite hopping tends to the mixed rule as 1/k_hop.

    What the pool lacks of the mixed mean at one time, at three hop rates, against the exact mean of each.
    """
    n, rate_in, rate_out = replicas(settings, 6000), 0.05, 0.01
    scene = chain(4, (2,))
    graph = laws.adjacency(scene.sulfur, scene.li, np.array(LENGTHS), SULFUR_CONTACT, LI_BRIDGE)
    contacts = np.array([2, 0, 0, 0])
    drive = drive_of(settings, rates(rate_in, rate_out))
    time, hops = np.array([30.0]), np.array([0.02, 0.04, 0.08])
    limit = laws.pooled_mean(time, 4, 2, rate_in, rate_out)[0]
    lacking, errors, exact = [], [], []
    for index, hop in enumerate(hops):
        parameters = rule(settings, "finite", hop_rate=hop)
        _, kept = run(settings, scene, parameters, drive, time, filled(n, np.zeros(4)), stream=32 + index)
        pool = kept["electrons"][:, 0].sum(axis=1)
        lacking.append(limit - pool.mean())
        errors.append(pool.std(ddof=1) / np.sqrt(n))
        mean = laws.mean_electrons(graph, contacts, rate_in, rate_out, hop, time, np.zeros(4))
        exact.append(limit - mean.sum())
    lacking, errors, exact = np.array(lacking), np.array(errors), np.array(exact)
    lever = np.log(hops) - np.log(hops).mean()
    lever /= np.sum(lever**2)
    results = [
        Result(
            "slope of ln(N_e, mixed - N_e, finite) over ln k_hop", float(lever @ np.log(lacking)),
            float(lever @ np.log(exact)), SIGMAS,
            standard_error=float(np.sqrt(np.sum((lever * errors / lacking) ** 2))),
            basis=f"exact means; -1 at k_hop to infinity; n = {n}",
        )
    ]  # fmt: skip
    return tuple(results)


def conversion(settings: Settings) -> tuple[Result, ...]:
    """Nucleation and conversion of four beads that all touch, each with a centre at a distance of its own, beside a
    second program (`naive_reaction`)."""
    n = replicas(settings, 6000)
    corners = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    outwards = np.array([0.50, 0.40, 0.60, 0.45])[:, None] * corners / np.sqrt(3)
    sulfur = np.array([8.0, 8.0, 8.0]) + corners * 0.5 / np.sqrt(2)
    scene = Scene(sulfur, sulfur + outwards)
    order, looks = np.array([1, 3, 0, 2]), np.array([8.0, 16.0, 32.0])
    intervals = np.diff(np.concatenate([[0.0], looks]))
    drive = drive_of(settings, rates(0.05, 0.01))
    results: list[Result] = []
    cases: tuple[tuple[Literal["mixed", "finite"], float], ...] = (("mixed", 0.0), ("finite", 0.005))
    for stream, (sharing, hop) in enumerate(cases):
        parameters = rule(settings, sharing, hop_rate=hop, front_acceleration=2.0, nucleation_rate=0.05)
        start = filled(n, np.zeros(4))
        _, kept = run(settings, scene, parameters, drive, intervals, start, ("electrons", "phase"), stream=36 + stream)
        here = np.stack([kept["electrons"].sum(axis=2), np.sum(kept["phase"] == SOLID, axis=2)]).astype(float)
        second = Droplet(np.ones(4), order, 0.05, 0.01, hop, 0.05, 0.05, 0.2, 2.0, sharing)
        there = np.stack(simulate(second, n, looks, np.random.default_rng([settings.seed, 36 + stream]))).astype(float)
        error = np.sqrt((here.var(axis=1, ddof=1) + there.var(axis=1, ddof=1)) / n)
        score = (here.mean(axis=1) - there.mean(axis=1)) / error
        for row, name in enumerate(("electrons", "solid units")):
            results.append(
                Result(
                    f"{sharing}: {name} at three times, largest difference from a second program",
                    float(np.abs(score[row]).max()), 0.0, round(float(stats.norm.isf(CHANCE / 6)), 2), "SE",
                    relation="at most", basis=f"{here[row].mean(axis=0)[1]:.3f} at 16 ps; n = {n} each",
                )
            )  # fmt: skip
    return tuple(results)


ROWS: tuple[Row, ...] = (
    Row("C1", "charge transfer without hopping: single molecules", RULE + " (pure birth, birth and death)", no_hopping),
    Row(
        "C2",
        "charge transfer with finite hopping: means on random graphs, stationary laws, detailed balance",
        "exclusion process with ten places per site, doi 10.1007/s10955-009-9716-2; master equation; Gibbs law; "
        "Marcus, doi 10.1063/1.1696792",
        finite_hopping,
    ),
    Row("C3", "charge transfer with fast hopping: well-mixed droplets, threshold, nucleation", RULE, fast_hopping),
)
