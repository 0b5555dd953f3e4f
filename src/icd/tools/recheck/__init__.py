"""What `icd verify` asks of a run directory: every figure again from what it was made of.

Each check takes a `Recorded` and returns what does not hold, a sentence each.
"""
