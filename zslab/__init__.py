"""Zero-shot classification: TF-VAEGAN and DAZLE, reimplemented, tested and measured.

The package holds every method and every measure once; the trees `zero-shot-images/` and `zero-shot-actions/` hold the
numbers one may edit. `from zslab import Predictor` opens an exported model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zslab.app.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["Predictor"]


def __getattr__(name: str) -> object:
    """Import `Predictor` when it is first asked for, so that `import zslab` stays free of PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zslab.app.predictor import Predictor

    return Predictor
