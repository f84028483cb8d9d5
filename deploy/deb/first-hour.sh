#!/bin/sh
# From the package to the first 200: first-hour.sh PACKAGE.deb. Installs it into a directory of its
# own, configures it with eight lines, and fails unless an answer came over a verified TLS connection
# within a minute. Needs dpkg, openssl and curl; leaves nothing behind.
set -eu
package=$(readlink -f "$1")
started=$(date +%s)
root=$(mktemp -d)
daemon= upstream=
finish() {
  for process in $daemon $upstream; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$root"
}
trap finish EXIT
trap 'exit 1' INT TERM

mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/etc"
: > "$root/var/lib/dpkg/status"
# Its libraries are this machine's.
dpkg --root="$root" --force-script-chrootless --force-depends --no-triggers --install "$package" >"$root/dpkg.log" 2>&1 \
  || { cat "$root/dpkg.log" >&2; exit 1; }
for file in usr/bin/handfast etc/handfast/handfast.toml usr/lib/systemd/system/handfast.service \
  usr/lib/systemd/system/handfast.socket usr/lib/systemd/system/handfast-http.socket \
  usr/share/man/man8/handfast.8.gz usr/share/man/man5/handfast.toml.5.gz \
  usr/share/bash-completion/completions/handfast; do
  [ -e "$root/$file" ] || { echo "the package has no $file" >&2; exit 1; }
done
grep -q '^handfast:' "$root/etc/passwd" || { echo "the package made no user" >&2; exit 1; }
echo "installed: $(dpkg-deb --show "$package"), user and units are there"

handfast=$root/usr/bin/handfast
work=$root/first-hour
mkdir "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=first.test \
  -addext subjectAltName=DNS:first.test -addext basicConstraints=critical,CA:false \
  -keyout "$work/privkey.pem" -out "$work/fullchain.pem" 2>/dev/null

# An application to put it before, and a port that is likely free.
: > "$work/upstream.log"
"$handfast" dev --listen 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/upstream.log" 2>&1 &
upstream=$!
port=$(( 20000 + $$ % 20000 ))
cat > "$work/handfast.toml" <<TOML
[[listeners]]
address = "127.0.0.1:$port"
certificate = { chain = "$work/fullchain.pem", key = "$work/privkey.pem" }
[[routes]]
upstream = "upstream"
[upstreams.upstream]
servers = [{ address = "UPSTREAM" }]
tls = { verify = false }
TOML
tries=0
until address=$(grep -o 'https://[^/ ]*/hello' "$work/upstream.log") ; do
  tries=$((tries + 1)); [ "$tries" -lt 100 ] || { cat "$work/upstream.log" >&2; exit 1; }
  sleep 0.1
done
address=${address#https://}; address=${address%/hello}
sed -i "s/UPSTREAM/$address/" "$work/handfast.toml"
[ "$(wc -l < "$work/handfast.toml")" -le 8 ]

"$handfast" check --config "$work/handfast.toml"
"$handfast" run --config "$work/handfast.toml" >"$work/daemon.log" 2>&1 &
daemon=$!
tries=0
until code=$(curl --silent --output "$work/answer" --write-out '%{http_code} over HTTP/%{http_version}' \
  --cacert "$work/fullchain.pem" --resolve "first.test:$port:127.0.0.1" "https://first.test:$port/hello"); do
  tries=$((tries + 1)); [ "$tries" -lt 100 ] || { cat "$work/daemon.log" >&2; exit 1; }
  sleep 0.1
done
took=$(( $(date +%s) - started ))
echo "first answer: $code, after $took s and $(wc -l < "$work/handfast.toml") lines of TOML"
case $code in 200*) ;; *) cat "$work/answer" >&2; exit 1 ;; esac
[ "$took" -le 60 ]
