#!/bin/sh
# Makes handfast.profdata: `make profile`. Builds handfast with counters, puts the usual loads on it, and
# merges what it counted. Everything listens on 127.0.0.1 and takes about half a minute after the builds.
#
# Needs wrk, h2load, openssl, curl, and the compiler's llvm-profdata (rustup component add llvm-tools).
set -eu
cd "$(dirname "$0")/../.."
for tool in wrk h2load openssl curl; do
  command -v "$tool" >/dev/null || { echo "train.sh: $tool is missing" >&2; exit 1; }
done
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$profdata" ] || { echo "train.sh: llvm-profdata is missing: rustup component add llvm-tools" >&2; exit 1; }

export HANDFAST_PROFILE=off
work=$(pwd)/target/profile
mkdir -p "$work"
rm -rf "$work/counts"
RUSTFLAGS="-Cprofile-generate=$work/counts" cargo build --locked --release --bin handfast --target-dir "$work"
# The client that handshakes, and the upstream.
load=$(cargo bench --locked --bench load --no-run --message-format json |
  sed -n 's/.*"executable":"\([^"]*\/load-[^"]*\)".*/\1/p' | tail -n 1)
# Those of the build itself.
rm -rf "$work/counts"

started=
trap 'for id in $started; do kill "$id" 2>/dev/null || true; done' EXIT
for kind in "ec -pkeyopt ec_paramgen_curve:P-256" rsa:2048; do
  name=${kind%%[ :]*}
  # shellcheck disable=SC2086
  openssl req -x509 -newkey $kind -nodes -keyout "$work/$name.key" -out "$work/$name.pem" -days 2 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
done
rm -f "$work/upstream.port"
"$load" upstream >"$work/upstream.port" &
started="$started $!"
tries=0
until [ -s "$work/upstream.port" ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { echo "train.sh: the upstream does not start" >&2; exit 1; }
  sleep 0.1
done

# The second route goes through the daemon a second time, over TLS and HTTP/2: so its port has to be known before.
first=$((20000 + $$ % 10000)); second=$((first + 1))
cat >"$work/handfast.toml" <<END
[runtime]
workers = 1
[[listeners]]
name        = "p256"
address     = "127.0.0.1:$first"
certificate = { chain = "$work/ec.pem", key = "$work/ec.key" }
[[listeners]]
name        = "rsa"
address     = "127.0.0.1:$second"
certificate = { chain = "$work/rsa.pem", key = "$work/rsa.key" }
[[routes]]
upstream = "plain"
[[routes]]
path         = "/again/"
strip_prefix = true
upstream     = "again"
[upstreams.plain]
servers = [{ address = "127.0.0.1:$(cat "$work/upstream.port")" }]
pool    = { max_connections = 8192, max_idle = 1024 }
[upstreams.again]
servers  = [{ address = "127.0.0.1:$first" }]
protocol = "http2"
tls      = { verify = false }
[shutdown]
drain_delay   = "0s"
drain_timeout = "1s"
END
"$work/release/handfast" run --config "$work/handfast.toml" >/dev/null 2>"$work/handfast.log" &
daemon=$!
started="$started $daemon"
url=https://localhost:$first
tries=0
until curl --silent --insecure --output /dev/null "$url/1k"; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { cat "$work/handfast.log" >&2; exit 1; }
  sleep 0.1
done
curl --silent --show-error --fail --insecure --output /dev/null "$url/again/1k"

visit() { "$load" visit --address "127.0.0.1:$1" --version "$2" --concurrency 32 --seconds "$3" $4; }
for version in 1.2 1.3; do
  visit "$first" "$version" 3 ""
  visit "$first" "$version" 3 --resume
  visit "$second" "$version" 1 ""
done
wrk -t1 -c64 -d4s "$url/1k"
h2load -c16 -m32 -D4 "$url/1k" | grep requests:
wrk -t1 -c16 -d1s "$url/again/1k"
h2load -c4 -m16 -D1 "$url/again/1k" | grep requests:
wrk -t1 -c8 -d2s "$url/1m"
wrk -t1 -c8 -d2s -s benches/load/wrk-upload.lua "$url/1k"
"$load" pace --address "127.0.0.1:$first" --connections 16 --interval-ms 10 --seconds 1

# It writes its counters when it ends.
kill -TERM "$daemon"
wait "$daemon" || true
"$profdata" merge -sparse -o deploy/profile/handfast.profdata "$work"/counts/*.profraw
# Cargo does not know that what it built depends on the profile.
cargo clean --release --quiet
ls -l deploy/profile/handfast.profdata
