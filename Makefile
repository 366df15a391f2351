# Every target sets up what it needs. PYTHON names another interpreter (3.11 or later; the tests need 3.11).
PYTHON ?= python3
PORT ?= 8080
MODEL ?=
IMAGE ?= florence-lambda
EVENT ?= events/caption.json
FLORENCE = 5ca5edf5bd017b9919c05d08aebef5e4c7ac3bac
PIP_INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test check torture has-base artifact train proof mini pretrain figures picture image base \
  sam-build invoke deploy costs test-e2e bench lock sbom audit

help: ## what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 12

run: .venv/run.stamp ## serve the page and the API on this machine: [PORT=8080] [MODEL=DIR]
	.venv/bin/python -m handler serve --port $(PORT) $(if $(MODEL),--artifact $(MODEL))

# Ten seconds, and only where it can be made: elsewhere the test of arm64 says what it lacks.
ARM64 = $(if $(wildcard /usr/bin/mmdebstrap),.venv-arm64/stamp)
test: .venv/dev.stamp .venv-sam/stamp $(ARM64) ## all tests (Debian's chromium, chromium-driver, qemu-user, mmdebstrap and nodejs are needed)
	.venv/bin/python -m pytest

picture: .venv/dev.stamp ## take docs/page.png, the README's picture, again
	.venv/bin/python -m pytest tests/test_page.py -k miniature_answers
	cp tests/output/page-miniature.png docs/page.png

check: .venv/dev.stamp .venv-sam/stamp ## lint, types, the arrows between the packages, the template
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv-sam/bin/cfn-lint template.yaml

torture: .venv/dev.stamp ## attack the service for half an hour; the figures go to docs/torture.json and SECURITY.md
	TORTURE=long .venv/bin/python -m pytest tests/test_torture_*.py
	.venv/bin/python tests/torture.py

# Said before gigabytes are installed.
has-base:
	@test -n "$(BASE)" || { echo "Name a checkpoint: make artifact BASE=microsoft/Florence-2-base REVISION=$(FLORENCE)" >&2; exit 1; }

artifact: has-base .venv/dev.stamp ## BASE=DIR_OR_HUB_ID [REVISION=COMMIT] [ADAPTER=DIR] [BEAMS=N]: build artifacts/current
	.venv/bin/python -m build --base $(BASE) $(if $(REVISION),--revision $(REVISION)) \
	  $(if $(ADAPTER),--adapter $(ADAPTER)) $(if $(BEAMS),--beams $(BEAMS)) --out artifacts/current

# Without DATA and BASE the miniature learns what it does not know: hearts, and captions in COCO's manner of speaking.
# OPTIONS go to training.train; LEARNT and HELD_OUT are how many pictures are drawn.
MINIATURE = models/mini-checkpoint
train: BASE ?= $(MINIATURE)
train: SIZE ?= $(if $(filter $(MINIATURE),$(BASE)),128,384)
train: OPTIONS ?= $(if $(filter $(MINIATURE),$(BASE)),--preset linear --learning-rate 4e-3 --batch 16 --tasks caption=2 detect=3 --flip 0)
train: OUT ?= runs/train
train: LIMIT ?= $(if $(DATA),500,$(HELD_OUT))
train: WORLD = $(or $(DATA),runs/world)
train: FROM = $(BASE) $(if $(REVISION),--revision $(REVISION))
train: .venv/dev.stamp $(if $(DATA),,runs/world) ## [DATA=DIR BASE=DIR_OR_HUB_ID REVISION=COMMIT SIZE=384 OPTIONS=…]: COCO -> adapter, artifact, report
	.venv/bin/python -m training.train --base $(FROM) --data $(WORLD) --image-size $(SIZE) $(OPTIONS) --out $(OUT)
	.venv/bin/python -m build --base $(FROM) --adapter $(OUT)/adapter --size $(SIZE) --out $(OUT)/artifact
	.venv/bin/python -m training.evaluate --checkpoint $(FROM) --image-size $(SIZE) \
	  --data $(WORLD) --limit $(LIMIT) --out $(OUT)/base
	.venv/bin/python -m training.evaluate --checkpoint $(FROM) --adapter $(OUT)/adapter \
	  --data $(WORLD) --limit $(LIMIT) --out $(OUT)/adapted
	.venv/bin/python -m training.evaluate --artifact $(OUT)/artifact \
	  --data $(WORLD) --limit $(LIMIT) --out $(OUT)/int8
	.venv/bin/python -m training.report --data $(WORLD) --losses $(OUT)/losses.csv --out $(OUT)/report \
	  --evaluation base=$(OUT)/base --evaluation adapted=$(OUT)/adapted --evaluation int8=$(OUT)/int8

