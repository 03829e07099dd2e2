"""Where runs are executed: processes of this machine, a Ray cluster or a Slurm cluster, behind one interface.

As an executor of `concurrent.futures`, an engine starts a command by `submit` and returns a job, which is asked whether it is
done and for its exit status, or cancelled. Ray and submitit are imported when they are asked for.
"""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from zslab.errors import InputError, first_line
from zslab.utils.files import plain_disk_errors
from zslab.utils.flags import check_at_least

INTERRUPT_SECONDS = 60  # given to an interrupted run to save its checkpoint
POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class EngineFlags:
    """Flags that say where runs are executed."""

    workers: int = 1  #: runs at the same time, or submitted to a cluster
    retries: int = 0  #: further attempts for a run that fails
    engine: Literal["local", "ray", "slurm"] = "local"  #: local processes, Ray or Slurm
    cpus_per_run: int = 0  #: cores of a run; 0: the machine's, shared out (local), or 1
    gpus_per_run: float = 0.0  #: GPUs of a run; a fraction shares one
    memory_per_run: float = 0.0  #: GiB that Ray or Slurm reserves for a run; 0 leaves it to them
    address: str | None = None  #: of a running Ray cluster, auto to find it; without, Ray starts on this machine
    slurm_partition: str = ""  #: partition of the Slurm cluster
    minutes: int = 24 * 60  #: time limit of a Slurm job
    slurm_folder: Path = Path("runs/slurm")  #: for submitit's files
    #: local: processes of this machine in place of Slurm jobs, to try it out
    slurm_cluster: Literal["slurm", "local"] = "slurm"


# An engine has `slots` and `submit(command, output)`, which starts a command whose output goes to the end of a file, or to the
# screen for None. Its job has `done()`; `result()`, the exit status, or an exception if the worker was lost; and `cancel()`,
# which asks the run to save and stop. An engine that cannot start a command, for example since the disk is full, raises an
# InputError.
Job: TypeAlias = Any
Engine: TypeAlias = Any


