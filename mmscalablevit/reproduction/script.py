"""The bash script that makes runs: one after the other on this machine, or as Slurm jobs.

It looks itself at what is finished, for it may be run later, on another machine, or twice.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmscalablevit.errors import UsageError
from mmscalablevit.reproduction.plan import Training
from mmscalablevit.reproduction.published import Table, Test
from mmscalablevit.reproduction.state import JOB_NAME

_LOCAL_FUNCTIONS = r"""
failed=()
# attempt NAME COMMAND...: notes a failure and lets the other runs go on.
attempt() {
    echo "== $1"
    "${@:2}" || { echo "== failed: $1" >&2; failed+=("$1"); }
}
"""

# The resources are those that tools/slurm_*.sh ask srun for, by the same settings.
_SLURM_FUNCTIONS = rf"""
# submit DIRECTORY AFTER NAME GPUS COMMAND...: submits a job, to begin when job AFTER has succeeded
# if that is not empty, and sets `job` to its id. A job that is in the queue for the same directory
# is taken instead.
submit() {{
    local directory=$1 after=$2 name=$3 gpus=$4 per_node gres command
    shift 4
    if [[ -s $directory/{JOB_NAME} ]]; then
        job=$(<"$directory/{JOB_NAME}")
        if grep -qx "$job" <<<"$queue"; then
            echo "$name: is job $job already"
            return
        fi
    fi
    per_node=${{GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}}
    gres=${{GRES-gpu:$per_node}}
    printf -v command '%q ' env GPUS="$gpus" GPUS_PER_NODE="$per_node" GRES="$gres" "$@"
    mkdir -p "$directory"
    job=$(sbatch --parsable --partition="$partition" --job-name="$name" \
        --ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${{CPUS_PER_TASK:-5}}" \
        ${{gres:+--gres="$gres"}} ${{after:+--dependency="afterok:$after"}} \
        --kill-on-invalid-dep=yes --requeue --open-mode=append \
        --output="$directory/slurm-%j.log" --wrap="$command")
    job=${{job%%;*}}
    echo "$job" >"$directory/{JOB_NAME}"
    echo "$name: job $job${{after:+, after job $after}}"
}}
"""

_FREE_PORT = (
    """export PORT=${PORT:-$("${PYTHON:-python}" -c "import socket; s = socket.socket(); """
    """s.bind(('', 0)); print(s.getsockname()[1])")}"""
)


@dataclass(frozen=True)
class Part:
    """What the script does about one training.

    Attributes:
        training: The training.
        gpus: GPUs that it runs on.
        trains: Whether the script trains it, should it not be finished then.
        tests: Tests that follow.
        job: Id of its Slurm job where it is queued or running already.
        spared_by: Files that make it unnecessary if all of them are there.
    """

    training: Training
    gpus: int
    trains: bool
    tests: tuple[Test, ...]
    job: str | None = None
    spared_by: tuple[Path, ...] = ()


def shown(path: Path) -> str:
    """Return a path as commands have it: relative to the current directory where it lies below."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def render(
    tables: Sequence[Table],
    parts: Sequence[Part],
    notes: Sequence[str],
    tools: Path,
    partition: str | None,
) -> str:
    """Write the script.

    Args:
        tables: The tables.
        parts: What to do, each part after those that it needs.
        notes: What a reader should know.
        tools: Directory of the tools.
        partition: Slurm's partition; None to train on the machine that the script runs on.

    Raises:
        UsageError: The path of a checkpoint cannot be passed on.
    """
    lines = [
        "#!/usr/bin/env bash",
        *(_comment(f"{table.title} ({table.source})") for table in tables),
        "#",
        "# Makes the runs that are lacking.",
        "# It can be run again at any time: what is finished is passed over, and what was",
        "# interrupted goes on from its newest checkpoint.",
    ]
    lines += ["#", *(_comment(note) for note in notes)] if notes else []
    train = shlex.quote(shown(tools / "train.py"))
    lines += [
        "( # a shell of its own: an error ends the script, not the terminal it is pasted into",
        "set -euo pipefail",
        f"if [[ ! -f {train} ]]; then",
        "    echo 'error: run this in the directory that it was made in: there is no' \\",
        f"        {train} >&2",
        "    exit 1",
        "fi",
    ]
    if partition is None:
        lines += ["trap 'exit 130' INT", *_LOCAL_FUNCTIONS.strip().splitlines()]
        lines += [_FREE_PORT] if any(part.gpus > 1 for part in parts) else []
    else:
        lines += [
            "# Settings from the environment, as of tools/slurm_*.sh: GPUS_PER_NODE, GRES and",
            "# CPUS_PER_TASK; and sbatch's own: SBATCH_ACCOUNT, SBATCH_TIMELIMIT, SBATCH_QOS ...",
            f"partition={shlex.quote(partition)}",
            *_one_at_a_time(parts[0].training.work_dir.parent),
            "queue=$(squeue --noheader --format=%A)",
            *_SLURM_FUNCTIONS.strip().splitlines(),
        ]
    variables = {part.training.run.config: f"job{n}" for n, part in enumerate(parts, 1)}
    for part in parts:
        lines += ["", *_opening(part)]
        if partition is None:
            lines += _local(part, tools)
        else:
            lines += _slurm(part, tools, variables)
    if partition is None:
        lines += [
            "",
            "if ((${#failed[@]})); then",
            "    printf 'failed: %s\\n' \"${failed[@]}\" >&2",
            "    exit 1",
            "fi",
        ]
    return "\n".join([*lines, ")"]) + "\n"


def _one_at_a_time(work_dirs: Path) -> list[str]:
    """Let another script that submits jobs for the same directory wait for this one."""
    directory = shlex.quote(shown(work_dirs))
    return [
        f"mkdir -p {directory}",
        f"exec 9>{directory}/.submitting",
        "if command -v flock >/dev/null; then flock 9; fi",
    ]


def _comment(text: str) -> str:
    return "# " + " ".join(text.split())


class _Shell(str):
    """A word in the shell's own syntax, such as a variable in quotes."""

    __slots__ = ()


_PYTHON = _Shell('"${PYTHON:-python}"')
_PARTITION = _Shell('"$partition"')
_RUN = _Shell('"$run"')
_FINAL = _Shell('"$final"')


def _command(words: Iterable[str]) -> str:
    """Join words to a shell command."""
    return " ".join(word if isinstance(word, _Shell) else shlex.quote(word) for word in words)


def _opening(part: Part) -> list[str]:
    """Name the run and its files."""
    training, schedule = part.training, part.training.schedule
    rows = ", ".join(training.labels) or "pretraining for other runs"
    return [
        _comment(f"---- {rows}: {shown(training.run.config)}"),
        _comment(
            f"{part.gpus} GPU(s) x {schedule.batch_size} images, {schedule.length} {schedule.unit}s"
        ),
        f"run={shlex.quote(shown(training.work_dir))}",
        f"final=$run/{schedule.final_checkpoint}",
    ]


def _options(part: Part) -> list[str]:
    """The options of tools/train.py beyond config and work directory."""
    words = ["--resume", "auto"]
    if part.gpus != part.training.schedule.gpus:
        words.append("--auto-scale-lr")
    if part.training.needs:
        words += ["--cfg-options", _Shell(f'{part.training.weights_key}="$weights"')]
    return words


def _weights(training: Training, on_its_way: str) -> list[str]:
    """Set ``weights`` to the needed run's checkpoint, or where that is not to be to released ones.

    Args:
        training: The training that starts from them.
        on_its_way: Condition that the checkpoint is there or will be.
    """
    if training.needs is None:
        return []
    lines = [f"weights={_passable(training.needs.final)}"]
    if training.released:
        lines.append(f"[[ {on_its_way} ]] || weights={_passable(training.released)}")
    return lines


def _passable(path: Path) -> str:
    """Quote a path that goes through ``--cfg-options``, which splits values and drops blanks."""
    text = shown(path)
    if any(character in " ,()[]\"'" for character in text):
        raise UsageError(
            f"{text!r}: the path of weights that another run starts from must be without blanks, "
            "commas, brackets and quotes; choose another --work-dirs"
        )
    return shlex.quote(text)


def _finished(part: Part) -> str:
    """Condition that the training need not be made."""
    condition = "-f $final"
    if part.spared_by:
        spared = " && ".join(f"-f {shlex.quote(shown(path))}" for path in part.spared_by)
        condition += f" || ( {spared} )"
    return condition


def _local(part: Part, tools: Path) -> list[str]:
    """Train and test on this machine."""
    training, gpus = part.training, part.gpus
    config = shown(training.run.config)
    lines = []
    if part.trains:
        if gpus == 1:
            start = [_PYTHON, shown(tools / "train.py"), config]
        else:
            start = ["bash", shown(tools / "dist_train.sh"), config, str(gpus)]
        command = _command([*start, "--work-dir", _RUN, *_options(part)])
        lines += [
            *_weights(training, "-f $weights"),
            f"if ! [[ {_finished(part)} ]]; then",
            f"    attempt {shlex.quote('training ' + training.name)} \\",
            f"        {command}",
            "fi",
        ]
    for test in part.tests:
        if gpus == 1:
            start = [_PYTHON, shown(tools / "test.py"), config, _FINAL]
        else:
            start = ["bash", shown(tools / "dist_test.sh"), config, _FINAL, str(gpus)]
        command = _command([*start, "--work-dir", _Shell(f'"$run/{test.name}"'), *test.arguments])
        lines += [
            f"if [[ -f $final && $run/{test.name}/metrics.json -ot $final ]]; then",
            f"    attempt {shlex.quote(f'test {test.name} of {training.name}')} \\",
            f"        {command}",
            "fi",
        ]
    return lines


def _slurm(part: Part, tools: Path, variables: dict[Path, str]) -> list[str]:
    """Submit jobs for training and tests."""
    training, gpus, name = part.training, part.gpus, part.training.name
    config, job = shown(training.run.config), variables[part.training.run.config]
    needed = variables.get(training.needs.run.config) if training.needs else None
    after = f'"${needed}"' if needed else "''"
    lines = [f"{job}={part.job or ''}"]
    if part.trains:
        script = shown(tools / "slurm_train.sh")
        words = [
            "bash",
            script,
            _PARTITION,
            name,
            config,
            _RUN,
            *_options(part),
        ]
        on_its_way = f"-f $weights || -n ${needed}" if needed else "-f $weights"
        lines += [
            *_weights(training, on_its_way),
            f"if ! [[ {_finished(part)} ]]; then",
            f'    submit "$run" {after} {shlex.quote(name)} {gpus} \\',
            f"        {_command(words)}",
            f"    {job}=$job",
            "fi",
        ]
    for test in part.tests:
        script, test_name = shown(tools / "slurm_test.sh"), f"{name}-{test.name}"
        words = ["bash", script, _PARTITION, test_name, config, _FINAL]
        words += ["--work-dir", _Shell(f'"$run/{test.name}"'), *test.arguments]
        lines += [
            f"if [[ -n ${job} || $run/{test.name}/metrics.json -ot $final ]]; then",
            f'    submit "$run/{test.name}" "${job}" {shlex.quote(test_name)} {gpus} \\',
            f"        {_command(words)}",
            "fi",
        ]
    return lines
