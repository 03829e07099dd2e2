"""What every `run_*.py` launcher does: choose a variant's flags, pass the user's on, run one seed or several.

A launcher owns its flags, literally; here are only the switches that all launchers share. Flags that are typed after a
launcher reach the training script after its own, and so override them.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from zsl.errors import InputError
from zsl.report.tables import format_sweep, summarise
from zsl.runs.config import config_dict, config_digest, parse_config
from zsl.runs.files import read_json, write_json, write_text

Flags = Mapping[str, object]


def as_arguments(flags: Flags) -> list[str]:
    """{"lr": 1e-4, "encoded_noise": True} as ["--lr", "0.0001", "--encoded_noise"]; False becomes --no_encoded_noise."""
    arguments = []
    for name, value in flags.items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no_{name}")
        else:
            arguments += [f"--{name}", str(value)]
    return arguments


def launch(docstring: str, tree: Path, variants: Mapping[tuple[str, str], tuple[str, Flags]]) -> int:
    """Runs a launcher; returns its exit status.

    Args:
        docstring: the launcher's, shown by --help.
        tree: the folder of the training scripts, `config.py` and `util.py`; it must be on the import path.
        variants: (setting, features) -> (training script, flags), with settings among "inductive" and "transductive"
            and features among "frozen" and "finetuned".
    """
    settings, features = ({key[i] for key in variants} for i in (0, 1))
    parser = argparse.ArgumentParser(
        description=docstring, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="All other flags go to the training script and override the settings above; see its --help.",
    )
    if "finetuned" in features:
        parser.add_argument("--finetuned", action="store_true", help="settings for features fine-tuned on the seen classes")
    if "transductive" in settings:
        parser.add_argument("--transductive", action="store_true", help="use unlabelled features of the unseen classes")
    parser.add_argument("--seeds", type=int, nargs="+", help="run these seeds one after another; report mean and sd")
    parser.add_argument("--dry-run", action="store_true", help="print the command and the resolved config; run nothing")
    own, passed_on = parser.parse_known_args()
    setting = "transductive" if getattr(own, "transductive", False) else "inductive"
    script, flags = variants[setting, "finetuned" if getattr(own, "finetuned", False) else "frozen"]
    arguments = [*as_arguments(flags), *passed_on]
    if own.seeds is None:
        return _run_one(tree, script, arguments, own.dry_run)
    for seed in own.seeds:
        status = _run_one(tree, script, [*arguments, "--manualSeed", str(seed)], own.dry_run)
        if status != 0:
            return status
    return 0 if own.dry_run else _report_seeds(tree, script, arguments, own.seeds)


def _run_one(tree: Path, script: str, arguments: Sequence[str], dry_run: bool) -> int:
    command = [sys.executable, str(tree / script), *arguments]
    if dry_run:
        config = _resolve(tree, script, arguments)
        print(shlex.join(command), *(f"  {key} = {value}" for key, value in config_dict(config).items()), sep="\n")
        return 0
    # Ctrl-C reaches the training script too, which saves and exits; until then the launcher must not go away.
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        forward = signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
        try:
            status = process.wait()
        finally:
            signal.signal(signal.SIGTERM, forward)
    finally:
        signal.signal(signal.SIGINT, earlier)
    return status if status >= 0 else 128 - status


def _resolve(tree: Path, script: str, arguments: Sequence[str]) -> object:
    """The config that the training script will see."""
    from config import TfvaeganConfig  # the tree's own; `tree` is on the path

    default = TfvaeganConfig(transductive="transductive" in script)
    return parse_config(default, arguments, script, "")


def _report_seeds(tree: Path, script: str, arguments: Sequence[str], seeds: Sequence[int]) -> int:
    """Gathers the finished runs of all seeds into one table beside their folders."""
    from util import run_folder

    configs = [_resolve(tree, script, [*arguments, "--manualSeed", str(seed)]) for seed in seeds]
    folders = [run_folder(config) for config in configs]
    try:
        summary = summarise([read_json(folder.result) for folder in folders])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    name = folders[0].path.name.replace(f"-seed{seeds[0]}-{folders[0].digest}", "")
    digest = config_digest(replace(configs[0], manualSeed=0))
    target = folders[0].path.with_name(f"{name}-seeds{'_'.join(map(str, seeds))}-{digest}")
    table = format_sweep(summary)
    write_json(target / "summary.json", summary)
    write_text(target / "summary.txt", table)
    print(table, f"Summary: {target}", sep="\n")
    return 0
