r"""Problems of any sources, cleaned, as a set that rounds, tensorflow-datasets and grain read by index.

    python -m rstar_jax.launch --config=prepare_problems --workdir=W \
        --config.sources='hf:openai/gsm8k:train+jsonl:FILE*0.5' --config.heldout=HELDOUT.jsonl \
        --config.against="('MATH-500=hf:HuggingFaceH4/MATH-500:test','AIME=aime.jsonl')"
    python -m rstar_jax.launch --config=round1 \
        --config.problems.train=tfds:W/train --config.problems.heldout=tfds:W/heldout

Drops from the sources what is blank, asks several things, repeats itself or stands in the held-out problems
or a benchmark of `against` (docs/DATA.md), says what and why, and packs the rest, each row with where it came
from, into W/rstar_problems. Held-out problems stay as they are. Rows that cannot be used stop it, named by
file and line; --config.bad=drop leaves them out and counts them. Hardware: one core, no accelerator; a
million problems take minutes (docs/BENCHMARKS.md). It can be killed at any moment: the set appears when it is
whole.
"""

from rstar_jax.evolve.prepare import PrepareSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(PrepareSettings())
