#!/usr/bin/env bash
# round3 of rstar_jax on h200:16 (2 hosts, 16 chips) by Slurm.
# Written by: python -m rstar_jax.launch --config=launch --config.job=round3 --config.topology=h200:16 --config.out=launch/round3_slurm.sh
# Cost: not known, as there is no public price of these chips; --config.price=DOLLARS says it.
# Start, in the checkout's folder: sbatch launch/round3_slurm.sh
#SBATCH --job-name=rstar-round3
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# shellcheck disable=SC2016
set -euo pipefail
export JAX_PLATFORMS=cuda,cpu  # without its GPUs a process stops

# The step answers SIGTERM: it ends in order, and the job is queued again. Not by way of srun,
# which would kill it outright.
preempted=no failures=0
trap 'preempted=yes; scancel --signal=TERM "$SLURM_JOB_ID" || true' TERM
while [ "$failures" -le 10 ]; do
  srun --kill-on-bad-exit=0 \
    .venv/bin/python -m rstar_jax.launch --config=round3 --workdir=runs/rstar-round3 --compiled=runs/compiled &
  step=$!
  status=0
  wait "$step" || status=$?
  while kill -0 "$step" 2>/dev/null; do  # a signal ended the wait, not the step
    status=0
    wait "$step" || status=$?
  done
  if [ "$status" -eq 0 ] || [ "$status" -eq 2 ]; then exit "$status"; fi  # or bad input
  if [ "$preempted" = yes ]; then
    scontrol requeue "$SLURM_JOB_ID"
    exit 143
  fi
  failures=$((failures + 1))
  echo "ended with status $status; crash $failures, 10 restart" >&2
done
exit "$status"
