#!/usr/bin/env bash
# Makes the virtual environment of the project; `make env` calls it. A second run changes nothing.
#
#   VENV    directory of the environment                          (.venv)
#   PYTHON  interpreter to make it from                           (python3)
#   STACK   upstream: OpenMMLab's releases; onedl: the forks      (upstream)
#   OPS     auto, cpu or cuda: what mmcv's operators are built for  (auto: by GPU and nvcc)
#
# TORCH_CUDA_ARCH_LIST, CUDA_HOME, MAX_JOBS and XDG_CACHE_HOME are respected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=${VENV:-.venv}
PYTHON=${PYTHON:-python3}
STACK=${STACK:-upstream}
OPS=${OPS:-auto}
STAMP=$VENV/mmscalablevit.stamp
WHEELS=${XDG_CACHE_HOME:-$HOME/.cache}/mmscalablevit/wheels
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1

say() { printf '%s\n' "$*"; }
step() { printf '\n[%s] %s\n' "$1" "$2"; }
die() {
    printf 'Error: %s\n' "$*" >&2
    exit 1
}

# ---- what is asked for ----------------------------------------------------------------------

# mmcv 2.1.0 reads its version in a way that Python 3.13 no longer allows
case $STACK in
    upstream) newest=12 mmcv=mmcv ;;
    onedl) newest=13 mmcv=onedl-mmcv ;;
    *) die "STACK=$STACK is unknown; it is upstream or onedl." ;;
esac
case $OPS in auto | cpu | cuda) ;; *) die "OPS=$OPS is unknown; it is auto, cpu or cuda." ;; esac

