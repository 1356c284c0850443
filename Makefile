# The list of what a contributor runs. `make` alone prints it.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash
CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo demo-down test tools unit integration bench traffic mtls-cost campaign fuzz package lint fmt docs review-plans clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Make a real two-cluster mesh on this machine with one apply, and look at it
	@scripts/demo up

demo-down: ## Take the demo down again
	@scripts/demo down

test: lint tools unit integration ## Everything: lints, tools, unit tests, integration tests on real clusters

tools: ## Build the pinned Go tools (API server, istiod, helm, tofu, …) once, into the user's cache
	@$(CARGO) run --quiet --package lab --bin lab -- tools

unit: ## Unit and doc tests: no cluster, no network
	CARGO=$(CARGO) scripts/run-tests --workspace --lib --bins
	$(CARGO) test --package terraform-provider-mesh --test fuzz

# What a failed test says is the error of a CLI, and the end of a log is what CI shows: a backtrace would take its
# place.
integration: tools ## Whole meshes on real API servers and istiods, with the real terraform and tofu
	RUST_BACKTRACE=0 CARGO=$(CARGO) scripts/run-tests --package terraform-provider-mesh --test integration

bench: tools ## Measure meshes of 2, 6, 12 and 24 clusters and simulated fleets with the release build, and write docs/guides/benchmarks.md
	$(CARGO) build --release --bin terraform-provider-mesh
	MESH_TEST_BINARY=$(or $(CARGO_TARGET_DIR),target)/release/terraform-provider-mesh MESH_BENCH_PAGE=1 \
	  $(CARGO) test --package terraform-provider-mesh --test integration figures_of -- --ignored --nocapture --test-threads 1

traffic: tools ## Count the calls that are lost while a mesh changes, and write them to docs/guides/traffic.md
	RUST_BACKTRACE=0 MESH_TRAFFIC_PAGE=1 \
	  $(CARGO) test --package terraform-provider-mesh --test integration no_call_is_lost -- --nocapture --test-threads 1

mtls-cost: tools ## Measure calls without mTLS, with it and through a gateway, and write docs/guides/mtls-cost.md
	RUST_BACKTRACE=0 MESH_COST_PAGE=1 \
	  $(CARGO) test --package terraform-provider-mesh --test integration cost_of_mtls -- --ignored --nocapture --test-threads 1

# Beside the rounds, as many pairs of runs at once: PAIRS, 50 unless told otherwise.
campaign: tools ## Kill and disturb the making, changing and destroying of meshes (SEED, ROUNDS, FROM, PAIRS); docs/guides/campaign.md
	$(CARGO) build --release --bin terraform-provider-mesh
	RUST_BACKTRACE=0 MESH_TEST_BINARY=$(or $(CARGO_TARGET_DIR),target)/release/terraform-provider-mesh MESH_CAMPAIGN_PAGE=1 \
	  MESH_CAMPAIGN_SEED=$(SEED) MESH_CAMPAIGN_ROUNDS=$(or $(ROUNDS),1000) MESH_CAMPAIGN_FROM=$(FROM) MESH_CAMPAIGN_PAIRS=$(or $(PAIRS),50) \
	  $(CARGO) test --package terraform-provider-mesh --test integration campaign:: -- --nocapture --test-threads 1

fuzz: ## Feed every reader ten million inputs of chance, on release code (SEED and ROUNDS say otherwise)
	$(CARGO) test --profile fuzz --package terraform-provider-mesh --test fuzz -- --seed $(or $(SEED),24301) --rounds $(or $(ROUNDS),76000)

package: ## Build the archives, checksums and manifest of a release into dist/ (needs python3)
	@scripts/package

lint: ## Formatting and clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

fmt: ## Format the code, its comments and the examples
	$(CARGO) fmt --all
	UPDATE_GENERATED=1 $(CARGO) test --package terraform-provider-mesh --test integration comments::
	@if command -v terraform >/dev/null; then terraform fmt -recursive examples; fi

docs: ## Rewrite what is generated: pages of docs/, the review's pages, and code from the .proto
	UPDATE_GENERATED=1 $(CARGO) test --package terraform-provider-mesh --test integration generated

review-plans: tools ## Recreate the plans that the review's pages are tested with (minutes), and the pages
	$(CARGO) test --package terraform-provider-mesh --test integration review_plans::plans_are_made_anew -- --ignored --nocapture
	UPDATE_GENERATED=1 $(CARGO) test --package terraform-provider-mesh --test integration review_pages::generated

clean: ## Remove build results of this clone (the tools cache stays)
	$(CARGO) clean
	rm -rf dist
