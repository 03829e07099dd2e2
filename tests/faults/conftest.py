"""The fault campaign prints its table at the end."""

import pytest
from faults.runner import TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kind, rows in TABLE.items():
        columns = list(rows[0])
        terminalreporter.write_line("")
        terminalreporter.write_line(f"{kind}:")
        for cells in (columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)):
            terminalreporter.write_line(f"| {' | '.join(cells)} |")
