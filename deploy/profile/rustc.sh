#!/bin/sh
# Cargo's rustc-wrapper (.cargo/config.toml): optimised crates are compiled with the execution profile
# beside this file, so that what runs lies together and what does not is out of its way.
#
# Without the profile, with a compiler that cannot read it, or with HANDFAST_PROFILE=off, it compiles as
# always. Functions that have changed since the profile was made are compiled as always too; `make profile`
# makes a new one.
profile=${0%/*}/handfast.profdata
case " $* " in
  *' opt-level=3 '*) ;;
  *) exec "$@" ;;
esac
if [ "${HANDFAST_PROFILE-}" = off ] || [ ! -r "$profile" ]; then
  exec "$@"
fi
# The first LLVM that reads the profile's format; older ones fail.
llvm=$("$1" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
if [ "${llvm:-0}" -lt 22 ]; then
  exec "$@"
fi
exec "$@" "-Cprofile-use=$profile" -Cllvm-args=-no-pgo-warn-mismatch
