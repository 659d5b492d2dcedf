"""Electrode rates: how fast electrons enter and leave at a potential, at the centres and at the bare electrode."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RateLaw:
    """Numbers of the electrode kinetics, all () arrays; kinetics is static.

    rate_constant, transfer_coefficient: k0, 1/ps per contact and slot, and alpha of the wired centres;
    surface_rate_constant, surface_transfer_coefficient: the same of the bare electrode, per slot of an adsorbed bead;
    rod_rate_constant: k0 of soluble Li2S2 at Li2S that the electrode reaches, with the alpha of the surface;
    standard_potential: E0, V; thermal_voltage: kT/e, V; reorganisation: lambda/e, V (Marcus only);
    branch_potential, branch_width: of the direct path from four to ten electrons, V;
    kinetics: "butler-volmer" or "marcus".
    """

    rate_constant: Array
    transfer_coefficient: Array
    surface_rate_constant: Array
    surface_transfer_coefficient: Array
    rod_rate_constant: Array
    standard_potential: Array
    thermal_voltage: Array
    reorganisation: Array
    branch_potential: Array
    branch_width: Array
    kinetics: str = dataclasses.field(default="butler-volmer", metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Drive:
    """What the electrode does at one potential, all () arrays.

    rate_in, rate_out: at a wired centre, surface_in, surface_out: at the bare electrode, rod_in, rod_out: at Li2S
    that the electrode reaches, 1/ps per slot or electron; direct_probability: that a bead at the bare electrode takes
    its last six electrons where it is; oxidising: bool, connected and above E0.
    """

    rate_in: Array
    rate_out: Array
    surface_in: Array
    surface_out: Array
    rod_in: Array
    rod_out: Array
    direct_probability: Array
    oxidising: Array


def butler_volmer(
    rate_constant: Array, transfer_coefficient: Array, reduced_overpotential: Array
) -> tuple[Array, Array]:
    """Injection and ejection rates of Butler and Volmer.

        k_in = k0 exp(-alpha f eta),   k_out = k0 exp((1 - alpha) f eta),   k_in / k_out = exp(-f eta)

    k0 -> rate_constant; alpha -> transfer_coefficient; f eta = e (E - E0) / kT -> reduced_overpotential, all () or
    of one shape. Returns (k_in, k_out) in the unit of k0.
    """
    return (
        rate_constant * jnp.exp(-transfer_coefficient * reduced_overpotential),
        rate_constant * jnp.exp((1.0 - transfer_coefficient) * reduced_overpotential),
    )


def marcus(
    rate_constant: Array, reorganisation: Array, overpotential: Array, thermal_voltage: Array
) -> tuple[Array, Array]:
    """Injection and ejection rates of Marcus, for one level of the electrode.

        k_in = k0 exp[-((lambda + eta)^2 - lambda^2) / (4 lambda kT/e)],   k_out with -eta,
        k_in / k_out = exp(-f eta)

    k0 -> rate_constant, the rate of either direction at eta = 0 (the usual prefactor times exp(-lambda / 4 kT));
    lambda -> reorganisation, V; eta = E - E0 -> overpotential, V; kT/e -> thermal_voltage, V. Returns (k_in, k_out)
    in the unit of k0. Both rates fall again beyond |eta| = lambda, the inverted region.

    Source: Marcus, J. Chem. Phys. 43, 679 (1965), doi 10.1063/1.1696792.
    """
    width = 4.0 * reorganisation * thermal_voltage
    return (
        rate_constant * jnp.exp(-overpotential * (2.0 * reorganisation + overpotential) / width),
        rate_constant * jnp.exp(overpotential * (2.0 * reorganisation - overpotential) / width),
    )


def drive_at(potential: Array, connected: Array, law: RateLaw) -> Drive:
    """The rates at one potential of the electrode; all zero where nothing is connected.

        b(E) = 1 / (1 + exp((E - E_b) / w))

    potential: E, () V; connected: () bool; E_b, w -> law.branch_potential, law.branch_width. Returns `Drive`.
    Raises ValueError for kinetics that are neither "butler-volmer" nor "marcus".
    """
    overpotential = potential - law.standard_potential

    def rates(rate_constant: Array, transfer_coefficient: Array) -> tuple[Array, Array]:
        if law.kinetics == "butler-volmer":
            pair = butler_volmer(rate_constant, transfer_coefficient, overpotential / law.thermal_voltage)
        elif law.kinetics == "marcus":
            pair = marcus(rate_constant, law.reorganisation, overpotential, law.thermal_voltage)
        else:
            raise ValueError(f'kinetics must be "butler-volmer" or "marcus", not {law.kinetics!r}')
        inward, outward = (jnp.where(connected, rate, jnp.zeros_like(rate)) for rate in pair)
        return inward, outward

    rate_in, rate_out = rates(law.rate_constant, law.transfer_coefficient)
    surface_in, surface_out = rates(law.surface_rate_constant, law.surface_transfer_coefficient)
    rod_in, rod_out = rates(law.rod_rate_constant, law.surface_transfer_coefficient)
    return Drive(
        rate_in,
        rate_out,
        surface_in,
        surface_out,
        rod_in,
        rod_out,
        jax.nn.sigmoid((law.branch_potential - potential) / law.branch_width),
        connected & (potential > law.standard_potential),
    )
