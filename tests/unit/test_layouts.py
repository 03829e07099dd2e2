"""Layouts in which attribute tables are published or saved: each gives the table that a person would write of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zslab.app.attribute_table import read_attribute_table
from zslab.data.formats.table import read_table
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
