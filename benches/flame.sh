#!/bin/sh
# Flame graphs of a handfast under the loads of the load bench, one for each workload:
#
#     benches/flame.sh [-o DIRECTORY] [-s SECONDS] HANDFAST NAME [WORKLOAD...]
#
# writes DIRECTORY/NAME-WORKLOAD.svg (default benches/results/flame), the folded stacks to
# target/flame/NAME-WORKLOAD.folded, and prints the shares of the parts of each. HANDFAST is a release
# build (it has line tables). It needs perf (as root, or with kernel.perf_event_paranoid at 1 or below),
# openssl, wrk, h2load and inferno, and says what is missing. All of it is on 127.0.0.1.
set -eu

PATH=$PATH:/usr/sbin:$HOME/.cargo/bin
root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/benches/results/flame
seconds=5
while getopts o:s: option; do
  case $option in
    o) out=$OPTARG ;;
    s) seconds=$OPTARG ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
handfast=$1
name=$2
shift 2
[ -x "$handfast" ] || { echo "no such program: $handfast" >&2; exit 2; }
[ $# -gt 0 ] || set -- h1-keepalive h2 download upload tls13-full-p256 tls12-resumed

sh "$root/benches/load/install.sh" perf:linux-perf openssl:openssl wrk:wrk h2load:nghttp2-client \
  taskset:util-linux
command -v inferno-flamegraph >/dev/null || { echo "missing: inferno (cargo install inferno)" >&2; exit 1; }

# The upstream and the client for handshakes are roles of the load bench.
load=$(cd "$root" && cargo bench --bench load --no-run --message-format json-render-diagnostics |
  sed -n 's/.*"name":"load".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$load" ] || { echo "the load bench was not built" >&2; exit 1; }

run=$root/target/flame
mkdir -p "$run" "$out"
upstream=
server=
client=
end() {
  for process in $client $server $upstream; do kill "$process" 2>/dev/null || :; done
  wait
}
trap end EXIT
trap 'exit 1' INT TERM

# Waits until a file has something that matches.
await() {
  tries=0
  until grep -q "$1" "$2" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "nothing in $2 after 10 s" >&2; exit 1; }
    sleep 0.05
  done
}

# The parts of the CPU time: each sample is of the part whose function is nearest to its leaf, and in the
# kernel of the function that called into it. Allocation is jemalloc's and libc's.
shares() {
  awk -v title="$name $workload" '
    function part(frame) {
      if (frame ~ /^aws_lc/) return "aws-lc"
      if (frame ~ /_rjem_|^(malloc|free|calloc|realloc|je_|tikv_jemalloc)|alloc::alloc/) return "allocation"
      if (frame ~ /handfast::/) return "handfast"
      if (frame ~ /rustls/) return "rustls"
      if (frame ~ /hyper/) return "hyper"
      if (frame ~ /h2::/) return "h2"
      if (frame ~ /tokio|mio::/) return "tokio"
      return ""
    }
    {
      count = $NF
      sub(/ [0-9]+$/, "")
      depth = split($0, frames, ";")
      found = "other"
      i = depth
      while (i > 1 && frames[i] ~ /_\[k\]$/) i--
      if (i < depth) kernel += count
      if (i < depth) found = "kernel: " (i > 1 ? frames[i] : "interrupts")
      else for (; i > 1; i--) if ((at = part(frames[i])) != "") { found = at; break }
      sum[found] += count
      all += count
    }
    END {
      printf "%s: %.0f ms of CPU time, %.1f %% of it in the kernel\n", title, all / 1e6, 100 * kernel / all
      for (found in sum) printf "  %5.1f %% %s\n", 100 * sum[found] / all, found | "sort -rn | head -n 12"
    }' "$1"
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout "$run/key.pem" -out "$run/chain.pem" 2>/dev/null
cat "$run/chain.pem" "$run/key.pem" >"$run/p256.pem"
cp "$run/p256.pem" "$run/rsa.pem"

: >"$run/upstream.port"
taskset -c 1 "$load" upstream >"$run/upstream.port" &
upstream=$!
await '^[0-9]' "$run/upstream.port"

sed -e "s|@WORKERS@|1|; s|@DIRECTORY@|$run|g; s|@UPSTREAM@|$(cat "$run/upstream.port")|" \
  -e "s|@P256@|0|; s|@RSA@|0|; s|@ADMIN@|0|" "$root/benches/load/handfast.toml" >"$run/handfast.toml"
: >"$run/handfast.log"
taskset -c 0 "$handfast" run --config "$run/handfast.toml" >"$run/handfast.log" 2>&1 &
server=$!
# It says where it listens, the port being the kernel's.
await 'listening.*p256' "$run/handfast.log"
port=$(sed -n '/listening.*p256/s/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$run/handfast.log" | head -n 1)

for workload in "$@"; do
  # The load runs a second longer at each end than perf looks.
  time=$((seconds + 2))
  url=https://localhost:$port
  case $workload in
    h1-keepalive) set -- wrk -t1 -c64 "-d${time}s" "$url/1k" ;;
    h2) set -- h2load -t1 -c16 -m32 "-D$time" "$url/1k" ;;
    download) set -- wrk -t1 -c8 "-d${time}s" "$url/1m" ;;
    upload) set -- wrk -t1 -c8 "-d${time}s" -s "$root/benches/load/wrk-upload.lua" "$url/1k" ;;
    tls13-full-p256) set -- "$load" visit --version 1.3 ;;
    tls12-resumed) set -- "$load" visit --version 1.2 --resume ;;
    *) echo "no such workload: $workload" >&2; exit 2 ;;
  esac
  [ "$1" != "$load" ] || set -- "$@" --address "127.0.0.1:$port" --concurrency 32 --seconds "$time"
  taskset -c 1 "$@" >"$run/$workload.load" 2>&1 &
  client=$!
  sleep 1
  data=$run/$workload.data
  # As much of the stack as perf can take: a poll of a request is deep, and what is cut off loses its root.
  perf record -q -m 4096 -e cpu-clock -F 499 --call-graph dwarf,65528 -p "$server" -o "$data" \
    -- sleep "$seconds" >"$run/perf.log" 2>&1 || { cat "$run/perf.log" >&2; exit 1; }
  wait "$client" || { cat "$run/$workload.load" >&2; exit 1; }
  client=
  folded=$run/$name-$workload.folded
  # Without inlined frames: perf asks addr2line for each, which takes minutes.
  perf script --no-inline -i "$data" 2>/dev/null | inferno-collapse-perf --kernel 2>/dev/null >"$folded"
  rm -f "$data"
  inferno-flamegraph --minwidth 0.5 --title "$name: $workload" "$folded" >"$out/$name-$workload.svg"
  shares "$folded"
done
