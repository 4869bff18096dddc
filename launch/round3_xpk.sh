#!/usr/bin/env bash
# round3 of rstar_jax on v6e:16x16 (64 hosts, 256 chips) by xpk on GKE.
# Written by: python -m rstar_jax.launch --config=launch --config.job=round3 --config.topology=v6e:16x16 --config.out=launch/round3_xpk.sh --config.platform=xpk --config.workdir=gs://BUCKET/run --config.image=REGISTRY/rstar-jax:tpu
# Cost: US dollars an hour 691.20 on demand (2.7 a chip), 139.26 as spot at the lowest (0.544 a chip); US, 2026-11; --config.price=DOLLARS says another.
# Cluster, once: CLUSTER=... PROJECT=... ZONE=... bash launch/round3_xpk.sh cluster
# Start: CLUSTER=... PROJECT=... ZONE=... bash launch/round3_xpk.sh
# xpk runs the container privileged, and counts preemptions as restarts; bad input ends the job.
# shellcheck disable=SC2016
set -euo pipefail
: "${CLUSTER:?give it, as in CLUSTER=... bash FILE}"
: "${PROJECT:?give it, as in PROJECT=... bash FILE}"
: "${ZONE:?give it, as in ZONE=... bash FILE}"
place=(--cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE")

if [ "${1:-}" = cluster ]; then
  exec xpk cluster create "${place[@]}" --tpu-type=v6e-16x16 --num-slices=1 --on-demand
fi
exec xpk workload create "${place[@]}" \
  --workload=rstar-round3 --tpu-type=v6e-16x16 --num-slices=1 --priority=medium \
  --max-restarts=10 --restart-on-exit-codes=1,75 \
  --docker-image=REGISTRY/rstar-jax:tpu \
  --command='python -m rstar_jax.launch --config=round3 --workdir=gs://BUCKET/run --compiled=gs://BUCKET/compiled'
