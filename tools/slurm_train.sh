#!/usr/bin/env bash
# Train as a Slurm job.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/launch.sh"

if (($# < 4)); then
    echo "usage: [NAME=VALUE ...] $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
    echo "$SLURM_USAGE" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 work_dir=$4
shift 4
launch_slurm "$partition" "$job_name" "$here/train.py" "$config" --work-dir "$work_dir" "$@"
