# Two commands do the set-up on a fresh Debian machine with Rust, git and build-essential:
#   make demo    the whole job on an embedded default, as a tour
#   make test    installs what the tests need, then runs them all
CARGO   ?= cargo
TESTBED  = tests/testbed/install.sh
ENV      = $${SHIPIT_TESTBED:-$${XDG_CACHE_HOME:-$$HOME/.cache}/shipit-testbed}/env

.PHONY: build demo test testbed lint fmt clippy doc deny soak bench deb

build:
	$(CARGO) build --locked -p shipit-cli

demo: build
	@templates/demo/run "$${CARGO_TARGET_DIR:-target}/debug/shipit"

testbed:
	$(TESTBED)

# Everything, with the real parts. What takes hours is named soak_* and runs by `make soak`.
test: testbed
	. "$(ENV)" && $(CARGO) test --workspace --locked --no-fail-fast -- --include-ignored --skip soak_

soak: testbed
	. "$(ENV)" && $(CARGO) test --workspace --locked -- --include-ignored --test-threads 2 soak_

# Each case beside its peer, as ratios: docs/performance.md. CASES="export apply" runs those with these words in their names.
bench:
	$(TESTBED) --bench
	. "$(ENV)" && $(CARGO) bench --locked -p shipit-cli --features zlib-ng --bench bench -- $(CASES)

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

deny:
	$(TESTBED) --ci
	. "$(ENV)" && "$$CARGO_DENY" --all-features check licenses bans sources

lint: fmt clippy doc deny

DIST = target/dist
deb:
	command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	$(CARGO) build --release --locked -p shipit-cli
	mkdir -p $(DIST)/man $(DIST)/completions
	target/release/shipit man --dir $(DIST)/man
	target/release/shipit completions bash >$(DIST)/completions/shipit.bash
	target/release/shipit completions zsh >$(DIST)/completions/_shipit
	target/release/shipit completions fish >$(DIST)/completions/shipit.fish
	$(CARGO) deb -p shipit-cli --no-build --no-strip
