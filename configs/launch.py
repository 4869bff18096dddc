"""What starts a job on a TPU pod or a GPU cluster: a manifest or script, checked before it is written.

    python -m rstar_jax.launch --config=launch --config.topology=v5p:4x4x4 --config.job=round3 \
        --config.workdir=gs://BUCKET/run --config.out=round3.yaml
    python -m rstar_jax.launch --config=launch --config.topology=h200:16 --config.job=round3 \
        --config.out=round3.sh

Topologies: v5e:16x16, v5p:4x4x4, v6e:16x16, tpu7x:4x4x4, with *2 of two slices; h200:16, h100:16, a100:16.
The job's own options are given as on its command line. For TPUs it is a JobSet with Kueue's labels, or by
--config.platform=xpk or tpu_vm a script of these; for GPUs a batch script of Slurm. Its first lines say what
it costs an hour and how it is used (docs/LAUNCH.md). Hardware: none.
"""

from rstar_jax.pods.settings import LaunchSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(LaunchSettings())
