"""Engines: a transformed workload in, a step to be timed out."""
