# Sluice: `make` lists what there is to make. Needs Go and Node (any from 20,
# with npm); everything else is installed below this folder.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS   += --no-print-directory

GO      ?= go
DATA    ?= data
ARGS    ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 10s

TOOLS := $(CURDIR)/.tools/bin
JS    := runtimes/javascript
JSOUT := bin/runtimes/javascript

# Set by CI, where nothing may be left out.
CI ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- build and run

.PHONY: build
build: ui bin/sluice bin/sluice-sandbox $(JSOUT)/main.cjs ## build bin/sluice with the web UI in it and, beside it, all that it runs

.PHONY: ui
ui: ui/dist/index.html ## build the web UI, which the next bin/sluice has in it

ui/dist/index.html: ui/node_modules/.package-lock.json ui/index.html ui/vite.config.ts ui/package.json $(shell find ui/src ui/public -type f)
	npm run build --prefix ui --silent
	@touch $@

.PHONY: run
run: build ## build and start a gateway here (DATA=folder ARGS='--flags of sluice dev')
	@exec bin/sluice dev --data-dir $(DATA) $(ARGS)

# Go knows best what has changed.
.PHONY: bin/sluice
bin/sluice:
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./gateway

# Small and static: it is started for every runtime process.
.PHONY: bin/sluice-sandbox
bin/sluice-sandbox:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./plugins/sandbox/launcher

$(JSOUT)/main.cjs: $(JS)/node_modules/.package-lock.json $(JS)/build.mjs $(JS)/packages.mjs $(JS)/package.json $(JS)/runtime.yaml $(shell find $(JS)/src $(JS)/templates -type f)
	cd $(JS) && node build.mjs --out $(CURDIR)/$(JSOUT)

# npm installs anew only when the lockfile changed.
%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js 20 or newer (https://nodejs.org), then run make again' >&2; exit 1; }
	npm ci --prefix $* --no-audit --no-fund --loglevel=error
	@touch $@

# ---- tests

.PHONY: test
test: packages build test-go test-js test-ui e2e e2e-ui ## run every test

# A module of its own: nothing of Vault's server is in the product. Some minutes
# the first time, later what Go's cache does not have.
bin/vaultserver: $(wildcard tests/vaultserver/*.go tests/vaultserver/go.*) ## a real Vault server, for the tests of secrets
	@echo 'build a Vault server for tests: some minutes the first time'
	@cd tests/vaultserver && nice -n 10 $(GO) build -v -trimpath -ldflags '-s -w' -o $(CURDIR)/$@ . 2>&1 | \
		awk '/[ :#]/ { print; next } ++n % 200 == 0 { print "  " n " packages of some 1500"; fflush() }'
	@touch $@

.PHONY: test-go
test-go: bin/vaultserver ## Go unit tests, with the race detector
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v '/tests/e2e\|/tests/attacks')

.PHONY: test-js
test-js: $(JS)/node_modules/.package-lock.json ## tests of the JavaScript runtime
	npm test --prefix $(JS)

.PHONY: test-ui
test-ui: ui/node_modules/.package-lock.json ## unit tests of the web UI
	npm test --prefix ui

.PHONY: e2e-ui
e2e-ui: packages build ## the web UI in a real Chromium, with a real gateway behind it
	npm run e2e --prefix ui

.PHONY: e2e
e2e: build bin/vaultserver ## the built gateway, as its users drive it, attacked, and under load for a minute
	$(GO) test -count=1 -timeout 20m ./tests/e2e/...
	$(GO) test -count=1 -timeout 20m ./tests/attacks
	$(GO) run ./tests/soak -n 20000

# N=20000 takes a minute.
N ?= 1000000

.PHONY: soak
soak: build ## N calls of 100 lambdas while processes are killed: all answered, nothing leaks (N=1000000)
	$(GO) run ./tests/soak -n $(N)

.PHONY: check
check: vet lint unit ## the fast checks: vet, lint, unit tests without race detector

.PHONY: vet
vet:
	$(GO) vet ./...

.PHONY: unit
unit:
	$(GO) test -short -timeout 10m $$($(GO) list ./... | grep -v '/tests/')

.PHONY: fuzz
fuzz: ## run each fuzz target for a while (FUZZTIME=10s)
	@found=0; \
	for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			found=$$((found + 1)); echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done; \
	echo "$$found fuzz targets"; test $$found -gt 0

.PHONY: bench
bench: packages build bin/vaultserver ## measure throughput, latency, cold start and memory against other servers (ARGS='-h' lists options)
	$(GO) run ./tests/bench $(ARGS)

# Debian packages that some tests and the benchmark use.
.PHONY: packages
packages:
	@tests/packages.sh

# ---- generated code and style

.PHONY: generate
generate: $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ui/node_modules/.package-lock.json ## make the generated code anew
	cd plugins/proto && PATH="$(TOOLS):$$PATH" buf generate
	npm run types --prefix ui --silent

.PHONY: generate-check
generate-check: generate ## fail if generated code is not what make generate makes
	@git diff --exit-code --stat -- plugins/proto ui/src/shared/api/schema.d.ts || { echo 'generated code is out of date: run make generate and commit' >&2; exit 1; }

.PHONY: lint
lint: lint-go lint-proto lint-js lint-ui lint-versions ## golangci-lint, buf lint, tsc and eslint

.PHONY: lint-go
lint-go: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run ./...

.PHONY: lint-proto
lint-proto: $(TOOLS)/buf
	cd plugins/proto && $(TOOLS)/buf lint && $(TOOLS)/buf format --diff --exit-code

.PHONY: lint-js
lint-js: $(JS)/node_modules/.package-lock.json
	npm run lint --prefix $(JS)

.PHONY: lint-ui
lint-ui: ui/node_modules/.package-lock.json
	npm run lint --prefix ui

.PHONY: lint-versions
lint-versions:
	@version=$$(awk '$$1 == "node" { print $$2 }' .sluice-tool-versions); \
	for machine in x64 arm64; do \
		grep -q "\"node-linux-$$machine\": \"$$version\"" $(JS)/package.json || \
			{ echo "node is $$version in .sluice-tool-versions and another version for $$machine in $(JS)/package.json" >&2; exit 1; }; \
	done

# A tool is built anew when a version changed. -trimpath and no cgo: the same
# tool on every machine.
$(TOOLS)/%: .sluice-tool-versions
	@read -r version package < <(awk -v tool=$* '$$1 == tool { print $$2, $$3 }' $<); \
	echo "install $* $$version"; \
	cd / && GOBIN=$(TOOLS) GOFLAGS= $(GO) install "$$package@$$version"
	@touch $@

.PHONY: clean
clean: ## remove what was built and installed here, but no data
	rm -rf bin .tools ui/node_modules ui/dist/assets ui/dist/index.html $(JS)/dist $(JS)/node_modules tests/e2e/clients/node_modules tests/e2e/lpf/node_modules tests/bench/peers/node_modules
