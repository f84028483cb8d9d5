#!/bin/sh
# What the package has beside the command, into target/deb: stage.sh COMMAND. The manual and the
# completions are what the command itself prints.
set -eu
cd "$(dirname "$0")/../.."
handfast=$1
stage=target/deb
rm -rf "$stage"
mkdir -p "$stage/man"
install -m 0755 "$handfast" "$stage/handfast"
"$handfast" man --out "$stage/man"
for shell in bash zsh fish; do
  "$handfast" completions "$shell" > "$stage/handfast.$shell"
done
"$handfast" config schema > "$stage/handfast.schema.json"
for unit in handfast.service handfast.socket handfast-http.socket; do
  install -m 0644 "deploy/systemd/$unit" "$stage/$unit"
done
install -m 0644 deploy/systemd/sysusers.d/handfast.conf "$stage/sysusers.conf"
