"""Shell scripts that start a job: xpk's commands, gcloud's for TPU VMs, a batch script for Slurm."""

from __future__ import annotations

import shlex

from rstar_jax.distributed.watch import LOST, PREEMPTED
from rstar_jax.pods.settings import BAD_INPUT, LaunchSettings

# What gcloud and xpk call a TPU, and the software of its VMs.
_TYPES = {"v5e": "v5litepod", "v5p": "v5p", "v6e": "v6e", "tpu7x": "tpu7x"}
_SOFTWARE = {"v5e": "v2-alpha-tpuv5-lite", "v5p": "v2-alpha-tpuv5", "v6e": "v2-alpha-tpuv6e"}
_CORES = {"v5p": 2}  # of a chip, where gcloud counts those
_CRASHED = 1  # Python's status; those of signals, from 127 on, xpk knows by itself


def xpk(settings: LaunchSettings) -> list[str]:
    """Return the lines of a script of xpk's commands."""
    where = settings.where()
    kind = f"--tpu-type={_TYPES[where.chip.name]}-{where.shape_text} --num-slices={where.slices}"
    capacity = "--spot" if settings.spot else "--on-demand"
    priority = f"--priority={settings.priority or 'medium'}"
    return [
        *_safely(),
        *_needs("CLUSTER", "PROJECT", "ZONE"),
        'place=(--cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE")',
        "",
        'if [ "${1:-}" = cluster ]; then',
        f'  exec xpk cluster create "${{place[@]}}" {kind} {capacity}',
        "fi",
        'exec xpk workload create "${place[@]}" \\',
        f"  --workload={settings.label()} {kind} {priority} \\",
        f"  --max-restarts={settings.restarts} --restart-on-exit-codes={_CRASHED},{LOST} \\",
        f"  --docker-image={shlex.quote(settings.pulled())} \\",
        f"  --command={shlex.quote(shlex.join(settings.words()))}",
    ]


def tpu_vm(settings: LaunchSettings) -> list[str]:
    """Return the lines of a script that makes TPU VMs and runs the job on all of their hosts.

    gcloud does not hand on the statuses of many hosts, so their containers are asked what ended them; a TPU
    that is not there any more was preempted, and is made again. Neither counts as a crash.
    """
    where = settings.where()
    chip, name = where.chip.name, settings.label()
    spot = " --spot" if settings.spot else ""
    if where.slices > 1:
        count = where.chips // where.slices * _CORES.get(chip, 1)
        things, node = "queued-resources", " --node=all"
        made = (
            f"--node-count={where.slices} --node-prefix={name} --accelerator-type={_TYPES[chip]}-{count} "
            f"--runtime-version={_SOFTWARE[chip]}{spot}"
        )
        ready, state = "ACTIVE", "state.state"
    else:
        things, node = "tpu-vm", ""
        made = f"--type={_TYPES[chip]} --topology={where.shape_text} --version={_SOFTWARE[chip]}{spot}"
        ready, state = "READY", "state"
    force = " --force" if where.slices > 1 else ""
    remove = f'gcloud compute tpus {things} delete "$NAME" "${{place[@]}}" --quiet{force}'
    shown = f"gcloud compute tpus {things} delete {name} --project=... --zone=... --quiet{force}"
    container = [
        "sudo docker rm --force rstar >/dev/null 2>&1;",
        "sudo docker run --name=rstar --init --privileged --network=host --ulimit=memlock=-1",
        f"--stop-timeout=25 --user={settings.user} --env=HOME=/tmp --env=JAX_PLATFORMS=tpu,cpu",
        f"--entrypoint=python {shlex.join([settings.pulled(), *settings.words()[1:]])}",
    ]
    told = "sudo docker inspect --format={{.State.ExitCode}} rstar"
    return [
        *_safely(),
        *_needs("PROJECT", "ZONE"),
        f"NAME={name}",
        'place=(--project="$PROJECT" --zone="$ZONE")',
        "",
        "state() {",
        f'  gcloud compute tpus {things} describe "$NAME" "${{place[@]}}" --format="value({state})" \\',
        "    2>/dev/null || true",
        "}",
        "made() {",
        f'  [ "$(state)" != {ready} ] || return 0',
        f"  {remove} || true",
        f'  gcloud compute tpus {things} create "$NAME" "${{place[@]}}" \\',
        f"    {made} || return 1",
        "  while :; do",
        '    case "$(state)" in',
        f"      {ready}) return 0 ;;",
        '      "" | FAILED | SUSPENDED | PREEMPTED | STOPPED | TERMINATED) return 1 ;;',
        "    esac",
        "    sleep 30",
        "  done",
        "}",
        "on() {  # WORKERS COMMAND",
        f'  gcloud compute tpus {things} ssh "$NAME" "${{place[@]}}"{node} --worker="$1" --command="$2"',
        "}",
        "",
        "failures=0",
        f'while [ "$failures" -le {settings.restarts} ]; do',
        '  until made; do echo "$NAME: not made yet, again in 5 minutes" >&2; sleep 300; done',
        f"  if on all {shlex.quote(' '.join(container))}; then",
        '    echo "$NAME: done. It costs money until it is deleted:" >&2',
        f"    echo '  {shown}' >&2",
        "    exit 0",
        "  fi",
        f"  statuses=$(on all {shlex.quote(told)} 2>/dev/null | grep -xE '[0-9]+' || true)",
        f'  if grep -qx {BAD_INPUT} <<<"$statuses"; then',
        '    echo "$NAME: bad input, as it says" >&2',
        f"    exit {BAD_INPUT}",
        "  fi",
        f'  if [ -z "$statuses" ] && [ "$(state)" = {ready} ]; then statuses=unknown; fi',
        f'  if grep -qxvE "|0|{LOST}|{PREEMPTED}" <<<"$statuses"; then',
        "    failures=$((failures + 1))",
        "  fi",
        f'  echo "$NAME: stopped; crashes so far: $failures, {settings.restarts} restart" >&2',
        "done",
        "exit 1",
    ]


