"""Everything around a training: the locked run folder, the log, Ctrl-C, errors, the exit status and the report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType

import msgspec
import torch

import zslab
from zslab.baselines.comparison import run_baselines
from zslab.config import RunConfig, check_removed, config_dict, parse_config
from zslab.data.dataset import Dataset
from zslab.data.fingerprint import fingerprint
from zslab.data.lazy import limit_memory
from zslab.datasets import DataSource
from zslab.errors import InputError, explained, prepare_output
from zslab.method import Method
from zslab.plan import data_folders, run_folder
from zslab.protocol.loop import Interrupted
from zslab.protocol.stages import run_protocol
from zslab.results.folder import RunFolder, changed_data
from zslab.results.result import Outcome, Result
from zslab.results.text import format_rows
from zslab.utils import environment
from zslab.utils.environment import resolve_device, shown

log = logging.getLogger("zslab")


def main(method: Method, script: str, description: str | None) -> int:
    """Train with the flags of this process's command line; return the exit status."""
    check_removed(sys.argv[1:], Path(script).name)
    return train(parse_config(method.config, None, script, description or ""), method)


def train(config: RunConfig, method: Method) -> int:
    """Train, measure and report one experiment, unless it has finished before; return the exit status."""
    with Experiment(config, method) as experiment:
        execute(experiment)
        experiment.report()
    return experiment.status


def execute(experiment: Experiment) -> None:
    """Train and measure an experiment, unless it has finished before."""
    config, method = experiment.config, experiment.method
    config.check()
    if experiment.has_finished():
        return
    dataset, device = open_dataset(config, method.source(config)), experiment.device
    experiment.start(dataset)
    outcome = run_protocol(
        dataset,
        lambda data: method.build_trainer(config, data, device),
        experiment.folder,
        config,
        partial(run_baselines, seed=config.manualSeed) if config.baselines else None,
    )
    if method.after_training is not None and not config.validation_only:
        with experiment.optional():
            method.after_training(config, dataset, experiment.folder.path, device)
    experiment.finish(outcome)


def open_dataset(config: RunConfig, source: DataSource) -> Dataset:
    """Read and check a config's data, within the memory that it allows."""
    if config.memory > 0:
        limit_memory(config.memory)
    return source.open(*data_folders(config))


class Experiment:
    """One run, from config to report.

    As a context manager it turns an error of the user or a request to stop into one line and an exit status, and closes the run
    folder.

    Attributes:
        status: 0; 1 after an error that the user can fix; 130 if the user stopped the run.
    """

    def __init__(self, config: RunConfig, method: Method):
        self.config, self.method, self.status = config, method, 0
        self._files: str | None = None

    @cached_property
    def device(self) -> torch.device:
        """Where to train."""
        return resolve_device(self.config.device)

    @cached_property
    def folder(self) -> RunFolder:
        """The run's folder, locked after `start`."""
        return run_folder(self.config)

    def __enter__(self) -> Experiment:
        prepare_output()
        logging.basicConfig(format="%(message)s", stream=sys.stdout)
        log.setLevel(logging.INFO)
        if self.config.threads > 0:
            torch.set_num_threads(self.config.threads)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if "folder" in self.__dict__:
            self.folder.close()
        if isinstance(error, Interrupted):
            self.status = 130
            print(f"Stopped {error}, saved. To continue, repeat the command with --resume.", file=sys.stderr)
        elif isinstance(error, KeyboardInterrupt):
            self.status = 130
            print("Stopped. --resume continues from the last checkpoint.", file=sys.stderr)
        elif isinstance(error, FloatingPointError) or explained(error) is not None:
            self.status = 1
            print(f"error: {explained(error) or error}", file=sys.stderr)
        else:
            return False
        return True

    def has_finished(self) -> bool:
        """Return whether the run has finished before, so that nothing is left to train.

        Raises:
            InputError: it has, but its data have changed since.
        """
        if self.config.overwrite or not self.folder.finished:
            return False
        check_data(self.config, self.method.source(self.config), self.folder)
        self.folder.remove_checkpoints()
        log.info("This run has finished before; --overwrite would repeat it.")
        return True

    def start(self, dataset: Dataset) -> None:
        """Lock the run folder and open its log.

        Raises:
            InputError: the folder is in use, or holds an unfinished run and no flag says what to do with it.
        """
        config = self.config
        self._files = self.method.source(config).files_digest(data_folders(config)[0])
        self.folder.open(config_dict(config), config.resume, config.overwrite, fingerprint(dataset))
        log.info(
            "%s (%s, %s, split %s), seed %d, %s -> %s",
            self.title,
            dataset.image_embedding,
            dataset.class_embedding,
            dataset.split_version,
            config.manualSeed,
            self.device,
            self.folder.path,
        )

    @property
    def title(self) -> str:
        """Name of the method and of the data set."""
        return f"{self.config.variant} on {self.config.dataset}"

    @contextmanager
    def optional(self) -> Iterator[None]:
        """Turn an InputError inside the context into a warning, so that the result is not lost."""
        try:
            yield
        except InputError as error:
            log.warning("Left out of the report: %s", error)

    def finish(self, outcome: Outcome) -> None:
        """Write result.json, which makes the run a finished one."""
        config = self.config
        source = self.method.source(config).to_json()
        data = msgspec.structs.replace(outcome.data, source=source, files=self._files, fingerprint=self.folder.data or {})
        result = Result(
            **msgspec.structs.asdict(outcome) | {"data": data},
            method=self.method.name,
            variant=config.variant,
            version=zslab.__version__,
            command=environment.command_line(),
            device=str(self.device),
            machine=environment.machine(self.device),
            torch=str(torch.__version__),
            seed=config.manualSeed,
            config=config_dict(config),
            exportable=self.method.served is not None and not config.validation_only,
        )
        self.folder.finish(result)

    def report(self) -> None:
        """Print the table of the finished run, after drawing its report if it has none."""
        result = self.folder.read_result()
        print(format_rows(result))
        if self.config.report:
            if not self.folder.report.exists():
                from zslab.report.run import write_report  # loads matplotlib

                write_report(self.folder.path)
            print(f"Report: {shown(self.folder.report)}")
        if result.exportable:
            print(f"Model file: {environment.export_command(Path(shown(self.folder.path)))}")


def check_data(config: RunConfig, source: DataSource, folder: RunFolder) -> None:
    """Compare the data as they are now with those that a finished run was trained on.

    The data are opened only if a file of them was touched since.

    Raises:
        InputError: data are missing or have changed.
    """
    data = folder.read_result().data
    dataroot, cache = data_folders(config)
    if data.files == source.files_digest(dataroot):
        return
    now = fingerprint(source.open(dataroot, cache))
    if data.fingerprint != now:
        raise changed_data(folder.result, data.fingerprint, now)
