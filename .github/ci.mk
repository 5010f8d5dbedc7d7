# What the workflows call, as make targets that run on a laptop too: budgets, accepted vulnerabilities, scanners.

IMAGES := fivestage-serving fivestage-pipelines
BUDGET_MB := 200
ACCEPTED :=   # vulnerabilities that do not reach us, each with its reason in a comment
GRYPE ?= grype
SYFT ?= syft

.PHONY: scan scan-images sbom budget kind pin verify issue propose facts deliver newest

# known vulnerabilities of what the locks name (asks PyPI)
scan: $(DEVELOPMENT)
	@$(BIN)/python -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off \
	    -r requirements.lock $(ACCEPTED:%=--ignore-vuln %) $(ARGS)

# known vulnerabilities of the images that have a cure (needs grype)
scan-images:
	@for image in $(IMAGES); do $(GRYPE) docker:$$image:latest --only-fixed --fail-on high || exit; done

# what is in the images, as CycloneDX, into reports/sbom/ (needs syft)
sbom:
	@mkdir -p reports/sbom
	@for image in $(IMAGES); do \
	    $(SYFT) scan docker:$$image:latest --output cyclonedx-json=reports/sbom/$$image.json || exit; \
	done

# the service's image, unpacked, within BUDGET_MB
budget:
	@container=$$(docker create fivestage-serving:latest) \
	    && size=$$(docker export $$container | wc -c) \
	    && docker rm $$container > /dev/null \
	    && echo "fivestage-serving: $$((size / 1000000)) MB unpacked; the budget is $(BUDGET_MB) MB." \
	    && test $$size -le $(BUDGET_MB)000000

# a cluster on this machine, with the images and k8s/overlays/local, that answers as offline (needs kind)
kind:
	kind get clusters | grep -qx kind || kind create cluster --wait 3m
	kind load docker-image $(IMAGES:%=%:latest)
	kubectl apply -k k8s/overlays/local
	kubectl -n fivestage rollout status deployment/fivestage --timeout 5m
	@$(MAKE) --no-print-directory smoke

# name the images of every production overlay by digest: SERVING=... PIPELINES=... (needs kustomize)
pin:
	cd k8s/components/production && kustomize edit set image fivestage-serving=$(SERVING) fivestage-pipelines=$(PIPELINES)

# that IMAGE was built by cd.yml of REPOSITORY, as its signed provenance says (needs gh)
verify:
	gh attestation verify oci://$(IMAGE) --repo $(REPOSITORY) --signer-workflow $(REPOSITORY)/.github/workflows/cd.yml

NOTICE ?= reports/notices/monitoring.md

# the one issue of NOTICE's kind: opened, updated, or closed when all is well (needs gh)
issue: $(INSTALLED)
	@$(BIN)/python -m fivestage.ci issue $(NOTICE)

# a pull request with FILES (as they are in FROM), and NOTICE as its text (needs gh)
propose: $(INSTALLED)
	@$(BIN)/python -m fivestage.ci propose $(NOTICE) $(FILES) $(if $(FROM),--from $(FROM))

# what NOTICE says to whatever runs next, a name=value a line
facts: $(INSTALLED)
	@$(BIN)/python -m fivestage.ci facts $(NOTICE)

# start the workflow that brings the champion to production (needs gh)
deliver:
	gh workflow run cd.yml

# the newest versions that pyproject.toml allows, and whether the tests pass with them
newest: $(DEVELOPMENT)
	@$(BIN)/python -m fivestage.ci.newest
