"""How names of classes from folders, tables and the command line are compared, and how people read them.

Two spellings are the same name if they agree after Unicode normalization, without regard to case and to what separates
words: "Black_footed Albatross" and "black-footed albatross". A running number, as in CUB's "001.Black_footed_Albatross",
is left off where every name of a list has one. "C", "C++" and "C#", or "1.5 mm screw" and "2.5 mm screw", stay apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from zslab.errors import InputError, examples

RUNNING_NUMBER = re.compile(r"\d+\.(?=[^\W\d_])")


INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))  # soft hyphen, zero-width spaces, byte order mark
JOINERS = "\u200c\u200d"  # without a shape of their own, but parts of Persian and Hindi words and of emoji


def is_printable(text: str) -> bool:
    """Return whether a text holds letters, signs, spaces of any kind and joiners, and nothing that changes a terminal."""
    return all(c.isprintable() or c in JOINERS or unicodedata.category(c) == "Zs" for c in text)


def normalized(name: str) -> str:
    """Return a name in NFC and lower case, with single spaces for white space, underscores and inner hyphens."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.translate(INVISIBLE)).casefold())
    return " ".join(re.sub(r"(?<=[^\s_-])-(?=[^\s_-])", " ", text).replace("_", " ").split())


def _letters_joined(name: str) -> str:
    """Return a normalized name without apostrophes, abbreviation points and the spaces between letters."""
    text = re.sub(r"['’`]|\.(?!\d)", "", normalized(name))
    return re.sub(r"(?<=[^\W\d_])[+ ](?=[^\W\d_])", "", text)


def without_numbers(names: Sequence[str]) -> list[str]:
    """Return the names without their running numbers; unchanged unless all have one and stay different without it."""
    if not all(RUNNING_NUMBER.match(name) for name in names):
        return list(names)
    stripped = [RUNNING_NUMBER.sub("", name, count=1) for name in names]
    return stripped if len(set(map(normalized, stripped))) == len(stripped) else list(names)


def readable_names(names: Sequence[str]) -> dict[str, str]:
    """Return each class name as people read it, with spaces for underscores and without a running number that all have."""
    shown = [" ".join(name.replace("_", " ").split()) for name in without_numbers(names)]
    return dict(zip(names, shown)) if len(set(shown)) == len(set(names)) else {name: name for name in names}


def repeated(names: Sequence[str]) -> list[list[str]]:
    """Return the groups of names that are spellings of one name."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[normalized(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def match_names(names: Sequence[str], known: Sequence[str], where: object) -> list[int | None]:
    """Find names in a list: exactly if possible, otherwise by their normalized spelling.

    Args:
        names: what to look for.
        known: the list, each name once.
        where: what `names` come from, for messages.

    Returns:
        For each name its index in `known`, or None.

    Raises:
        InputError: a name has no exact match and fits several of the list.
    """
    bare_names, bare_known = without_numbers(names), without_numbers(known)
    levels: list[tuple[Callable[[str], str], Sequence[str], Sequence[str]]] = [
        (str, names, known),
        (lambda name: unicodedata.normalize("NFC", name), names, known),
        (normalized, names, known),
        (normalized, bare_names, bare_known),
        (_letters_joined, names, known),
        (_letters_joined, bare_names, bare_known),
    ]
    found: list[int | None] = [None] * len(names)
    missing = list(range(len(names)))
    for spelling, given, listed in levels:
        if not missing:
            break
        places: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(listed):
            places[spelling(name)].append(place)
        for number in missing:
            fitting = places.get(spelling(given[number]), [])
            if len(fitting) > 1:
                raise InputError(
                    "a name fits several classes",
                    where=where,
                    found=repr(names[number]),
                    expected="the exact name of one of " + examples([known[place] for place in fitting]),
                    fix="Write the name as the list has it.",
                )
            found[number] = fitting[0] if fitting else None
        missing = [number for number in missing if found[number] is None]
    return found


def find_names(
    names: Sequence[str], known: Sequence[str], where: object, what: str = "class", fix: str = "Correct the name."
) -> list[int]:
    """Return for each name its index in a list, compared as in `match_names`.

    Args:
        names: what to look for.
        known: the list, each name once.
        where: what `names` come from, for messages.
        what: what a name is the name of, for messages.
        fix: what to do about an unknown name.

    Raises:
        InputError: a name is unknown, fits several of the list, or is given twice.
    """
    found = match_names(names, known, where)
    unknown = [name for name, index in zip(names, found) if index is None]
    if unknown:
        close = get_close_matches(unknown[0], known, n=1)
        meant = f"Did you mean {close[0]!r}? " if close else ""
        raise InputError(
            f"every name must be that of a {what}, such as {examples(known, 3)}",
            where=where,
            got=examples(unknown),
            fix=meant + fix,
        )
    twice = [names[place] for place, index in enumerate(found) if index in found[:place]]
    if twice:
        raise InputError(f"a {what} must be named once", where=where, got=examples(twice), fix="Remove the repetition.")
    return [index for index in found if index is not None]