version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    die "the interpreter '$PYTHON' does not run; name another with PYTHON=/path/to/python3."
if [[ ${version%%.*} != 3 || ${version#*.} -lt 10 || ${version#*.} -gt $newest ]]; then
    die "'$PYTHON' is Python $version; the $STACK stack needs 3.10 to 3.$newest." \
        "Name another interpreter with PYTHON=, for example make env PYTHON=python3.12."
fi

identity="stack=$STACK
python=$version
path=$(realpath -m "$VENV")
checkout=$PWD"
complete="$identity
requirements=$(cat requirements/*.txt setup.py mmscalablevit/version.py | sha256sum | cut -c 1-64)"

if [[ -f $STAMP ]]; then
    made=$(<"$STAMP")
    if [[ $made == "$complete" ]]; then
        say "Environment $VENV is up to date (Python $version, $STACK)."
        exit 0
    fi
    if [[ $(head -n 4 "$STAMP") != "$identity" ]]; then
        die "$VENV was made for something else than what is asked for now:
$(diff <(head -n 4 "$STAMP") <(printf '%s\n' "$identity") | sed -n 's/^</  made with /p; s/^>/  asked for /p')
Choose another directory, for example VENV=.venv-$STACK-py${version/./}, or remove it first: rm -rf $VENV"
    fi
elif [[ -e $VENV && -n $(ls -A "$VENV") ]]; then
    die "$VENV is there already and was not made by this script. Choose another directory with" \
        "VENV=, or use it as it is: activate it and run pip install -e . in it."
fi

# ---- what the machine has to bring ----------------------------------------------------------

"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "Python $version lacks its venv module. On Debian and Ubuntu: apt install python$version-venv"
"$PYTHON" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
    die "Python $version lacks its C headers, with which mmcv is compiled." \
        "On Debian and Ubuntu: apt install python$version-dev"
compiler=${CXX:-c++}
echo 'int main() {}' | $compiler -x c++ -std=c++17 -fsyntax-only - 2>/dev/null ||
    die "no working C++17 compiler ('$compiler'), with which mmcv is compiled." \
        "On Debian and Ubuntu: apt install build-essential"

# ---- the environment ------------------------------------------------------------------------

started=$SECONDS
say "Setting up $VENV: Python $version, $STACK stack. The first time this takes some minutes for"
say "the downloads and about ten for building mmcv; the built wheel is kept in $WHEELS."

step 1/5 "Virtual environment"
mkdir -p "$VENV"
printf '%s\n' "$identity" >"$STAMP"
"$PYTHON" -m venv "$VENV"
python=$(realpath "$VENV")/bin/python
# nothing that is installed later may replace these
pinned=(-c requirements/torch.txt -c requirements/build.txt -c requirements/common.txt)

step 2/5 "PyTorch and the build tools (with the CUDA libraries several gigabytes)"
"$python" -m pip install "${pinned[@]}" \
    -r requirements/torch.txt -r requirements/build.txt

# ---- mmcv -----------------------------------------------------------------------------------

requirement=$(sed -n "s/^\($mmcv==[^ #]*\).*/\1/p" "requirements/$STACK.txt")
read -r torch torch_cuda < <("$python" -c 'import torch; print(torch.__version__, torch.version.cuda)')

# Sets ops to cpu or cuda, and cuda_home.
choose_ops() {
    ops=cpu cuda_home=
    [[ $OPS != cpu ]] || return 0
    if [[ $OPS == auto && $(nvidia-smi -L 2>/dev/null) != *GPU* ]]; then
        say "No GPU visible: mmcv's operators are built for the CPU."
        return 0
    fi
    local nvcc nvcc_version
    for nvcc in "${CUDA_HOME:-/nonexistent}/bin/nvcc" "$(type -P nvcc || true)" /usr/local/cuda/bin/nvcc ""; do
        [[ -z $nvcc || ! -x $nvcc ]] || break
    done
    if [[ -z $nvcc ]]; then
        say "A GPU is visible, but the CUDA compiler nvcc is not found: mmcv's operators are built" \
            "for the CPU, and detection will not run on the GPU. With CUDA $torch_cuda's toolkit" \
            "installed, make a new environment."
        return 0
    fi
    nvcc_version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    if [[ ${nvcc_version%%.*} != "${torch_cuda%%.*}" ]]; then
        say "A GPU is visible, but $nvcc is of CUDA $nvcc_version and torch of CUDA $torch_cuda:" \
            "mmcv's operators are built for the CPU, and detection will not run on the GPU." \
            "With CUDA_HOME naming a toolkit of CUDA ${torch_cuda%%.*}, make a new environment."
        return 0
    fi
    ops=cuda
    # nvcc itself knows where its toolkit is, also when the one on the PATH is a link or a wrapper
    cuda_home=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
    cuda_home=$(realpath "${cuda_home:-$(dirname "$nvcc")/..}")
}

# Prints the directory in which the wheel for $ops is kept.
wheel_directory() {
    local tag=cpu
    if [[ $ops == cuda ]]; then
        # a wheel made for one kind of GPU does not run on others
        local archs=${TORCH_CUDA_ARCH_LIST:-$("$python" -c '
import torch
gpus = range(torch.cuda.device_count())
print(*sorted({"%d.%d" % torch.cuda.get_device_capability(gpu) for gpu in gpus}))')}
        tag=cu${torch_cuda/./}-sm$(tr -c 'A-Za-z0-9.+\n' '_' <<<"${archs:-all}")
    fi
    printf '%s/%s-cp%s-torch%s-%s-%s' "$WHEELS" "${requirement/==/-}" "${version/./}" "${torch%%+*}" \
        "$tag" "$(uname -m)"
}

# Builds the wheel for $ops into directory $1, which appears only when it is complete.
build_wheel() {
    local target=$1 log=$VENV/mmcv-build.log progress status=0
    mkdir -p "$WHEELS"
    # what killed builds have left behind
    find "$WHEELS" -maxdepth 1 -name '*.building.*' -mtime +1 -exec rm -rf {} +
    scratch=$(mktemp -d "$target.building.XXXXXX")
    chmod 755 "$scratch"
    mkdir "$scratch/tmp"

    local variables=(MMCV_WITH_OPS=1 "TMPDIR=$scratch/tmp" "PATH=$(dirname "$python"):$PATH")
    if [[ $ops == cuda ]]; then
        variables+=(FORCE_CUDA=1 "CUDA_HOME=$cuda_home")
        # a toolkit without the libraries' headers: pip has brought them with torch
        local headers
        headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/cu${torch_cuda%%.*}/include
        if [[ ! -e $cuda_home/include/cusparse.h && -d $headers ]]; then
            variables+=("CPATH=$headers${CPATH:+:$CPATH}")
        fi
    else
        # mmcv looks for a GPU even where FORCE_CUDA is 0
        variables+=(FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=)
    fi
    if [[ -z ${MAX_JOBS:-} ]]; then
        # a compiler process takes up to 2 GB
        local memory
        memory=$(awk '/^MemAvailable/ {print int($2 / 2000000)}' /proc/meminfo)
        MAX_JOBS=$(nproc)
        ((memory >= MAX_JOBS)) || MAX_JOBS=$((memory > 0 ? memory : 1))
    fi
    variables+=("MAX_JOBS=$MAX_JOBS")

    say "Building $requirement with operators for ${ops^^}, $MAX_JOBS files at a time: about ten" \
        "minutes on two cores, longer for CUDA. Log: $log"
    report_progress "$scratch" &
    progress=$!
    # pip's own cache would hand out a wheel that was built against another torch
    env "${variables[@]}" "$python" -m pip wheel --no-build-isolation --no-deps --no-cache-dir \
        --wheel-dir "$scratch/wheel" "$requirement" >"$log" 2>&1 || status=$?
    kill "$progress" 2>/dev/null || true
    if ((status == 0)); then
        # if another build of the same wheel was faster, its directory is there and stays
        chmod 755 "$scratch/wheel"
        mv -T "$scratch/wheel" "$target" 2>/dev/null || [[ -d $target ]]
    fi
    rm -rf "$scratch"
    scratch=
    return "$status"
}

# Says twice a minute how far ninja has come in directory $1.
report_progress() {
    local begun=$SECONDS total compiled
    # its own output aside, so that whoever reads ours need not wait for the last sleep
    while sleep 30 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        total=$(find "$1" -name build.ninja -exec cat {} + 2>/dev/null | grep -c '^build .*\.o:' || true)
        compiled=$(find "$1" -name '*.o' 2>/dev/null | wc -l)
        printf '  %d:%02d min, %s of %s files compiled\n' \
            $(((SECONDS - begun) / 60)) $(((SECONDS - begun) % 60)) "$compiled" "${total:-?}"
    done
}

step 3/5 "mmcv with its operators"
scratch=
trap '[[ -z $scratch ]] || rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM # not on to the CPU operators if the build of CUDA's is interrupted
choose_ops
directory=$(wheel_directory)
if [[ -d $directory ]]; then
    say "The wheel in $directory was built before and serves."
elif ! build_wheel "$directory"; then
    tail -n 30 "$VENV/mmcv-build.log" >&2
    if [[ $ops == cpu || $OPS == cuda ]]; then
        die "mmcv could not be built; the last lines are above, the whole log is" \
            "$VENV/mmcv-build.log. With too little memory, fewer jobs help: make env MAX_JOBS=1"
    fi
    say "The CUDA operators could not be built (see above); building those for the CPU instead." \
        "Detection will not run on the GPU."
    mv "$VENV/mmcv-build.log" "$VENV/mmcv-build-cuda.log"
    ops=cpu
    directory=$(wheel_directory)
    [[ -d $directory ]] || build_wheel "$directory" ||
        die "mmcv could not be built; the log is $VENV/mmcv-build.log."
fi

# ---- the rest -------------------------------------------------------------------------------

step 4/5 "The frameworks, the tools for the tests, and mmscalablevit itself"
"$python" -m pip install -q "${pinned[@]}" "$directory"/*.whl -r "requirements/$STACK.txt" \
    -r requirements/digits.txt -r requirements/dev.txt -r requirements/export.txt
"$python" -m pip install -q --no-deps --no-build-isolation -e .

step 5/5 "Check"
"$python" -m mmscalablevit || die "the environment is not usable; the command that mends it is above."
printf '%s\n' "$complete" >"$STAMP"
say ""
say "Environment ready after $(((SECONDS - started + 30) / 60)) min. To work in it: . $VENV/bin/activate"
