"""Quality metrics, computed through the step that is timed."""
