"""Models: each file builds a workload and declares its sites as data."""
