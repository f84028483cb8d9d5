#!/bin/sh
# The file system of the image: build.sh BINARY DIRECTORY. Needs no container engine, and no network.
#
# What it makes can be tried with `chroot --userspec 65532:65532 DIRECTORY /usr/bin/handfast version`.
set -eu
binary=$1
image=$2
if [ -e "$image" ] && [ -n "$(ls -A "$image")" ]; then
  echo "build.sh: $image is not empty" >&2
  exit 1
fi

install -D -m 0755 "$binary" "$image/usr/bin/handfast"
# The loader and the libraries, under the paths at which they are looked for.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
  install -D -m 0755 "$(readlink -f "$library")" "$image$library"
done
# Names of upstreams are resolved by the C library, which loads these by name.
directory=$(dirname "$(ldd "$binary" | grep -o '/[^ ]*/libc\.so\.6')")
for library in "$directory"/libnss_files.so.2 "$directory"/libnss_dns.so.2 "$directory"/libresolv.so.2; do
  [ ! -e "$library" ] || install -D -m 0755 "$(readlink -f "$library")" "$image$library"
done
# Whom upstreams over TLS are trusted by, unless `ca` says otherwise.
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/ca-certificates.crt"

install -d -m 0755 "$image/etc/handfast"
install -d -m 0700 "$image/run/handfast"
[ "$(id -u)" != 0 ] || chown 65532:65532 "$image/run/handfast"
echo 'handfast:x:65532:65532::/:/usr/sbin/nologin' > "$image/etc/passwd"
echo 'handfast:x:65532:' > "$image/etc/group"
echo 'hosts: files dns' > "$image/etc/nsswitch.conf"
du -sh "$image" | cut -f1
