#!/usr/bin/env bash
# Trains small ScalableViT models on scans of handwritten digits and shows what they have learned.
# `make quickstart` calls it inside the environment; it takes about a quarter of an hour on two
# cores.
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

# Prints metric $2 of the test in work directory $1.
metric() {
    python - "$1/metrics.json" "$2" <<'PYTHON'
import json
import sys
from pathlib import Path

print(f"{json.loads(Path(sys.argv[1]).read_text())['metrics'][sys.argv[2]]:.4g}")
PYTHON
}

# Writes the data sets of the given tasks, those that are not there yet.
prepare() {
    local task missing=()
    for task in "$@"; do
        if [[ -d $DATA/$task ]]; then
            say "The digits are in $DATA/$task already."
        else
            missing+=("$task")
        fi
    done
    if ((${#missing[@]})); then
        say "Writing the digits to $DATA: ${missing[*]}"
        python tools/prepare_digits.py --out "$DATA" --tasks "${missing[@]}"
    fi
}

# Trains config $2 for task $1, tests what came out with --eval "${@:3}" and draws predictions;
# sets work, trained (the time it took) and picture.
train_and_test() {
    local task=$1 config=$2 begun=$SECONDS checkpoint
    shift 2
    work=$WORK/$task
    say "Training $config"
    PORT=${PORT:-$(free_port)} bash tools/dist_train.sh "$config" 1 --work-dir "$work"
    trained=$(minutes_since "$begun")
    checkpoint=$(<"$work/last_checkpoint")
    say "Testing $checkpoint"
    python tools/test.py "$config" "$checkpoint" --work-dir "$work/test" --eval "$@"
    picture=$work/predictions.png
    python tools/visualize.py predictions "$config" "$checkpoint" --out "$picture"
}

# ---- classification -------------------------------------------------------------------------

prepare classification
train_and_test classification \
    configs/classification/digits/scalablevit-tiny_1xb64_digits.py accuracy
summary+=("classification  top-1 $(metric "$work/test" accuracy/top1) % on held-out scans, trained in $trained
                predicted and true labels: $picture")

# ---- detection and segmentation -------------------------------------------------------------

prepare detection segmentation
train_and_test detection \
    configs/detection/digits/mask-rcnn_scalablevit-tiny_fpn_1xb4_digits.py bbox segm
summary+=("detection       AP50 of boxes $(metric "$work/test" coco/bbox_mAP_50), of masks $(metric "$work/test" coco/segm_mAP_50) on held-out scenes, trained in $trained
                boxes and masks: $picture")

train_and_test segmentation \
    configs/segmentation/digits/scalablevit-tiny_fpn_1xb8_digits-128x128.py mIoU
summary+=("segmentation    mIoU $(metric "$work/test" mIoU) % on held-out scenes, trained in $trained
                label maps: $picture")

say "Quickstart finished in $(minutes_since "$started")"
printf '%s\n' "${summary[@]}"
