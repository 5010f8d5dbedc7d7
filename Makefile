# `make help` lists the verbs. Options of a verb: make score ARGS="--input rows.csv --output scored.csv"
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# A Python that is named must do; otherwise the first suitable one is taken.
PYTHONS := $(PYTHON) $(if $(filter file,$(origin PYTHON)),python3.13 python3.12 python3.11)

INIT := DATA TARGET TIME KEYS GROUP KNOWN POSITIVE TASK LEAVE_OUT KEEP
VERBS := demo train evaluate image deploy rollback serve stop score monitor retrain approve replay ui
.PHONY: $(VERBS) init smoke-cluster help setup lock check test test-long test-images chaos clean
.PHONY: bench-serving bench-parity bench-scale bench-monitoring bench-study bench-image docs size alerts

init: $(INSTALLED) ## write problem/ for your own table: DATA=customers.csv TARGET=churned TIME=signed_up_at
	@$(foreach name,$(INIT),$(if $($(name)),$(name)=$(call quote,$($(name))))) $(BIN)/python run.py $@ $(ARGS)

quote = '$(subst ','\'',$(1))'

demo: ## the five stages end to end; the page is reports/index.html
train: ## data, features, candidates, contest: a new champion if it passes every gate
evaluate: ## the champion on everything after its own time, and its model card
image: ## two images: the service with the champion inside, and one that runs the verbs
deploy: ## serve the champion if it passes the smoke test; TARGET=docker or kubernetes: there
rollback: ## Kubernetes: image, model and manifests of the release before
serve: ## the service in the foreground
stop: ## stop the service that deploy started
score: ## a file of raw rows in, a scored file out
monitor: ## drift and performance of the next period that is over
retrain: ## train again, with the champion's settings
approve: ## promote what passed its gates and waits for a person: ARGS="--by NAME"
replay: ## live through the year under several policies of retraining; ARGS=--service: against the service
ui: ## the pages of MLflow
$(VERBS): $(INSTALLED)
	@$(BIN)/python run.py $@ $(if $(TARGET),--target $(TARGET)) $(ARGS)

smoke-cluster: $(INSTALLED) ## raw rows through the Service of the cluster that kubectl names: the offline answers?
	@$(BIN)/python run.py smoke $(ARGS)

bench-serving: $(INSTALLED) ## the service beside an empty FastAPI echo; writes docs/serving.md
	@$(BIN)/python -m tools.bench.serving $(ARGS)

bench-parity: $(INSTALLED) ## a year streamed through the service's engine, against the features of training
	@$(BIN)/python -m tools.bench.parity $(ARGS)

bench-scale: $(INSTALLED) ## ten and a hundred times the data, in parts; writes docs/scale.md
	@$(BIN)/python -m tools.bench.scale $(ARGS)

bench-image: $(INSTALLED) ## how large the image is, how soon its service is ready; writes docs/kubernetes.md
	@$(BIN)/python -m tools.bench.image $(ARGS)

size: $(INSTALLED) ## replicas, requests and targets of k8s/ from the contract and the bench; what they cost
	@$(BIN)/python run.py $@

bench-monitoring: $(INSTALLED) ## false alarms and power of the drift checks; writes docs/monitoring.md
	@$(BIN)/python -m tools.bench.monitoring $(ARGS)

bench-study: $(INSTALLED) ## the small measurements of the design book; ARGS="maps storage" for some of them
	@$(BIN)/python -m tools.bench.study $(ARGS)

docs: $(INSTALLED) ## take up what runs have measured, write the pages, build the site: reports/site/index.html
	@$(BIN)/python -m tools.book $(ARGS)

alerts: $(INSTALLED) ## Prometheus rules and Grafana dashboard from the contract, into monitoring/
	@$(BIN)/python run.py $@

test: check ## check, then the tests
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-long: $(INSTALLED) ## the tests that take minutes: verbs killed halfway, and updates of the template
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m long $(ARGS) || test $$? -eq 5  # a project may have none

test-images: $(INSTALLED) ## the images, built and run by this machine's Docker engine
	@FIVESTAGE_TEST_IMAGES=yes $(BIN)/python -m pytest tests/images $(ARGS)

chaos: $(INSTALLED) ## what goes wrong on clusters, on the one that KUBECONFIG names; writes docs/kubernetes.md
	@$(BIN)/python -m tools.chaos $(ARGS)

check: $(INSTALLED) ## lint, format, types, workflows, and that the pages say what was measured
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy
	@$(BIN)/zizmor --offline --no-progress --quiet --persona pedantic .github
	@$(SCHEMA).github-workflows .github/workflows/*.yml
	@$(SCHEMA).github-actions .github/actions/*/action.yml
	@$(SCHEMA).dependabot .github/dependabot.yml
	@$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/bug.yml
	@$(SCHEMA).github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/python -m tools.book --check

SCHEMA = $(BIN)/check-jsonschema --quiet --builtin-schema vendor

setup: $(INSTALLED) ## install the lock into .venv (the other verbs do it when it is needed)

clean: ## stop the service, remove state, pages and caches; .venv stays
	-@test ! -d var || $(BIN)/python run.py stop
	rm -rf var reports .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# -- what workflows call -------------------------------------------------------------------------------

IMAGES := fivestage-serving fivestage-pipelines
BUDGET_MB := 200
ACCEPTED :=   # vulnerabilities that do not reach us, each with its reason in a comment
GRYPE ?= grype
SYFT ?= syft

.PHONY: scan scan-images sbom budget kind push pin verify issue propose facts card deliver newest

