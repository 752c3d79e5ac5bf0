# Everything a newcomer types. Each target sets up what it needs by itself (scripts/setup.sh says what that is).
.DELETE_ON_ERROR:
.PHONY: help build demo test test-full e2e lint bench doc install clean

CARGO ?= cargo

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the programs, in target/release
	@scripts/setup.sh build
	$(CARGO) build --locked --release --bins

demo: ## the main job on real drivers, real kernels and recorded machines
	@scripts/setup.sh demo
	$(CARGO) build --locked --release --bins
	@scripts/demo.sh

lint: ## formatting and lints, warnings as errors
	@scripts/setup.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

test: lint ## every test but the long suites
	@scripts/setup.sh test
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace

test-full: test ## the long suites too
	@scripts/setup.sh full
	$(CARGO) test --locked -p dkms-tests --features full --test full
	@scripts/deny.sh

e2e: ## the proof on a real running kernel, in an emulator
	@scripts/setup.sh e2e
	$(CARGO) build --locked --release --bins
	@for proof in $$(find scripts/e2e -maxdepth 1 -type f -executable | sort); do $$proof || exit; done

bench: ## the benchmarks beside their peers
	@scripts/setup.sh test
	$(CARGO) build --locked --release --bins
	$(CARGO) bench --locked -p dkms-tests

doc: ## the API documentation, in target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

clean: ## everything built; inputs that were downloaded stay
	$(CARGO) clean --profile dev && $(CARGO) clean --profile release
