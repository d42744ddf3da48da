#!/usr/bin/env bash
# usage: keep_ptxas_report.sh COMPILER... -o OBJECT
#
# Compiles, and keeps what ptxas says of each kernel's registers, shared memory and spills in OBJECT.ptxas, for
# tests/gpu/resource_table.py. Other messages go where they always go.
set -uo pipefail
object= previous=
for word in "$@"; do
  [ "$previous" = -o ] && object=$word
  previous=$word
done
messages=$("$@" 2>&1)
code=$?
about_kernels='^ptxas info|bytes stack frame'
if [ -n "$object" ] && [ $code -eq 0 ]; then grep -E "$about_kernels" <<<"$messages" >"$object.ptxas"; fi
grep -vE "$about_kernels" <<<"$messages" | sed '/^$/d' >&2
exit $code
