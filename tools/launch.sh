# Start a Python script in several processes, by torchrun or Slurm. Sourced by dist_*.sh and
# slurm_*.sh, which have checked their own arguments.

LAUNCH_USAGE="Settings from the environment:
  NNODES=1             number of machines; run the same command on each
  NODE_RANK=0          number of this machine, from 0
  MASTER_ADDR=127.0.0.1  address of machine 0
  PORT=29500           a free port of machine 0
  MAX_RESTARTS=0       how often to start again, from the last checkpoint, after a fault; the same
                       number on each machine
  PYTHON=python        interpreter
Without a GPU the processes run on the CPU."

# launch SCRIPT PROCESSES ARGUMENT...
launch() {
    local script=$1 processes=$2
    shift 2
    local nnodes=${NNODES:-1} node_rank=${NODE_RANK:-0} port=${PORT:-29500}
    local master_addr=${MASTER_ADDR:-127.0.0.1} python=${PYTHON:-python}

    if [[ ! $processes =~ ^[1-9][0-9]*$ ]]; then
        echo "error: the number of GPUs is a whole number from 1 on, not '$processes'" >&2
        return 2
    fi
    if ((node_rank == 0)) && ! port_is_free "$python" "$port"; then
        echo "error: port $port is taken on this machine; choose another with PORT=..." >&2
        return 1
    fi
    # torchrun would give each process one thread. Without GPUs the processes share the cores.
    if [[ -z ${OMP_NUM_THREADS:-} ]] && [[ $(nvidia-smi -L 2>/dev/null) != *GPU* ]]; then
        local threads=$(($(nproc) / processes))
        export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
    fi
    local meeting=(--node_rank="$node_rank" --master_addr="$master_addr" --master_port="$port")
    if ((${MAX_RESTARTS:-0} > 0)); then
        # Processes that start again would find the addresses of the dead ones at the fixed meeting
        # point, and wait for them. With these settings there is a new one each time.
        export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
        meeting=(--rdzv_backend=c10d --rdzv_endpoint="$master_addr:$port" --rdzv_id="$port"
            --rdzv_conf="is_host=$((node_rank == 0))")
        ((node_rank > 0)) || meeting+=(--local_addr="$master_addr")
    fi
    exec "$python" -m torch.distributed.run \
        --nnodes="$nnodes" "${meeting[@]}" \
        --nproc_per_node="$processes" --max_restarts="${MAX_RESTARTS:-0}" \
        "$script" "$@" --launcher pytorch
}

port_is_free() {
    "$1" - "$2" <<'PYTHON'
import socket
import sys

with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("", int(sys.argv[1])))
    except OSError:
        sys.exit(1)
PYTHON
}

SLURM_USAGE="Settings from the environment:
  GPUS=8               number of GPUs in all, one process each
  GPUS_PER_NODE=8      of these on each machine (GPUS, where that is less)
  GRES=gpu:8           generic resources of each machine; GRES= for processes without a GPU
  CPUS_PER_TASK=5      cores of each process
  SRUN_ARGS=           further options of srun, separated by blanks
  PYTHON=python        interpreter"

# launch_slurm PARTITION JOB_NAME SCRIPT ARGUMENT...
launch_slurm() {
    local partition=$1 job_name=$2
    shift 2
    local gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    local gres=${GRES-gpu:$per_node} srun_args=()
    read -ra srun_args <<<"${SRUN_ARGS:-}"
    if ! command -v srun >/dev/null; then
        echo "error: there is no srun here; Slurm jobs are started on a machine of the cluster," >&2
        echo "others with tools/dist_train.sh and tools/dist_test.sh" >&2
        return 1
    fi
    exec srun --partition="$partition" --job-name="$job_name" \
        ${gres:+--gres="$gres"} --ntasks="$gpus" --ntasks-per-node="$per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
        ${srun_args[@]+"${srun_args[@]}"} \
        "${PYTHON:-python}" -u "$@" --launcher slurm
}
