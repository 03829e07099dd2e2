"""Every reader on mutated files: `make test` runs 20 cases of each, `make fuzz` 10,000 (see `fuzz.__main__`)."""

import sys
from pathlib import Path

import pytest
from fuzz.campaign import run_cases
from fuzz.readers import READERS

CASES = 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks and bounds memory as Linux does")


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_end_in_input_errors(tmp_path: Path, name: str) -> None:
    reader = READERS[name](tmp_path)
    reader.read()  # the file as it should be is read
    outcome = run_cases(reader, CASES)
    assert outcome.faults == {} and outcome.cases == CASES
