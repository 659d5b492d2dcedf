"""Many runs from one command: the files of a study, their replicas, and where each is carried out.

On a GPU the runs go one after the other in this process. On a CPU they go side by side in spawned processes,
one core each: small systems gain nothing from more threads, and everything from independent runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import multiprocessing
import os
import platform
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from dropsim.config import Config, config_hash
from dropsim.config_load import config_from_values, load_config
from dropsim.errors import ConfigError, DropsimError, SimulationError
from dropsim.run_folder import CHECKPOINT, TRAJECTORY, run_folder


@dataclasses.dataclass(frozen=True)
class Job:
    """One replica of one configuration."""

    config: Config
    replica: int
    root: Path

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return run_folder(self.root, self.config, self.replica)

    @property
    def label(self) -> str:
        """Short name for a progress line."""
        return f"{self.config.run.name} r{self.replica}"


@dataclasses.dataclass(frozen=True)
class Study:
    """What one `run` argument stands for: a name, the folder of its results, and its jobs, the main run first."""

    name: str
    root: Path
    configs: tuple[Config, ...]
    jobs: tuple[Job, ...]


def load_study(path: Path, overrides: Sequence[str], out: Path, replicas: int | None = None) -> Study:
    """The study of a file or of a folder of files.

    path: one TOML file, or a folder whose *.toml are one study (the one whose run.role is "main" first);
    overrides: as `--set`, applied to every file; out: results go to <out>/<folder name> for a folder, to <out>
    for a file; replicas: instead of the files' own. Raises ConfigError for no file, two runs of one name, or no
    single main run in a folder.
    """
    path = Path(path)
    if not path.is_dir():
        config = load_config(path, overrides)
        configs, name, root = [config], config.run.name, Path(out)
    else:
        files = sorted(path.glob("*.toml"))
        if not files:
            raise ConfigError(f"{path}: no *.toml in this folder; name an experiment file or a folder of them")
        configs = [load_config(file, overrides) for file in files]
        name = path.resolve().name
        root = Path(out) / name
        configs.sort(key=lambda c: (c.run.role != "main", c.run.name))
        names = [c.run.name for c in configs]
        if len(set(names)) != len(names):
            raise ConfigError(f"{path}: two files have the same run.name ({', '.join(names)}): give each its own")
        if sum(c.run.role == "main" for c in configs) != 1:
            raise ConfigError(f"{path}: a study has exactly one file with run.role = 'main'")
    # First replicas first: the second of a configuration then finds the program that the first has compiled.
    most = replicas or max(config.run.replicas for config in configs)
    jobs = tuple(
        Job(config, replica, root)
        for replica in range(most)
        for config in configs
        if replica < (replicas or config.run.replicas)
    )
    return Study(name, root, tuple(configs), jobs)


@dataclasses.dataclass(frozen=True)
class Message:
    """What a worker tells: kind "progress" (value: Progress), "stage" (value: text), "done" (value: folder) or
    "failed" (value: (text, exit code))."""

    job: int
    kind: str
    value: Any


def on_gpu() -> bool:
    """Whether jax would run on a GPU here; jax is imported only where one of its GPU plugins is installed."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm60_plugin", "jax_rocm7_plugin")
    if os.environ.get("JAX_PLATFORMS", "") == "cpu" or not any(importlib.util.find_spec(p) for p in plugins):
        return False
    prepare_jax()
    import jax

    return jax.default_backend() == "gpu"


def available_cores() -> list[int]:
    """Core numbers this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def machine_mark() -> str:
    """A mark of the processor and its instructions: code compiled for another must not be loaded."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        text = "\n".join(line for line in lines if line.startswith(("model name", "flags")))
    except OSError:
        text = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {text}".encode()).hexdigest()[:8]


def quiet_xla() -> None:
    """Before jax is imported: XLA warns at length that its own cached code was tuned with flags that it does not
    look for. It is no error, and users cannot do anything about it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def prepare_jax() -> None:
    """Settings of a process that simulates: a compilation cache that outlives it, one for each kind of machine."""
    quiet_xla()
    import jax

    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dropsim" / f"jax-{machine_mark()}"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def carry_out(job: Job, tell: Callable[[str, Any], None]) -> None:
    """Run, resume or reuse one replica, then analyse it; `tell(kind, value)` reports."""
    prepare_jax()
    from dropsim.analysis import analyse_run
    from dropsim.run import resume_replica, run_replica

    def progress(value: Any) -> None:
        tell("progress", value)

    folder = job.folder
    if (folder / CHECKPOINT).exists() or (folder / TRAJECTORY).exists():
        note = resume_replica(folder, progress=progress)
        if note:
            tell("stage", note)
    else:
        run_replica(job.config, job.replica, job.root, progress=progress)
    tell("stage", "analysing")
    analyse_run(folder)
    tell("done", str(folder))


def _worker(values: dict, replica: int, root: str, number: int, core: int | None, messages: Any) -> None:
    """Body of a spawned process. Its core is chosen before jax counts cores."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false").strip()

    def tell(kind: str, value: Any) -> None:
        messages.put(Message(number, kind, value))

    try:
        carry_out(Job(config_from_values(values), replica, Path(root)), tell)
    except DropsimError as error:
        tell("failed", (str(error), error.exit_code))
    except KeyboardInterrupt:
        pass  # the parent was interrupted too, and says so
    except Exception as error:
        tell("failed", (f"{type(error).__name__}: {error}", 1))


