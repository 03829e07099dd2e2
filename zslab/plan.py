"""From a launcher's settings and a command line to the runs to make; nothing is trained here.

A launcher, `run_*.py`, lists its settings in full in a `Launcher` and calls `zslab.launch.launch` with it. Its own switches
choose a variant or several runs; every other flag is one of the config, and overrides the launcher's settings.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, make_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from zslab.config import Config, RunConfig, Value, as_arguments, check_removed, config_digest, override
from zslab.errors import InputError
from zslab.results.folder import RunFolder
from zslab.utils.environment import resolve_device, resolve_folder
from zslab.utils.files import read_toml
from zslab.utils.flags import check_at_least, parse_numbers
from zslab.utils.plugins import load_object

STOPPED = "Stopped. --resume continues from the last checkpoint."  # what a run says after Ctrl-C
SWITCHES = {"finetuned": "settings for features fine-tuned on the seen classes"}  # that are no flags of a config


@dataclass(frozen=True, kw_only=True)
class Switches:
    """What a launcher takes beside the flags of its config."""

    seeds: tuple[int, ...] = ()  #: run each of these seeds; report mean and sd
    partitions: int | None = None  #: run this number of random partitions of the classes
    settings: Path | None = None  #: flags from a TOML file, as `zslab search` writes it
    workers: int = 1  #: runs at the same time
    dry_run: bool = False  #: print the resolved config and how runs differ; run nothing


@dataclass(frozen=True, kw_only=True)
class SplitSwitches(Switches):
    """What a launcher of data with numbered class splits takes as well."""

    splits: str = ""  #: run these class splits, such as 1-30; report mean and sd


@dataclass(frozen=True)
class Run:
    """One run of a launcher."""

    launcher: Launcher  #: where it comes from
    words: tuple[str, ...]  #: the switches of its variant
    config: RunConfig  #: all flags
    differs: Mapping[str, Value] = field(default_factory=dict)  #: the flags that set it apart from the other runs of a sweep

    @cached_property
    def folder(self) -> RunFolder:
        """Where the run leaves its result."""
        return run_folder(self.config)

    @property
    def name(self) -> str:
        """What sets the run apart from the others of a sweep."""
        return ", ".join(f"{flag} {value}" for flag, value in self.differs.items())

    @property
    def command(self) -> list[str]:
        """The command that makes this run alone."""
        default = self.launcher.config(self.words)
        changed = {name: value for name, value in vars(self.config).items() if value != getattr(default, name)}
        arguments = as_arguments({name: "None" if value is None else value for name, value in changed.items()})
        return [sys.executable, *self.launcher.command, *(f"--{word}" for word in self.words), *arguments]


class Launcher:
    """The settings of a launcher.

    Args:
        description: shown by --help.
        path: of its file.
        script: the module that has METHOD, in the launcher's folder or the one above, where a tree has its training scripts;
            or file.py:NAME or module:NAME.
        default: the config of the method.
        variants: switches -> the settings that replace its values. A switch is a flag of the config or one of `SWITCHES`.
        command: what starts the launcher, after Python's own name; its path where not given.
    """

    def __init__(
        self,
        description: str | None,
        path: str,
        script: str,
        default: RunConfig,
        variants: Mapping[tuple[str, ...], Mapping[str, Value]],
        command: Sequence[str] = (),
    ):
        self.description, self.path, self.script = description or "", Path(path).resolve(), script
        self.default, self.variants, self.command = default, variants, list(command) or [str(self.path)]
        self.offered = sorted({word for words in variants for word in words})

    def config(self, words: Sequence[str] = ()) -> RunConfig:
        """Return the config of a variant."""
        for switches, settings in self.variants.items():
            if set(switches) == set(words):
                return override(self.default, settings, self.path)
        have = "; ".join(" ".join(f"--{word}" for word in switches) or "none" for switches in self.variants)
        got = " ".join(f"--{word}" for word in words) or "none"
        raise InputError(f"the switches must be those of a variant ({have})", where=self.path.name, got=got, fix="Change them.")

    def parse(self, argv: Sequence[str]) -> tuple[Switches, list[Run]]:
        """Return the switches and the runs of a command line.

        Exits with a message, as tyro does, where a flag is unknown or has an impossible value.
        """
        import tyro  # not needed to plan from settings alone

        check_removed([word for word in argv if word.startswith("--")], self.path.name)
        words = tuple(word for word in self.offered if f"--{word}" in argv)
        config = self.config(words)
        early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        early.add_argument("--settings", type=Path)
        if (settings := early.parse_known_args(argv)[0].settings) is not None:  # which the other flags override
            config = override(config, read_settings(settings), settings)
        kind = _command_line(type(config), [word for word in self.offered if word in SWITCHES])
        parsed: Any = tyro.cli(
            kind,
            args=list(argv),
            default=kind(config=config),
            prog=self.path.name,
            description=self.description,
            use_underscores=True,
        )
        return parsed.switches, self.runs(words, parsed.config, parsed.switches)

    def runs(self, words: tuple[str, ...], config: RunConfig, switches: Switches = Switches()) -> list[Run]:
        """Return the runs of a config: one, or one for each split, partition and seed that the switches name."""
        splits = getattr(switches, "splits", "")
        check_at_least(1, switches, "workers", *(["partitions"] if switches.partitions is not None else []))
        axes: dict[str, Sequence[int]] = {
            "split": parse_numbers(splits, "--splits") if splits else (),
            "partition": range(1, (switches.partitions or 0) + 1),
            "manualSeed": switches.seeds,
        }
        named = {flag: values for flag, values in axes.items() if values}
        return [
            Run(self, words, override(config, differs, self.path.name), differs)
            for differs in (dict(zip(named, values)) for values in itertools.product(*named.values()))
        ]

    def method(self) -> Any:
        """Return what the launcher trains, a `zslab.method.Method`; the modules of its tree are imported for it."""
        with tree_modules(self.path.parents[1], self.path.parent):
            return load_object(self.script if ":" in self.script else f"{self.script}:METHOD", self.path)


def load_launcher(path: Path) -> Launcher:
    """Return the `LAUNCHER` of a file; the trees' modules of equal names do not meet."""
    folder = Path(path).resolve().parent
    with tree_modules(folder.parent, folder):
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        if spec is None or spec.loader is None or not Path(path).is_file():
            raise InputError("the file must be a launcher", where=path, got="no Python file", fix="Pass a run_*.py script.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    launcher = getattr(module, "LAUNCHER", None)
    if not isinstance(launcher, Launcher):
        raise InputError("the file must define LAUNCHER", where=path, got="none", fix="Pass a run_*.py script of a tree.")
    return launcher


@contextmanager
def tree_modules(tree: Path, beside: Path | None = None) -> Iterator[None]:
    """Import top-level modules of a tree inside the context, and of the folder `beside` a launcher.

    What was imported from the tree is forgotten afterwards: the trees have modules of equal names.
    """
    before, path = dict(sys.modules), list(sys.path)
    names = {file.stem for file in tree.glob("*.py")}
    for name in names:
        sys.modules.pop(name, None)
    sys.path[:0] = map(str, filter(None, (beside, tree)))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in names:
            sys.modules.pop(name, None)
            if name in before:
                sys.modules[name] = before[name]


def read_settings(path: Path) -> dict[str, object]:
    """Return the flags of a settings file, such as `zslab search` writes."""
    content = read_toml(path, "a file of flags", "Write flags under [flags], such as nepoch = 20.")
    flags = content.get("flags")
    if content.keys() != {"flags"} or not isinstance(flags, dict) or not flags:
        got = ", ".join(content.keys() - {"flags"}) or "no flags"
        raise InputError("the file must have one table [flags] with flags", where=path, got=got, fix="Correct the file.")
    return flags


def data_folders(config: RunConfig) -> tuple[Path, Path]:
    """Return the folder that holds the data sets, and one for files that make reading them faster."""
    return resolve_folder(config.dataroot), resolve_folder(config.output) / "feature-cache"


def run_folder(config: RunConfig) -> RunFolder:
    """Return the folder of a config's run, named by data, method, seed and a digest of all flags; it need not exist."""
    digest = config_digest(replace(config, device=str(resolve_device(config.device))))
    data = (config.dataset, config.image_embedding, config.class_embedding)
    partition = [] if config.partition is None else [f"partition{config.partition}"]
    name = "-".join([*data, *partition, *config.name_parts, f"seed{config.manualSeed}", digest])
    return RunFolder(resolve_folder(config.output) / name, digest)


def _command_line(kind: type[Config], names: Sequence[str]) -> Any:
    """Return a class for tyro: the switches of a launcher beside the flags of its config, all without prefixes."""
    import tyro

    no_pairs: Any = tyro.conf.FlagCreatePairsOff
    base: Any = SplitSwitches if "split" in kind.__dataclass_fields__ else Switches
    shown: Any = kind
    own = [(name, no_pairs[bool], field(default=False, metadata={"help": SWITCHES[name]})) for name in names]
    return make_dataclass(
        "CommandLine",
        [
            *own,
            ("switches", Annotated[no_pairs[base], tyro.conf.arg(name="")], field(default=base())),
            ("config", Annotated[shown, tyro.conf.arg(name="")], field(default=None)),
        ],
        frozen=True,
    )
