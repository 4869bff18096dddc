"""What rounds need of chips that are not here: memory, time and cost, by the compiler and the roofline.

    python -m rstar_jax.launch --config=plan --config.topology=v5p:4x4x4 --config.model=qwen2.5-math-7b
    python -m rstar_jax.launch --config=plan --config.topology=h200:8 --config.problems=100000
    python -m rstar_jax.launch --config=plan --config.topology=v5e:4x4 --config.fit=False \
        --config.train.mesh.fsdp=4 --config.train.mesh.tensor=4 --config.train.policy.remat=dots

For TPUs the trainings' and the search's programs are compiled ahead of time, on this CPU, one at a time:
about a CPU minute and 1.5 GB each of a model of 7B (`pip install 'jax[tpu]'` brings the compiler, libtpu;
without it, and for GPUs, arithmetic decides what fits). What was compiled is kept in the working directory.
Expect: GiB of a device by part, collectives, seconds of each stage, then hours, chip-hours and dollars of
each round of the paper's recipe on 747,000 problems, and what is assumed. docs/SCALE.md holds several. The
third command is refused, with the compiler's figures: that does not fit.
"""

from rstar_jax.evolve.plan_settings import PlanSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(PlanSettings())
