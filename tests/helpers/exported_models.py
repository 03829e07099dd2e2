"""Runs and exported models, made small and fast, that several test files look at."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from zslab.app.attribute_table import AttributeTable, write_attribute_table
from zslab.plan import run_folder
from zslab.toy.render import render_bird
from zslab.toy.species import SPECIES, TRAITS, class_attributes

from helpers.commands import train as run
from helpers.configs import actions, dazle, tfvaegan
from helpers.project import tree_modules

FLAGS = dict(
    **dict(nepoch=2, ngh=48, ndh=48, batch_size=16, critic_iter=1, syn_num=60, recons_weight=0.1, device="cpu"),
    **dict(classifier_epochs=12, classifier_lr=5e-3, lr=1e-3, dec_lr=1e-3),
)
ATTRIBUTES = [f"{trait}={value}" for trait, values in TRAITS.items() for value in values]


def write_birds(folder: Path, names: list[str], n: int) -> None:
    """`folder`/<species>/<number>.png."""
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(n):
            random = np.random.RandomState([7, list(SPECIES).index(name), i])
            render_bird(SPECIES[name], random).image.save(folder / name / f"{i}.png")


def write_table(path: Path, names: list[str]) -> AttributeTable:
    """The species' attributes in per cent, as CSV."""
    place = list(SPECIES)
    values = 100 * class_attributes()[[place.index(name) for name in names]]
    table = AttributeTable(list(names), ATTRIBUTES, values, str(path))
    write_attribute_table(path, table)
    return table


def without_report():
    """Runs draw no figures within."""
    return patch("zslab.report.run.write_report", lambda folder: folder / "report.html")


def train(dataset: str, dataroot: Path, output: Path, embedding: str, tree: str = "zero-shot-images", **flags) -> Path:
    """A run of a tree's TF-VAEGAN; its folder."""
    torch.manual_seed(0)
    with tree_modules(tree) as load:
        script = load("train_tfvaegan_inductive" if tree == "zero-shot-images" else "train_tfvaegan")
        values = FLAGS | {"dataset": dataset, "dataroot": dataroot, "output": output, "image_embedding": embedding} | flags
        config = replace(tfvaegan() if tree == "zero-shot-images" else actions(), **values)
        with without_report():
            assert run(config, script.METHOD) == 0
        return run_folder(config).path


def train_dazle(dataset: str, dataroot: Path, output: Path, embedding: str, **flags) -> Path:
    """A run of DAZLE; its folder."""
    where = dict(dataset=dataset, dataroot=dataroot, output=output, image_embedding=embedding)
    config = dazle(**where, **{"nepoch": 2, "batch_size": 20, "dim_v": 20, "lr": 1e-3} | flags)
    with tree_modules("zero-shot-images") as load, without_report():
        assert run(config, load("train_dazle").METHOD) == 0
    return run_folder(config).path
