#!/usr/bin/env bash
# Test as a Slurm job.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/launch.sh"

if (($# < 4)); then
    echo "usage: [NAME=VALUE ...] $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of test.py]" >&2
    echo "$SLURM_USAGE" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 checkpoint=$4
shift 4
launch_slurm "$partition" "$job_name" "$here/test.py" "$config" "$checkpoint" "$@"