HEARTS = --shapes circle square triangle star cross heart --style coco
LEARNT ?= 12000
HELD_OUT ?= 1000
runs/world: | .venv/dev.stamp
	rm -rf $@.part
	.venv/bin/python -m training.shapes --out $@.part --split train --count $(LEARNT) --seed 11 $(HEARTS)
	.venv/bin/python -m training.shapes --out $@.part --split val --count $(HELD_OUT) --seed 12 $(HEARTS)
	mv $@.part $@

proof: ## `make train` from nothing, and its figures into docs/proof
	rm -rf runs/world runs/proof
	$(MAKE) train DATA= OUT=runs/proof
	mkdir -p docs/proof
	for each in base adapted int8; do cp runs/proof/$$each/figures.json docs/proof/$$each.json; done
	cp runs/proof/report/report.png docs/proof/report.png

pretrain: .venv/dev.stamp ## train the miniature again, from nothing (75 minutes on two cores; goes on where it stopped)
	.venv/bin/python -m training.pretrain --out runs/mini

mini: .venv/dev.stamp ## build models/mini from models/mini-checkpoint
	.venv/bin/python -m build --base models/mini-checkpoint --out models/mini --size 128 --name florence-2-mini \
	  --notice "$$(cat models/notice.txt)"

figures: .venv/dev.stamp ## measure the miniature again, int8 and fp32, on 500 held-out pictures
	rm -rf runs/held-out runs/mini-figures
	.venv/bin/python -m training.shapes --out runs/held-out --count 500 --seed 7
	.venv/bin/python -m build --base models/mini-checkpoint --out runs/mini-fp32 --precision fp32 --size 128 \
	  --gate report --name florence-2-mini
	.venv/bin/python -m training.evaluate --artifact models/mini --data runs/held-out --out runs/mini-figures/int8
	.venv/bin/python -m training.evaluate --artifact runs/mini-fp32 --data runs/held-out --out runs/mini-figures/fp32
	cp runs/mini-figures/int8/figures.json models/mini-figures/int8.json
	cp runs/mini-figures/fp32/figures.json models/mini-figures/fp32.json

bench: .venv-bench/stamp ## measure every way to run this model, and write docs/performance.md (20 minutes; 10 more at first)
	.venv-bench/bin/python -m benchmarks

# Names of the image's build arguments; see Dockerfile.lambda.
IMAGE_ARGUMENTS = BASE_IMAGE ARTIFACT BASE REVISION ADAPTER PIP_EXTRA_INDEX_URL

image: ## the Lambda image: [BASE_IMAGE=NAME] [ARTIFACT=DIR], or BASE=… to build its artifact too; prints its size
	docker build --quiet --file Dockerfile.lambda --tag $(IMAGE) \
	  $(foreach name,$(IMAGE_ARGUMENTS),$(if $($(name)),--build-arg $(name)='$($(name))')) .
	@docker image inspect --format '{{.Size}}' $(IMAGE) | awk '{ printf "$(IMAGE): %.0f MB\n", $$1 / 1e6 }'

