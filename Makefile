# handfast: run, test, check. `make help` lists the targets.

CARGO ?= cargo
CARGO_FLAGS ?= --locked

# What the interoperability tests drive, as Debian packages.
TOOLS = curl:curl openssl:openssl gnutls-cli:gnutls-bin h2load:nghttp2-client wrk:wrk chromium:chromium slowhttptest:slowhttptest \
	haproxy:haproxy nginx:nginx /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream \
	promtool:prometheus systemd-analyze:systemd

.PHONY: help run test tools check lint soak release deb image instructions instructions-keep profile bench bench-quick bench-record

help:
	@echo "make run     serve https://localhost:8443 with a certificate made in memory and a demo upstream"
	@echo "make test    install the tools that tests need (as root), then run every test"
	@echo "make check   format, lints, every test"
	@echo "make soak    the long tests: throttled transfers of 200 MB, crowds, a storm of handshakes, a minute of mixed traffic"
	@echo "make instructions  count the instructions of a handshake, against the kept counts and stock tokio-rustls"
	@echo "make profile the execution profile that optimised builds use, once much has changed (needs llvm-profdata)"
	@echo "make release an optimised build in target/release"
	@echo "make deb     a Debian package (cargo install cargo-deb), and from it to a first answer"
	@echo "make image   the file system of the container image in target/image; deploy/docker has the Dockerfile"
	@echo "make bench   beside nginx and HAProxy, in about 15 minutes; bench-quick in under 5"

run:
	$(CARGO) run $(CARGO_FLAGS) --release -- dev

release:
	$(CARGO) build $(CARGO_FLAGS) --release

# Installs into a directory of its own; nothing of the machine changes.
deb: release
	@command -v cargo-deb >/dev/null || { echo "missing: cargo-deb (cargo install cargo-deb)" >&2; exit 1; }
	sh deploy/deb/stage.sh target/release/handfast
	$(CARGO) deb $(CARGO_FLAGS) --no-build --output target/debian/
	sh deploy/deb/first-hour.sh "$$(ls -t target/debian/handfast_*.deb | head -n 1)"

image: release
	rm -rf target/image
	sh deploy/docker/build.sh target/release/handfast target/image
	@if [ "$$(id -u)" = 0 ]; then sh deploy/docker/smoke.sh target/image; else echo "not run: deploy/docker/smoke.sh (needs root)" >&2; fi

# Installs what is missing when root; else names it and fails.
tools:
	@sh benches/load/install.sh $(TOOLS)

test: tools
	$(CARGO) test $(CARGO_FLAGS)

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings

check: lint test

# Instructions of the handshake path under callgrind, against the kept counts.
instructions:
	@command -v valgrind >/dev/null || { echo "missing Debian package: valgrind" >&2; exit 1; }
	$(CARGO) bench $(CARGO_FLAGS) --bench instructions

instructions-keep:
	@command -v valgrind >/dev/null || { echo "missing Debian package: valgrind" >&2; exit 1; }
	$(CARGO) bench $(CARGO_FLAGS) --bench instructions -- --keep

# Makes deploy/profile/handfast.profdata anew, about 10 minutes; it is committed with the change that it is for.
profile: tools
	sh deploy/profile/train.sh

soak: tools
	HANDFAST_SOAK=1 $(CARGO) test $(CARGO_FLAGS) --release --test integration

# Alone on the machine, or the figures mean nothing. BENCH passes options on: `make bench BENCH='--only h2'`.
bench-quick: BENCH_MODE = --quick
# As `bench`; keeps the results in benches/results and in the two READMEs.
bench-record: BENCH_MODE = --record

bench bench-quick bench-record:
	@sh benches/load/install.sh
	$(CARGO) bench $(CARGO_FLAGS) --bench load -- $(BENCH_MODE) $(BENCH)
