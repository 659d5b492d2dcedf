"""The laws that charge transfer must obey, in numpy and scipy alone: nothing here knows of the kernel.

Beads are held still. Rates are those of the stochastic rule: injection k_in c (M - n), ejection k_out c n, hops
k_hop n_i (M - n_j) along the edges of the contact graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy import sparse, stats
from scipy.linalg import expm
from scipy.sparse.linalg import expm_multiply

M = 10
"""Electrons that one S6^2- takes on its way to six Li2S."""


# --- contacts, by plain loops ----------------------------------------------------------------------------


def nearest_image(displacement: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Displacements of the nearest images in a box that repeats along x and y; (..., 3) nm."""
    period = np.array([lengths[0], lengths[1], np.inf])
    return displacement - np.where(np.isfinite(period), period, 0) * np.round(displacement / period)


def adjacency(
    sulfur: np.ndarray, li: np.ndarray, lengths: np.ndarray, sulfur_contact: float, li_bridge: float
) -> np.ndarray:
    """Which sulfur beads touch, directly or by a Li+ near both: (S, S) bool, false on the diagonal."""
    n = len(sulfur)
    out = np.zeros((n, n), bool)
    for i, j in itertools.combinations(range(n), 2):
        direct = np.linalg.norm(nearest_image(sulfur[i] - sulfur[j], lengths)) < sulfur_contact
        bridged = any(
            np.linalg.norm(nearest_image(sulfur[i] - one, lengths)) < li_bridge
            and np.linalg.norm(nearest_image(sulfur[j] - one, lengths)) < li_bridge
            for one in li
        )
        out[i, j] = out[j, i] = direct or bridged
    return out


def contact_numbers(sulfur: np.ndarray, mo: np.ndarray, wired: np.ndarray, lengths: np.ndarray, reach: float):
    """Wired centres within reach of each bead: (S,) int."""
    distance = np.linalg.norm(nearest_image(sulfur[:, None] - mo[None], lengths), axis=2)
    return np.sum((distance < reach) & wired, axis=1)


# --- k_hop = 0 -------------------------------------------------------------------------------------------


def full_reduction(time: np.ndarray, rate: float) -> np.ndarray:
    """Probability that ten independent slots, each filled at `rate`, are all full: (1 - exp(-rate t))^10."""
    return (-np.expm1(-rate * np.maximum(time, 0.0))) ** M


def first_electron(time: np.ndarray, rate: float) -> np.ndarray:
    """Probability that one of ten slots is full: 1 - exp(-10 rate t)."""
    return -np.expm1(-M * rate * np.maximum(time, 0.0))


def passage_to_full(time: np.ndarray, rate_in: float, rate_out: float) -> np.ndarray:
    """Probability that a bead which also ejects has once held ten electrons: chain of eleven states, absorbing at the
    last; time: (T,)."""
    n = np.arange(M)
    generator = np.zeros((M + 1, M + 1))
    generator[n, n + 1] = rate_in * (M - n)
    generator[n[1:], n[1:] - 1] = rate_out * n[1:]
    np.fill_diagonal(generator, -generator.sum(axis=1))
    return np.array([expm(generator * t)[0, M] for t in time])


def seen_on_grid(law: Callable[[np.ndarray], np.ndarray], width: float) -> Callable[[np.ndarray], np.ndarray]:
    """The law of a time that is seen at the next mark of a grid of random phase.

    The wait for the mark is uniform in (0, width) and independent of the time, so the distribution function is the
    mean of `law` over the last `width`; by 16-point Gauss-Legendre.
    """
    node, weight = np.polynomial.legendre.leggauss(16)
    back = 0.5 * width * (node + 1.0)

    def seen(time: np.ndarray) -> np.ndarray:
        return law(np.asarray(time)[..., None] - back) @ (0.5 * weight)

    return seen


# --- finite hopping --------------------------------------------------------------------------------------


