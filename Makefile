# Tuwen: `make serve` runs the service, `make test` checks and tests it. Both install what they need into .venv first.

# The interpreter: the newest of Python 3.11 to 3.13 on the PATH, or the one that PYTHON names.
export PYTHON
CONFIG ?= serve_config.yaml
VENV := .venv
BIN := $(VENV)/bin

# Ray: no usage reports; its own interfaces (not the service's) ask for the token that it keeps in ~/.ray/auth_token;
# a config that does not say so itself has its port looked at before the proxy listens.
export RAY_USAGE_STATS_ENABLED ?= 0
export RAY_AUTH_MODE ?= token
export RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH ?= serve_app.proxy:before_listening
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: serve test check format install clean

install:
	@scripts/install.sh

serve: install
	@python -m serve_app preflight "$(CONFIG)"
	@ray get-auth-token --generate >/dev/null
	serve run "$(CONFIG)"

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
