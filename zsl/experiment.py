"""One experiment as a training script runs it: config in, exit status out, a run folder with a report left behind."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zsl.data.fingerprint import fingerprint
from zsl.data.xlsa17 import Dataset, StageData
from zsl.errors import InputError
from zsl.protocol import EvaluatingTrainer, run_experiment
from zsl.report.html import write_report
from zsl.report.tables import format_rows
from zsl.runs.config import config_dict
from zsl.runs.environment import resolve_device, set_seed
from zsl.runs.folder import RunFolder
from zsl.runs.loop import Interrupted

log = logging.getLogger("zsl")

Config = Any  # a tree's dataclass, which zsl cannot import
LoadDataset = Callable[[Config], Dataset]
BuildTrainer = Callable[[Config, StageData, torch.device], EvaluatingTrainer]
After = Callable[[Config, Path, Dataset, torch.device], None]


def run(
    config: Config,
    check_config: Callable[[Config], None],
    folder_of: Callable[[Config], RunFolder],
    load_dataset: LoadDataset,
    build_trainer: BuildTrainer,
    *,
    method: str,
    after: After | None = None,
) -> int:
    """Checks, trains, measures, reports: all that a training script does, made of a tree's own parts.

    Args:
        config: read here are its flags device, manualSeed, deterministic, threads, resume and overwrite, its variant and its
            schedule.
        check_config: refuses flags that contradict each other.
        folder_of: the run's folder, not yet open.
        load_dataset: reads the data; called only if there is something to train.
        build_trainer: makes the trainer of a stage; the random numbers are seeded right before.
        after: given the folder of the trained run, adds what only this method has to report.

    Returns:
        0; 1 after an error that the user can mend, which is printed; 130 when the user stopped the run.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    log.setLevel(logging.INFO)
    try:
        check_config(config)
        folder = folder_of(config)
        if config.threads > 0:
            torch.set_num_threads(config.threads)
        result = _result(config, folder, load_dataset, build_trainer, method, after)
    except Interrupted as interrupted:
        print(f"Stopped {interrupted}, saved. To continue, repeat the command with --resume.", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("Stopped at once. The last checkpoint, if any, is whole: --resume continues from it.", file=sys.stderr)
        return 130
    except (InputError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report: Path = folder.path / "report.html"
    print(format_rows(result), f"Report: {report}", sep="\n")
    return 0


def _result(
    config: Config, folder: RunFolder, load_dataset: LoadDataset, build_trainer: BuildTrainer, method: str, after: After | None
) -> dict:
    """The run's result: read where it has finished before, else trained for, with its report."""
    if folder.finished and not config.overwrite:
        log.info("This run has finished before; --overwrite would repeat it.")
        return folder.read_result()
    device, title = resolve_device(config.device), f"{config.variant} on {config.dataset}"
    dataset = load_dataset(config)
    folder.open(config_dict(config), config.resume, config.overwrite, fingerprint(dataset))
    try:
        log.info("%s (%s, %s, split %s), seed %d, %s -> %s", title, dataset.image_embedding, dataset.class_embedding,
                 dataset.split_version, config.manualSeed, device, folder.path)

        def build(data: StageData) -> EvaluatingTrainer:
            set_seed(config.manualSeed, config.deterministic)
            return build_trainer(config, data, device)

        result = run_experiment(
            dataset, build, folder, config_dict(config), config.schedule(),
            method=method, title=title, seed=config.manualSeed, device=device,
        )
        if after is not None:
            try:
                after(config, folder.path, dataset, device)
            except InputError as error:  # what was trained and measured is worth its report all the same
                log.warning("Left out of the report: %s", error)
        write_report(folder.path)
    finally:
        folder.close()
    return result
