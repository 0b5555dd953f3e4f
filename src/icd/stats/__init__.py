"""Statistics: raw samples in, intervals, verdicts and gates out; pure functions."""
