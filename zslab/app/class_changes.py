"""A model with other classes: added, changed or removed, each as a new `Model` that differs in nothing else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from zslab.app.attribute_table import AttributeTable
from zslab.app.model_file import Model
from zslab.data.dataset import Samples
from zslab.errors import InputError, examples
from zslab.features.text import TextRecord
from zslab.utils.names import match_names, normalized


def with_classes(model: Model, table: AttributeTable) -> Model:
    """Return the model with an unseen class for every row of a table, behind its own classes.

    Raises:
        InputError: a name is taken, or attributes are missing or unknown.
    """
    taken = {normalized(name): name for name in model.class_names}
    same = [taken[normalized(name)] for name in table.class_names if normalized(name) in taken]
    if same:
        raise InputError(
            "the class exists already",
            where=table.source,
            found=examples(same),
            expected="a new name",
            fix="Choose another name, or change that class's attributes instead.",
        )
    values = table.columns(model.attribute_names)
    return replace(
        model,
        class_names=[*model.class_names, *table.class_names],
        seen=np.concatenate([model.seen, np.zeros(len(values), dtype=bool)]),
        table=np.concatenate([model.table, values]),
        attributes=torch.cat([model.attributes, _unit_rows(model, values, table)]),
    )


def with_attributes(model: Model, table: AttributeTable) -> Model:
    """Return the model with other attributes for the classes of a table.

    Raises:
        InputError: a class is unknown, or attributes are missing or unknown.
    """
    found = match_names(table.class_names, model.class_names, table.source)
    unknown = [name for name, place in zip(table.class_names, found) if place is None]
    if unknown:
        raise InputError(
            "the class is unknown",
            where=table.source,
            found=examples(unknown),
            expected="classes of the model",
            fix="Add it as a new class.",
        )
    places = [place for place in found if place is not None]
    values, attributes = model.table.copy(), model.attributes.clone()
    values[places] = table.columns(model.attribute_names)
    attributes[places] = _unit_rows(model, values[places], table)
    return replace(model, table=values, attributes=attributes)


def without_class(model: Model, name: str) -> Model:
    """Return the model without an unseen class.

    Raises:
        InputError: there is no such class, it is a seen one, or it is the last unseen one.
    """
    removed = model.class_names.index(name) if name in model.class_names else -1
    if removed < 0 or model.seen[removed] or (~model.seen).sum() < 2:
        raise InputError(
            "the class cannot be removed",
            where="the classes",
            found=repr(name),
            expected="one of at least two unseen classes",
            fix="Name another class.",
        )
    keep = np.arange(len(model.seen)) != removed
    train = model.train
    if train is not None:
        train = Samples(train.features, train.labels - (train.labels > removed).long())
    return replace(
        model,
        class_names=[each for each in model.class_names if each != name],
        seen=model.seen[keep],
        table=model.table[keep],
        attributes=model.attributes[torch.from_numpy(keep)],
        train=train,
    )


def unusual_values(model: Model, table: AttributeTable) -> list[str]:
    """Return a sentence for each class of a table with values far outside the range of the model's classes.

    A value is far outside if it leaves the range that the model's classes have in its attribute by more than the width of
    that range, as percentages beside shares of 1 do, or millimeters beside centimeters. Vectors of text have no unit.
    """
    if model.text is not None:
        return []
    values = table.columns(model.attribute_names)
    low, high = model.table.min(axis=0), model.table.max(axis=0)
    width = high - low
    width[width == 0] = np.median(width[width > 0]) if width.any() else 1.0
    excess = np.maximum(low - values, values - high) / width
    return [
        f"{(row > 1).sum()} of {len(row)} attributes of {name!r} lie far outside the model's range, such as "
        f"{model.attribute_names[i]!r} = {values[k, i]:g} (the model's classes have {low[i]:g} to {high[i]:g}). "
        "Check the unit of the values."
        for k, (name, row) in enumerate(zip(table.class_names, excess))
        if row[i := int(row.argmax())] > 1
    ]


def _unit_rows(model: Model, values: np.ndarray, table: AttributeTable) -> Tensor:
    return torch.from_numpy(model.attribute_scale.apply(values, table.class_names, table.source))


def text_record(model: Model, sentences: Collection[str], where: object) -> TextRecord:
    """Return how the class vectors of a model came from text.

    Args:
        model: exported.
        sentences: names of the classes that are to be added by a sentence, for the message.
        where: names the model in the message.

    Raises:
        InputError: they did not come from text.
    """
    if model.text is None:
        raise InputError(
            "the model's class vectors did not come from text",
            where=where,
            found=f"a sentence for {examples(list(sentences))}",
            expected="attributes",
            fix="Give every new class its attributes, or train with class vectors made by class_vectors.py.",
        )
    return model.text
