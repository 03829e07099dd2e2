"""Small helpers without knowledge of a method: files, names, seeds, precision, CUDA graphs, the machine."""
