"""The plots of a run, a module for each kind, drawn from its folder alone."""
