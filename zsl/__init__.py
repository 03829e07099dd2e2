"""Zero-shot classification: TF-VAEGAN (ECCV 2020), reimplemented, tested and measured.

The package holds every method and every measure once; the two trees
`zero-shot-images/` and `zero-shot-actions/` hold the numbers one may edit.
"""

__version__ = "0.1.0"
