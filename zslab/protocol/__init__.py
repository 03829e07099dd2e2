"""The protocol of an experiment: epochs, stages, selection rules, evaluation."""
