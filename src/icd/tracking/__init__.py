"""Tracking: a run directory in, an MLflow run out."""
