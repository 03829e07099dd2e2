"""Batches of an extraction: what is finished stays finished, and what its rows were made of decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zslab.data.resumable import shards
from zslab.errors import InputError

KEYS = [("a.png", 1, 2), ("b.png", 3, 4), ("c.png", 5, 6)]
ROWS = np.array([((1, 2), [[7]]), ((3, 4), [[8]]), ((5, 6), [[9]])], [("pooled", "f4", (2,)), ("maps", "f2", (1, 1))])


def unfinished(folder: Path, keys=KEYS, batch: int = 2, settings: object = "resnet") -> list[int]:
    with shards(folder, keys, batch, settings) as finished:
        return finished.missing()


def test_finished_batches_are_kept_and_read_bit_for_bit(tmp_path) -> None:
    folder = tmp_path / "partial"
    with pytest.raises(KeyboardInterrupt), shards(folder, KEYS, 2, "resnet") as finished:
        assert finished.batches == [range(2), range(2, 3)] and finished.missing() == [0, 1]
        finished.write(1, ROWS[2:])
        raise KeyboardInterrupt
    with shards(folder, KEYS, 2, "resnet") as finished:
        assert finished.missing() == [0]
        finished.write(0, ROWS[:2])
        found = np.concatenate([finished.read(number) for number in range(2)])
        assert found.dtype == ROWS.dtype and found.tobytes() == ROWS.tobytes()
        finished.remove()
    assert not folder.exists()


def test_what_the_rows_were_made_of_decides(tmp_path) -> None:
    with shards(tmp_path, KEYS, 2, "resnet") as finished:
        for number, rows in enumerate((ROWS[:2], ROWS[2:])):
            finished.write(number, rows)
    assert unfinished(tmp_path) == []
    assert unfinished(tmp_path, keys=[*KEYS[:2], ("c.png", 5, 7)]) == [1]  # a file that has changed
    assert unfinished(tmp_path, settings="vgg") == unfinished(tmp_path, keys=KEYS[::-1]) == [0, 1]
    assert unfinished(tmp_path, batch=3) == [0]


def test_one_process_at_a_time_and_no_damaged_rows(tmp_path) -> None:
    with shards(tmp_path, KEYS, 2, "resnet") as finished:
        with pytest.raises(InputError, match=str(tmp_path)):
            unfinished(tmp_path)
        finished.write(0, ROWS[:2])
        (file,) = tmp_path.glob("*.npy")
        file.write_bytes(file.read_bytes()[:-3])
        with pytest.raises(InputError, match=file.name):
            finished.read(0)
