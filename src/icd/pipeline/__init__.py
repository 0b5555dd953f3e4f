"""The experiment: the only package that knows every stage."""
