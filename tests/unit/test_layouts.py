"""Tables and lists of names in the layouts in which they are published or saved."""

from pathlib import Path

import numpy as np
import pytest

from zslab.app.attribute_table import read_attribute_table
from zslab.data.formats.table import read_names, read_table
from zslab.errors import InputError

ROWS = [["class", "red", "long bill"], ["Teal", "1", "0"], ["Gull", "0.5", "12.5"]]


def saved(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


LONG = "class,attribute,value\nTeal,red,1\nTeal,long bill,0\nGull,long bill,12.5\nGull,red,0.5"


@pytest.mark.parametrize(
    "text",
    [
        ",class,red,long bill\n0,Teal,1,0\n1,Gull,0.5,12.5",
        "Unnamed: 0,class,red,long bill\n1,Teal,1,0\n2,Gull,0.5,12.5",
        ",class,red,long bill\n17,Teal,1,0\n4,Gull,0.5,12.5",  # after filtering and sorting
        "Unnamed: 0.1,Unnamed: 0,class,red,long bill\n0,3,Teal,1,0\n1,2,Gull,0.5,12.5",  # saved three times
        ",class,red,long bill\n0,Teal,1,0\n0,Gull,0.5,12.5",  # of two tables
        "index,class,red,long bill\n0.0,Teal,1,0\n2.0,Gull,0.5,12.5",
        "".join(f"{number},{line}\n" for number, line in zip(("", 0, 1, 2, 3), LONG.split("\n"))),
        'class,red,long bill\nTeal,"=""1""",0\n="Gull",="0.5",12.5',
        LONG,
        LONG.replace(",", ";").replace("0.5", "0,5").replace("12.5", "12,5"),
    ],
)
def test_a_table_in_another_layout_is_the_table(tmp_path, text) -> None:
    found = [cells for _, cells in read_table(saved(tmp_path / "t.csv", text)).rows]
    assert [[cell.replace(",", ".") for cell in cells] for cells in found] == ROWS


@pytest.mark.parametrize(
    "text",
    [
        ",red,brown\n1,1,0\n2,0,1",  # classes that are called 1 and 2
        ",striped,size\n1,yes,3\n2,yes,4\n3,no,4",
        "class,habitat,size\nTeal,lake,1\nGull,sea,2",
        "class,sentence\nTeal,a duck\nGull,a gull",
    ],
)
def test_other_tables_stay_as_they_are(tmp_path, text) -> None:
    rows = [cells for _, cells in read_table(saved(tmp_path / "t.csv", text)).rows]
    assert rows == [line.split(",") for line in text.split("\n")]


def test_a_long_table_needs_every_pair(tmp_path) -> None:
    with pytest.raises(InputError, match="t.csv.*Gull, red"):
        read_table(saved(tmp_path / "t.csv", LONG.removesuffix("\nGull,red,0.5")))


@pytest.mark.parametrize("layout", ["AwA", "CUB"])
def test_published_matrices_get_the_names_in_the_files_beside_them(tmp_path, layout) -> None:
    matrix = saved(tmp_path / layout / "attributes" / "matrix.txt", "  -1.00  12.34 0", " 39.25   1.39 1e-3")
    if layout == "AwA":
        saved(matrix.parent / "classes.txt", "     1\tantelope", "     2\tgrizzly+bear")
        saved(matrix.parent / "predicates.txt", "1\tblack", "2\twhite", "3\tblue")
    else:
        saved(tmp_path / "CUB" / "classes.txt", "1 antelope", "2 grizzly+bear")
        saved(tmp_path / "attributes.txt", "1 black", "2 white", "3 blue")
    table = read_attribute_table(matrix)
    assert (table.class_names, table.attribute_names) == (["antelope", "grizzly+bear"], ["black", "white", "blue"])
    assert np.array_equal(table.values, [[-1, 12.34, 0], [39.25, 1.39, 0.001]])
    saved(matrix.parent / "classes.txt", "1 antelope")
    saved(tmp_path / layout / "classes.txt", "1 antelope")
    with pytest.raises(InputError, match=r"classes\.txt.* 2 names"):
        read_attribute_table(matrix)


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
