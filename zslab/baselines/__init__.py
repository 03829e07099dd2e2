"""Baselines that stand beside every result, each with its settings and its calibration constant chosen on validation."""
