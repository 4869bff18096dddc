# make quickstart | test | setup | lint | clean. Each makes what it needs; PYTHON=... chooses the Python.

VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml requirements.txt
WORKDIR ?= runs/quickstart
# Files of tests at a time; 0: all in one process.
JOBS ?= 2
# Which optional packages' tests `make test-optional` runs: markers of tests/conftest.py, joined by "or".
OPTIONAL ?= torch or datasets or grain or wandb or browser or libtpu or shellcheck or hadolint
PYTEST := $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: quickstart test test-optional setup setup-test lint clean

quickstart: setup
	$(BIN)/python -m rstar_jax.launch --config=quickstart --workdir=$(WORKDIR)

test: lint
	$(PYTEST)

# Those tests alone that need a package over and above the requirements, once it is installed.
test-optional: setup-test
	$(PYTEST) -m '$(OPTIONAL)'

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

setup: $(VENV)/.installed
setup-test: $(VENV)/.installed-test

# What the tests need holds what a run needs, so either stamp will do for a run.
$(VENV)/.installed: $(INPUTS) | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: $(INPUTS) | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.installed

# The first Python of 3.11 or later that can make an environment; an environment that works is kept.
$(VENV)/.made:
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	found=; bare=; old=; \
	for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    if $$python -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
	    bare=$$python; \
	  elif $$python -c '' 2>/dev/null; then old=$$python; fi; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	  echo "make: $$bare cannot make virtual environments (its venv or ensurepip module is missing)." >&2; \
	  echo "Install it, on Debian and Ubuntu with: sudo apt-get install python3-venv" >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	  if [ -n "$$old" ]; then echo "make: found only $$($$old --version 2>&1), Python 3.11 or later is needed." >&2; \
	  else echo "make: no Python found; 3.11 or later is needed." >&2; fi; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$found --version 2>&1) and installing; this takes some minutes once."; \
	$$found -m venv --clear $(VENV) && touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find rstar_jax tests benchmarks configs -name __pycache__ -type d -prune -exec rm -rf {} +
