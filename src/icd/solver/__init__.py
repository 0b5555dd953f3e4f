"""Layout solvers: a co-access graph and nets in, a layout out; numpy, scipy and numba only."""
