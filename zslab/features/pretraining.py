"""Which classes of a data set a backbone's pretraining has seen: class names against the names of the pretraining's classes.

Names are compared by their words without inflection, in any order and whether or not written as one: "Horse_Riding" and
"riding horse", "Pushups" and "push up". Such names are the same. Related names share the word that matters: one name holds
all words of the other, which are at its end or belong to a verb in -ing ("Laysan Albatross" and "albatross", "Skiing" and
"skiing slalom"). Words do not know what they mean: "mouse" is an animal here and a device there, so read the list.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from zslab.data.formats.table import read_names
from zslab.features.networks import import_extra
from zslab.utils.files import user_path
from zslab.utils.names import without_numbers


@dataclass(frozen=True)
class Match:
    """A class, and the class of the pretraining, by one of its synonyms, whose name is the same or related."""

    name: str
    pretrained: str
    same: bool


def pretraining_classes(source: str) -> list[list[str]]:
    """Return the names of every class of a pretraining, synonyms together.

    It is "imagenet1k", "kinetics400", or a text file with a class a line, its synonyms separated by commas.
    """
    if source == "imagenet1k":
        info = import_extra("timm.data.imagenet_info", "images").ImageNetInfo("imagenet-1k")
        lines = [info.index_to_description(index) for index in range(info.num_classes())]
    elif source == "kinetics400":
        weights = import_extra("torchvision.models.video", "images").R3D_18_Weights.KINETICS400_V1
        lines = [name.replace(",", "") for name in weights.meta["categories"]]
    else:
        lines = read_names(user_path(source))
    return [[name.strip() for name in line.split(",") if name.strip()] for line in lines]


def find_matches(names: Sequence[str], pretraining: Sequence[Sequence[str]]) -> dict[str, Match]:
    """Return class name -> its match, for the classes that the pretraining contains; same names before related ones."""
    same: dict[str, str] = {}
    by_word: dict[str, list[tuple[frozenset[str], str]]] = defaultdict(list)
    for synonym in (synonym for synonyms in pretraining for synonym in synonyms):
        stems = _stems(synonym)
        for key in _keys(stems):
            same.setdefault(key, synonym)
        for stem in set(stems):
            by_word[stem].append((frozenset(stems), synonym))
    matches = {}
    for name, bare in zip(names, without_numbers(names)):
        stems = _stems(bare)
        equal = [same[key] for key in _keys(stems) if key in same]
        near = (synonym for stem in stems for others, synonym in by_word[stem] if _related(bare, synonym, set(stems), others))
        if equal or (related := min(near, key=len, default="")):
            matches[name] = Match(name, equal[0] if equal else related, same=bool(equal))
    return matches


def _words(name: str) -> list[str]:
    """Return the words and numbers of a name in lower case, "PlayPiano" as two, without what is in brackets."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|\(.*?\)|['’]s\b", " ", name)
    return re.findall(r"[^\W_]+", spaced.lower())


def _stems(name: str) -> list[str]:
    return [_stem(word) for word in _words(name)]


def _stem(word: str) -> str:
    """Return an English word without -ing, plural and final e: "riding", "ride" and "rides" are one."""
    if word.endswith("ing") and len(word) > 5:
        word = re.sub(r"([bdgmnprt])\1$", r"\1", word.removesuffix("ing"))
    elif word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word.removesuffix("s")
    return word.removesuffix("e") if len(word) > 3 else word


def _keys(stems: Sequence[str]) -> list[str]:
    """Return what two spellings of a name share: its words written as one, and its words in alphabetical order."""
    return ["".join(stems), " ".join(sorted(stems))] if stems else []


def _related(name: str, other: str, stems: set[str], other_stems: frozenset[str]) -> bool:
    if not stems < other_stems and not other_stems < stems:
        return False
    longer, shorter = (other, stems) if stems < other_stems else (name, set(other_stems))
    words = _words(longer)
    return any(_stem(word) in shorter for word in words[-1:] + [word for word in words if re.fullmatch(r"\w{3,}ing", word)])
