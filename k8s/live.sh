# Runs a process of the city from a copy of its code, and starts it anew whenever it is told to: Tiltfile gives it to each pod.
#   sh live.sh CODE LIVE PROGRAM ARGUMENT…
# CODE: the packages in the image, which nobody can change. LIVE: a folder of the pod that may be written: the copy is in LIVE/code,
# and LIVE/pid names the process. `kill $(cat LIVE/pid)` is how it is told.
set -eu
code=$1 live=$2
shift 2
mkdir -p "$live/code"
# With their times, so that what Python compiled is not out of date.
cp -RL --preserve=timestamps "$code/citybrain" "$live/code/"
export PYTHONPATH="$live/code"
ending=
trap 'ending=yes; kill -TERM "$(cat "$live/pid")" || true' TERM INT
while [ -z "$ending" ]; do
  "$@" &
  echo $! > "$live/pid"
  # A signal ends the first wait, and not the process.
  wait $! || true
  while kill -0 "$(cat "$live/pid")" 2>/dev/null; do wait "$(cat "$live/pid")" || true; done
  # What cannot run is tried again, and not at once.
  [ -n "$ending" ] || sleep 1
done
