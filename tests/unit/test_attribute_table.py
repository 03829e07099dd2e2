"""Tables as spreadsheet programs write them are read alike, and cells that cannot be meant are refused."""

import datetime

import numpy as np
import pytest

from zslab.app.attribute_table import AttributeScale, AttributeTable, read_attribute_table, write_attribute_table
from zslab.errors import InputError

CELLS = [["class", "red", "long bill"], ["Gull", "0.5", "12.5"], ["Teal", "1", "0"]]
NUMBERS = [["class", "red", "long bill"], ["Gull", 0.5, 12.5], ["Teal", 1, 0]]
EXPECTED = [[0.5, 12.5], [1, 0]]


def joined(separator: str, cells=CELLS) -> str:
    return "\n".join(separator.join(row) for row in cells) + "\n"


def read(folder, content: str | bytes) -> AttributeTable:
    (folder / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_attribute_table(folder / "t.csv")


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


@pytest.mark.parametrize(
    "content",
    [
        joined(","),
        b"\xef\xbb\xbf" + joined(",").encode(),
        ("sep=;\r\n" + joined(";").replace(".", ",")),
        joined("\t").replace(".", ",").encode("utf-16"),
        joined(",", [[*row, "", ""] for row in [*CELLS, ["", "", ""]]]),
    ],
    ids=["plain", "byte order mark", "declared semicolons", "unicode text", "empty rows and columns"],
)
def test_files_of_spreadsheet_programs(tmp_path, content) -> None:
    table = read(tmp_path, content)
    assert table.class_names == ["Gull", "Teal"] and table.attribute_names == ["red", "long bill"]
    assert table.values.tolist() == EXPECTED and table.notes == []


def test_of_a_workbook_the_first_sheet_that_people_see(tmp_path, caplog) -> None:
    old, empty = ("old", [["class", "a"], ["Gull", 3]], "hidden"), ("empty", [], "visible")
    path = saved(tmp_path / "t.xlsx", [*NUMBERS[:2], ["Teal", True, 0, None]], old, empty)
    assert read_attribute_table(path).values.tolist() == EXPECTED
    assert "'Sheet'" in caplog.text


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
        ([["class", "red"], ["Gull", "=1/2"], ["Teal", 1]], r"cell B2: .*got =1/2"),
        ([*NUMBERS, [None, 1, 1]], "line 4"),
        ([*NUMBERS, ["Rail", datetime.datetime(2026, 5, 1), 2]], r"line 4 \('Rail'\), column 'red'.*'2026-05-01'"),
    ],
)
def test_workbooks_that_cannot_be_meant(tmp_path, rows, words) -> None:
    with pytest.raises(InputError, match=words):
        read_attribute_table(saved(tmp_path / "t.xlsx", rows))


def test_a_table_without_a_column_of_classes_says_so(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("red,long bill,tail\n0,1,1\n0,0,1\n")
    with pytest.raises(InputError, match=r"t.csv: .*names of the classes .got numbers below 'red'"):
        read_attribute_table(tmp_path / "t.csv", classes=["Gull", "Teal"])
    (tmp_path / "t.csv").write_text("red,long bill,tail\n1,1,1\n2,0,1\n")
    assert read_attribute_table(tmp_path / "t.csv", classes=["1", "2"]).class_names == ["1", "2"]


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
        (["\u200e1", "2\u200b"], [1, 2]),
        (["\u2714\ufe0f", "\u2718"], [1, 0]),
        (['"0,7"', "2"], [0.7, 2]),  # quoted, as the comma separates cells
    ],
)
def test_words_and_percentages(tmp_path, column, expected) -> None:
    text = "class,red,other\n" + "".join(f"{name},{cell},3\n" for name, cell in zip("ab", column))
    assert read(tmp_path, text).values[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "0 lines"),
        ("class|red\nGull|1\n", r"'class\|red'"),
        ("class,red\nGull,1,2\n", r"line 2 \('Gull'\).* 2 cells.*got 3"),
        ("class,red\nGull,many\nTeal,1\n", r"line 2 \('Gull'\), column 'red'.*'many'"),
        ("class,red\nGull,1\nTeal,-1e308\n", "line 3.*'-1e308'"),
        ('class,size\nGull,"1,000"\n', "'1,000'"),
        ("class,red\nGull,1,\nTeal,,\n", r"line 3 \('Teal'\).*empty"),
        ("class;red;size\nGull;0,7;1.500\nTeal;1;2.000\n", "0,7 and 1.500"),
        ("class,red\na,70%\nb,35\nc,0.5\n", "column 'red'.*unit"),
        ("Gull,1,0\nTeal,0,1\n", "line 1: .*'Gull' and numbers"),
        ("class,red\nTeal,1\nTeal\u200b,2\n", "class .*'Teal'"),
        ("class,red\nMallard,1\nmallard,2\n", "'Mallard' = 'mallard'"),
        ("id,class,red\n1,Gull,1\n2,Teal,0\n", "column 'class'.*'Gull'.*looks like the class column"),
        ("class,family,red\nGull,Laridae,1\nTern,Laridae,0\n", "column 'family'.*'Laridae'.*0 and 1"),
    ],
)
def test_cells_that_cannot_be_meant(tmp_path, content, words) -> None:
    with pytest.raises(InputError, match=f"t.csv.*{words}"):
        read(tmp_path, content)