scan: $(INSTALLED) ## known vulnerabilities of what the locks name (asks PyPI)
	@$(BIN)/python -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off \
	    -r requirements.lock $(ACCEPTED:%=--ignore-vuln %) $(ARGS)

scan-images: ## known vulnerabilities of the images that have a cure (needs grype)
	@for image in $(IMAGES); do $(GRYPE) docker:$$image:latest --only-fixed --fail-on high || exit; done

sbom: ## what is in the images, as CycloneDX, into reports/sbom/ (needs syft)
	@mkdir -p reports/sbom
	@for image in $(IMAGES); do \
	    $(SYFT) scan docker:$$image:latest --output cyclonedx-json=reports/sbom/$$image.json || exit; \
	done

budget: ## the service's image, unpacked, within BUDGET_MB
	@container=$$(docker create fivestage-serving:latest) \
	    && size=$$(docker export $$container | wc -c) \
	    && docker rm $$container > /dev/null \
	    && echo "fivestage-serving: $$((size / 1000000)) MB unpacked; the budget is $(BUDGET_MB) MB." \
	    && test $$size -le $(BUDGET_MB)000000

kind: ## a cluster on this machine, with the images and k8s/overlays/local, that answers as offline (needs kind)
	kind get clusters | grep -qx kind || kind create cluster --wait 3m
	kind load docker-image $(IMAGES:%=%:latest)
	kubectl apply -k k8s/overlays/local
	kubectl -n fivestage rollout status deployment/fivestage --timeout 5m
	@$(MAKE) --no-print-directory smoke-cluster

push: $(INSTALLED) ## the images to REGISTRY, such as ghcr.io/team/project; prints each by digest
	@$(BIN)/python run.py $@ --registry $(REGISTRY)

pin: ## name the images of every production overlay by digest: SERVING=... PIPELINES=... (needs kustomize)
	cd k8s/components/production && kustomize edit set image fivestage-serving=$(SERVING) fivestage-pipelines=$(PIPELINES)

verify: ## that IMAGE was built by cd.yml of REPOSITORY, as its signed provenance says (needs gh)
	gh attestation verify oci://$(IMAGE) --repo $(REPOSITORY) --signer-workflow $(REPOSITORY)/.github/workflows/cd.yml

NOTICE ?= reports/notices/monitoring.md

issue: $(INSTALLED) ## the one issue of NOTICE's kind: opened, updated, or closed when all is well (needs gh)
	@$(BIN)/python -m fivestage.ci issue $(NOTICE)

propose: $(INSTALLED) ## a pull request with FILES (as they are in FROM), and NOTICE as its text (needs gh)
	@$(BIN)/python -m fivestage.ci propose $(NOTICE) $(FILES) $(if $(FROM),--from $(FROM))

facts: $(INSTALLED) ## what NOTICE says to whatever runs next, a name=value a line
	@$(BIN)/python -m fivestage.ci facts $(NOTICE)

card: $(INSTALLED) ## a version's model card into docs/ (ARGS="--version 7"; by default the champion's)
	@$(BIN)/python run.py $@ $(ARGS)

deliver: ## start the workflow that brings the champion to production (needs gh)
	gh workflow run cd.yml

newest: $(INSTALLED) ## the newest versions that pyproject.toml allows, and whether the tests pass with them
	@$(BIN)/python -m fivestage.ci.newest

# -- set-up --------------------------------------------------------------------------------------------

LIBRARY := packages/fivestage

$(INSTALLED): requirements.lock $(LIBRARY)/pyproject.toml | $(BIN)/uv
	@$(BIN)/python -m uv pip install --compile-bytecode --python $(BIN)/python --require-hashes --no-build-isolation -r $< || { \
	    echo "uv could not install the lock: trying pip." >&2; \
	    $(BIN)/python -m pip install --require-hashes --no-build-isolation --no-deps -r $<; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable $(LIBRARY)
	@touch $@

# uv, and setuptools for the one package that comes as source, straight from the lock: every byte is hashed.
$(BIN)/uv: | $(BIN)/pip
	@awk '/^[^ ]/ {wanted = /^(setuptools|uv)==/} wanted' requirements.lock > .venv/bootstrap.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/bootstrap.txt

$(BIN)/pip:
	@for python in $(PYTHONS); do \
	    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && break; \
	    python=; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 is needed, and '$(PYTHON)' is '$$($(PYTHON) --version 2>&1)':" \
	        "install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$python cannot make virtual environments (it lacks ensurepip): install its venv package," \
	        "on Debian and Ubuntu with: apt install python3-venv" >&2; exit 1; \
	fi; \
	$$python -m venv --clear .venv

# -- lock ----------------------------------------------------------------------------------------------

COMPILE = $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
    --generate-hashes --no-annotate --no-emit-package fivestage --custom-compile-command "make lock" $(ARGS)

lock: $(BIN)/uv ## pin again after a change of a pyproject.toml (ARGS=--upgrade: to the newest)
	$(COMPILE) pyproject.toml $(LIBRARY)/pyproject.toml --extra platform --group build --group data --group dev -o requirements.lock
	$(COMPILE) $(LIBRARY)/pyproject.toml --extra serving --constraints requirements.lock -o serving/requirements.lock
	$(COMPILE) pyproject.toml $(LIBRARY)/pyproject.toml --extra platform --group build --group data --constraints requirements.lock -o pipelines/requirements.lock
	@! grep -n '://' requirements.lock */requirements.lock || \
	    { echo "The lock names an address: it must hold names and hashes only." >&2; exit 1; }

# -- targets of your own -------------------------------------------------------------------------------

-include local.mk
