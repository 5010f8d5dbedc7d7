# Targets of the template itself, beside those of a project; a project made from it has a local.mk of its own, or none.
TESTS := tests $(LIBRARY)/tests tools/tests
# Trains on all flights. Here tests/demo/test_run.py goes the same way on a slice, and `make test-long` runs it in projects.
TESTS += --deselect tests/test_commands.py::test_train_deploy_predict_and_score

.PHONY: check-template start test-template test-readme test-images examples docs chaos
.PHONY: bench-serving bench-parity bench-scale bench-monitoring bench-study bench-image bench-demo

check: check-template

# The forms for issues, and that the pages say what was measured.
check-template: $(DEVELOPMENT)
	@$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/bug.yml
	@$(SCHEMA).github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/python -m tools.book --check

# Make this copy of the template a project of its own: ARGS='--data project_name="Churn radar"'.
start: $(DEVELOPMENT)
	@$(BIN)/python -m tools.template.start $(ARGS)

# Generate whole projects, and run their tests and demos (long).
test-template: $(DEVELOPMENT)
	@$(BIN)/python -m pytest tools/tests/template/matrix.py $(ARGS)

# Type the README's commands, on a slice of the flights.
test-readme: $(DEVELOPMENT)
	@$(BIN)/python -m pytest tools/tests/template/readme.py $(ARGS)

# Build and run the images with this machine's Docker engine.
test-images: $(DEVELOPMENT)
	@FIVESTAGE_TEST_IMAGES=yes $(BIN)/python -m pytest tools/tests/images $(ARGS)

# What `make init` writes for tables of scikit-learn, into tools/template/problems/.
examples: $(DEVELOPMENT)
	@$(BIN)/python -m tools.template.examples

# Read what runs have measured, write the pages, build the site: reports/site/index.html.
docs: $(DEVELOPMENT)
	@$(BIN)/python -m tools.book $(ARGS)

# Faults injected into the cluster that KUBECONFIG names; writes docs/kubernetes.md.
chaos: $(DEVELOPMENT)
	@$(BIN)/python -m tools.chaos $(ARGS)

# The service beside an empty FastAPI echo; writes docs/serving.md.
bench-serving: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.serving $(ARGS)

# A year streamed through the service's engine, against the features of training.
bench-parity: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.parity $(ARGS)

# Ten and a hundred times the data, in parts; writes docs/scale.md.
bench-scale: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.scale $(ARGS)

# How large the image is, how soon its service is ready; writes docs/kubernetes.md.
bench-image: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.image $(ARGS)

# False alarms and power of the drift checks; writes docs/monitoring.md.
bench-monitoring: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.monitoring $(ARGS)

# The small measurements of the design book; ARGS="maps storage" for some of them.
bench-study: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.study $(ARGS)

# What a first run takes by stage, alone and beside busy programs; `make docs` writes docs/speed.md. ARGS=--install: the installation too.
bench-demo: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.demo $(ARGS)
