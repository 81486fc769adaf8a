# Short names for what .ci/run does. PYTHON is the interpreter of an environment with ".[test,lint,docs]".
PYTHON ?= .venv/bin/python
SOURCES = mcprune tests benchmarks examples docs/figures

.PHONY: check test test-all fast docs figures ci

check:  ## style, types, direction of imports
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m mypy --strict mcprune
	$(dir $(PYTHON))lint-imports --no-cache

test:  ## all tests but the longest
	$(PYTHON) -m pytest -n 2 --dist loadfile

test-all:  ## the longest too: kills of every golden run, several processes, studies
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "long or not long"

fast:  ## the tests that take seconds
	$(PYTHON) -m pytest -n 2 --dist loadfile -m "not slow and not long"

docs:  ## the documentation, into build/site
	.ci/site build/site $(PYTHON)

figures:  ## the drawings of README and docs, from benchmarks/results
	$(PYTHON) docs/figures/make.py

ci:  ## everything, in a fresh environment
	.ci/run
