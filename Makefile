# All set-up happens in .venv, once: the stamp says which pyproject.toml and constraints.txt it was made from.
#   make test PYTHON=python3.12                                            another interpreter, for a new .venv
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo     the small CPU build of torch

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.wsim-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

# One arithmetic thread a process: results are equal bit for bit, and two test workers do not fight for cores.
export OMP_NUM_THREADS := 1

.PHONY: help demo test bench docs format clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(STAMP)  ## run the quickstart scenario: a table, a result file and a picture in outputs/
	@$(BIN)/wsim run scenarios/quickstart.toml --force
	@echo
	@echo "Result:  outputs/quickstart-s1.h5"
	@echo "Picture: outputs/quickstart-s1.png"

test: $(STAMP)  ## formatter check, linter, type checker and tests, as CI runs them
	@echo "== formatter (ruff format --check) =="
	@$(BIN)/ruff format --check .
	@echo "== linter (ruff check) =="
	@$(BIN)/ruff check .
	@echo "== type checker (mypy) =="
	@$(BIN)/mypy
	@echo "== tests (pytest) =="
	@$(BIN)/python -m pytest -q -n 2

bench: $(STAMP)  ## CPU seconds beside a plain and a hand-stacked loop, messages a second (some 10 minutes)
	@$(BIN)/python -m benchmarks.run

docs: $(STAMP)  ## the documentation as web pages in build/docs; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file docs/mkdocs.yml
	@echo "Open build/docs/index.html"

format: $(STAMP)  ## format the code and fix what the linter can fix
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .
	@$(BIN)/ruff check .

clean:  ## remove .venv, caches and build leftovers; outputs/ stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find wsim channels learners tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PIP) --version > /dev/null 2>&1 || $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("wsim needs Python 3.11 or newer, and this is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@$(PIP) --version > /dev/null 2>&1 || { echo "== set-up: $(VENV) =="; $(PYTHON) -m venv $(VENV); }
	@echo "== set-up: packages (a few minutes the first time) =="
	@$(PIP) install --quiet --constraint constraints.txt torch
	@PIP_CONSTRAINT=constraints.txt $(PIP) install --quiet --editable '.[dev]'
	@touch $(STAMP)
