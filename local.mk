# Targets of the template itself; a project made from it has a local.mk of its own, or none.
.PHONY: start test-template test-readme examples

start: $(INSTALLED) ## make this copy of the template a project of its own: ARGS='--data project_name="Churn radar"'
	@$(BIN)/python -m tools.template.start $(ARGS)

test-template: $(INSTALLED) ## generate whole projects, and run their tests and demos (long)
	@$(BIN)/python -m pytest tools/tests/template/matrix.py $(ARGS)

test-readme: $(INSTALLED) ## type the README's commands, on a slice of the flights
	@$(BIN)/python -m pytest tools/tests/template/readme.py $(ARGS)

examples: $(INSTALLED) ## what `make init` writes for tables of scikit-learn, into tools/template/problems/
	@$(BIN)/python -m tools.template.examples