def carry_out_all(jobs: Sequence[Job], workers: int | None = None) -> Generator[Message]:
    """Carry out the jobs and yield what they tell, until all are done or have failed.

    workers: processes at a time; by default one per core, or this process alone on a GPU or for a single job.
    A failed job does not stop the others. Closing the generator (or Ctrl-C) ends the processes; what they had
    written stays, and a later call goes on from there.
    """
    if workers is None:
        workers = 1 if len(jobs) == 1 or on_gpu() else min(len(available_cores()), len(jobs))
    if workers == 1:
        yield from _one_by_one(jobs)
        return
    quiet_xla()  # for the processes to come
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    waiting = list(range(len(jobs)))[::-1]
    cores = available_cores()
    free: list[int | None] = [*cores[:workers]] if workers <= len(cores) else [None] * workers
    running: dict[int, tuple[Any, int | None]] = {}
    finished: set[int] = set()
    silent: dict[int, int | None] = {}  # exit codes of processes that ended and did not say how it went
    try:
        while waiting or running or silent:
            while waiting and free:
                number, core = waiting.pop(), free.pop()
                job = jobs[number]
                process = context.Process(
                    target=_worker,
                    args=(
                        job.config.model_dump(mode="json"),
                        job.replica,
                        str(job.root),
                        number,
                        core,
                        messages,
                    ),
                    daemon=True,
                )
                process.start()
                running[number] = (process, core)
            try:
                message = messages.get(timeout=0.5)
            except queue.Empty:
                # All that they had to say has been read.
                while silent:
                    number, code = silent.popitem()
                    text = f"the process ended with code {code} (killed, or out of memory)"
                    yield Message(number, "failed", (text, SimulationError.exit_code))
            else:
                if message.kind in ("done", "failed"):
                    finished.add(message.job)
                    silent.pop(message.job, None)
                yield message
            # At every message: the others may not pause for long enough to let the next job start.
            for number, (process, core) in list(running.items()):
                if process.is_alive():
                    continue
                del running[number]
                free.append(core)
                if number not in finished:
                    silent[number] = process.exitcode
    finally:
        for process, _ in running.values():
            process.terminate()


class _Stopped(BaseException):
    """Raised in a run's thread, after a chunk, when nobody listens any more."""


# A thread that is still inside compiled code may hang the interpreter's exit; so long is waited for its chunk.
STOP_WAIT_S = 20.0
RUN_THREAD = "dropsim-run"


def _one_by_one(jobs: Sequence[Job]) -> Iterator[Message]:
    """The jobs in this process, each in a thread that tells as it goes, and ends after its chunk when stopped."""
    for number, job in enumerate(jobs):
        messages: queue.Queue[Message] = queue.Queue()
        failure: list[BaseException] = []
        stopped = threading.Event()

        def tell(kind: str, value: Any, number: int = number, messages=messages, stopped=stopped) -> None:
            if stopped.is_set():
                raise _Stopped
            messages.put(Message(number, kind, value))

        def body(job: Job = job, tell=tell, failure=failure) -> None:
            try:
                carry_out(job, tell)
            except BaseException as problem:
                failure.append(problem)

        thread = threading.Thread(target=body, daemon=True, name=RUN_THREAD)
        thread.start()
        try:
            while thread.is_alive() or not messages.empty():
                with contextlib.suppress(queue.Empty):
                    yield messages.get(timeout=0.2)
        finally:
            stopped.set()
            thread.join(STOP_WAIT_S)
        if failure:
            error = failure[0]
            if not isinstance(error, DropsimError):
                raise error
            yield Message(number, "failed", (str(error), error.exit_code))


def leave_at_once_if_running(status: int) -> None:
    """End the process now where a run's thread did not stop in time: what it wrote is whole at every moment."""
    if any(thread.name == RUN_THREAD for thread in threading.enumerate()):
        sys.stderr.flush()
        os._exit(status)


def study_manifest(study: Study) -> dict[str, Any]:
    """What belongs to a study, for `compare` to find again."""
    return {
        "name": study.name,
        "runs": [
            {
                "name": job.config.run.name,
                "role": job.config.run.role,
                "title": job.config.run.title,
                "hash": config_hash(job.config),
                "replica": job.replica,
                "folder": job.folder.name,
            }
            for job in study.jobs
        ],
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write_manifest(study: Study) -> Path:
    """Write <root>/<name>.study.json and return its path."""
    study.root.mkdir(parents=True, exist_ok=True)
    path = study.root / f"{study.name}.study.json"
    path.write_text(json.dumps(study_manifest(study), indent=1) + "\n", encoding="utf-8")
    return path
