"""Everything around a training: the run folder and its lock, the log, the data, the report."""

import glob
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

import zslab
from zslab.baselines.cache import kept_baselines
from zslab.config import RunConfig, check_removed, config_dict, parse_config, result_flags
from zslab.data.dataset import Dataset
from zslab.data.fingerprint import fingerprint
from zslab.data.lazy import limit_memory
from zslab.datasets import DataSource
from zslab.errors import ExitStatus, InputError
from zslab.method import Method
from zslab.plan import STOPPED, data_folders, run_folder
from zslab.protocol.stages import run_protocol
from zslab.results.folder import RunFolder, changed_data
from zslab.results.result import Outcome, Result
from zslab.results.text import format_rows
from zslab.utils import environment
from zslab.utils.environment import resolve_device, shown
from zslab.utils.files import converted, read_json

log = logging.getLogger("zslab")


def main(method: Method, script: str, description: str | None) -> int:
    """Train with the flags of this process's command line; return the exit status."""
    with ExitStatus(STOPPED) as status:
        check_removed(sys.argv[1:], Path(script).name)
        config = parse_config(method.config, None, script, description or "")
        log_to_stdout()
        report(train(config, method), config.report)
    return status.code


def log_to_stdout() -> None:
    """Print what is logged."""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    log.setLevel(logging.INFO)


def train(config: RunConfig, method: Method) -> RunFolder:
    """Train and measure one experiment, unless it has finished before; return its folder, which has a result.

    Raises:
        InputError: a flag or the data cannot be used, the data have changed since, or the folder is in use or holds an
            unfinished run and no flag says what to do with it.
        Interrupted: the user asked to stop; everything up to then is saved.
        FloatingPointError: a loss is not finite.
    """
    if config.threads > 0:
        torch.set_num_threads(config.threads)
    config.check()
    folder, source = run_folder(config), method.source(config)
    if folder.finished and not config.overwrite:
        check_data(config, source, folder)
        folder.remove_checkpoints()
        log.info("This run has finished before; --overwrite would repeat it.")
        return folder
    dataset, device = open_dataset(config, source), resolve_device(config.device)
    files = source.files_digest(data_folders(config)[0])
    others = other_runs(folder, config) if config.resume and not folder.path.exists() else []
    folder.open(config_dict(config), config.resume, config.overwrite, fingerprint(dataset))
    try:
        data = f"{dataset.image_embedding}, {dataset.class_embedding}, split {dataset.split_version}"
        title = f"{config.variant} on {config.dataset}"
        if others:
            log.warning("--resume: no run has these flags, so this one starts anew. There are: %s", "; ".join(others[-3:]))
        log.info("%s (%s), seed %d, %s -> %s", title, data, config.manualSeed, device, folder.path)
        kept = data_folders(config)[1].with_name("baseline-cache")
        about_data = [files, folder.data, config.memory]
        outcome = run_protocol(
            dataset,
            lambda stage: method.build_trainer(config, stage, device),
            folder,
            config,
            partial(kept_baselines, kept, about_data, config.manualSeed) if config.baselines else None,
        )
        if method.after_training is not None and not config.validation_only:
            try:
                method.after_training(config, dataset, folder.path, device)
            except InputError as error:  # the result is not lost
                log.warning("Left out of the report: %s", error)
        about = {"source": source.to_json(), "files": files, "fingerprint": folder.data or {}}
        folder.finish(_result(outcome, config, method, device, about))
    finally:
        folder.close()
    return folder


def other_runs(folder: RunFolder, config: RunConfig) -> list[str]:
    """Return the runs of the same data, method and seed, with the flags that they have and this one has not."""
    found, flags = [], config_dict(config)
    for path in sorted(folder.path.parent.glob(f"{glob.escape(folder.path.name.removesuffix(folder.digest))}*/config.json")):
        before = converted(read_json(path), dict[str, Any], path)
        changed = [f"--{name} {before.get(name)}" for name in result_flags(type(config)) if before.get(name) != flags[name]]
        state = "finished" if (path.parent / "result.json").exists() else "unfinished"
        found.append(f"{shown(path.parent)} ({state}, {' '.join(changed)})")
    return found


def _result(outcome: Outcome, config: RunConfig, method: Method, device: torch.device, about: dict[str, Any]) -> Result:
    return Result(
        **msgspec.structs.asdict(outcome) | {"data": msgspec.structs.replace(outcome.data, **about)},
        method=method.name,
        variant=config.variant,
        version=zslab.__version__,
        command=environment.command_line(),
        device=str(device),
        machine=environment.machine(device),
        torch=str(torch.__version__),
        seed=config.manualSeed,
        config=config_dict(config),
        exportable=method.served is not None and not config.validation_only,
    )


def report(folder: RunFolder, draw: bool) -> None:
    """Print the table of a finished run, after drawing its report if it has none and `draw` asks for it."""
    result = folder.read_result()
    print(format_rows(result))
    if draw:
        if not folder.report.exists():
            from zslab.report.run import write_report  # loads matplotlib

            write_report(folder.path)
        print(f"Report: {shown(folder.report)}")
    if result.exportable:
        print(f"Model file: {environment.export_command(Path(shown(folder.path)))}")


def open_dataset(config: RunConfig, source: DataSource) -> Dataset:
    """Read and check a config's data, within the memory that it allows."""
    if config.memory > 0:
        limit_memory(config.memory)
    return source.open(*data_folders(config))


def check_data(config: RunConfig, source: DataSource, folder: RunFolder) -> None:
    """Refuse other data than those that a finished run was trained on; they are opened only if a file was touched since."""
    data = folder.read_result().data
    dataroot, cache = data_folders(config)
    if data.files == source.files_digest(dataroot):
        return
    now = fingerprint(source.open(dataroot, cache))
    if data.fingerprint != now:
        raise changed_data(folder.result, data.fingerprint, now)
