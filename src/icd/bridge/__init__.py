"""Bridges to StableHLO and TVM."""
