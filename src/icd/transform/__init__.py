"""Transforms: permutation, sparsity and reduced precision; a workload in, another workload out."""
