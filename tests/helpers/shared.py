"""What costs seconds to make is made once a session and read by every worker of pytest-xdist."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

T = TypeVar("T")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """Return what `make` returned when a worker first called it with a new folder; other workers wait and read that.

    Nobody may change the folder afterwards. What is returned is pickled.
    """
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # of the session, not of this worker
    folder, record = root / name, root / f"{name}.pickle"
    with FileLock(root / f"{name}.lock"):
        if not record.exists():
            folder.mkdir()
            record.write_bytes(pickle.dumps(make(folder)))
    return pickle.loads(record.read_bytes())
