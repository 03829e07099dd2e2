"""The configs of both trees for tests: the values of their `config.py`, but on the CPU, with changes."""

from dataclasses import fields, replace

from zslab.config import ActionConfig, DazleConfig, DazleOptions, ImageConfig, RunConfig
from zslab.data.dataset import Dataset
from zslab.datasets import ActionSource, RegionSource, Xlsa17Source
from zslab.experiment import open_dataset

from helpers.project import tree_modules


def _configs(tree: str) -> dict[str, object]:
    with tree_modules(tree):
        import config

        return vars(config)


IMAGES, ACTIONS = _configs("zero-shot-images"), _configs("zero-shot-actions")


def tfvaegan(**changes) -> ImageConfig:
    return replace(IMAGES["TFVAEGAN"], device="cpu", **changes)


def actions(**changes) -> ActionConfig:
    return replace(ACTIONS["TFVAEGAN"], device="cpu", **changes)


def dazle(**changes) -> DazleConfig:
    return replace(IMAGES["DAZLE"], device="cpu", **changes)


def dazle_options(**changes) -> DazleOptions:
    config = dazle(**changes)
    return DazleOptions(**{field.name: getattr(config, field.name) for field in fields(DazleOptions)})


def read_dataset(config: RunConfig) -> Dataset:
    """The data set that a config names."""
    sources = {ImageConfig: Xlsa17Source, ActionConfig: ActionSource, DazleConfig: RegionSource}
    return open_dataset(config, sources[type(config)].of(config))
