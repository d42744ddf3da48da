# shellcheck shell=bash
# What launcher/quickstart, launcher/prepare and launcher/test share. Sourced from the repository's root, under `set -euo pipefail`.

# Prints a stage's heading with the seconds since the script began.
heading() { printf '\n==== [%3d s] %s\n' "$SECONDS" "$*"; }

# fail WHERE MESSAGE: one error in the project's form, then exit 1; usage_error MESSAGE: the user's mistake, exit 2.
fail() {
  printf '%s: [%s] %s\n' "${0##*/}" "$1" "$2" >&2
  exit 1
}
usage_error() {
  printf '%s: [arguments] %s See --help.\n' "${0##*/}" "$1" >&2
  exit 2
}

# stage WHAT CMD...: runs a command with its output shown; what it says, and one line more, if it fails.
stage() {
  local what=$1
  shift
  "$@" || fail "$what" "\`$*\` failed with exit code $?; what it said is above. Fix that and call launcher/${0##*/} again: finished stages are reused."
}

# Runs a command with its output in a log; on failure shows the log's end and fails.
# usage: logged WHERE LOGFILE CMD...
logged() {
  local where=$1 log=$2
  shift 2
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    fail "$where" "\`$*\` failed; its last lines are above, all of them in $log."
  fi
}

# Installs what a list of packages names and this machine lacks; quick when nothing is missing.
# usage: install_packages [LIST]      launcher/packages.txt
install_packages() {
  local list=${1:-launcher/packages.txt} wanted present missing as_root=()
  command -v apt-get >/dev/null ||
    fail packages "$list names Debian packages, and this system has no apt-get. Use Debian 12, or a container: docs/install.md."
  wanted=$(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$list" | sort)
  # dpkg-query exits with 1 if it knows nothing of some name: that one is missing.
  # shellcheck disable=SC2016,SC2086  # the format is dpkg's, the list is to be split
  present=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p' | sort) || true
  missing=$(comm -23 <(echo "$wanted") <(echo "$present") | tr '\n' ' ')
  if [ -z "$missing" ]; then
    echo "  all $(wc -l <<<"$wanted") packages of $list are installed"
    return
  fi
  echo "  installing: $missing"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      fail packages "packages are missing, and installing them needs root or sudo. As root: apt-get install $missing"
    as_root=(sudo)
  fi
  logged packages build/log/apt-update.log "${as_root[@]}" apt-get update
  # shellcheck disable=SC2086  # the list is to be split
  logged packages build/log/apt-install.log "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends $missing
}

# build PRESET TARGET: configures and builds; a build that is up to date costs seconds.
build() {
  local preset=$1 target=$2
  logged build "build/log/configure-$preset.log" cmake --preset "$preset"
  # Where another compiler made the folder, CMake forgets the preset's other settings: anew then.
  if grep -q 'require your cache to be deleted' "build/log/configure-$preset.log"; then
    logged build "build/log/configure-$preset.log" cmake --fresh --preset "$preset"
  fi
  sed -n 's/^-- \(CUDA backend\|Fuzzers\): /  \1: /p' "build/log/configure-$preset.log"
  # As many compilers as cores: ninja's default of two more needs memory that small machines lack.
  logged build "build/log/build-$preset.log" cmake --build "build/$preset" --target "$target" --parallel "$(nproc)"
  echo "  build/$preset is up to date"
}
