# Two commands: `make run` and `make test`. Both create .venv and install what they need.
PYTHON ?= python3
PROMPTS ?=
LIMIT ?= 0
TEXT_COLUMN ?= prompt
LABEL_COLUMNS ?=
PAIRS ?=
OUT ?=
TARGET ?= embedded
VARS ?= {}
BIN := .venv/bin
ARGUMENTS = --target "$(TARGET)" --prompts "$(PROMPTS)" --limit "$(LIMIT)" \
  --text-column "$(TEXT_COLUMN)" --label-columns "$(LABEL_COLUMNS)" --pairs "$(PAIRS)" --vars '$(VARS)'

.PHONY: run plan export test lint demo-checkpoints bench torture clean
.DEFAULT_GOAL := run

run: .venv/.run  ## prompts -> dataset -> benchmark -> marts, quality gate, report
	@$(BIN)/misalign run $(ARGUMENTS)

plan: .venv/.run  ## what `make run` would ask, cost and take; asks nothing
	@$(BIN)/misalign plan $(ARGUMENTS)

export: .venv/.run  ## the dataset as files into OUT, if the quality gate passes
	@$(BIN)/misalign export "$(OUT)" --target "$(TARGET)"

test: .venv/.dev lint  ## linters, types, unit tests, two whole builds
	$(BIN)/python -m pytest

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint models macros tests/dbt --processes 2 --disable-progress-bar

demo-checkpoints: .venv/.run  ## train the demo checkpoints anew
	$(BIN)/python -m misalign_profile.demo.train --out demo_checkpoints

bench: .venv/.dev  ## figures into docs/benchmarks.md; minutes
	$(BIN)/python benchmarks/dedup.py
	$(BIN)/python benchmarks/marts.py
	$(BIN)/python benchmarks/engines.py

torture: .venv/.dev  ## kill -9 a run again and again; figures into docs/benchmarks.md
	$(BIN)/python benchmarks/kill.py --kills 50 --keep

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q torch==2.13.0

.venv/.run: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

.venv/.dev: .venv/.run
	$(BIN)/pip install -q -c constraints.txt -e ".[dev,export-tests,harness]"
	@touch $@

clean:  ## removes what can be rebuilt without a model; warehouses and journals stay
	rm -rf target logs dbt_packages build
