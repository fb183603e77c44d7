# make demo   sets everything up in .venv and runs the main job
# make test   sets everything up in .venv and runs the tests
# make test-slurm   installs SLURM and Grid Engine (Debian, root) and runs the tests on them
# make lint   style, types;  make docs   the manual;  make clean   forgets all of it

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# CUDA wheels only where there is a GPU to use them.
GPU := $(shell nvidia-smi -L >/dev/null 2>&1 && echo ,gpu)

.PHONY: demo test test-slurm lint docs clean

demo: $(VENV)/.test
	$(BIN)/hpdp demo --output demo --overwrite

# in two processes, of one thread each: half of the time is waiting for others
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

test-slurm: $(VENV)/.test
	tools/install_schedulers.sh
	HPDP_REQUIRED="slurm sge" $(BIN)/python -m pytest -m "slurm or sge"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build docs/reference/generated demo

$(VENV)/.python: tools/make_venv.py
	@echo "Setting up $(VENV); this takes a few minutes the first time."
	$(PYTHON) tools/make_venv.py $(VENV)
	@touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml
	$(PIP) --editable ".[test$(GPU)]"
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) --editable ".[dev]"
	@touch $@
