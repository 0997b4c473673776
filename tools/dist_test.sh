#!/usr/bin/env bash
# Test on several GPUs, of one machine or more; on the CPU where there is no GPU.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/launch.sh"

if (($# < 3)); then
    echo "usage: [NAME=VALUE ...] $0 CONFIG CHECKPOINT GPUS [options of test.py]" >&2
    echo "GPUS is the number of processes on this machine. $LAUNCH_USAGE" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
launch "$here/test.py" "$gpus" "$config" "$checkpoint" "$@"
