#!/bin/sh
# The image without an engine: smoke.sh DIRECTORY, as build.sh made it. Runs the command in it as the image's user, which
# can write nothing but /run/handfast, asks for its health as HEALTHCHECK does, and fails unless an answer came over TLS. Needs root (for
# chroot), openssl and curl.
set -eu
image=$(readlink -f "$1")
work=$(mktemp -d)
daemon=
finish() {
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work" "$image/etc/handfast/"*
}
trap finish EXIT
trap 'exit 1' INT TERM
inside() { chroot --userspec 65532:65532 "$image" /usr/bin/handfast "$@"; }

inside version
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=image.test \
  -addext subjectAltName=DNS:image.test -addext basicConstraints=critical,CA:false \
  -keyout "$image/etc/handfast/privkey.pem" -out "$image/etc/handfast/fullchain.pem" 2>/dev/null
chown 65532:65532 "$image/etc/handfast/privkey.pem"
port=$(( 20000 + ($$ + 7) % 20000 ))
cat > "$image/etc/handfast/handfast.toml" <<TOML
[[listeners]]
address = "127.0.0.1:$port"
certificate = { chain = "/etc/handfast/fullchain.pem", key = "/etc/handfast/privkey.pem" }
[[routes]]
respond = { status = 200, body = "from the image\n" }
[shutdown]
drain_delay = "0s"
[admin]
socket = "/run/handfast/admin.sock"
TOML
inside check
# Not by `inside`: the process is to be ended by its number.
chroot --userspec 65532:65532 "$image" /usr/bin/handfast run > "$work/log" 2>&1 &
daemon=$!
tries=0
until inside status --ready > /dev/null 2>&1; do
  tries=$((tries + 1)); [ "$tries" -lt 100 ] || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
answer=$(curl -sS --cacert "$image/etc/handfast/fullchain.pem" --resolve "image.test:$port:127.0.0.1" "https://image.test:$port/")
[ "$answer" = "from the image" ] || { echo "smoke.sh: $answer" >&2; exit 1; }
kill -TERM "$daemon"
wait "$daemon" || { cat "$work/log" >&2; exit 1; }
daemon=
echo "ready, answered over TLS, drained"
