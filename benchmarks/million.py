"""Memory and speed of a slab with a million ions: PYTHONPATH=.:kernels python benchmarks/million.py

Ions of a 2:1 electrolyte at 2 per nm^3 stand at random on a lattice between two walls, over charged centres. The
system is built, and a few steps are made, in one process whose peak memory is what is reported.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import time
from typing import Any

from measure import Load, peak_rss_MB, pin


def size_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree."""
    import jax

    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ions", type=int, default=999999, help="mobile ions, a multiple of 3")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="of each of two segments; the second is timed")
    arguments = parser.parse_args()
    pin(arguments.cores)

    import jax
    from peer_systems import lattice_start, peer_config
    from workload import Stretch, machine

    from dropsim.build import build
    from dropsim.composition import composition
    from dropsim.splitting import choose_splitting

    after_import = peak_rss_MB()
    config = peer_config("slab", arguments.ions)
    edge = config.box.height_nm
    began = time.perf_counter()
    splitting = choose_splitting(config, composition(config))
    start = lattice_start(arguments.ions, edge, slab=True)
    built = build(config, position=start, splitting=splitting)
    jax.block_until_ready(built.state.neighbors)
    build_s = time.perf_counter() - began
    after_build = peak_rss_MB()
    # From a lattice: short steps, until the ions have found their places.
    stage = dataclasses.replace(built.plan[0], timestep_ps=0.002)
    stretch = Stretch(built.state, built.system, stage, 1, arguments.steps, 0)
    with Load() as load:
        wall = stretch.advance()
    state, system = stretch.state, stretch.system
    listed = size_bytes(state.neighbors)
    record = {
        "node": platform.node(),
        "n_mobile": arguments.ions,
        "n_sites": system.site_position.shape[0],
        "edge_nm": round(edge, 2),
        "cutoff_nm": splitting.cutoff_nm,
        "mesh": list(splitting.waves),
        "order": splitting.order,
        "capacity": system.neighbors.capacity,
        "build_s": round(build_s, 1),
        "compile_s": round(stretch.compile_s, 1),
        "steps_per_s": float(f"{arguments.steps / wall:.3g}"),
        "rss_after_import_MB": round(after_import),
        "rss_after_build_MB": round(after_build),
        "peak_rss_MB": round(peak_rss_MB()),
        "state_bytes_per_ion": round((size_bytes(state) - listed) / arguments.ions, 1),
        "list_bytes_per_ion": round(listed / arguments.ions, 1),
        "mesh_MB": round((size_bytes(system.splitting) + size_bytes(system.fixed_charges)) / 1e6, 1),
        "mesh_points": splitting.waves[0] * splitting.waves[1] * splitting.waves[2],
        **load.record(),
        "machine": machine(list(range(arguments.cores)), jax.devices()[0]),
    }
    print(json.dumps(record))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
