# Each target creates .venv and installs into it when pyproject.toml or constraints.txt have changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
TESTS := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test conformance portable check bench install

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/equipoise compare mtregression --tasks 10 --steps 900 --seeds 3 \
		--methods constant,ideal,dwa,uncertainty,slaw --jobs 2 --out results/demo

test: check
	$(TESTS)

conformance: $(INSTALLED)
	$(TESTS) tests/test_conformance.py

# The kernels that other machines have, and sums in another order: `make test` is one thread of this
# machine's own.
portable: $(INSTALLED)
	ATEN_CPU_CAPABILITY=default EQUIPOISE_THREADS=1 $(TESTS)
	ATEN_CPU_CAPABILITY=avx2 EQUIPOISE_THREADS=2 $(TESTS)
	EQUIPOISE_THREADS=2 $(TESTS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/step_cost.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/sample_cost.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/audit.py "$${EQUIPOISE_DATA:-.}" --seeds 1
	$(BIN)/python benchmarks/gate.py "$${EQUIPOISE_DATA:-.}" --seeds 1 --jobs 2 --curve
