"""Lists of names in the files that people keep them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from zslab.data.formats.table import read_names
from zslab.errors import InputError

BILL, WING = "has_bill::curved_(up or down)", "has_wing::red"
FILES = {
    "numbered.txt": (f"1 {BILL}\n2\t{WING}\n", [BILL, WING]),
    "dotted.txt": (f"0. {BILL}\n1. {WING}\n", [BILL, WING]),
    "plain.txt": ("two legs\n4 wings\n\n", ["two legs", "4 wings"]),
    "commas.txt": ("\ufeffdog, pet\ncat, pet\n", ["dog, pet", "cat, pet"]),
    "sizes.txt": ("2 mm screw\n3 mm screw\n", ["2 mm screw", "3 mm screw"]),
    "released.csv": (f",idx,des,new_des\n0,1,{BILL},bill curved \n1,2,{WING},wing red\n", [BILL, WING]),
    "cleaned.csv": (",new_des\n0,sailing boating\n1,driving\n", ["sailing boating", "driving"]),
    "excel.csv": (f"\ufeffname;remark\n{BILL};x\n{WING};\n", [BILL, WING]),
    "declared.csv": (f"\ufeffsep=;\nid;Attribute\n1;{BILL}\n2;{WING}\n", [BILL, WING]),
    "tabs.tsv": (f"id\tlabel\n1\t{BILL}\n2\t{WING}\n", [BILL, WING]),
    "pandas.csv": (f",0\n0,{BILL}\n1,{WING}\n", [BILL, WING]),
    "bare.csv": (f"{BILL}\n{WING}\n,\n", [BILL, WING]),
    "counted.csv": (f"1,{BILL}\n2,{WING}\n", [BILL, WING]),
    "headed.csv": (f"Merkmal\n{BILL}\n{WING}\n", [BILL, WING]),
    "formula.csv": ("name\n'-smooth\n'=red\n", ["-smooth", "=red"]),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_names_are_read_from_text_and_tables(name, encoding, tmp_path) -> None:
    text, expected = FILES[name]
    (tmp_path / name).write_text(text.removeprefix("\ufeff") if encoding == "utf-16" else text, encoding=encoding)
    assert read_names(tmp_path / name, 2) == expected
    with pytest.raises(InputError, match=r"got [23] names"):
        read_names(tmp_path / name, 4)
    if name != "headed.csv":
        assert read_names(tmp_path / name) == expected


@pytest.mark.parametrize("rows", [[["name"], [BILL], [WING]], [[BILL], [WING]], [["no", "attribute"], [1, BILL], [2, WING]]])
@pytest.mark.parametrize("name", ["names.xlsx", "names"])
def test_names_are_read_from_workbooks(rows, name, tmp_path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "book.xlsx")
    (tmp_path / "book.xlsx").rename(tmp_path / name)
    assert read_names(tmp_path / name) == [BILL, WING]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("two.csv", b"red,rot\nblue,blau\n", "got 2 columns of text"),
        ("numbers.csv", b"1,2\n3,4\n", "got 0 columns of text"),
        ("empty.txt", b"\n\n", "got 0 names"),
        ("empty.csv", b"", "got 0 columns of text"),
        ("latin.txt", "blüte\n".encode("latin-1"), "in UTF-8"),
        ("old.xls", b"\xd0\xcf\x11\xe0" + bytes(100), "in UTF-8"),
        ("none.txt", None, "No such file"),
    ],
)  # fmt: skip
def test_files_without_a_list_of_names_are_refused(name, content, words, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_names(tmp_path / name)
