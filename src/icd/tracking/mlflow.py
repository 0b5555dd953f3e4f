from dataclasses import dataclass
@dataclass(frozen=True)
class MLflow:
    uri: str
    artifacts: str
    experiment: str
    def log(self, run_dir): return None
