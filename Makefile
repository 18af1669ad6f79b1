# `make demo` and `make test` set everything up themselves; see README.md.
PYTHON ?= python3
VENV ?= .venv
# The tests run on the CPU; any torch from 2.9 works.
TORCH ?= torch==2.13.0
SOURCE ?= sample://
OUT ?= out
FRAMES ?= 150
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check lint figures clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

$(BIN)/python:
	@echo "== creating $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python pyproject.toml CMakeLists.txt build_hooks/device_requirements.py
	@echo "== installing the runtime (no torch)"
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	@echo "== installing what the tests need: torch (CPU), transformers, pytest"
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[draw,plot,export,train,test]'
	@touch $@

demo: $(VENV)/.runtime  ## run the bundled model: annotated video, window activity, latency table (SOURCE=... takes anything)
	@mkdir -p '$(OUT)'
	$(BIN)/sparsevit run '$(SOURCE)' '$(OUT)/annotated.mp4' --sparsity 0.5 --frames $(FRAMES)
	$(BIN)/sparsevit run '$(SOURCE)' '$(OUT)/activity.mp4' --sparsity 0.5 --activity --frames $(FRAMES)
	$(BIN)/sparsevit profile --sweep 0,0.3,0.5,0.6,0.7 --json '$(OUT)/latency.json'
	@echo "== wrote $(OUT)/annotated.mp4, $(OUT)/activity.mp4 and $(OUT)/latency.json"

test: $(VENV)/.test  ## install what the tests need and run all of them
	$(BIN)/python -m pytest

check: $(VENV)/.test  ## the quick tests and the linter, under two minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -m 'not slow'

figures: $(VENV)/.test  ## rewrite the README's tables from the measured files
	$(BIN)/python benchmarks/tables.py

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(OUT) build dist
