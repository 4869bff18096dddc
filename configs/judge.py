"""A PPM, or a reward model of others, as a judge of steps: ProcessBench, PRMBench, and the embedded suite.

    python -m rstar_jax.launch --config=judge --config.ppm=DIR --config.data=FOLDER
    python -m rstar_jax.launch --config=judge --config.ppm=DIR --config.benchmarks=suite
    python -m rstar_jax.launch --config=judge --config.predictions=FILE

DIR: roundN/ppm/model of a run, or a hub id such as Qwen/Qwen2.5-Math-PRM-7B (then --config.dtype=bfloat16).
FOLDER holds processbench.jsonl and prmbench.jsonl; hf: reads both from the hub. FILE is a file or folder of
predictions as these benchmarks' own code writes them, of which the figures are computed without any model.
WORKDIR/judge.json has the figures; docs/EVALUATE.md says what each means. The same command goes on where a
stopped run was, and with another --config.threshold asks the PPM nothing. Hardware: what the PPM's training
needs or less.
"""

from rstar_jax.evolve.judge_settings import JudgeSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(JudgeSettings())
