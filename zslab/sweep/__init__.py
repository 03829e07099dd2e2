"""Many runs: planned from a grid, executed by an engine, never repeated, continued by the same command."""
