# The assistant: a separate package with its own lock, installed in addition to the commands.
ASSISTANT := packages/fivestage-assistant
ASSISTANT_INSTALLED := .venv/assistant

.PHONY: setup-assistant demo-assistant index-assistant accept-assistant serve-assistant ask-assistant \
    monitor-assistant prompt-assistant alerts-assistant rollback-assistant test-assistant check-assistant bench-assistant lock-assistant

# Install the assistant into .venv (about 200 MB).
setup-assistant: $(ASSISTANT_INSTALLED)

$(ASSISTANT_INSTALLED): $(ASSISTANT)/requirements.lock $(ASSISTANT)/pyproject.toml | $(INSTALLED)
	@echo "Installing the assistant into .venv (once, about 200 MB of disk)."
	@$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --require-hashes --no-build-isolation --no-deps -r $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable $(ASSISTANT)
	@touch $@

# demo: after `make demo`, index, evaluate, serve, and ask ten questions; writes reports/assistant/index.html.
# index: index again. accept: allow quoting the pages as they are worded now. serve: run the service.
# ask: ARGS='"a question"'. monitor: check the latest questions. prompt: evaluate a new prompt, ARGS=FILE.
# alerts: write the Prometheus rules. rollback: return to the previous release. bench: measure, for `make docs`.
demo-assistant index-assistant accept-assistant serve-assistant ask-assistant monitor-assistant \
    prompt-assistant alerts-assistant rollback-assistant bench-assistant: $(ASSISTANT_INSTALLED)
	@$(BIN)/python -m assistant $(@:-assistant=) $(ARGS)

test-assistant: check-assistant
	@cd $(ASSISTANT) && ../../$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check-assistant: $(ASSISTANT_INSTALLED) $(DEVELOPMENT)
	@$(BIN)/python -m ruff check $(ASSISTANT) assistant
	@$(BIN)/python -m ruff format --check $(ASSISTANT) assistant
	@cd $(ASSISTANT) && ../../$(BIN)/python -m mypy

# The lock: what the assistant needs in addition to requirements-run.lock, with the newer certifi of langchain-core.
lock-assistant: $(BIN)/uv
	@awk '/^[a-zA-Z0-9]/ && !/^certifi==/ {sub(/ *\\$$/, ""); print}' requirements.lock > .venv/constraints-assistant.txt
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate \
	    --no-emit-package fivestage --custom-compile-command "make lock-assistant" --constraints .venv/constraints-assistant.txt $(ARGS) \
	    $(ASSISTANT)/pyproject.toml --extra embeddings --extra chat -o .venv/assistant-all.lock
	@$(BIN)/python $(ASSISTANT)/own_lock.py .venv/assistant-all.lock requirements-run.lock $(ASSISTANT)/requirements.lock