def test_names_fit_one_line_and_the_index_of_pandas_is_no_column(tmp_path) -> None:
    table = read(tmp_path, ',class,"long\nbill",x\n0,\u00a0Red\u00a0 Gull,1,0\n1,Teal\u200b,0,1\n')
    assert table.class_names == ["Red Gull", "Teal"] and table.attribute_names == ["long bill", "x"]
    assert table.values.tolist() == [[1, 0], [0, 1]]
    assert len(table.notes) == 1 and "Teal" in table.notes[0]


def test_names_that_are_numbers_are_no_index(tmp_path) -> None:
    for content in (",class,red\n0,7,0.5\n1,3,0.25\n", ",red\n7,0.5\n3,0.25\n"):
        table = read(tmp_path, content)
        assert table.class_names == ["7", "3"] and table.values.tolist() == [[0.5], [0.25]]


def test_names_that_are_alike_are_noted(tmp_path) -> None:
    notes = read(tmp_path, "class,Red,red\n001.Mallard,1,0\nMallard,0,1\n").notes
    assert ["'Mallard'" in notes[0] and "'001.Mallard'" in notes[0], "'Red'" in notes[1]] == [True, True]


def test_a_transposed_table_is_turned_and_said(tmp_path) -> None:
    (tmp_path / "table.csv").write_text(joined(",", list(map(list, zip(*CELLS)))))
    table = read_attribute_table(tmp_path / "table.csv", classes=["teal", "gull"])
    assert table.class_names == ["Gull", "Teal"] and table.values.tolist() == EXPECTED
    assert "rows and columns were exchanged" in table.notes[0]


def test_formulas_are_names_again_when_read_back(tmp_path) -> None:
    names = ["=1+1", "@SUM(A1)", "-5 degrees", "'=x", "plain"]
    write_attribute_table(tmp_path / "t.csv", AttributeTable(names, ["+a", "b"], np.eye(5)[:, :2] + 1, "made"))
    assert not [line for line in (tmp_path / "t.csv").read_text().splitlines() if line[0] in "=@-+"]
    table = read_attribute_table(tmp_path / "t.csv")
    assert table.class_names == names and table.attribute_names == ["+a", "b"]


def test_attribute_scales() -> None:
    scale = AttributeScale(np.array([10.0, 0, 5]), np.array([30.0, 1, 5]))
    found = scale.apply(np.array([[20.0, 1, 7], [30, 0, 5]]), ["a", "b"], "here")
    assert np.allclose(found, [[0.5 / np.hypot(0.5, 1), 1 / np.hypot(0.5, 1), 0], [1, 0, 0]])
    with pytest.raises(InputError, match="here: .*'c'"):
        scale.apply(np.array([[10.0, 0, 9]]), ["c"], "here")