class LocalEngine:
    """Processes, which share the cores and GPUs of this machine."""

    def __init__(self, flags: EngineFlags):
        self.slots, self._gpus, self._jobs = flags.workers, flags.gpus_per_run, dict[int, _Process]()
        self._cpus = flags.cpus_per_run or (max(1, (os.cpu_count() or 1) // flags.workers) if flags.workers > 1 else 0)
        if self._gpus:
            import torch  # not needed without GPUs

            names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
            self._names = [name.strip() for name in names.split(",") if name.strip() not in ("", "-1")]
            _check_size("gpus", self._gpus, len(self._names))
            self.slots = min(self.slots, int(len(self._names) / self._gpus + 1e-9))

    def submit(self, command: Sequence[str], output: Path | None) -> Job:
        """Start a process."""
        slot = next(slot for slot in range(self.slots) if slot not in self._jobs or self._jobs[slot].done())
        environment = dict(os.environ)
        if self._cpus:
            environment.setdefault("OMP_NUM_THREADS", str(self._cpus))
        if self._gpus:
            first = int(slot * self._gpus + 1e-9)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self._names[first : first + max(1, int(self._gpus))])
        self._jobs[slot] = job = _Process(_start(command, output, environment))
        return job


@dataclass
class _Process:
    process: subprocess.Popen[bytes]

    def done(self) -> bool:
        return self.process.poll() is not None

    def result(self) -> int:
        return self.process.wait()

    def cancel(self) -> None:
        self.process.terminate()  # SIGINT is ignored where the sweep was started in the background


class RayEngine:
    """Tasks of a Ray cluster, whose nodes share the files of this machine."""

    def __init__(self, flags: EngineFlags):
        self.slots, self._ray = flags.workers, _import("ray", "ray")
        try:
            self._ray.init(address=flags.address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises plain ones where it is too slow to start
            must, fix = "the Ray cluster must be running", "Start it with `ray start --head`, or leave out --address."
            raise InputError(must, where="--engine ray", got=first_line(error), fix=fix) from None
        if flags.address is None:  # where Ray would wait for ever
            there = self._ray.cluster_resources()
            _check_size("cpus", flags.cpus_per_run, there.get("CPU", 0))
            _check_size("gpus", flags.gpus_per_run, there.get("GPU", 0))
        options = {"num_cpus": flags.cpus_per_run or 1, "num_gpus": flags.gpus_per_run, "max_retries": 0}
        options |= {"memory": int(flags.memory_per_run * 2**30)} if flags.memory_per_run else {}
        self._task = self._ray.remote(**options)(run_command)

    def submit(self, command: Sequence[str], output: Path | None) -> Job:
        """Submit a task, which starts where its resources are free."""
        return _RayTask(self._ray, self._task.remote(list(command), output))


@dataclass
class _RayTask:
    ray: Any
    reference: Any

    def done(self) -> bool:
        return bool(self.ray.wait([self.reference], timeout=0)[0])

    def result(self) -> int:
        return int(self.ray.get(self.reference))

    def cancel(self) -> None:
        self.ray.cancel(self.reference)


class SlurmEngine:
    """Jobs of a Slurm cluster, whose nodes share the files of this machine, by submitit."""

    def __init__(self, flags: EngineFlags):
        self.slots = flags.workers
        try:
            self._executor = _import("submitit", "slurm").AutoExecutor(folder=flags.slurm_folder, cluster=flags.slurm_cluster)
        except RuntimeError as error:
            must, fix = "this machine must belong to a Slurm cluster", "Log in to one of its machines, or leave --engine out."
            raise InputError(must, where="--engine slurm", got=first_line(error), fix=fix) from None
        self._executor.update_parameters(
            timeout_min=flags.minutes,
            cpus_per_task=flags.cpus_per_run or 1,
            gpus_per_node=int(flags.gpus_per_run + 0.999),
            **({"mem_gb": flags.memory_per_run} if flags.memory_per_run else {}),
            **({"slurm_partition": flags.slurm_partition} if flags.slurm_partition else {}),
        )

    def submit(self, command: Sequence[str], output: Path | None) -> Job:
        """Submit a job."""
        with plain_disk_errors(self._executor.folder):
            return self._executor.submit(_Command(), list(command), output)


def start_engine(flags: EngineFlags) -> Engine:
    """Return the engine that the flags ask for."""
    check_at_least(1, flags, "workers")
    engines: dict[str, Any] = {"local": LocalEngine, "ray": RayEngine, "slurm": SlurmEngine}
    return engines[flags.engine](flags)


def run_command(command: list[str], output: Path | None) -> int:
    """Run a command on a cluster's worker and return its exit status; an interrupt is passed on to it."""
    return _Command()(command, output)


class _Command:
    """Runs a command. Slurm may preempt it; submitit then submits it again, and the run resumes."""

    def __call__(self, command: list[str], output: Path | None) -> int:
        try:
            self.process = _start(command, output, dict(os.environ))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        try:
            while self.process.poll() is None:  # not wait(), during which `checkpoint` could not wait
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self._interrupt()
        return self.process.wait(timeout=0)

    def checkpoint(self, *call: object) -> Any:
        """Let the run save, and return what to submit; called by a signal's handler."""
        self._interrupt()
        return importlib.import_module("submitit").helpers.DelayedSubmission(_Command(), *call)

    def _interrupt(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(INTERRUPT_SECONDS)


def _start(command: Sequence[str], output: Path | None, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that an interrupt from the keyboard does not reach it."""
    with plain_disk_errors(output or Path(command[0])):
        if output is None:
            return subprocess.Popen(command, env=environment, start_new_session=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as stream:
            return subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)


def _check_size(kind: str, needed: float, there: float) -> None:
    if needed > there:
        must, fix = f"the {kind} of one run must be at most the machine's {there:g}", "Ask for fewer, or use a cluster."
        raise InputError(must, where=f"--{kind}-per-run", got=needed, fix=fix)


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = f"Install it in the project's folder: pip install -e '.[{extra}]'."
        raise InputError(f"{module} must be installed", where=f"--engine {extra}", got=error, fix=fix) from None
