"""Readers of single file formats: MATLAB, NumPy and pickles."""
