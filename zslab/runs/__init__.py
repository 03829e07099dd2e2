"""Runs: config from the command line, seeds and devices, the run folder, the epoch loop, launchers."""
