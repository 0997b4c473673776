#!/usr/bin/env bash
# Train on several GPUs, of one machine or more; on the CPU where there is no GPU.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/launch.sh"

if (($# < 2)); then
    echo "usage: [NAME=VALUE ...] $0 CONFIG GPUS [options of train.py]" >&2
    echo "GPUS is the number of processes on this machine. $LAUNCH_USAGE" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
launch "$here/train.py" "$gpus" "$config" "$@"
