# Targets match what CI runs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
TARGET := $(or $(CARGO_TARGET_DIR),target)
JOB ?= examples/cpu-sgemm.yaml
OUT ?= fractune-out/$(basename $(notdir $(JOB)))
CLI := $(TARGET)/release/kubectl-fractune

.PHONY: help setup build run report test test-cluster test-oldest test-ecosystem lint crds bench bench-search bench-space \
        bench-gate bench-operator cluster cluster-build clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## install what building and tuning need (Debian packages, the Rust toolchain)
	@scripts/setup

build: setup ## build the release binaries
	cargo build --release --locked -p kubectl-fractune -p fractune-agent

run: build ## tune a real kernel on this machine: make run [JOB=examples/cpu-stencil.yaml] [ARGS='--max-trials 50']
	$(CLI) run $(JOB) --out $(OUT) $(if $(wildcard $(OUT)/job.yaml),--resume) $(ARGS)

test: setup cluster-programs ## run every test, also those on a real Kubernetes; without a GPU
	cargo test --workspace --locked
	@$(MAKE) --no-print-directory test-ecosystem

test-ecosystem: setup cluster-programs ## Helm, Prometheus, Argo CD's and Flux's health, a queue, the docs' commands: make test-ecosystem [TEST=part-of-a-name]
	@tests/ecosystem/run $(TEST) || [ $$? = 69 ]

.PHONY: test-node
test-node: setup ## run the tests of the agent of GPU nodes: kubelet and MPS are played
	cargo test --locked -p fractune-agent --lib -- node:: slot:: gate:: mps:: nvml::
	cargo test --locked -p fractune-agent --test node --test mps

test-cluster: setup cluster-programs ## run the tests on a real Kubernetes: make test-cluster [TEST=part-of-a-name] [KUBERNETES=oldest] [KILLS=50]
	$(if $(KUBERNETES),FRACTUNE_KUBERNETES=$(KUBERNETES)) $(if $(KILLS),FRACTUNE_KILLS=$(KILLS)) \
	  cargo test --workspace --locked --test cluster -- $(TEST)

test-oldest: ## run them on the oldest Kubernetes that is supported
	@$(MAKE) test-cluster KUBERNETES=oldest

# Where no cluster can run (exit status 69), the tests say that they are skipped, and why.
.PHONY: cluster-programs
cluster-programs:
	@tests/cluster/cluster build $(if $(KUBERNETES),--kubernetes $(KUBERNETES)) || [ $$? = 69 ]

lint: setup ## rustfmt, clippy, stale CRDs, reference and chart values, dead links, licences and advisories
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo run -q --locked -p fractune-crds -- --check crds
	cargo run -q --locked -p fractune-crds -- --check charts/fractune/files/crds
	@scripts/reference --check
	@scripts/chart-values --check
	@scripts/docs
	@scripts/deny

crds: ## write crds/*.yaml from the Rust types, and docs/reference.md from those
	cargo run -q --locked -p fractune-crds -- crds
	cargo run -q --locked -p fractune-crds -- charts/fractune/files/crds
	@scripts/reference

bench: build ## figures of speed and truth on this machine, as ratios in one run
	bench/run

bench-search: ## replay recorded spaces with every strategy: make bench-search SPACES=DIR OUT=DIR [ARGS='--seeds 10']
	cargo run -q --release --locked -p fractune-bench --bin bench_search -- --spaces $(SPACES) --out $(OUT) $(ARGS)

bench-space: ## time and memory of the construction of spaces: make bench-space SPACES=DIR OUT=DIR
	bench/space --spaces $(SPACES) --out $(OUT)

bench-gate: setup ## the gate of a GPU under simulated agents: make bench-gate [ARGS='--agents 14']
	cargo run -q --release --locked -p fractune-bench --bin bench_gate -- $(ARGS)

bench-operator: setup cluster-programs ## the operator under 1,000 jobs, on a real API server with simulated pods: make bench-operator [ARGS='--jobs 100']
	cargo build --release --locked -p fractune-operator
	cargo run -q --release --locked -p fractune-bench --bin bench_operator -- --operator $(TARGET)/release/fractune-operator $(ARGS)

cluster: ## a real Kubernetes for as long as a shell, or a command, runs: make cluster [NODES=2] [KUBERNETES=oldest] [CMD='kubectl get nodes']
	@tests/cluster/cluster $(if $(CMD),run,shell) $(if $(NODES),--nodes $(NODES)) $(if $(KUBERNETES),--kubernetes $(KUBERNETES)) $(if $(CMD),-- bash -c '$(subst ','\'',$(CMD))')

demo: setup ## the operator at work: a real Kubernetes, the chart, two C kernels tuned by pods, one of them killed
	@scripts/demo

cluster-build: ## build its programs, which `make cluster` does too, and keep them in ~/.cache/fractune
	@tests/cluster/cluster build $(if $(KUBERNETES),--kubernetes $(KUBERNETES))

clean: ## remove what was built
	cargo clean
