"""Names that differ stay apart; spellings of one name are found; what fits two classes is refused."""

import unicodedata

import pytest

from zslab.errors import InputError, escaped
from zslab.utils.files import printable
from zslab.utils.names import clean_names, logged_names, match_names, readable_names, repeated

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
    with pytest.raises(InputError, match="Saint John's, Saint_John’s .got 'saint johns'"):
        match_names(["saint johns"], ["Saint John's", "Saint_John’s"], "--unseen")


ODD = {
    "\u200eTeal": "Teal",  # marks of direction
    "\u202eTeal\u202c": "Teal",
    "\x1b[31mRed\x1b[0m Teal": "Red Teal",  # a terminal's colors and title
    "\x1b]0;title\x07Teal\x00": "Teal",
    "Te\u200bal\ufeff": "Teal",  # of no width
    "Te\u200dal\u3164": "Teal",
    "two\nlines": "two lines",
    "caf\udce9": "caf\\xe9",  # a folder's byte that is no UTF-8
    "می\u200cخواهم": "می\u200cخواهم",  # joiners that are parts of words and emoji
    "👩\u200d🌾": "👩\u200d🌾",
    "赤い\u3000鳥": "赤い\u3000鳥",
    "\ue000bird": "\ue000bird",  # private use
    "\U000323b0\U000e5000": "\U000323b0\U000e5000",  # not yet in Unicode
}


@pytest.mark.parametrize(("name", "clean"), ODD.items(), ids=map(ascii, ODD))
def test_names_lose_what_is_not_printed_with_a_note(name, clean, caplog) -> None:
    cleaned, notes = clean_names([name, "Gull"], "birds.csv")
    assert cleaned == [clean, "Gull"] and escaped(clean) == clean
    assert len(notes) == (name != clean) and all("birds.csv" in note and clean in note for note in notes)
    assert match_names([name], [clean], "images") == match_names([clean], [name], "images") == [0]
    assert logged_names([name], "birds.csv") == [clean] and len(caplog.records) == (name != clean)


@pytest.mark.parametrize("name", ["\u200e", "\x1b[0m", " \u200b ", "\ufe0f", "\u2800", ""])
def test_a_name_of_which_nothing_is_left_is_refused(name) -> None:
    with pytest.raises(InputError, match=r"birds.csv: .* at 2\)"):
        clean_names(["Gull", name], "birds.csv")


@pytest.mark.parametrize("pair", [["Red", "red"], ["001.Mallard", "Mallard"], ["long bill", "long_bill"]])
def test_names_that_differ_in_little_are_noted(pair) -> None:
    (note,) = clean_names([*pair, "Gull"], "birds.csv")[1]
    assert all(repr(name) in note for name in pair)


@pytest.mark.parametrize("text", ["two\nlines", "\u202egnp.exe", "\x1b[31m", "\0", "\udcff", "Teal\u200b"])
def test_messages_escape_what_changes_a_line_or_a_terminal(text) -> None:
    message = str(InputError(text, where=text, got=text, fix=text))
    assert escaped(message) == message and escaped(text) in message


def test_names_of_files_are_shown_on_one_line_and_without_control_characters() -> None:
    assert printable("Pájaro 鳥.jpg") == "Pájaro 鳥.jpg"
    assert printable("a\udcff\nb\x1b[31m.jpg") == r"a\xff\nb\x1b[31m.jpg"
