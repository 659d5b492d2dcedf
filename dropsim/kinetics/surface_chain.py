"""Adsorbed ions that take electrons one at a time: a linear chain of states, exact over any interval.

States of one adsorbed ion (a Li2S6 with n electrons): A0 to A3; at n = 4 either I, three Li2S2 that may leave, or D4,
which goes on to D10 = six Li2S. Every ion is independent of the others, so that the numbers that pass from state to
state in a time dt are multinomial with the transition matrix P = exp(Q dt), whatever the rates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from dropsim.kinetics.parameters import ELECTRONS_PER_UNIT
from dropsim.kinetics.single_molecule_parameters import SingleMoleculeParameters

N_STATES = 12
A0, A3, INTERMEDIATE, D4, D10 = 0, 3, 4, 5, 11
# Ways out: back into solution as Li2S6, into solution as three Li2S2, onto a rod as six Li2S.
LEFT, RELEASED, DEPOSITED = 12, 13, 14
N_ALL = 15
# Electrons that an ion holds in each state, and that it takes along on its way out.
ELECTRONS = np.array([0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 0, 4, 10], dtype=np.int64)
# Ten electrons make six Li2S at once where E <= E0.
_DEPOSITION_RATE_PER_S = 1e6
# Electrons that pass faster than this are in equilibrium, or gone, within microseconds; exp(Q dt) loses its digits at
# rates that are 1e10 times those of the other steps.
_FASTEST_PER_S = 1e6


def generator(
    parameters: SingleMoleculeParameters, potential_V: float, *, connected: bool, oxidising: bool
) -> NDArray[np.float64]:
    """Rates Q between the states of one adsorbed ion, 1/s: Q[i, j] from i to j, rows sum to 0.

    n -> n + 1 at (10 - n) k_in and n -> n - 1 at n k_out; the step from A3 leads to D4 with probability b(E), else to
    I. Both go back to A3 at 4 k_out, so that b and 1 - b are the weights of the two in equilibrium, where the chain
    obeys detailed balance: pi_n ~ binomial(10, n) exp(-n f eta). Both rates are divided by one number where the larger
    is above 1e6/s, so that their ratio stays. A0 leaves at k_d and I at the release rate. While
    reducing, D10 is deposited at once; while oxidising it is an ion like the others. connected False (open circuit): no
    electron passes. Returns (15, 15); the ways out are absorbing.
    """
    rates = np.zeros((N_ALL, N_ALL))
    if connected:
        k_in, k_out = parameters.surface_rates_per_s(potential_V)
        slower = _FASTEST_PER_S / max(k_in, k_out, _FASTEST_PER_S)
        k_in, k_out = slower * k_in, slower * k_out
        share = parameters.single_step_share(potential_V)
        for n in range(3):
            rates[n, n + 1] = (ELECTRONS_PER_UNIT - n) * k_in
            rates[n + 1, n] = (n + 1) * k_out
        rates[A3, D4], rates[A3, INTERMEDIATE] = 7.0 * k_in * share, 7.0 * k_in * (1.0 - share)
        rates[D4, A3] = rates[INTERMEDIATE, A3] = 4.0 * k_out
        for n in range(4, ELECTRONS_PER_UNIT):
            state = D4 + n - 4
            rates[state, state + 1] = (ELECTRONS_PER_UNIT - n) * k_in
            rates[state + 1, state] = (n + 1) * k_out
    rates[A0, LEFT] = parameters.desorption_rate_per_s
    rates[INTERMEDIATE, RELEASED] = parameters.release_rate_per_s
    if connected and not oxidising:
        rates[D10, DEPOSITED] = _DEPOSITION_RATE_PER_S
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return rates


def transition_matrices(
    rates: NDArray[np.float64], duration_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where ions are after a time dt: those that were there at its start, and those that came during it.

        P = exp(Q dt),   P_in = (1/dt) int_0^dt exp(Q s) ds

    the second for arrivals spread evenly over dt. rates: (15, 15), from `generator`; duration_s: dt > 0. Returns two
    (12, 15) matrices whose rows sum to 1; rounding below 0 is cut before the rows are normalised.
    """
    size = len(rates)
    # The exponential of [[Q, 1], [0, 0]] holds the integral in its upper right block.
    joined = np.zeros((2 * size, 2 * size))
    joined[:size, :size] = rates * duration_s
    joined[:size, size:] = np.eye(size)
    whole = expm(joined)[:N_STATES]
    start, during = (np.clip(block, 0.0, None) for block in (whole[:, :size], whole[:, size:]))
    return start / start.sum(axis=1, keepdims=True), during / during.sum(axis=1, keepdims=True)
