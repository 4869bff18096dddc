"""New problems after the example of seed problems, kept where solutions of them agree (the paper: 3 of 10).

    python -m rstar_jax.launch --config=synthesise --workdir=W --config.seeds=SEEDS.jsonl \
        --config.count=10000 --config.against=MATH500.jsonl --config.policy=http://HOST:8000/v1#MODEL

W/problems/problems.jsonl is then a part of a run's problems (docs/DATA.md, "Synthesis"). Policies are folders
or addresses of servers; --config.writer=... lets another one write the problems than solves them. Hardware:
what decodes the model, or none where a server does; several hosts are one run (docs/LAUNCH.md, "Several
processes"). Killed at any time, the same command goes on.
"""

from rstar_jax.evolve.synthesis import SynthesiseSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(SynthesiseSettings(seeds="suite:200"))
