# `make help` lists the commands; run.py implements them. Pass options in ARGS: make score ARGS="--input a.csv --output b.csv"
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
DEVELOPMENT := .venv/development
LIBRARY := packages/fivestage
# An explicitly named Python is the only candidate; otherwise the first suitable one is used.
PYTHONS := $(PYTHON) $(if $(filter file,$(origin PYTHON)),python3.13 python3.12 python3.11)

INIT := DATA TARGET TIME KEYS GROUP KNOWN ZONE POSITIVE TASK LEAVE_OUT KEEP DUPLICATES
COMMANDS := demo train evaluate image deploy rollback serve stop score monitor retrain approve backtest simulate ui card smoke \
    push alerts size
.PHONY: $(COMMANDS) help setup init test test-library test-long check format lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  also: $(filter-out $(shell awk -F: '/^[a-z]+:.*## / {print $$1}' $(firstword $(MAKEFILE_LIST))),$(COMMANDS))" \
	    "format test-library lock clean; options of a command: $(BIN)/python run.py COMMAND --help"

setup: $(DEVELOPMENT) ## install the locked packages into .venv (other targets do this when needed)

init: $(DEVELOPMENT) ## generate problem/ for your own table: DATA= TARGET= TIME= KEYS= GROUP= KNOWN= ZONE= LEAVE_OUT= KEEP= (docs/how-to/your-own-table.md)
	@$(foreach name,$(INIT),$(if $($(name)),$(name)=$(call quote,$($(name))))) $(BIN)/python run.py $@ $(ARGS)

quote = '$(subst ','\'',$(1))'

demo: ## run all five stages, from raw tables to retraining; the report is reports/index.html
train: ## train the candidates; the best one becomes champion if it passes every gate
evaluate: ## evaluate the champion on the test window and write its model card
image: ## build the container images: the service with the champion, and the pipelines
deploy: ## deploy the champion if it passes the smoke test; TARGET=docker or kubernetes
rollback: ## serve the previous champion again; TARGET=docker, or kubernetes for the previous release
serve: ## run the service in the foreground
score: ## score a table in batch: ARGS="--input rows.csv --output scored.csv"
monitor: ## check drift and performance of the next completed period
retrain: ## retrain with the champion's settings
$(COMMANDS): $(INSTALLED)
	@$(BIN)/python run.py $@ $(if $(TARGET),--target $(TARGET)) $(ARGS)

TESTS := tests
test: check ## run the checks and the tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS) $(ARGS)

test-long: $(DEVELOPMENT)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m long $(TESTS) $(ARGS) || test $$? -eq 5  # 5: no tests were collected

test-library: $(DEVELOPMENT)
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(LIBRARY)/tests $(ARGS)

# Sorts imports, removes unused ones, and formats the code.
format: $(DEVELOPMENT)
	@$(BIN)/python -m ruff check --fix --select I,F401 --quiet
	@$(BIN)/python -m ruff format --quiet

check: $(DEVELOPMENT) ## run linter, format check, type checks and an audit of the workflows
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy
	@$(BIN)/zizmor --offline --no-progress --quiet --persona pedantic .github
	@$(SCHEMA).github-workflows .github/workflows/*.yml
	@$(SCHEMA).github-actions .github/actions/*/action.yml
	@$(SCHEMA).dependabot .github/dependabot.yml

SCHEMA = $(BIN)/check-jsonschema --quiet --builtin-schema vendor

clean:
	-@test ! -d var || $(BIN)/python run.py stop
	rm -rf var reports .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# -- set-up --------------------------------------------------------------------------------------------


$(INSTALLED): requirements-run.lock $(LIBRARY)/pyproject.toml $(wildcard $(LIBRARY)/src/fivestage/*/*.c) | $(BIN)/uv
	@echo "Installing the packages that the commands need into .venv (once, about 1 GB of disk)."
	@date +%s > .venv/began
	@$(call install,$<)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable $(LIBRARY)
	@$(BIN)/python -m compileall -q -j 0 -x '$(UNCOMPILED)' .venv/lib || true  # some packages ship templates that are not valid Python
	@echo "Installed in $$(($$(date +%s) - $$(cat .venv/began))) s, including downloads."
	@touch $@

$(DEVELOPMENT): requirements.lock | $(INSTALLED)
	@echo "Installing the development packages into .venv (once)."
	@$(call install,$<)
	@touch $@

# Half of all modules; the commands import hardly any of them.
UNCOMPILED := /(plotly|faker|statsmodels|litestar|pip|tests?)/

install = $(BIN)/python -m uv pip install --python $(BIN)/python --require-hashes --no-build-isolation -r $1 || { \
    echo "uv could not install the lock file: trying pip." >&2; \
    $(BIN)/python -m pip install --require-hashes --no-build-isolation --no-deps -r $1; }

# uv, and setuptools for the one source-only package, installed from the lock with their hashes checked.
$(BIN)/uv: | $(BIN)/pip
	@awk '/^[^ ]/ {keep = /^(setuptools|uv)==/} keep' requirements-run.lock > .venv/bootstrap.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/bootstrap.txt

$(BIN)/pip:
	@for python in $(PYTHONS); do \
	    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && break; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 is needed, but '$(PYTHON)' is '$$($(PYTHON) --version 2>&1)':" \
	        "install one, or give its path: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$python cannot create virtual environments (it lacks ensurepip): install its venv package," \
	        "on Debian and Ubuntu with: apt install python3-venv" >&2; exit 1; \
	fi; \
	$$python -m venv --clear .venv

# -- lock ----------------------------------------------------------------------------------------------

COMPILE = $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
    --generate-hashes --no-annotate --no-emit-package fivestage --custom-compile-command "make lock" $(ARGS)

# Updates the locks after a change to a pyproject.toml; ARGS=--upgrade updates to the newest versions.
lock: $(BIN)/uv
	$(COMPILE) pyproject.toml $(LIBRARY)/pyproject.toml --extra platform --group serving --group build --group data --group dev -o requirements.lock
	$(COMPILE) pyproject.toml $(LIBRARY)/pyproject.toml --extra platform --group serving --group build --group install --group data --constraints requirements.lock -o requirements-run.lock
	$(COMPILE) $(LIBRARY)/pyproject.toml --extra serving --group serving --constraints requirements.lock -o serving/requirements.lock
	@! grep -n '://' requirements*.lock */requirements.lock || \
	    { echo "A lock file contains a URL: it must hold only names, versions and hashes." >&2; exit 1; }

# -- targets of the workflows, and your own --------------------------------------------------------

-include .github/ci.mk local.mk $(wildcard packages/*/targets.mk)
