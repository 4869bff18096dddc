#!/usr/bin/env bash
# round3 of rstar_jax on v5p:4x4x4 (16 hosts, 64 chips) by gcloud on TPU VMs.
# Written by: python -m rstar_jax.launch --config=launch --config.job=round3 --config.topology=v5p:4x4x4 --config.out=launch/round3_tpu_vm.sh --config.platform=tpu_vm --config.workdir=gs://BUCKET/run --config.image=REGISTRY/rstar-jax:tpu --config.spot=True
# Cost: US dollars an hour 53.50 as spot at the lowest (0.836 a chip), 268.80 on demand (4.2 a chip); US, 2026-11; --config.price=DOLLARS says another.
# Start, and stay until it has ended: PROJECT=... ZONE=... bash launch/round3_tpu_vm.sh
# shellcheck disable=SC2016
set -euo pipefail
: "${PROJECT:?give it, as in PROJECT=... bash FILE}"
: "${ZONE:?give it, as in ZONE=... bash FILE}"
NAME=rstar-round3
place=(--project="$PROJECT" --zone="$ZONE")

state() {
  gcloud compute tpus tpu-vm describe "$NAME" "${place[@]}" --format="value(state)" \
    2>/dev/null || true
}
made() {
  [ "$(state)" != READY ] || return 0
  gcloud compute tpus tpu-vm delete "$NAME" "${place[@]}" --quiet || true
  gcloud compute tpus tpu-vm create "$NAME" "${place[@]}" \
    --type=v5p --topology=4x4x4 --version=v2-alpha-tpuv5 --spot || return 1
  while :; do
    case "$(state)" in
      READY) return 0 ;;
      "" | FAILED | SUSPENDED | PREEMPTED | STOPPED | TERMINATED) return 1 ;;
    esac
    sleep 30
  done
}
on() {  # WORKERS COMMAND
  gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --worker="$1" --command="$2"
}

failures=0
while [ "$failures" -le 10 ]; do
  until made; do echo "$NAME: not made yet, again in 5 minutes" >&2; sleep 300; done
  if on all 'sudo docker rm --force rstar >/dev/null 2>&1; sudo docker run --name=rstar --init --privileged --network=host --ulimit=memlock=-1 --stop-timeout=25 --user=1000 --env=HOME=/tmp --env=JAX_PLATFORMS=tpu,cpu --entrypoint=python REGISTRY/rstar-jax:tpu -m rstar_jax.launch --config=round3 --workdir=gs://BUCKET/run --compiled=gs://BUCKET/compiled'; then
    echo "$NAME: done. It costs money until it is deleted:" >&2
    echo '  gcloud compute tpus tpu-vm delete rstar-round3 --project=... --zone=... --quiet' >&2
    exit 0
  fi
  statuses=$(on all 'sudo docker inspect --format={{.State.ExitCode}} rstar' 2>/dev/null | grep -xE '[0-9]+' || true)
  if grep -qx 2 <<<"$statuses"; then
    echo "$NAME: bad input, as it says" >&2
    exit 2
  fi
  if [ -z "$statuses" ] && [ "$(state)" = READY ]; then statuses=unknown; fi
  if grep -qxvE "|0|75|143" <<<"$statuses"; then
    failures=$((failures + 1))
  fi
  echo "$NAME: stopped; crashes so far: $failures, 10 restart" >&2
done
exit 1
