"""Zero-shot classification: TF-VAEGAN and DAZLE, reimplemented, tested and measured.

The package holds every method and every measure once; the trees `zero-shot-images/` and `zero-shot-actions/` hold the
numbers one may edit. The names below are stable; docs/api.md has a page on them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zslab.api import load_dataset, read_run, scores, synthesize, train
    from zslab.app.predictor import Predictor
    from zslab.errors import InputError
    from zslab.estimator import BaselineClassifier, ClassFold, TfvaeganClassifier
    from zslab.measures import evaluate
    from zslab.method import Method
    from zslab.shared.trainer import EpochTrainer
    from zslab.testing import check_method

__version__ = "0.1.0"
__all__ = [
    "BaselineClassifier",
    "ClassFold",
    "EpochTrainer",
    "InputError",
    "Method",
    "Predictor",
    "TfvaeganClassifier",
    "check_method",
    "evaluate",
    "load_dataset",
    "read_run",
    "scores",
    "synthesize",
    "train",
]
_PLACES = {
    "EpochTrainer": "shared.trainer",
    "InputError": "errors",
    "Method": "method",
    "Predictor": "app.predictor",
    "check_method": "testing",
    "evaluate": "measures",
    **dict.fromkeys(["BaselineClassifier", "ClassFold", "TfvaeganClassifier"], "estimator"),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that `import zslab` stays free of PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"zslab.{_PLACES.get(name, 'api')}"), name)


_started = next((word for flag, word in zip(sys.orig_argv, sys.orig_argv[1:]) if flag == "-m"), "")
if sys.argv[:1] == ["-m"] and _started.startswith("zslab."):
    # `python -m zslab.app.export` would only define the module's functions, and end with exit status 0.
    sys.exit("error: modules of zslab are no commands. Run `zslab COMMAND` or `python -m zslab COMMAND`; --help lists them.")
