"""The toy data set: cartoon birds that stand in for a download."""