# The certificates that this machine trusts beside Debian's own go in as well.
base: ## florence-lambda-base, a base image of Debian's packages: for machines that reach no registry of images
	mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
	  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/info/*' \
	  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
	  --essential-hook='mkdir -p "$$1/usr/local/share" && cp -R /usr/local/share/ca-certificates "$$1/usr/local/share/"' \
	  trixie - | docker import - florence-lambda-base

# SAM names the image's arguments as parameters of the template. A region must be set, though nothing here calls AWS.
SAM = SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-us-east-1} .venv-sam/bin/sam
SAM_IMAGE = $(if $(BASE_IMAGE),BaseImage=$(BASE_IMAGE)) $(if $(ARTIFACT),Artifact=$(ARTIFACT))

sam-build: .venv-sam/stamp ## the image as SAM builds it: [BASE_IMAGE=NAME] [ARTIFACT=DIR]
	$(SAM) build $(if $(strip $(SAM_IMAGE)),--parameter-overrides $(SAM_IMAGE))

# `sam local invoke` exits with 0 whatever happens: its answer is looked at.
invoke: sam-build ## one event, answered by the image on this machine: [EVENT=FILE]
	@$(SAM) local invoke Florence --event $(EVENT) >.aws-sam/answer.json
	@cat .aws-sam/answer.json; echo
	@test -s .aws-sam/answer.json && ! grep -q -e '"errorType"' -e 'Task timed out' .aws-sam/answer.json

deploy: sam-build ## to AWS, as docs/deploy.md tells: [PARAMETERS="Authorization=jwt …"]
	.venv-sam/bin/sam deploy $(if $(PARAMETERS),--parameter-overrides $(PARAMETERS))

costs: .venv/dev.stamp ## the table of costs in docs/deploy.md, from benchmarks/function.json and list prices
	.venv/bin/python -m benchmarks.costs

test-e2e: .venv/dev.stamp .venv-sam/stamp ## the image, built and run as on Lambda (needs a Docker engine)
	.venv/bin/python -m pytest tests/e2e --timeout 900

# `tokenizers` asks for huggingface-hub only to fetch from the hub, which the runtime never does: 35 MB less.
HUB = huggingface-hub hf-xet httpx2 httpcore2 fsspec filelock pyyaml truststore

LOCK = .venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
  --no-emit-index-url --no-header

SBOM = sbom.cdx.json
sbom: .venv/dev.stamp ## write the image's bill of materials, CycloneDX, to $(SBOM)
	.venv/bin/python -W ignore -m cyclonedx_py requirements requirements/lambda.txt --pyproject pyproject.toml \
	  --output-reproducible --validate --of JSON --output-file $(SBOM)

# Strict: a package that could not be looked up is an error.
audit: .venv/dev.stamp ## ask the public databases for known faults of the locked packages (needs the internet)
	for lock in run lambda sam; do \
	  .venv/bin/python -m pip_audit --strict --disable-pip --require-hashes --requirement requirements/$$lock.txt || exit 1; \
	done

lock: .venv/dev.stamp ## pin the newest versions of the runtime, of the image and of SAM, with hashes
	.venv/bin/python -m pip install --quiet uv
	$(LOCK) pyproject.toml $(HUB:%=--no-emit-package %) --output-file requirements/run.txt
	$(LOCK) pyproject.toml --group lambda $(HUB:%=--no-emit-package %) --constraint requirements/run.txt \
	  --output-file requirements/lambda.txt
	echo aws-sam-cli | $(LOCK) - --output-file requirements/sam.txt

# Python 3.11 puts setuptools in, which nothing here uses: 9 MB less. Later ones do not, and pip then says nothing.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Python 3.11 or later is needed, and \
	$(PYTHON) is %s; name another: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	.venv/bin/python -m pip uninstall --quiet --quiet --yes setuptools

.venv/run.stamp: requirements/run.txt | .venv/bin/python
	$(PIP_INSTALL) --no-compile --no-deps --requirement requirements/run.txt
	@find .venv -path '*/site-packages/pip/*' -name '*.pyc' -delete # 8 MB that the server never reads
	@touch $@

.venv/dev.stamp: requirements/dev.txt | .venv/bin/python
	$(PIP_INSTALL) --no-deps --requirement requirements/dev.txt
	@touch $@ .venv/run.stamp

# SAM pins older releases of what the API uses, so it has an environment of its own. Its package also carries Lambda's
# Runtime Interface Emulator.
.venv-sam/stamp: requirements/sam.txt
	$(PYTHON) -m venv .venv-sam
	.venv-sam/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/sam.txt
	@touch $@

# Debian's Python for arm64 and the locked wheels, for qemu to run out of this folder. ONNX Runtime would read of this
# machine's CPUs in /proc and crash; where the lists of CPUs are empty it asks the kernel, which qemu answers for.
.venv-arm64/stamp: requirements/run.txt | .venv/bin/python
	rm -rf .venv-arm64
	mkdir -p .venv-arm64/root/sys/devices/system/cpu
	mmdebstrap --quiet --variant=extract --architectures=arm64 \
	  --include=python3.11-minimal,libpython3.11-stdlib,libstdc++6 bookworm - \
	  | tar --extract --directory .venv-arm64/root --exclude './dev/*'
	touch .venv-arm64/root/sys/devices/system/cpu/possible .venv-arm64/root/sys/devices/system/cpu/present
	$(PIP_INSTALL) --no-deps --requirement requirements/run.txt --target .venv-arm64/packages --python-version 3.11 \
	  --only-binary :all: --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64
	@touch $@

# The benchmark's contenders must not disturb the other locks.
.venv-bench/stamp: requirements/lambda.txt requirements/bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/lambda.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/bench.txt
	@touch $@
