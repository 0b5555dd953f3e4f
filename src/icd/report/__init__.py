"""Reports: a run directory in, HTML, CSV and figures out."""
