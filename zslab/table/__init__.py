"""The tables of a paper from any set of runs: means, paired tests and figures."""
