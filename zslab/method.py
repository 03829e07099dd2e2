"""A method as experiments need it: one object, in the package, in a file of your own, or in a package that offers it.

    METHOD = Method("ale", AleConfig(**RUN), build_trainer)

    zslab train --method ale.py:METHOD --dataset CUB --dataroot DIR --seeds 1 2 3

A package offers its methods as entry points of the group `zslab.methods`; then the name is enough. See docs/extend.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import torch

from zslab.config import RunConfig
from zslab.datasets import DataSource, Xlsa17Source
from zslab.errors import InputError, examples
from zslab.protocol.stages import EvaluatingTrainer
from zslab.utils.plugins import load_object

# A value for every flag that all methods have; a method's config gives those of its own.
RUN: Final[dict[str, Any]] = dict(
    dataset="TOY",
    dataroot=Path("zero-shot-images/data"),
    image_embedding="descriptor",
    class_embedding="att",
    partition=None,
    nepoch=30,
    batch_size=64,
    fit_batch_size=True,
    lr=1e-3,
    manualSeed=1,
    select="none",
    eval_every=1,
    baselines=True,
    report=True,
    device="auto",
    precision="fp32",
    threads=0,
    memory=0,
    deterministic=False,
    output=Path("runs"),
    resume=False,
    overwrite=False,
    checkpoint_every=1,
)


@dataclass(frozen=True)
class Method:
    """Everything that is known of a method.

    Attributes:
        name: of the method in results and model files.
        config: the value of each of its flags where nothing else is said.
        build_trainer: returns a new trainer for a config, the data of a stage and a device; random numbers are seeded then.
        source: returns where the data of a config come from; features and splits in the xlsa17 layout by default.
        after_training: is called with config, data set, run folder and device; its InputErrors become warnings.
        served: what its exported model is, a subclass of `zslab.app.methods.base.Served` or module:NAME of one; without it a
            run is reported and tabled, and cannot be exported.

    Examples:
        >>> method = load_method("examples/ale.py:METHOD")
        >>> method.name, method.config.variant, method.config.lr, method.served
        ('ale', 'ALE', 0.001, None)
    """

    name: str
    config: RunConfig
    build_trainer: Callable[[Any, Any, torch.device], EvaluatingTrainer]
    source: Callable[[Any], DataSource] = Xlsa17Source.of
    after_training: Callable[[Any, Any, Path, torch.device], None] | None = None
    served: type | str | None = None


def load_method(name: str, where: str = "--method") -> Method:
    """Return a method.

    Args:
        name: file.py:NAME, module:NAME, or the name of an entry point.
        where: the flag, for messages.
    """
    method = load_object(method_place(name, where), where)
    if not isinstance(method, Method):
        fix = "Name the object that is made by zslab.Method(...)."
        raise InputError("the object must be a Method", where=where, got=f"{name}, a {type(method).__name__}", fix=fix)
    return method


def method_place(name: str, where: str = "--method") -> str:
    """Return file.py:NAME or module:NAME for a name as `load_method` takes it."""
    offered = offered_methods()
    if ":" not in name and name not in offered:
        fix = f"Pass file.py:NAME or module:NAME{', or one of ' + examples(offered) if offered else ''}."
        raise InputError("the method must be one that an installed package offers", where=where, got=name, fix=fix)
    return offered.get(name, name)


def offered_methods() -> dict[str, str]:
    """Return name -> module:NAME of the methods that installed packages offer."""
    return {point.name: point.value for point in entry_points(group="zslab.methods")}
