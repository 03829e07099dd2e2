"""How names of classes from folders, tables and the command line are compared, and how people read them.

Two spellings are the same name if they agree after Unicode normalization, without regard to case and to what separates
words: "Black_footed Albatross" and "black-footed albatross". A running number, as in CUB's "001.Black_footed_Albatross", is
left off where every name of a list has one. "C", "C++" and "C#", or "1.5 mm screw" and "2.5 mm screw", stay apart. What is
not printed is removed from every name before anything else happens to it.
"""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

from zslab.errors import InputError, examples, is_unprinted

RUNNING_NUMBER = re.compile(r"\d+\.(?=[^\W\d_])")
# Escape sequences of terminals, controls, marks, halves of characters, code points that are no characters.
SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])|\x9b[0-?]*[ -/]*[@-~]")
BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0"  # letters and marks of no width
# Joiners belong to words and emoji of other scripts; between Latin letters and at the ends they do nothing.
IDLE_JOINER = re.compile("(?<![^\0-\u024f])[\u200c\u200d]|[\u200c\u200d](?![^\0-\u024f])")
VARIANTS = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # other shapes of the same character

log = logging.getLogger(__name__)


def clean_name(name: str) -> str:
    r"""Return a name without characters that are not printed and with spaces for line breaks and tabs.

    Marks of direction, controls, and what is of no width go; a byte that is no UTF-8 becomes `\xff`. Characters of private use
    and those newer than this Python's Unicode tables stay.
    """
    if name.isascii() and name.isprintable():
        return name.strip()
    name = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", SEQUENCE.sub("", name))
    name = re.sub("[\t-\r\x1c-\x1f\x85\u2028\u2029\u2800]", " ", name)
    kept = (c for c in name if not (is_unprinted(c) or c in BLANKS or 0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE))
    cleaned = IDLE_JOINER.sub("", "".join(kept)).strip()
    return cleaned if VARIANTS.sub("", cleaned) else ""


def clean_names(names: Iterable[object], where: object, what: str = "class") -> tuple[list[str], list[str]]:
    """Return names as they are compared, written and printed, with notes: the door for every name from outside."""
    given = list(map(str, names))
    cleaned = list(map(clean_name, given))
    if "" in cleaned:
        place = cleaned.index("")
        must = f"the name of every {what} must hold a character that is printed"
        raise InputError(must, where=where, got=f"{given[place]!r} at {place + 1}", fix="Name it.")
    changed = [new for old, new in zip(given, cleaned) if new != old.strip()]
    notes = [f"{where}: characters that are not printed were removed from {examples(changed)}."] if changed else []
    alike = _groups(set(cleaned), lambda name: normalized(RUNNING_NUMBER.sub("", name, count=1)))
    if alike:
        same = examples([" = ".join(map(repr, sorted(group))) for group in alike])
        notes.append(f"{where}: these names differ in little, but are taken for several: {same}.")
    return cleaned, notes


def logged_names(names: Iterable[object], where: object, what: str = "class") -> list[str]:
    """Return names as `clean_names` does, and log its notes."""
    cleaned, notes = clean_names(names, where, what)
    for note in notes:
        log.warning("%s", note)
    return cleaned


def normalized(name: str) -> str:
    """Return a name in NFC and lower case, with single spaces for white space, underscores and inner hyphens."""
    text = VARIANTS.sub("", clean_name(name))
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
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
    return _groups(names, normalized)


def _groups(names: Iterable[str], spelling: Callable[[str], str]) -> list[list[str]]:
    """Return the groups of names that have one spelling."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[spelling(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def match_names(names: Sequence[str], known: Sequence[str], where: object) -> list[int | None]:
    """Return for each name its index in a list of different names, or None: an exact match if possible, else by its spelling.

    `where` is what `names` come from, for messages.
    """
    bare = without_numbers(names), without_numbers(known)
    levels: list[tuple[Callable[[str], str], Sequence[str], Sequence[str]]] = [
        (str, names, known),
        (normalized, names, known),
        (normalized, *bare),
        (_letters_joined, *bare),
    ]
    found: list[int | None] = [None] * len(names)
    for spelling, given, listed in levels:
        if None not in found:
            break
        places: dict[str, list[int | None]] = defaultdict(list)
        for place, name in enumerate(listed):
            places[spelling(name)].append(place)
        for number in [number for number, place in enumerate(found) if place is None]:
            fitting = places.get(spelling(given[number]), [None])
            if len(fitting) > 1:
                must = "a name must fit one class, not " + examples([known[place] for place in fitting if place is not None])
                raise InputError(must, where=where, got=repr(names[number]), fix="Write the name as the list has it.")
            found[number] = fitting[0]
    return found


def find_names(
    names: Sequence[str], known: Sequence[str], where: object, what: str = "class", fix: str = "Correct the name."
) -> list[int]:
    """Return for each name its index in a list, compared as in `match_names`."""
    found = match_names(names, known, where)
    unknown = [name for name, index in zip(names, found) if index is None]
    if unknown:
        must, fix = f"every name must be that of a {what}, such as {examples(known, 3)}", did_you_mean(unknown[0], known) + fix
        raise InputError(must, where=where, got=examples(unknown), fix=fix)
    twice = [names[place] for place, index in enumerate(found) if index in found[:place]]
    if twice:
        raise InputError(f"a {what} must be named once", where=where, got=examples(twice), fix="Remove the repetition.")
    return [index for index in found if index is not None]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the known name that is most like an unknown one; nothing where none is like it."""
    spellings = {normalized(each): each for each in known}
    close = get_close_matches(normalized(name), spellings, n=1)
    return f"Did you mean {spellings[close[0]]!r}? " if close else ""


def places_by_name(order: Sequence[str], names: Sequence[str], where: object, *, of_all: bool = True) -> list[int] | None:
    """Return for each name of `order` its index in `names`, compared as in `match_names`."""
    found = match_names(order, names, where)
    places = [place for place in found if place is not None]
    if not places:
        return None
    unknown = [name for name, place in zip(order, found) if place is None]
    unused = [name for place, name in enumerate(names) if of_all and place not in set(places)]
    if unknown or unused or len(set(places)) < len(places):
        got = [f"{text} {examples(some)}" for text, some in (("without", unknown), ("with the unknown", unused)) if some]
        fix = "Correct the names, or remove them from one side: then the order decides."
        raise InputError("the names must be those of the classes", where=where, got="; ".join(got) or "one twice", fix=fix)
    return places
