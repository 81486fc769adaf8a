# Short names for what .ci/run does. PYTHON is the interpreter of an environment with ".[test,lint,docs]".
PYTHON ?= .venv/bin/python

.PHONY: check test test-all fast docs ci

check:  ## style, types, direction of imports
	$(PYTHON) -m ruff format --check mcprune tests benchmarks
	$(PYTHON) -m ruff check mcprune tests benchmarks
	$(PYTHON) -m mypy --strict mcprune
	$(dir $(PYTHON))lint-imports --no-cache

test:  ## all tests
	$(PYTHON) -m pytest -n 2 --dist loadfile

test-all:  ## the long ones too: kills of every golden, several processes, studies
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "long or not long"

fast:  ## the tests that take seconds
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not slow"

docs:  ## the documentation, into build/site
	.ci/site build/site $(PYTHON)

ci:  ## everything, in a fresh environment
	.ci/run
