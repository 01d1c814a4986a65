# Each target sets up what it needs; PYTHON is any of 3.11 to 3.13.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-slow lint docs clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/installed  ## Answer the question of the paper on handwritten digits, in three minutes
	$(BIN)/python -m apps.demo --workdir=runs/demo --restart

test: .venv/installed  ## Run the tests that take minutes, with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=2 --dist=worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-slow: .venv/installed  ## Run the tests that take an hour
	$(BIN)/python -m pytest -m slow

lint: .venv/installed  ## Check style, imports between packages, types, spelling, the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

docs: .venv/installed  ## Build the documentation into docs/_build
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build

.venv/installed: setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

clean:  ## Remove the environment, runs and builds
	rm -rf .venv runs build dist docs/_build *.egg-info .coverage*
