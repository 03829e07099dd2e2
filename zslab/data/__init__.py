"""Data sets: readers, checks, splits, scaling and downloads."""
