"""Any model on benchmarks, with any search and no round: figures with intervals, from MATH-500 to AIME 2026.

    python -m rstar_jax.launch --config=evaluate --workdir=W --config.benchmarks=math500,aime24 \
        --config.policy=DIR_OR_HUB_ID [--config.ppm=DIR] [--config.strategy=mcts_repeated] [--config.data=DIR]

--config.run=RUN takes the models of a run's best round. Without more it asks the bundled tiny base the
embedded suite's 360 problems, once each, greedily: 20 CPU seconds. Names: math500, math, gsm8k, aime24,
aime25, aime26, amc23, hmmt25, hmmt26, olympiadbench, collegemath, gaokao2023en, omnimath, suite, suite-level1
to 3; or NAME=FILE of your own. DIR holds files named after them (aime24.jsonl or aime2024.jsonl); others come
from the hub. Hardware: what holds the models. --config.protocol=paper is the paper's test time, 64 searches a
problem; docs/EVALUATE.md has the rest.
"""

from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve.evaluation_settings import EvaluationSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(EvaluationSettings(decode=DecodeConfig(leaves=16, max_step_tokens=512)))
