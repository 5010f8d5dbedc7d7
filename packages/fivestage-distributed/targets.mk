# Distributed training: a separate package with its own lock and environment, as torch is large.
DISTRIBUTED := packages/fivestage-distributed
DISTRIBUTED_BIN := $(DISTRIBUTED)/.venv/bin
DISTRIBUTED_INSTALLED := $(DISTRIBUTED)/.venv/installed

# Source of torch: its CPU index, or pip's folder of wheels. With CUDA: make setup-distributed TORCH=cuda
TORCH ?= cpu
WHEELS := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)
# PyPI's wheel for Linux does not import without its CUDA libraries: require the CPU build in a folder.
BUILD := $(if $(PIP_FIND_LINKS),$(if $(filter Linux,$(shell uname)),+cpu))

.PHONY: setup-distributed demo-distributed bench-gpu transformer test-distributed check-distributed lock-distributed plan

# Install the package from its own lock, and print the disk space used.
setup-distributed: $(DISTRIBUTED_INSTALLED)

$(DISTRIBUTED_INSTALLED): requirements-run.lock $(wildcard $(DISTRIBUTED)/requirements*.lock) $(DISTRIBUTED)/pyproject.toml | $(INSTALLED)
	@echo "Installing torch and its dependencies into $(DISTRIBUTED)/.venv (once, some GB of disk)."
	@$(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python $(DISTRIBUTED)/.venv
	@$(call install-distributed,--require-hashes -r .venv/bootstrap.txt)
	@$(call install-distributed,--require-hashes -r requirements-run.lock -r $(DISTRIBUTED)/requirements.lock \
	    $(if $(filter cuda,$(TORCH)),-r $(DISTRIBUTED)/requirements-torch.lock))
	@$(if $(filter cuda,$(TORCH)),,$(call install-distributed,--no-deps $(WHEELS) \
	    $$(awk '/^torch==/ {print $$1}' $(DISTRIBUTED)/requirements-torch.lock)$(BUILD)) || { $(call no-torch,could not be installed); })
	@$(call install-distributed,--no-deps --editable $(LIBRARY) --editable $(DISTRIBUTED))
	@$(DISTRIBUTED_BIN)/python -c 'import torch' 2> $(DISTRIBUTED)/.venv/import.log || { \
	    tail -n 1 $(DISTRIBUTED)/.venv/import.log >&2; $(call no-torch,does not import); }
	@$(DISTRIBUTED_BIN)/python -m compileall -qq -j 0 -x '$(UNCOMPILED)' $(DISTRIBUTED)/.venv/lib || true  # every training process imports it
	@du -shc $(DISTRIBUTED)/.venv | awk 'END {print "On disk: " $$1 ", of which:"}'; \
	    du -sh $(DISTRIBUTED)/.venv/lib/python*/site-packages/torch $(wildcard $(DISTRIBUTED)/.venv/lib/python*/site-packages/nvidia) \
	    | awk '{count = split($$2, parts, "/"); print "  " parts[count] " " $$1}'
	@touch $@

install-distributed = $(BIN)/python -m uv pip install --quiet --python $(DISTRIBUTED_BIN)/python --no-build-isolation $1

# The message when torch cannot be installed.
no-torch = version=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
    echo $(if $(filter cuda,$(TORCH)),"torch for NVIDIA GPUs and Python $$version $1: see the lines above.", \
    "torch's CPU build for Python $$version $1 from $(or $(PIP_FIND_LINKS),torch's own index)." \
    "Set PIP_FIND_LINKS to a folder with its wheel, or unset it to use torch's own index;" \
    "or install the build for NVIDIA GPUs from PyPI, which also runs without a GPU:" \
    "make setup-distributed TORCH=cuda (on Linux 2.7 GB to download, 4.5 GB on disk).") >&2; \
    exit 1

# Demonstrate equality, ring all-reduce, pipeline bubble, recovery from a failure, and the plan: reports/distributed/index.html.
demo-distributed: $(DISTRIBUTED_INSTALLED)
	@$(DISTRIBUTED_BIN)/python -m fivestage_distributed demo $(ARGS)

# Measure MFU, tokens/s and memory on this machine's GPU against the planner's prediction: reports/distributed/gpu.json.
bench-gpu: $(DISTRIBUTED_INSTALLED)
	@$(DISTRIBUTED_BIN)/python -m fivestage_distributed bench $(ARGS)

# Train the transformer over the event log, put it through the gates against the champion, and register it.
transformer: $(DISTRIBUTED_INSTALLED)
	@$(DISTRIBUTED_BIN)/python -m fivestage_distributed challenger $(ARGS)

# Once torch is installed, score batches in its environment, as a registered version may be a transformer.
ifneq ($(wildcard $(DISTRIBUTED_INSTALLED)),)
score: private BIN := $(DISTRIBUTED_BIN)
score: $(DISTRIBUTED_INSTALLED)
endif

test-distributed: check-distributed
	@cd $(DISTRIBUTED) && .venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

check-distributed: $(DISTRIBUTED_INSTALLED)
	@cd $(DISTRIBUTED) && .venv/bin/python -m mypy

# Plan layouts for training a model on many GPUs, as a table and a page: ARGS="--model 70b --tokens 2T --gpus 1024 --gpu h100". No torch.
plan: $(INSTALLED)
	@PYTHONPATH=$(DISTRIBUTED)/src $(BIN)/python -m fivestage_distributed.plan $(ARGS)

# torch and its CUDA libraries have a separate lock, so that a CPU build can replace them.
lock-distributed: $(BIN)/uv
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate \
	    --custom-compile-command "make lock-distributed" --constraints requirements.lock --no-emit-package fivestage $(ARGS) \
	    $(DISTRIBUTED)/pyproject.toml --group $(DISTRIBUTED)/pyproject.toml:dev -o $(DISTRIBUTED)/.all.lock
	@$(BIN)/python $(DISTRIBUTED)/split_lock.py $(DISTRIBUTED)/.all.lock requirements-run.lock
