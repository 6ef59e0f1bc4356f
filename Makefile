# Fairlead: build, check, test. `make help` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Version control stamps would make every commit rebuild every program.
export GOFLAGS ?= -buildvcs=false

programs := fairlead-bridge fairlead fairlead-agent testenv
report := bin/test-report.jsonl
# Continuous integration believes no earlier result.
fresh := $(if $(CI),-count=1)
unit = $$(go list ./... | grep -v /integration)
# The plugin needs a JDK that knows Java 11's class files; 17 is the one that Clouddriver runs on.
java := $(firstword $(wildcard $(JAVA_HOME) /usr/lib/jvm/java-17-openjdk*))
maven := $(if $(java),JAVA_HOME=$(java) )mvn -B -q -f plugin-descriptor/pom.xml

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: $(addprefix bin/,$(programs)) plugin ## build the programs into bin/ and the plugin into plugin-descriptor/target/

bin/fairlead-bridge: package = ./bridge/cmd/fairlead-bridge
bin/fairlead: package = ./bridge/cmd/fairlead
bin/fairlead-agent: package = ./agent/cmd/fairlead-agent
# kubectl's libraries can load plugins, which makes the linker keep whatever a plugin could call: half of the program.
bin/fairlead-agent: tags = kustomize_disable_go_plugin_support
bin/testenv: package = ./testenv/cmd/testenv
bin/testsummary: package = ./testenv/cmd/testsummary
bin/demo: package = ./integration/cmd/demo
bin/bench: package = ./integration/cmd/bench
bin/bench-cache: package = ./integration/cmd/bench-cache
bin/bench-operations: package = ./integration/cmd/bench-operations
bin/bench-accounts: package = ./integration/cmd/bench-accounts
bin/bench-failover: package = ./integration/cmd/bench-failover
bin/agent-fleet: package = ./agent/cmd/agent-fleet
# Go knows better than make whether there is something to do.
.PHONY: $(addprefix bin/,$(programs) testsummary demo bench bench-cache bench-operations bench-accounts bench-failover agent-fleet)
$(addprefix bin/,$(programs) testsummary demo bench bench-cache bench-operations bench-accounts bench-failover agent-fleet):
	@go build -tags '$(tags)' -o $@ $(package)

.PHONY: plugin
plugin: bin/testenv
	@bin/testenv prepare --only java,maven
	$(maven) -Dmaven.test.skip=true package

.PHONY: check
check: bin/testenv ## format, generated code, lint, unit tests without the race detector
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go' | grep -v ^proto/gen/)); \
	  if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi
	@tools=$$(bin/testenv tools); PATH="$$tools:$$PATH"; proto/generate --check; golangci-lint run ./...; (cd integration/install && golangci-lint run ./...); cd integration/operate && golangci-lint run ./...
	go test $(unit)

.PHONY: test
test: bin/testenv bin/testsummary ## everything: unit tests with the race detector, the plugin's, the suites on real parts
	@rm -f $(report)
	@echo "== parts: found or built once, kept in the cache"
	@bin/testenv prepare
	@echo "== generated code"
	@tools=$$(bin/testenv tools); PATH="$$tools:$$PATH" proto/generate --check || \
	  echo '{"Name":"generated code (make generate)","Outcome":"fail","Count":1}' >>$(report)
	@echo "== unit tests, with the race detector"
	@go test -race -json $(fresh) -timeout 20m $(unit) | bin/testsummary read $(report) || true
	@echo "== the plugin"
	@rm -rf plugin-descriptor/target/surefire-reports
	@failed=; $(maven) verify || failed=1; \
	  bin/testsummary surefire $(report) plugin-descriptor/target/surefire-reports; \
	  if [ -n "$$failed" ]; then echo '{"Name":"the plugin (mvn verify)","Outcome":"fail","Count":1}' >>$(report); fi
	@# One package at a time: each runs a whole environment.
	@echo "== suites on real parts"
	@go test -json -count=1 -p 1 -timeout 60m ./integration/... | bin/testsummary read $(report) || true
	@go -C integration/install test -json -count=1 -timeout 30m ./... | bin/testsummary read $(report) || true
	@go -C integration/operate test -json -count=1 ./... | bin/testsummary read $(report) || true
	@echo "== an install path in containers"
	@{ integration/install/with-docker integration/install/run -env=container -json -run 'TestMainJobOnEachInstallPathInEachMode/spinnaker-kustomize' || \
	  [ $$? != 125 ] || echo "== not in containers: the install paths ran as processes only" >&2; } | bin/testsummary read $(report) || true
	@echo "== summary"
	@bin/testsummary finish $(report) .ci/allowed-skips

.PHONY: integration
integration: bin/testenv ## the install paths and the main job, in containers where Docker runs or can be started, else as processes (ENV=container|process)
	@bin/testenv prepare
	@if [ "$(ENV)" != process ]; then \
	  echo "== environment: container"; code=0; integration/install/with-docker integration/install/run -env=container || code=$$?; \
	  if [ $$code != 125 ] || [ "$(ENV)" = container ]; then exit $$code; fi; \
	fi; \
	echo "== environment: process"; integration/install/run -env=process

# A base image of this machine, so that no registry is needed; in the open: BASE=gcr.io/distroless/static-debian12:nonroot
BASE ?= local
.PHONY: images
images: plugin ## the images of agent, bridge and plugin, by Docker (BASE=, PREFIX=, VERSION=, GOARCH=)
	@BASE=$(BASE) images/build plugin-descriptor/target/fairlead-clouddriver-plugin.jar

STEPS ?= 100000000
.PHONY: simulate
simulate: ## the link under faults, STEPS= of it from a new seed (make test does a million from a fixed one)
	go test ./proto/link -count=1 -v -timeout 0 -run SimulationUnderFaults -steps=$(STEPS) -seed=0

.PHONY: demo
demo: bin/testenv bin/fairlead bin/demo ## a deploy through a real Clouddriver to a real cluster, told as it happens (KEEP=1 leaves it running)
	@bin/demo

.PHONY: bench
bench: bin/bench ## deploy, read and freshness beside a stock account, as docs/benchmarks.md shows them
	@bin/bench

.PHONY: bench-operations
bench-operations: bin/bench-operations ## many operations at once beside kubectl processes, and operations while watch events flow
	@bin/bench-operations $(ARGS)

.PHONY: bench-cache
bench-cache: bin/bench-cache ## the caching's figures on a fleet of fake API servers (ARGS="-run fresh -o json"; bin/bench-cache -h)
	@bin/bench-cache $(ARGS)

.PHONY: bench-accounts
bench-accounts: bin/bench-accounts ## two thousand accounts on a fleet of fake API servers: Clouddriver's start, one more, memory (ARGS="-accounts 200")
	@bin/bench-accounts $(ARGS)

.PHONY: bench-failover
bench-failover: bin/bench-failover bin/agent-fleet ## three bridges and 500 agents when parts of them go away (ARGS="-run kill -agents 100"; an hour, bin/bench-failover -h)
	@bin/bench-failover $(ARGS)

.PHONY: generate
generate: bin/testenv ## regenerate proto/gen
	@tools=$$(bin/testenv tools); PATH="$$tools:$$PATH" proto/generate

.PHONY: clean
clean: ## remove what was built in the tree (the cache outside it stays)
	rm -rf bin plugin-descriptor/target
