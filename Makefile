# Each target sets up what it needs; PYTHON is any of 3.11 to 3.13.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: demo test test-slow lint clean

demo: .venv/installed
	$(PY) -m apps.demo --workdir=runs/demo --restart

test: .venv/installed
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	$(PY) -m pytest --numprocesses=2 --dist=worksteal

test-slow: .venv/installed
	$(PY) -m pytest -m slow

.venv/installed: setup.py
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf .venv runs build dist *.egg-info
