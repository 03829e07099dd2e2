"""Where the runs of a sweep are executed: local processes, a Ray cluster or a Slurm cluster.

An engine starts commands and says how they ended. Which runs are left, what is tried again and what is reported is the
driver's business (`zslab.sweep.driver`). Ray and submitit are imported when they are asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Protocol

from zslab.errors import InputError, first_line
from zslab.utils.files import plain_disk_errors

LOST = -1000  # status of a run whose worker, node or job vanished
INTERRUPT_SECONDS = 60  # given to an interrupted run to save its checkpoint
POLL_SECONDS = 0.1
_commands: list[subprocess.Popen[bytes]] = []  # what `run_command` has started in this process


@dataclass(frozen=True)
class Resources:
    """What one run gets.

    Attributes:
        cpus: processor cores; 0 shares the machine's cores among the local workers.
        gpus: GPUs; a fraction lets runs share one.
        memory_gb: memory for Ray's and Slurm's schedulers; 0 leaves it to them.
        minutes: time limit for Slurm.
    """

    cpus: int = 0
    gpus: float = 0.0
    memory_gb: float = 0.0
    minutes: int = 24 * 60


class Job(Protocol):
    """A command that an engine has started."""

    def poll(self) -> int | None:
        """Return the exit status, None while it runs, or `LOST`."""

    def interrupt(self) -> None:
        """Ask the run to save and stop, as Ctrl-C does."""


class Engine(Protocol):
    """Starts commands.

    Attributes:
        slots: how many jobs the driver keeps submitted at the same time.
    """

    slots: int

    def submit(self, command: Sequence[str], output: Path | None) -> Job:
        """Start a command; its standard output and error go to the file `output`, or to the screen for None.

        Raises:
            InputError: it cannot be started, for example since the disk is full.
        """

    def close(self) -> None:
        """Release what the engine holds."""


# ---- local processes -------------------------------------------------------------------------------------------------


class LocalEngine:
    """Processes on this machine, which share its cores and GPUs."""

    def __init__(self, workers: int, resources: Resources = Resources()):  # noqa: B008, it is frozen
        """`workers` runs at the same time; fewer where they would not fit the GPUs."""
        self.gpus = visible_gpus() if resources.gpus else []
        if resources.gpus:
            workers = min(workers, int(len(self.gpus) / resources.gpus + 1e-9))
            if workers < 1:
                raise InputError(
                    "the machine has too few GPUs for one run",
                    where="--gpus-per-run",
                    found=resources.gpus,
                    expected=f"at most {len(self.gpus)}",
                    fix="Ask for fewer GPUs per run, or leave the flag out to run on the CPU.",
                )
        self.slots, self.resources = workers, resources
        self._free = list(range(workers))

    def submit(self, command: Sequence[str], output: Path | None) -> Job:
        """Start a process in a session of its own, so that only the driver interrupts it."""
        slot = self._free[0]
        environment = dict(os.environ)
        cpus = self.resources.cpus or max(1, (os.cpu_count() or 1) // self.slots)
        if self.slots > 1 or self.resources.cpus:
            environment.setdefault("OMP_NUM_THREADS", str(cpus))
        if self.gpus:
            first = int(slot * self.resources.gpus + 1e-9)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus[first : first + max(1, int(self.resources.gpus))])
        process = _start(command, output, environment)
        self._free.remove(slot)
        return _LocalJob(process, lambda: self._free.append(slot))

    def close(self) -> None:
        """Do nothing: finished processes leave nothing behind."""


class _LocalJob:
    def __init__(self, process: subprocess.Popen[bytes], free: Any):
        self.process, self._free = process, free

    def poll(self) -> int | None:
        status = self.process.poll()
        if status is not None and self._free is not None:
            self._free()
            self._free = None
        return status

    def interrupt(self) -> None:
        self.process.terminate()  # SIGINT is ignored where the driver was started in the background


def visible_gpus() -> list[str]:
    """Return the GPUs that processes may use, as CUDA_VISIBLE_DEVICES names them, without starting CUDA."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU")]


# ---- clusters --------------------------------------------------------------------------------------------------------


