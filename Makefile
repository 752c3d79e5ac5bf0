# The commands to build, test and install. Each target sets up what it needs by itself (scripts/setup.sh says what that is).
.DELETE_ON_ERROR:
.PHONY: help build demo test test-full fuzz e2e lint bench doc install dist clean

CARGO ?= cargo
# Where `make install` puts things; DESTDIR goes before every path, for packages. Kernels and *-dkms packages look for the
# scripts of dkms in fixed places (/usr/lib/dkms, /etc/kernel, /usr/lib/kernel), so these do not follow PREFIX.
DESTDIR ?=
PREFIX ?= /usr/local
PROGRAMS ?= $(or $(CARGO_TARGET_DIR),target)/release
# Keeps the names of directories of this machine out of packages.
CARGO_HOME ?= $(HOME)/.cargo
REMAP = --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CARGO_HOME)=/cargo

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the programs, in target/release
	@scripts/setup.sh build
	$(CARGO) build --locked --release --bins

demo: ## the main job on real drivers, real kernels and recorded machines
	@scripts/setup.sh demo
	$(CARGO) build --locked --release --bins
	@scripts/demo.sh

lint: ## formatting, lints and links of the API documentation, warnings as errors
	@scripts/setup.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

test: lint ## every test but the long suites
	@scripts/setup.sh test
	@scripts/deny.sh offline
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace

test-full: test ## the long suites too
	@scripts/setup.sh full
	$(CARGO) test --locked --workspace --features dkms-tests/full --test full
	$(CARGO) test --locked --workspace --release --test mutations
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh --runs 20000
	@scripts/deny.sh

fuzz: ## random input for all that reads what others wrote (FUZZ="--seconds 60 archives")
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh $(FUZZ)

e2e: ## the proofs: a real running kernel in an emulator; Debian's packages and kernels, beside Debian's dkms (root)
	@scripts/setup.sh e2e
	$(CARGO) build --locked --release --bins
	@for proof in $$(find scripts/e2e -maxdepth 1 -type f -executable | sort); do $$proof || exit; done

bench: ## the benchmarks beside their peers
	@scripts/setup.sh bench
	$(CARGO) build --locked --release --bins
	$(CARGO) bench --locked --workspace --bench '*'

install: ## what `make build` made: the programs, the name dkms, man pages, completions, hooks (DESTDIR=, PREFIX=/usr/local)
	@PROGRAMS=$(PROGRAMS) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install.sh

dist: ## packages, .deb and .rpm, in target/packages: dkms-fetch, dkms-repo, and the one that makes it the dkms of a system
	@scripts/setup.sh dist
	RUSTFLAGS="$(REMAP)" CFLAGS="-ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(CARGO_HOME)=/cargo" \
	  $(CARGO) build --locked --profile dist --bins
	@scripts/dist/make

doc: ## the API documentation, in target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

clean: ## everything built; inputs that were downloaded stay
	$(CARGO) clean --profile dev && $(CARGO) clean --profile release
