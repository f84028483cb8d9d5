#!/bin/sh
# Installs what the load bench drives, or the pairs COMMAND:PACKAGE (or FILE:PACKAGE) that are given, from
# Debian, when it is missing and we are root; else names it and fails. nginx and haproxy start themselves
# when installed, unless policy-rc.d forbids it.
set -eu

PATH=$PATH:/usr/sbin:/usr/local/sbin
[ $# -gt 0 ] || set -- nginx:nginx haproxy:haproxy wrk:wrk h2load:nghttp2-client taskset:util-linux \
  gcc:gcc /usr/include/openssl/ssl.h:libssl-dev
missing=
for pair in "$@"; do
  case $pair in
    /*) [ -e "${pair%%:*}" ] ;;
    *) command -v "${pair%%:*}" >/dev/null 2>&1 ;;
  esac || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "missing Debian packages:$missing (apt-get install$missing)" >&2
  exit 1
fi

policy=/usr/sbin/policy-rc.d
kept=
restore() {
  if [ -n "$kept" ]; then mv -f "$kept" "$policy"; else rm -f "$policy"; fi
}
if [ -e "$policy" ] || [ -L "$policy" ]; then
  kept=$policy.kept-by-bench
  mv "$policy" "$kept"
fi
trap restore EXIT
trap 'exit 1' INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

echo "installing:$missing"
apt-get update -q
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
