# setup, demo, test: the three things a fresh machine needs; all of them end up in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Benchmark data: taken from the environment, else from the folder beside this checkout if it exists.
REPAIRSOLVER_DATA ?= $(abspath $(wildcard ../shared/data))
ifneq ($(REPAIRSOLVER_DATA),)
export REPAIRSOLVER_DATA
endif

.PHONY: setup demo test lint docs wheel clean

setup: $(VENV)/.installed

# torch by its exact version first: a range would pull the build with every GPU library.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==$(shell sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[service,ray,test,docs]'
	touch $@

demo: setup
	$(BIN)/repairsolver demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/mkdocs build --strict

wheel: setup
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist site
