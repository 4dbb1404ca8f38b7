#!/usr/bin/env bash
# Removes what is named, below this folder, and says of each how large it was. Called by `make clean` and `make purge`.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -e data/lock ] && [[ " $* " == *" data "* ]] && ! flock --nonblock data/lock true; then
  echo "purge: a city runs on data: stop it first (Ctrl-C where it was started); nothing was removed" >&2
  exit 1
fi
shopt -s nullglob globstar
removed=0
for pattern in "$@"; do
  for path in $pattern; do
    [ -e "$path" ] || continue
    echo "removed $(du -sh -- "$path" | tr '\t' ' ')"
    rm -rf -- "$path"
    removed=1
  done
done
[ "$removed" = 1 ] || echo "there was nothing to remove"
