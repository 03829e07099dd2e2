"""Objects of a user's own, named as file.py:NAME or module:NAME."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from zslab.errors import InputError, readable


def load_object(name: str, where: object) -> Any:
    """Return the object NAME of a Python file or of a module that can be imported."""
    source, _, attribute = name.rpartition(":")
    fix = "Pass file.py:NAME or module:NAME."
    if source.endswith(".py"):
        if not Path(source).is_file():
            raise InputError("the file must exist", where=where, got=source or name, fix=fix)
        module = _module_of(Path(source).resolve())
    else:
        with readable(where, "the module must be one that can be imported", fix, (ModuleNotFoundError, ValueError)):
            module = importlib.import_module(source)
    if not hasattr(module, attribute):
        raise InputError(f"{source} must define {attribute}", where=where, got=name, fix=fix)
    return getattr(module, attribute)


def _module_of(path: Path) -> ModuleType:
    """Return the module of a file, executed once; dataclasses need it among `sys.modules`."""
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
