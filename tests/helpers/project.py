"""Where the project and its optional real data lie, and how a tree of it is imported."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SHARED_DATA = PROJECT.parent / "shared" / "data"


@contextmanager
def tree_modules(name: str) -> Iterator[Callable[[str], object]]:
    """Puts a tree on the import path and yields `import_module`; afterwards path and modules are as before.

    Both trees own `config`, `model`, ..., so only one may be importable at a time.
    """
    folder = PROJECT / name
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(folder))
        for module in set(sys.modules) - before:
            origin = getattr(sys.modules[module], "__file__", None) or ""
            if Path(origin).is_relative_to(folder):
                del sys.modules[module]
