"""Everything around a training: the locked run folder, the log, Ctrl-C, errors, the exit status and the report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import Any, cast

import torch

import zslab
from zslab.config import RunFlags, data_folders, run_folder
from zslab.data.dataset import Dataset
from zslab.data.fingerprint import fingerprint
from zslab.errors import InputError, explained, prepare_output
from zslab.protocol.loop import Interrupted
from zslab.protocol.stages import Outcome
from zslab.report.html import write_report
from zslab.report.run import Result
from zslab.report.text import format_rows
from zslab.results.config import config_dict
from zslab.results.folder import RunFolder, changed_data
from zslab.utils import environment
from zslab.utils.environment import resolve_device

log = logging.getLogger("zslab")


class Experiment:
    """One run of a training script, from config to report.

    As a context manager it turns an error of the user or a request to stop into one line and an exit status, and closes the run
    folder.

    Args:
        method: name of the method in the result.

    Attributes:
        status: 0; 1 after what the user can mend; 130 if the user stopped the run.
    """

    def __init__(self, config: RunFlags, method: str):
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
            print("Stopped at once. The last checkpoint, if any, is whole: --resume continues from it.", file=sys.stderr)
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
        check_data(self.config, self.folder)
        self.folder.remove_checkpoints()
        log.info("This run has finished before; --overwrite would repeat it.")
        return True

    def start(self, dataset: Dataset) -> None:
        """Lock the run folder and open its log.

        Raises:
            InputError: the folder is in use, or holds an unfinished run and no flag says what to do with it.
        """
        config = self.config
        self._files = config.source().files_digest(data_folders(config)[0])
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
        """Write result.json, which makes the run a finished one, and draw its report."""
        config = self.config
        described = {
            "schema": 1,
            "method": self.method,
            "version": zslab.__version__,
            "title": self.title,
            "command": environment.command_line(),
            "device": str(self.device),
            "machine": environment.machine(self.device),
            "torch": torch.__version__,
            "seed": config.manualSeed,
            "config": config_dict(config),
            "settings": config.method_settings(),
        }
        data = outcome["data"] | {"source": config.source().to_json(), "files": self._files, "fingerprint": self.folder.data}
        self.folder.finish({**described, **outcome, "data": data})
        write_report(self.folder.path)

    def report(self) -> None:
        """Print the table of the finished run, after drawing its report if a kill left it without one."""
        if not self.folder.report.exists():
            write_report(self.folder.path)
        print(format_rows(cast(Result, self.folder.read_result())), f"Report: {self.folder.report}", sep="\n")
        if not self.config.schedule().validation_only:  # which leaves no model
            print(f"Model file: {environment.export_command(self.folder.path)}")


def check_data(config: RunFlags, folder: RunFolder) -> None:
    """Compare the data as they are now with those that a finished run was trained on.

    The data are opened only if a file of them was touched since.

    Raises:
        InputError: data are missing or have changed.
    """
    data: Mapping[str, Any] = folder.read_result().get("data", {})
    dataroot, cache = data_folders(config)
    source = config.source()
    if data.get("files") == source.files_digest(dataroot):
        return
    now = fingerprint(source.open(dataroot, cache))
    if data.get("fingerprint") != now:
        raise changed_data(folder.result, data.get("fingerprint"), now)
