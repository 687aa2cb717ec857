# Tuwen: `make serve` runs the service, `make test` checks and tests it. Both install what they need into .venv first.

PYTHON ?= python3.11
CONFIG ?= serve_config.yaml
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Ray: no usage reports; its own interfaces (not the service's) ask for the token that it keeps in ~/.ray/auth_token.
export RAY_USAGE_STATS_ENABLED ?= 0
export RAY_AUTH_MODE ?= token
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: serve test check format install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

serve: install
	ray get-auth-token --generate >/dev/null
	serve run $(CONFIG)

test: check
	python -m pytest

check: install
	ruff format --check .
	ruff check .
	mypy
	for config in serve_config.yaml configs/*.yaml; do python -m serve_app check --quiet $$config || exit 1; done
	python scripts/check_docs.py

format: install
	ruff format .
	ruff check --fix .

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
