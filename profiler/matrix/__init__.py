"""Studies: a matrix of cells, run as whole processes in random order."""