class RayEngine:
    """Tasks of a Ray cluster, which shares the files of this machine."""

    def __init__(self, slots: int, resources: Resources, address: str | None = None):
        """`address` is that of a running cluster ("auto" finds it); None starts Ray on this machine."""
        self._ray = _import("ray", "ray")
        try:
            self._ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises plain ones where it is too slow to start
            raise InputError(
                "the Ray cluster cannot be reached or started",
                where="--engine ray",
                found=first_line(error),
                expected="the address of a running cluster, auto, or no --address",
                fix="Start a cluster with `ray start --head`, or leave --address out to start Ray on this machine.",
            ) from None
        if address is None:
            self._check_size(resources)
        options: dict[str, Any] = {"num_cpus": resources.cpus or 1, "num_gpus": resources.gpus, "max_retries": 0}
        if resources.memory_gb:
            options["memory"] = int(resources.memory_gb * 2**30)
        self._task = self._ray.remote(**options)(run_command)
        self.slots = slots

    def _check_size(self, resources: Resources) -> None:
        """Refuse runs that Ray on this machine would never start."""
        there = self._ray.cluster_resources()
        for flag, kind, needed in (("cpus", "CPU", resources.cpus), ("gpus", "GPU", resources.gpus)):
            if needed > there.get(kind, 0):
                self._ray.shutdown()
                raise InputError(
                    f"the machine has too few {kind}s for one run",
                    where=f"--{flag}-per-run",
                    found=needed,
                    expected=f"at most {there.get(kind, 0):.0f}",
                    fix="Ask for fewer, or name a larger cluster with --address.",
                )

    def submit(self, command: Sequence[str], output: Path | None) -> Job:
        """Submit a task; Ray starts it where its resources are free."""
        return _RayJob(self._ray, self._task.remote(list(command), None if output is None else str(output)))

    def close(self) -> None:
        """Disconnect from the cluster."""
        self._ray.shutdown()


class _RayJob:
    def __init__(self, ray: Any, reference: Any):
        self._ray, self._reference = ray, reference

    def poll(self) -> int | None:
        if not self._ray.wait([self._reference], timeout=0)[0]:
            return None
        try:
            return int(self._ray.get(self._reference))
        except self._ray.exceptions.RayError:  # the worker or its node died, or the task was cancelled
            return LOST

    def interrupt(self) -> None:
        self._ray.cancel(self._reference)


class SlurmEngine:
    """Jobs of a Slurm cluster through submitit, which shares the files of this machine."""

    def __init__(self, slots: int, resources: Resources, folder: Path, cluster: str = "slurm", partition: str = ""):
        """`folder` takes submitit's files; `cluster` is "slurm", or "local" for processes on this machine, to try it out."""
        self._submitit = _import("submitit", "slurm")
        try:
            self._executor = self._submitit.AutoExecutor(folder=folder, cluster=cluster)
        except RuntimeError as error:
            raise InputError(
                "this machine belongs to no Slurm cluster",
                where="--engine slurm",
                found=first_line(error),
                expected="Slurm's commands srun and sbatch",
                fix="Log in to a machine of the cluster, or leave --engine out to execute the runs here.",
            ) from None
        self._executor.update_parameters(
            timeout_min=resources.minutes,
            cpus_per_task=resources.cpus or 1,
            gpus_per_node=int(resources.gpus + 0.999),
            **({"mem_gb": resources.memory_gb} if resources.memory_gb else {}),
            **({"slurm_partition": partition} if partition else {}),
        )
        self.slots = slots

    def submit(self, command: Sequence[str], output: Path | None) -> Job:
        """Submit a job. A preempted job is queued again and resumes."""
        submitit = self._submitit

        class Command(submitit.helpers.Checkpointable):  # type: ignore[misc, name-defined]
            def __call__(self, arguments: list[str], path: str | None) -> int:
                return run_command(arguments, path)

            def checkpoint(self, *call: object) -> Any:  # called from a signal's handler while run_command waits
                interrupt_commands()
                return super().checkpoint(*call)

        with plain_disk_errors(self._executor.folder):
            return _SlurmJob(self._executor.submit(Command(), list(command), None if output is None else str(output)))

    def close(self) -> None:
        """Do nothing: jobs are Slurm's."""


class _SlurmJob:
    def __init__(self, job: Any):
        self._job = job

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception:  # submitit has no common class for jobs that were killed, timed out or cancelled
            return LOST

    def interrupt(self) -> None:
        self._job.cancel()


def run_command(command: list[str], output: str | None) -> int:
    """Run a command on a cluster's worker and return its exit status; an interrupt is passed on to it."""
    try:
        process = _start(command, None if output is None else Path(output), dict(os.environ))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _commands.append(process)
    try:
        while process.poll() is None:  # not wait(): it would keep a signal's handler from waiting for the process as well
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        interrupt_commands()
    _commands.remove(process)
    return process.wait(timeout=0)


def interrupt_commands() -> None:
    """Interrupt what `run_command` has started in this process, and wait while it saves its checkpoint."""
    for process in _commands:
        process.terminate()
    end = time.monotonic() + INTERRUPT_SECONDS
    while any(process.poll() is None for process in _commands) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)


def _start(command: Sequence[str], output: Path | None, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    stream: IO[bytes] | None = None
    if output is not None:
        with plain_disk_errors(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            stream = output.open("ab")
    try:
        return subprocess.Popen(
            list(command), env=environment, stdout=stream, stderr=stream and subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:  # no memory or too many processes
        raise InputError(
            "the run cannot be started",
            where=command[0],
            found=error.strerror,
            expected="room for one more process",
            fix="Ask for fewer --workers, or end other programs.",
        ) from None
    finally:
        if stream is not None:
            stream.close()


def _import(module: str, extra: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"the engine needs {module}",
            where=f"--engine {extra}",
            found=error,
            expected=f"{module} in this Python environment",
            fix=f"Install it in the project's folder: pip install -e '.[{extra}]'.",
        ) from None
