"""Tables as spreadsheet programs write them are read alike, and cells that cannot be meant are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest

from zslab.app.attribute_table import AttributeTable, parse_attribute_table, read_attribute_table, write_attribute_table
from zslab.errors import InputError

CELLS = [["class", "red", "long bill"], ["Gull", "0.5", "12.5"], ["Teal", "1", "0"]]
EXPECTED = [[0.5, 12.5], [1, 0]]


def joined(separator: str, cells=CELLS) -> str:
    return "\n".join(separator.join(row) for row in cells) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        joined(",").encode(),
        b"\xef\xbb\xbf" + joined(",").encode(),
        ("sep=;\r\n" + joined(";").replace(".", ",")).encode(),
        joined("\t").replace(".", ",").encode("utf-16"),
        joined(",", [[*row, "", ""] for row in [*CELLS, ["", "", ""]]]).encode(),
    ],
    ids=["plain", "byte order mark", "declared semicolons", "unicode text", "empty rows and columns"],
)
def test_files_of_spreadsheet_programs(tmp_path, content) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    table = read_attribute_table(tmp_path / "table.csv")
    assert table.class_names == ["Gull", "Teal"] and table.attribute_names == ["red", "long bill"]
    assert table.values.tolist() == EXPECTED


def test_a_workbook(tmp_path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra `images` is not installed: no openpyxl")
    book = openpyxl.Workbook()
    for row in [["class", "red", "long bill", None], ["Gull", 0.5, 12.5], ["Teal", True, 0]]:
        book.active.append(row)
    book.save(tmp_path / "table.xlsx")
    assert read_attribute_table(tmp_path / "table.xlsx").values.tolist() == EXPECTED


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["70%", "0.5"], [0.7, 0.5]),  # a share beside a percentage
        (["70%", "35"], [70, 35]),
        (["70%", "5 %"], [70, 5]),
        (["yes", "No"], [1, 0]),
        (["TRUE", "false"], [1, 0]),
        (["x", ""], [1, 0]),
        (["y", "N"], [1, 0]),
        (["\u22125", "2"], [-5, 2]),
    ],
)
def test_words_and_percentages(column, expected) -> None:
    text = "class,red,other\n" + "".join(f"{name},{cell},3\n" for name, cell in zip("ab", column))
    assert parse_attribute_table(text, "table.csv").values[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class,red\nGull,1_0\n", "is no number"),
        ("class,red\nGull,1,\nTeal,,\n", "is empty"),
        ("Gull,1,0\nTeal,0,1\n", "has no header"),
        ("Gull,yes,no\nTeal,no,yes\n", "has no header"),
        ("class,red\nTeal,1\nTeal\u200b,2\n", "is named twice"),
        ("class,red\nMallard,1\nmallard,2\n", "'Mallard' = 'mallard'"),
        ("class,red\nBlack footed,1\nBlack_footed,2\n", "is named twice"),
        ("class,red\na,70%\nb,35\nc,0.5\n", "mixes percentages, shares and larger numbers"),
    ],
)
def test_cells_that_cannot_be_meant(text, words) -> None:
    with pytest.raises(InputError, match=words):
        parse_attribute_table(text, "table.csv")


def test_names_fit_one_line_and_the_index_of_pandas_is_no_column() -> None:
    table = parse_attribute_table(',class,"long\nbill",x\n0,\u00a0Red\u00a0 Gull,1,0\n1,Teal\u200b,0,1\n', "table.csv")
    assert table.class_names == ["Red Gull", "Teal"] and table.attribute_names == ["long bill", "x"]
    assert table.values.tolist() == [[1, 0], [0, 1]]


def test_a_transposed_table_is_turned_and_said(tmp_path) -> None:
    (tmp_path / "table.csv").write_text(joined(",", list(map(list, zip(*CELLS)))))
    table = read_attribute_table(tmp_path / "table.csv", classes=["teal", "gull"])
    assert table.class_names == ["Gull", "Teal"] and table.values.tolist() == EXPECTED
    assert "rows and columns were exchanged" in table.notes[0]


def test_formulas_are_names_again_when_read_back(tmp_path) -> None:
    names = ["=1+1", "@SUM(A1)", "-5 degrees", "'=x", "plain"]
    stream = io.StringIO()
    write_attribute_table(stream, AttributeTable(names, ["+a", "b"], np.eye(5)[:, :2], "made"))
    assert not [line for line in stream.getvalue().splitlines() if line[0] in "=@-+"]
    table = parse_attribute_table(stream.getvalue(), "table.csv")
    assert table.class_names == names and table.attribute_names == ["+a", "b"]
