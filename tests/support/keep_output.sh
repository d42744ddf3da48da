#!/usr/bin/env bash
# usage: keep_output.sh FILE COMMAND...
#
# Runs a test whose output is a table that people want to see although it passed: launcher/test prints FILE.
set -uo pipefail
file=$1
shift
mkdir -p "$(dirname "$file")"
"$@" 2>&1 | tee "$file"
exit "${PIPESTATUS[0]}"
