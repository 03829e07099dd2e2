"""Tables as spreadsheet programs write them are read alike, and cells that cannot be meant are refused."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from zslab.app.attribute_table import AttributeTable, read_attribute_table, write_attribute_table
from zslab.errors import InputError

CELLS = [["class", "red", "long bill"], ["Gull", "0.5", "12.5"], ["Teal", "1", "0"]]
EXPECTED = [[0.5, 12.5], [1, 0]]


def joined(separator: str, cells=CELLS) -> str:
    return "\n".join(separator.join(row) for row in cells) + "\n"


def read_text(folder: Path, text: str) -> AttributeTable:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return read_attribute_table(folder / "table.csv")


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


def saved(path, rows, *sheets, formats=()):
    """Write a workbook of the rows and, before it, further sheets: (title, rows, state)."""
    openpyxl = pytest.importorskip("openpyxl", reason="the extra `images` is not installed: no openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for place, number_format in formats:
        book.active[place].number_format = number_format
    for title, others, state in reversed(sheets):
        sheet = book.create_sheet(title, 0)
        sheet.sheet_state = state
        for row in others:
            sheet.append(row)
    book.save(path)
    return path


NUMBERS = [["class", "red", "long bill"], ["Gull", 0.5, 12.5], ["Teal", 1, 0]]


def test_of_a_workbook_the_first_sheet_that_people_see(tmp_path, caplog) -> None:
    path = saved(tmp_path / "t.xlsx", NUMBERS, ("old", [["class", "a"], ["Gull", 3]], "hidden"), ("empty", [], "visible"))
    assert read_attribute_table(path).values.tolist() == EXPECTED
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: sheet 'Sheet' was read and the others were not: 'empty'"
    ]


def test_a_chart_before_the_table_is_no_table(tmp_path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the extra `images` is not installed: no openpyxl")
    book = openpyxl.load_workbook(saved(tmp_path / "t.xlsx", NUMBERS))
    chart = openpyxl.chart.BarChart()
    chart.add_data(openpyxl.chart.Reference(book.active, min_col=2, min_row=1, max_row=3))
    book.create_chartsheet("chart", 0).add_chart(chart)
    book.save(tmp_path / "t.xlsx")
    assert read_attribute_table(tmp_path / "t.xlsx").values.tolist() == EXPECTED


def test_percentages_count_as_the_workbook_shows_them(tmp_path) -> None:
    rows = [["class", "red", "brown"], ["Gull", 0.7, 0.3], ["Teal", 20, 0.07]]
    path = saved(tmp_path / "t.xlsx", rows, formats=[("B2", "0%"), ("C2", "0%"), ("C3", "0.00%")])
    assert read_attribute_table(path).values.tolist() == [[70, 30], [20, 7]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["class", "red"], ["Gull", "=1/2"], ["Teal", 1]], r"cell B2: .*\(got =1/2"),
        ([["My birds"], *NUMBERS], r"line 1: the line is a title .*got 'My birds'"),
        ([*NUMBERS, [None, 1, 1]], "a class has no name .got row 4 is unnamed.*merged cells"),
        ([["class", "red", None], *NUMBERS[1:]], "an attribute has no name .got column 3 is unnamed"),
        ([*NUMBERS, ["Rail", datetime.datetime(2026, 5, 1), 2]], "got '2026-05-01'.*format the cells as numbers"),
    ],
)
def test_workbooks_that_cannot_be_meant(tmp_path, rows, words) -> None:
    with pytest.raises(InputError, match=words):
        read_attribute_table(saved(tmp_path / "t.xlsx", rows))


def test_a_formula_may_give_no_text(tmp_path) -> None:
    path = saved(tmp_path / "t.xlsx", [["class", "red", "brown"], ["Gull", "=1", "x"], ["Teal", "=2", "x"]])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    for formula, result in ((b"1", b"x"), (b"2", b"")):
        cell = b"><f>" + formula + b"</f><v />"
        assert cell in parts[sheet]
        parts[sheet] = parts[sheet].replace(cell, b' t="str"><f>' + formula + b"</f><v>" + result + b"</v>")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert read_attribute_table(path).values.tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xd0\xcf\x11\xe0" + bytes(99), "got bytes that are not UTF-8"),
        (b"<html><table>", "got a web page"),
        ("class,gr\u00fcn\n".encode("latin-1"), "got bytes that are not UTF-8"),
        (b"class|red\nGull|1\n", r"a single column, 'class\|red', .*commas, semicolons or tabs"),
        (b"class;red;size\nGull;0,7;1.500\nTeal;1;2.000\n", r"mixes decimal commas and points \(got 0,7 and 1.500"),
        (b"class,red\nGull,1e308\nTeal,-1e308\n", "no number .got '1e308'"),
        (b'class,size\nGull,"1,000"\n', "no number .got '1,000'"),
    ],
)
def test_files_that_are_no_table_of_numbers(tmp_path, content, words) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_attribute_table(tmp_path / "t.csv")


def test_an_archive_that_is_no_workbook_is_refused(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("content.xml", "")
    with pytest.raises(InputError, match=r"t\.xlsx"):
        read_attribute_table(tmp_path / "t.xlsx")


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
        (["12 500", "1\u202f234.5"], [12500, 1234.5]),
        (["\u2714\ufe0f", "\u2718"], [1, 0]),
        (['"0,7"', "2"], [0.7, 2]),  # quoted, as the comma separates cells
    ],
)
def test_words_and_percentages(tmp_path, column, expected) -> None:
    text = "class,red,other\n" + "".join(f"{name},{cell},3\n" for name, cell in zip("ab", column))
    assert read_text(tmp_path, text).values[:, 0].tolist() == expected


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
def test_cells_that_cannot_be_meant(tmp_path, text, words) -> None:
    with pytest.raises(InputError, match=words):
        read_text(tmp_path, text)


def test_names_fit_one_line_and_the_index_of_pandas_is_no_column(tmp_path) -> None:
    table = read_text(tmp_path, ',class,"long\nbill",x\n0,\u00a0Red\u00a0 Gull,1,0\n1,Teal\u200b,0,1\n')
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
    table = read_text(tmp_path, stream.getvalue())
    assert table.class_names == names and table.attribute_names == ["+a", "b"]
