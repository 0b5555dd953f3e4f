"""Measure backends: a step in, raw samples with unit and source out."""
