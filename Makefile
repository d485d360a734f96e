# Everything that CI runs, one command each. PYTHON is the interpreter of the virtual environment.
PYTHON ?= .venv/bin/python
BIN = $(dir $(PYTHON))

.PHONY: help check lint types test full example

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

check: lint types test ## All that CI runs

lint: ## Style and formatting
	$(BIN)ruff check .
	$(BIN)ruff format --check .

types: ## Type checking, strict
	$(BIN)pyright --pythonpath $(PYTHON)

test: ## The tests, lit included
	$(BIN)pytest -n auto

full: ## The long tests: large Verilator builds
	$(BIN)pytest -m full -n auto

example: ## Train the example model again
	$(PYTHON) examples/pulses.py
