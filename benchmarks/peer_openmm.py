"""One configuration in OpenMM, run by the Python that has OpenMM; prints one JSON line.

python peer_openmm.py CONFIGURATION.npz --tolerance 1e-3 --cutoff 1.5 --threads 2 (--forces OUT.npy | --steps 200)

--forces writes the Coulomb forces alone, kJ/(mol nm), and stops. Nothing of dropsim is imported here.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import openmm

# kJ nm/(mol e^2), as OpenMM has it.
COULOMB = 138.93545764438198


def made(given: dict[str, np.ndarray], tolerance: float, cutoff: float, coulomb_only: bool):
    """System, the nonbonded force and the integrator."""
    system = openmm.System()
    edges = np.diag(given["lengths"])
    system.setDefaultPeriodicBoxVectors(*(tuple(map(float, row)) for row in edges))
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.PME)
    force.setCutoffDistance(cutoff)
    force.setEwaldErrorTolerance(tolerance)
    force.setUseDispersionCorrection(False)
    scale = float(np.sqrt(given["coulomb"] / COULOMB))
    for kind in given["species"]:
        system.addParticle(float(given["mass"][kind]))
        depth = 0.0 if coulomb_only else float(given["epsilon"][kind])
        force.addParticle(scale * float(given["charge"][kind]), float(given["sigma"][kind]), depth)
    system.addForce(force)
    kelvin = float(given["thermal_energy"]) / 0.00831446261815324
    integrator = openmm.LangevinMiddleIntegrator(kelvin, float(given["friction"]), float(given["timestep"]))
    integrator.setRandomNumberSeed(1)
    return system, force, integrator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--cutoff", type=float, default=1.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--forces")
    arguments = parser.parse_args()
    with np.load(arguments.configuration) as stored:
        given = dict(stored)
    system, force, integrator = made(given, arguments.tolerance, arguments.cutoff, arguments.forces is not None)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": str(arguments.threads)})
    context.setPositions(given["position"] % given["lengths"])
    alpha, *mesh = force.getPMEParametersInContext(context)
    record = {"version": openmm.__version__, "alpha": alpha, "mesh": mesh, "order": 5, "cutoff_nm": arguments.cutoff}
    if arguments.forces:
        forces = context.getState(getForces=True).getForces(asNumpy=True)
        np.save(arguments.forces, np.asarray(forces._value, np.float64))
    else:
        context.setVelocities(given["velocity"])
        integrator.step(max(20, arguments.steps // 4))
        context.getState(getEnergy=True)
        began, busy = time.perf_counter(), time.process_time()
        integrator.step(arguments.steps)
        state = context.getState(getVelocities=True)
        record["wall_s"] = time.perf_counter() - began
        record["cpu_s"] = time.process_time() - busy
        velocity = np.asarray(state.getVelocities(asNumpy=True)._value)
        # Mean square over every coordinate: k_B T where the run is sound.
        record["kinetic_kT"] = float(
            (given["mass"][given["species"]][:, None] * velocity**2).mean() / given["thermal_energy"]
        )
    print(json.dumps(record))


if __name__ == "__main__":
    main()
