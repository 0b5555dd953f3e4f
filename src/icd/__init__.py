"""icd: what a model's memory layout is worth after compression, measured."""

__version__ = "0.1.0"
