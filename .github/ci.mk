# The make targets of the workflows, which run on a laptop too: budgets, accepted vulnerabilities, scanners.

# the image of the service, then that of the pipelines
IMAGES := $(shell sed -n 's/.*newName: \(.*\)}/\1/p' k8s/components/project/kustomization.yaml)
BUDGET_MB := 200
ACCEPTED :=   # vulnerabilities that do not affect us, each with the reason in a comment
GRYPE ?= grype
SYFT ?= syft

.PHONY: scan scan-images sbom budget kind pin verify issue facts deliver

# known vulnerabilities of the locked packages (queries PyPI)
scan: $(DEVELOPMENT)
	@$(BIN)/python -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off \
	    -r requirements.lock $(ACCEPTED:%=--ignore-vuln %) $(ARGS)

# known vulnerabilities of the images that have a fix (needs grype)
scan-images:
	@for image in $(IMAGES); do $(GRYPE) docker:$$image:latest --only-fixed --fail-on high || exit; done

# bill of materials of the images, as CycloneDX, into reports/sbom/ (needs syft)
sbom:
	@mkdir -p reports/sbom
	@for image in $(IMAGES); do \
	    $(SYFT) scan docker:$$image:latest --output cyclonedx-json=reports/sbom/$${image##*-}.json || exit; \
	done

# check that the service's unpacked image stays within BUDGET_MB
budget:
	@container=$$(docker create $(firstword $(IMAGES)):latest) \
	    && size=$$(docker export $$container | wc -c) \
	    && docker rm $$container > /dev/null \
	    && echo "$(firstword $(IMAGES)): $$((size / 1000000)) MB unpacked; the budget is $(BUDGET_MB) MB." \
	    && test $$size -le $(BUDGET_MB)000000

# a cluster on this machine with the images and k8s/overlays/local; smoke-tests its predictions (needs kind)
kind:
	kind get clusters | grep -qx kind || kind create cluster --wait 3m
	kind load docker-image $(IMAGES:%=%:latest)
	kubectl apply -k k8s/overlays/local
	@$(MAKE) --no-print-directory smoke

# pin the images of every production overlay by digest: SERVING=... PIPELINES=... (needs kustomize)
pin:
	cd k8s/components/production && kustomize edit set image fivestage-serving=$(SERVING) fivestage-pipelines=$(PIPELINES)

# verify by its signed provenance that cd.yml of REPOSITORY built IMAGE (needs gh)
verify:
	gh attestation verify oci://$(IMAGE) --repo $(REPOSITORY) --signer-workflow $(REPOSITORY)/.github/workflows/cd.yml

NOTICE ?= reports/notices/monitoring.md

# open, update or close the one issue of NOTICE's kind (needs gh)
issue: $(INSTALLED)
	@$(BIN)/python -m fivestage.ci issue $(NOTICE)

# print the facts of NOTICE for later steps, one name=value per line
facts: $(INSTALLED)
	@$(BIN)/python -m fivestage.ci facts $(NOTICE)

# start the workflow that delivers the champion to production (needs gh)
deliver:
	gh workflow run cd.yml