def slurm(settings: LaunchSettings) -> list[str]:
    """Return the lines of a batch script: a process a host, queued again when it was preempted or its time is
    up, started again in its place after a crash."""
    where = settings.where()
    words = settings.words()
    image = settings.pulled()
    # The hosts end each other, in order; Slurm would kill those that still save.
    run = ["srun", "--kill-on-bad-exit=0"]
    if image:
        run.append(f"--container-image={shlex.quote(image)} --no-container-mount-home")
        run.append('--container-mounts="$PWD:$PWD" --container-workdir="$PWD"')
    else:
        words[0] = ".venv/bin/python"
    return [
        f"#SBATCH --job-name={settings.label()}",
        f"#SBATCH --nodes={where.hosts}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={where.chips_per_host}",
        "#SBATCH --exclusive",
        f"#SBATCH --time={settings.hours}:00:00",
        "#SBATCH --signal=B:TERM@60",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --output=%x-%j.log",
        *_safely(),
        "export JAX_PLATFORMS=cuda,cpu  # without its GPUs a process stops",
        "",
        "# The step answers SIGTERM: it ends in order, and the job is queued again. Not by way of srun,",
        "# which would kill it outright.",
        "preempted=no failures=0",
        "trap 'preempted=yes; scancel --signal=TERM \"$SLURM_JOB_ID\" || true' TERM",
        f'while [ "$failures" -le {settings.restarts} ]; do',
        f"  {' '.join(run)} \\",
        f"    {shlex.join(words)} &",
        "  step=$!",
        "  status=0",
        '  wait "$step" || status=$?',
        '  while kill -0 "$step" 2>/dev/null; do  # a signal ended the wait, not the step',
        "    status=0",
        '    wait "$step" || status=$?',
        "  done",
        '  if [ "$status" -eq 0 ] || [ "$status" -eq 2 ]; then exit "$status"; fi  # or bad input',
        '  if [ "$preempted" = yes ]; then',
        '    scontrol requeue "$SLURM_JOB_ID"',
        f"    exit {PREEMPTED}",
        "  fi",
        "  failures=$((failures + 1))",
        f'  echo "ended with status $status; crash $failures, {settings.restarts} restart" >&2',
        "done",
        'exit "$status"',
    ]


def _safely() -> list[str]:
    # A job's options may hold a $, which nobody expands.
    return ["# shellcheck disable=SC2016", "set -euo pipefail"]


def _needs(*names: str) -> list[str]:
    return [f': "${{{name}:?give it, as in {name}=... bash FILE}}"' for name in names]
