"""A warm start: trains a policy on given solutions and evaluates it on held-out problems.

    python -m rstar_jax.launch --config=sft --workdir=W --config.rows=FILE.jsonl \
        --config.heldout=HELDOUT.jsonl --config.policy.init=DIR

FILE: a round's curate/sft.parquet, an export's solutions, the authors' rstar_sft or trees, chats, JSONL of
solutions in our steps, a folder of such files (docs/DATA.md, "Data in"), or GSM8K's own training file, whose
workings are converted and run (README, "A warm start"); --config.limit=431 takes its first rows alone.
W/policy/model is then a policy.init or policy.bootstrap of rounds. Hardware: what trains the model; with
these defaults (low-rank additions, rows of 1,024 tokens) two cores and 4 GiB for 135 M parameters.
--config.base=none leaves out the evaluation of the base before, --config.samples=8 adds maj@8 and
pass@8. A few hundred rows teach a base new tokens badly: --config.policy.delimiters=text needs none. Without
a policy.init it trains the bundled tiny base, whose tokens suit the embedded problems alone.
"""

from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve.sft import SftSettings, SftTraining
from rstar_jax.settings import to_config_dict
from rstar_jax.train import TrainConfig
from rstar_jax.transforms.lora import LoraConfig


def get_config():
    return to_config_dict(
        SftSettings(
            decode=DecodeConfig(leaves=16, max_step_tokens=256, context=1536),
            train=SftTraining(
                policy=TrainConfig(
                    epochs=2,
                    batch=8,
                    seq_len=1024,
                    microbatch=1,
                    learning_rate=5e-4,
                    warmup_fraction=0.05,
                    lora=LoraConfig(rank=16),
                )
            ),
        )
    )
