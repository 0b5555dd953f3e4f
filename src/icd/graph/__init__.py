"""Co-access graphs: which channels of a site are needed together."""