def mean_electrons(
    graph: np.ndarray, contacts: np.ndarray, rate_in: float, rate_out: float, hop_rate: float, time: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Mean electrons per bead, exact for any graph:

        d<n>/dt = -[M k_hop L + (k_in + k_out) diag(c)] <n> + M k_in c

    graph: (S, S) bool; contacts: (S,); time: (T,); start: (S,). Returns (T, S).
    Source: the mean of an exclusion process with ten places per site is closed, Giardina, Kurchan, Redig and Vafayi,
    J. Stat. Phys. 135, 25 (2009), doi 10.1007/s10955-009-9716-2.
    """
    n = len(contacts)
    laplacian = np.diag(graph.sum(axis=1)) - graph.astype(float)
    # One more variable that stays 1 turns the inhomogeneous equation into a homogeneous one.
    matrix = np.zeros((n + 1, n + 1))
    matrix[:n, :n] = -M * hop_rate * laplacian - (rate_in + rate_out) * np.diag(contacts)
    matrix[:n, n] = M * rate_in * contacts
    begin = np.concatenate([start, [1.0]])
    return np.array([(expm(matrix * t) @ begin)[:n] for t in time])


def interaction(occupation: np.ndarray, graph: np.ndarray, site: float, neighbor: float) -> np.ndarray:
    """H / kT = sum U n^2 / 2 + sum over edges J n_i n_j; occupation: (..., S)."""
    n = occupation.astype(float)
    return 0.5 * site * np.sum(n**2, axis=-1) + 0.5 * neighbor * np.sum(n * (n @ graph.astype(float)), axis=-1)


def occupations(n_beads: int) -> np.ndarray:
    """All states of a few beads: (11^S, S), the last bead fastest."""
    return np.array(list(itertools.product(range(M + 1), repeat=n_beads)))


def gibbs_law(states: np.ndarray, graph: np.ndarray, filling: float, site: float, neighbor: float) -> np.ndarray:
    """Stationary probabilities, prod Binomial(n; M, p) exp(-H / kT) up to the norm."""
    weight = np.prod(stats.binom.pmf(states, M, filling), axis=1) * np.exp(-interaction(states, graph, site, neighbor))
    return weight / weight.sum()


def generator(
    graph: np.ndarray, contacts: np.ndarray, rate_in: float, rate_out: float, hop_rate: float, site: float,
    neighbor: float,
) -> sparse.csr_matrix:  # fmt: skip
    """Generator of the master equation over `occupations`, rates times exp(-dH / 2 kT): rows leave, columns enter."""
    n_beads = len(contacts)
    states = occupations(n_beads)
    place = (M + 1) ** np.arange(n_beads)[::-1]
    energy = interaction(states, graph, site, neighbor)
    origin, target, rate = [], [], []

    def add(change: np.ndarray, base: np.ndarray) -> None:
        after = states + change
        allowed = np.flatnonzero(np.all((after >= 0) & (after <= M), axis=1) & (base > 0))
        to = after[allowed] @ place
        origin.append(allowed)
        target.append(to)
        rate.append(base[allowed] * np.exp(-0.5 * (energy[to] - energy[allowed])))

    unit = np.eye(n_beads, dtype=int)
    for i in range(n_beads):
        add(unit[i], contacts[i] * rate_in * (M - states[:, i]))
        add(-unit[i], contacts[i] * rate_out * states[:, i])
        for j in np.flatnonzero(graph[i]):
            add(unit[j] - unit[i], hop_rate * states[:, i] * (M - states[:, j]))
    matrix = sparse.coo_matrix(
        (np.concatenate(rate), (np.concatenate(origin), np.concatenate(target))), shape=(len(states),) * 2
    ).tocsr()
    return matrix - sparse.diags(np.asarray(matrix.sum(axis=1)).ravel())


def law_at(matrix: sparse.csr_matrix, start: np.ndarray, time: float) -> np.ndarray:
    """Probabilities of the states after a time, exp(Q^T t) p; start: (K,)."""
    return expm_multiply(matrix.T * time, start)


# --- k_hop to infinity -----------------------------------------------------------------------------------


def charging_time(n_units: int, n_contacts: int, rate_in: float, rate_out: float) -> float:
    """tau = N / [N_c (k_in + k_out)]."""
    return n_units / (n_contacts * (rate_in + rate_out))


def pooled_mean(time: np.ndarray, n_units: int, n_contacts: int, rate_in: float, rate_out: float) -> np.ndarray:
    """<N_e> = N M p (1 - exp(-t / tau)) of an empty droplet."""
    filling = rate_in / (rate_in + rate_out)
    return n_units * M * filling * -np.expm1(-time / charging_time(n_units, n_contacts, rate_in, rate_out))


def waiting_for_nucleus(
    time: np.ndarray, n_units: int, n_contacts: int, rate_in: float, rate_out: float,
    hazard: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Probability that a well-mixed droplet, empty at first, has nucleated by each time.

    The pool N_e is a birth-death chain that is killed at hazard(N_e / MN): one absorbing state more; time: (T,).
    """
    top = M * n_units
    pool = np.arange(top + 1)
    matrix = np.zeros((top + 2, top + 2))
    matrix[pool[:-1], pool[:-1] + 1] = n_contacts * rate_in * (M - pool[:-1] / n_units)
    matrix[pool[1:], pool[1:] - 1] = n_contacts * rate_out * pool[1:] / n_units
    matrix[pool, top + 1] = hazard(pool / top)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return np.array([expm(matrix * t)[0, top + 1] for t in time])


def nucleation_hazard(rate: float, barrier: float, threshold: float, n_units: int) -> Callable:
    """k_nuc N exp[-B / (x / x_s - 1)^2] above the threshold, as a function of x."""

    def hazard(filling: np.ndarray) -> np.ndarray:
        excess = np.asarray(filling) / threshold - 1.0
        above = excess > 0
        return np.where(above, rate * n_units * np.exp(-barrier / np.where(above, excess, 1.0) ** 2), 0.0)

    return hazard


# --- capture of Brownian beads ---------------------------------------------------------------------------


def smoluchowski_capture(start: float, radius: float, diffusivity: float, time: float) -> float:
    """Probability that a bead at distance `start` has reached an absorbing sphere: (R / r) erfc[(r - R) / sqrt(4 D t)].

    Over a uniform gas it sums to the rate 4 pi D R.
    """
    from scipy.special import erfc

    return radius / start * float(erfc((start - radius) / np.sqrt(4 * diffusivity * time)))


def capture_with_checks(
    start: float, radius: float, diffusivity: float, interval: float, n_checks: int, rate: float = np.inf,
    spacing: float = 0.01,
) -> float:  # fmt: skip
    """The same where the sphere is looked at every `interval` only, and reacts at `rate` with a bead found inside.

    u = r f(r) of a spherically symmetric density f is carried over one interval by the one-dimensional Gauss kernel
    G(r - r') - G(r + r'); then u is multiplied by exp(-rate interval) inside. Exact but for the midpoint rule on a
    grid of spacing times radius.
    """
    step = np.sqrt(2 * diffusivity * interval)
    far = start + 6.0 * step * np.sqrt(n_checks)
    width = spacing * radius
    r = width * (np.arange(int(far / width)) + 0.5)
    # A band of seven steps holds the Gauss kernel to 10^-11.
    reach = int(7 * step / width) + 1
    gauss = stats.norm.pdf(width * np.arange(-reach, reach + 1), scale=step) * width
    kept = np.where(r < radius, np.exp(-rate * interval) if np.isfinite(rate) else 0.0, 1.0)
    # The first jump of a bead from a point: f = delta shell, u(r) = [G(r - r0) - G(r + r0)] / (4 pi r0).
    u = kept * (stats.norm.pdf(r - start, scale=step) - stats.norm.pdf(r + start, scale=step)) / start
    for _ in range(n_checks - 1):
        odd = np.concatenate([-u[::-1], u])
        u = kept * np.convolve(odd, gauss, mode="same")[len(u) :]
    return float(1.0 - np.sum(u * r) * width)


def volume_reactive_rate(radius: float, diffusivity: float, rate: float) -> float:
    """Doi's steady rate of a sphere that reacts at `rate` throughout: 4 pi D R [1 - tanh(m R) / (m R)], m^2 = rate / D.

    Source: Doi, J. Phys. A 9, 1479 (1976), doi 10.1088/0305-4470/9/9/009.
    """
    m = np.sqrt(rate / diffusivity) * radius
    return 4 * np.pi * diffusivity * radius * (1 - np.tanh(m) / m)
