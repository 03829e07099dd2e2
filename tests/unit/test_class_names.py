"""Names that differ stay apart; spellings of one name are found; what fits two classes is refused."""

from __future__ import annotations

import unicodedata

import pytest

from zslab.errors import InputError
from zslab.utils.files import printable
from zslab.utils.names import is_printable, match_names, readable_names, repeated

SCREWS = ["1.5 mm screw", "2.5 mm screw", "3.5 mm screw"]
APART = [SCREWS, ["C", "C++", "C#"], ["12.crane", "34.crane"], ["कि", "की", "कु"], ["🐶", "🐱"]]


@pytest.mark.parametrize("names", APART, ids=lambda names: names[0])
def test_names_that_differ_stay_apart(names) -> None:
    assert match_names(names, names, "--unseen") == list(range(len(names)))
    assert [match_names([name], names, "--unseen") for name in names] == [[place] for place in range(len(names))]
    assert list(readable_names(names).values()) == names and repeated(names) == []


def test_spellings_of_one_name_are_found() -> None:
    known = ["Black_footed Albatross", "Pájaro", "Clark's Nutcracker"]
    given = ["black-footed_albatross", unicodedata.normalize("NFD", "pájaro"), "Clarks_Nutcracker", "Albatross"]
    assert match_names(given, known, "images") == [0, 1, 2, None]
    assert repeated(["Mallard", "mallard", "Teal"]) == [["Mallard", "mallard"]]


def test_running_numbers_count_only_where_all_names_have_one() -> None:
    assert match_names(["001.Teal", "002.Gull"], ["gull", "teal"], "images") == [1, 0]
    assert match_names(["001.Teal", "Gull"], ["gull", "teal"], "images") == [None, 0]
    assert readable_names(["001.Red_Teal", "002.Gull"]) == {"001.Red_Teal": "Red Teal", "002.Gull": "Gull"}


def test_a_name_that_fits_two_classes_is_refused() -> None:
    with pytest.raises(InputError, match="fits several classes .got 'saint johns', expected .*Saint John's, Saint_John’s"):
        match_names(["saint johns"], ["Saint John's", "Saint_John’s"], "--unseen")


@pytest.mark.parametrize("name", ["می\u200cخواهم", "👩\u200d🌾", "赤い\u3000鳥", "Red\u00a0Gull", "caf\\xe9"])
def test_joiners_and_spaces_of_all_scripts_are_printable(name) -> None:
    assert is_printable(name)


@pytest.mark.parametrize("name", ["two\nlines", "\u202egnp.exe", "\x1b[31m", "\0", "\udcff", "Teal\u200b"])
def test_what_changes_a_line_or_cannot_be_seen_is_not_printable(name) -> None:
    assert not is_printable(name)


def test_names_of_files_are_shown_on_one_line_and_without_control_characters() -> None:
    assert printable("Pájaro 鳥.jpg") == "Pájaro 鳥.jpg"
    assert printable("a\udcff\nb\x1b[31m.jpg") == r"a\xff\nb\x1b[31m.jpg"
