"""Settings for every test: double precision by default, no silent broadcasting or promotion, one compile cache."""

import gc
import os
import tempfile
from pathlib import Path

import pytest

# Before jax starts: XLA's notes on the machine go to stderr, where tests look for messages of dropsim.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Compiled programs are kept between test modules, processes and sessions, but not among the user's own.
CACHE = Path(tempfile.gettempdir()) / f"dropsim-tests-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
os.environ["XDG_CACHE_HOME"] = str(CACHE)

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(CACHE / "dropsim" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# Small, dense and quick: 16 Li2S6 over four wired centres, through all three kinds of stage in eight picoseconds.
EXPERIMENT = """\
[run]
name = "tiny"
seed = 5
chunk_ps = 0.8

[box]
lateral_nm = [5.5, 5.5]
height_nm = 6.0

[electrolyte]
li2s6_count = 16

[centres]
spacing_nm = 2.75

[reaction]
rate_constant_per_ps = 0.5
check_every_ps = 0.2
minimum_size = 1
threshold = 0.1
nucleation_rate_per_ps = 5.0

[[stages]]
name = "gather"
integrator = "baoab"
timestep_fs = 20.0
duration_ps = 2.4
record_every_ps = 0.4

[[stages]]
name = "measure"
integrator = "leimkuhler-matthews"
timestep_fs = 40.0
duration_ps = 2.4
record_every_ps = 0.4

[[stages]]
name = "react"
integrator = "baoab"
timestep_fs = 20.0
duration_ps = 3.2
record_every_ps = 0.4
reaction = true

[kinetics]
enabled = false
"""


MAPS = Path("/proc/self/maps")
MOST_MAPS = 40_000
TESTS_BETWEEN_LOOKS = 10
finished = 0


@pytest.fixture(autouse=True)
def compiled_programs_are_let_go():
    """Each compiled program holds some mapped pieces of memory, and Linux allows a process 65530 of them: a whole run
    of the tests in one process would be aborted. Programs that are needed again come from the cache on disk."""
    global finished
    yield
    finished += 1
    if finished % TESTS_BETWEEN_LOOKS == 0 and MAPS.exists():
        with MAPS.open("rb") as lines:
            held = sum(1 for _ in lines)
        if held > MOST_MAPS:
            jax.clear_caches()
            gc.collect()


@pytest.fixture(scope="session")
def experiment_text() -> str:
    """The small experiment, as text to be changed."""
    return EXPERIMENT


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """The small experiment file, in a folder of its own."""
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    return path
