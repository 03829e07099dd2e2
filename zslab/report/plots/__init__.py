"""The plots of a run, a module for each kind; `draw` draws them all."""
