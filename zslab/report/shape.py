"""Checks a value read from JSON against a type, so that a changed file gives one clear error."""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from zslab.errors import InputError


def check_shape(value: object, kind: Any, where: object) -> None:
    """Check that a JSON value has a type.

    Args:
        value: What was read.
        kind: A TypedDict, `dict[str, ...]`, `list[...]`, `str`, `int`, `float`, `object`, None, or a union of them. An
            object may have more keys than its TypedDict. Where a float is declared, an integer is accepted.

    Raises:
        InputError: A key is missing, or a value has another type.
    """
    if fault := _fault(value, kind, ""):
        path, found, expected = fault
        raise InputError(
            "the file does not have the form that training writes",
            where=f"{where}, {path}" if path else where,
            found=found,
            expected=expected,
            fix="The file was changed outside this program. Restore it, or train again with --overwrite.",
        )


def _fault(value: object, kind: Any, path: str) -> tuple[str, str, str] | None:
    """Return (path, found, expected) of the first value of another type."""
    arguments = get_args(kind)
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return path, repr(value), "an object"
        hints = get_type_hints(kind)
        missing = sorted(kind.__required_keys__ - value.keys())
        if missing:
            return path, f"no {missing[0]!r}", f"the key {missing[0]!r}"
        parts = [(f"{path}.{key}" if path else key, value[key], hints[key]) for key in hints if key in value]
    elif get_origin(kind) is dict:
        if not isinstance(value, dict):
            return path, repr(value), "an object"
        parts = [(f"{path}.{key}" if path else key, each, arguments[1]) for key, each in value.items()]
    elif get_origin(kind) is list:
        if not isinstance(value, list):
            return path, repr(value), "a list"
        parts = [(f"{path}[{position}]", each, arguments[0]) for position, each in enumerate(value)]
    elif get_origin(kind) in (Union, types.UnionType):
        faults = [_fault(value, each, path) for each in arguments]
        return None if None in faults else (path, repr(value), " or ".join(fault[2] for fault in faults if fault))
    else:
        return None if _is(value, kind) else (path, repr(value), _NAMES[kind])
    return next((fault for part in parts if (fault := _fault(part[1], part[2], part[0]))), None)


_NAMES = {str: "a text", int: "a whole number", float: "a number", type(None): "null"}


def _is(value: object, kind: type) -> bool:
    if kind is object:
        return True
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)
