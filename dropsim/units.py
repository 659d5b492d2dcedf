"""Physical constants and the conversions that happen at the edges of the program.

Particle tier: nm, ps, amu, e, K, kJ/mol. Droplet tier: nm, s, e, V. Constants are CODATA 2018
(exact in the SI where it defines them).
"""

AVOGADRO_PER_MOL = 6.02214076e23
ELEMENTARY_CHARGE_C = 1.602176634e-19
BOLTZMANN_J_PER_K = 1.380649e-23
BOLTZMANN_KJ_PER_MOL_K = 8.31446261815324e-3
VACUUM_PERMITTIVITY_F_PER_M = 8.8541878128e-12

# e^2 / (4 pi eps_0) in kJ mol^-1 nm: 138.9354576...
COULOMB_KJ_NM_PER_MOL_E2 = 138.93545764438198

MILLIMOLAR_PER_NM3 = AVOGADRO_PER_MOL * 1e-24 * 1e-3  # particles per nm^3 at 1 mM
KCAL_IN_KJ = 4.184
PN_NM_IN_KJ_PER_MOL = 0.602214076  # 1 pN nm
NM2_PER_PS_IN_M2_PER_S = 1e-6
NM2_PER_PS_IN_NM2_PER_S = 1e12
CM2_PER_S_IN_NM2_PER_S = 1e14

# Farthest from the standard potential that rates are evaluated: they grow exponentially, and beyond this their products
# with counts leave the range of numbers.
MAX_OVERPOTENTIAL_V = 10.0


def thermal_energy(temperature_K: float) -> float:
    """kT in kJ/mol."""
    return BOLTZMANN_KJ_PER_MOL_K * temperature_K


def thermal_energy_pN_nm(temperature_K: float) -> float:
    """kT in pN nm (4.14 at 300 K)."""
    return BOLTZMANN_J_PER_K * temperature_K * 1e21


def thermal_voltage_V(temperature_K: float) -> float:
    """kT/e in volt."""
    return BOLTZMANN_J_PER_K * temperature_K / ELEMENTARY_CHARGE_C


def reduced_overpotential(potential_V: float, standard_potential_V: float, temperature_K: float) -> float:
    """f eta = e (E - E0) / kT. Raises ValueError beyond MAX_OVERPOTENTIAL_V."""
    overpotential = potential_V - standard_potential_V
    if not abs(overpotential) <= MAX_OVERPOTENTIAL_V:
        raise ValueError(
            f"potential_V is {potential_V}: within {MAX_OVERPOTENTIAL_V:g} V of standard_potential_V is allowed"
        )
    return overpotential / thermal_voltage_V(temperature_K)


def bjerrum_length_nm(relative_permittivity: float, temperature_K: float) -> float:
    """l_B = e^2 / (4 pi eps_0 eps_r kT) in nm (5.57 at eps_r = 10, 300 K)."""
    return COULOMB_KJ_NM_PER_MOL_E2 / (relative_permittivity * thermal_energy(temperature_K))


def number_density_per_nm3(concentration_mM: float) -> float:
    """Particles per nm^3 of a concentration in mmol/l."""
    return concentration_mM * MILLIMOLAR_PER_NM3


def concentration_mM(number_density_per_nm3: float) -> float:
    """Concentration in mmol/l of a number density in nm^-3."""
    return number_density_per_nm3 / MILLIMOLAR_PER_NM3
