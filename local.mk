# Targets of the template itself, in addition to a project's. A generated project may have its own local.mk.
TESTS := tests $(LIBRARY)/tests tools/tests
# It trains on all flights. Here tests/demo/test_run.py covers the same on a slice; in projects `make test-long` runs it.
TESTS += --deselect tests/test_commands.py::test_train_deploy_predict_and_score

.PHONY: check-template start test-template test-readme test-images examples docs chaos
.PHONY: bench-serving bench-parity bench-scale bench-monitoring bench-study bench-image bench-demo

check: check-template

# Check the issue forms, and that the pages match the measurements.
check-template: $(DEVELOPMENT)
	@$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/bug.yml
	@$(SCHEMA).github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/python -m tools.book --check

# Turn this copy of the template into a project: ARGS='--data project_name="Churn radar"'.
start: $(DEVELOPMENT)
	@$(BIN)/python -m tools.template.start $(ARGS)

# Generate projects, and run their tests and demos (slow).
test-template: $(DEVELOPMENT)
	@$(BIN)/python -m pytest tools/tests/template/matrix.py $(ARGS)

# Run the README's commands on a slice of the flights.
test-readme: $(DEVELOPMENT)
	@$(BIN)/python -m pytest tools/tests/template/readme.py $(ARGS)

# Build and run the images with the local Docker engine.
test-images: $(DEVELOPMENT)
	@FIVESTAGE_TEST_IMAGES=yes $(BIN)/python -m pytest tools/tests/images $(ARGS)

# Regenerate tools/template/problems/: what `make init` writes for tables of scikit-learn.
examples: $(DEVELOPMENT)
	@$(BIN)/python -m tools.template.examples

# Collect the measurements of runs, write the pages, and build the site: reports/site/index.html.
docs: $(DEVELOPMENT)
	@$(BIN)/python -m tools.book $(ARGS)

# Inject faults into the cluster of KUBECONFIG; writes docs/kubernetes.md.
chaos: $(DEVELOPMENT)
	@$(BIN)/python -m tools.chaos $(ARGS)

# Benchmark the service against an empty FastAPI echo; writes docs/serving.md.
bench-serving: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.serving $(ARGS)

# Stream a year through the service's engine and compare with the training features.
bench-parity: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.parity $(ARGS)

# Train on ten and a hundred times the data, in partitions; writes docs/scale.md.
bench-scale: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.scale $(ARGS)

# Measure the image's size and the time until its service is ready; writes docs/kubernetes.md.
bench-image: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.image $(ARGS)

# Measure false alarms and power of the drift checks; writes docs/monitoring.md.
bench-monitoring: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.monitoring $(ARGS)

# Run the small measurements of the design book; ARGS="maps storage" selects some.
bench-study: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.study $(ARGS)

# Time the stages of a first run, on an idle and on a busy machine; `make docs` writes docs/speed.md. ARGS=--install adds the installation.
bench-demo: $(DEVELOPMENT)
	@$(BIN)/python -m tools.bench.demo $(ARGS)
