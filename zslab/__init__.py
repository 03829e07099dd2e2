"""Zero-shot classification: TF-VAEGAN and DAZLE, reimplemented, tested and measured.

The package holds every method and every measure once; the trees `zero-shot-images/` and `zero-shot-actions/` hold the
numbers one may edit. `from zslab import Predictor` opens an exported model,
`from zslab import TfvaeganClassifier` learns from arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zslab.app.predictor import Predictor
    from zslab.estimator import BaselineClassifier, TfvaeganClassifier

__version__ = "0.1.0"
__all__ = ["BaselineClassifier", "Predictor", "TfvaeganClassifier"]


def __getattr__(name: str) -> object:
    """Import a public class when it is first asked for, so that `import zslab` stays free of PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("zslab.app.predictor" if name == "Predictor" else "zslab.estimator"), name)
