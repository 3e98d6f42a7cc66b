# Every target installs what it needs, through scripts/setup.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help build test test-engines test-kubernetes quick demo bench image chart generate lint vm-shell setup clean vm

export CGO_ENABLED := 0
export PATH := $(PATH):/usr/local/go/bin
VERSION := $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null || echo unknown)
COMMIT := $(shell git rev-parse --quiet --verify HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
KERNEL ?= 6.12
IMAGE ?= localhost/stockade

help: ## show this help
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target about; do printf '  make %-15s %s\n' "$$target" "$$about"; done

build: ## static binaries: bin/stockade, bin/stockade-runc for containers, bin/stockade-kube for Kubernetes
	@scripts/setup build
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/stockade ./cmd/stockade-runc ./cmd/stockade-kube
	@printf 'built bin/stockade (%s, %s bytes)\n' '$(VERSION)' "$$(stat -c %s bin/stockade)"

chart: ## the Helm chart rendered, for who installs without Helm: scripts/deploy/kubernetes/stockade.yaml
	go run -C scripts/chart .

image: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
image: ## a container image for amd64 and arm64, reproducible, without an engine: bin/stockade-image*.tar, bin/image (OCI)
	@scripts/setup build
	@for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o .cache/image/$$arch/ ./cmd/stockade ./cmd/stockade-kube ./cmd/stockade-runc; done
	@mkdir -p bin && go run -C scripts/image . -programs ../../.cache/image -out ../../bin -name '$(IMAGE)' -version '$(VERSION)' -revision '$(COMMIT)'

test: ## all tests: native, then on kernels 6.1, 6.12 and 7.2 (root; it says what it will take)
	@scripts/setup test
	@go run ./scripts/verify $(TESTFLAGS)

test-engines: ## containers of Docker, Podman and containerd, on kernel 6.12 (root; it fetches them)
	@scripts/setup test
	@go run ./scripts/verify -only engines $(TESTFLAGS)

test-kubernetes: export STOCKADE_KUBERNETES ?= $(CURDIR)/.cache/vm/kubernetes
test-kubernetes: ## pods of a kubelet and of a cluster, on kernel 6.12, and an API server (root; it builds Kubernetes, 20 min once)
	@scripts/setup test
	@failed=0; go run ./scripts/verify -only kubernetes $(TESTFLAGS) || failed=1; go test -count=1 ./agent/kube/envtest || failed=1; \
	CGO_ENABLED=1 go test -race -short -count=1 ./agent/kube ./agent/kube/plan || failed=1; exit $$failed

quick: ## lint, short native tests, and the core trials on kernel 6.12 (root; minutes)
	@scripts/setup test lint
	@scripts/lint & lint=$$!; failed=0; go run ./scripts/verify -quick $(TESTFLAGS) || failed=1; wait $$lint || failed=1; exit $$failed

demo: build ## an injected coding agent meets a policy (root; in a VM if this host lacks BPF LSM)
	@scripts/demo/demo

bench: ## what a verdict costs, in ratios
	@scripts/setup bench
	@go run ./scripts/bench $(BENCHFLAGS)

generate: ## compile the BPF programs anew (clang-14)
	@scripts/setup generate
	go generate ./bpf ./agent/kube/v1alpha1

lint: ## format, vet, file lengths, BPF objects up to date
	@scripts/setup lint
	@scripts/lint

vm-shell: build vm ## a shell in a VM, stockade in it (KERNEL=6.1, 6.12 or 7.2)
	@! bin/vm list | grep -E '^($(KERNEL)|debian root) ' | grep -q 'vm fetch' || bin/vm fetch $(KERNEL) debian
	@bin/vm shell --kernel $(KERNEL) --file bin/stockade:/usr/bin/stockade --file scripts/examples:/root/examples --file scripts/demo:/root/demo

vm: ## bin/vm, which fetches and boots kernels (bin/vm --help)
	@scripts/setup vm
	@go build -o bin/vm ./scripts/vm

setup: ## install what every target needs (Debian, root)
	@scripts/setup all

clean: ## remove what was built; kernels stay in .cache
	rm -rf bin .cache/image .cache/verify .cache/bench .cache/generate.*
