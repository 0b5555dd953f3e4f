"""icd: what a model's memory layout is worth after compression, measured."""

import os

__version__ = "0.1.0"

# MLflow asks a server of its maker's as it is imported, unless this is set before: here, in every child
# process (which inherits it) and in the workers of a launcher (which import this package)
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
