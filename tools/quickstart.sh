#!/usr/bin/env bash
# Trains small ScalableViT models on scans of handwritten digits and shows what they have learned.
# `make quickstart` calls it inside the environment; it takes some minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DATA=data/digits
WORK=work_dirs/quickstart
started=$SECONDS
summary=()

say() { printf '\n== %s\n' "$*"; }

# Prints the minutes since second $1.
minutes_since() { printf '%d:%02d min' $(((SECONDS - $1) / 60)) $(((SECONDS - $1) % 60)); }

# Prints a port that is free now, so that other training on this machine is not in the way.
free_port() {
    python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'
}

# Prints metric $2 of the latest test in work directory $1, as MMEngine has logged it.
metric() {
    python - "$1" "$2" <<'PYTHON'
import json
import sys
from pathlib import Path

# the runner's log directory is named by its time: TIME/TIME.json
logs = sorted(Path(sys.argv[1]).glob("*/*.json"))
print(f"{json.loads(logs[-1].read_text())[sys.argv[2]]:.2f}")
PYTHON
}

# Trains config $2 for task $1 and tests what came out with --eval "${@:3}"; sets work, checkpoint
# and trained (the time it took).
train_and_test() {
    local task=$1 config=$2 begun=$SECONDS
    shift 2
    work=$WORK/$task
    say "Training $config"
    PORT=${PORT:-$(free_port)} bash tools/dist_train.sh "$config" 1 --work-dir "$work"
    trained=$(minutes_since "$begun")
    checkpoint=$(<"$work/last_checkpoint")
    say "Testing $checkpoint"
    python tools/test.py "$config" "$checkpoint" --work-dir "$work/test" --eval "$@"
}

# ---- classification -------------------------------------------------------------------------

if [[ -d $DATA/classification ]]; then
    say "The digits are in $DATA/classification already."
else
    say "Writing the digits to $DATA/classification"
    python tools/prepare_digits.py --out "$DATA" --tasks classification
fi
config=configs/classification/digits/scalablevit-tiny_1xb64_digits.py
train_and_test classification "$config" accuracy
picture=$work/predictions.png
python tools/visualize.py predictions "$config" "$checkpoint" --out "$picture"
summary+=("classification  top-1 $(metric "$work/test" accuracy/top1) % on held-out scans, trained in $trained
                predicted and true labels: $picture")

# ---- further tasks go here, each ending with its lines for the summary -----------------------

say "Quickstart finished in $(minutes_since "$started")"
printf '%s\n' "${summary[@]}"
