"""A warm start: trains a policy on given solutions and evaluates it on held-out problems.

    python -m rstar_jax.launch --config=sft --workdir=W --config.rows=FILE.jsonl \
        --config.heldout=HELDOUT.jsonl --config.policy.init=DIR
    python -m rstar_jax.launch --config=sft:lora ...      # low-rank additions, rows of 1,024 tokens

FILE: a round's curate/sft.parquet, an export's solutions, the authors' rstar_sft or trees, chats, JSONL of
solutions in our steps, a folder of such files (docs/DATA.md, "Data in"), or GSM8K's own training file, whose
workings are converted and run (docs/RUNS.md); --config.limit=431 takes its first rows alone.
W/policy/model is then a policy.init or policy.bootstrap of rounds. --config=sft is the paper's training: 2
epochs, batch 128, rows of 4,096 tokens, 7e-6 falling linearly, all weights, in bfloat16; what trains a round
trains it. sft:lora suits a few hundred rows: two cores and 4 GiB for 135 M parameters. --config.base=none
leaves out the evaluation of the base before, --config.samples=8 adds maj@8 and pass@8. A few hundred rows
teach a base new tokens badly: --config.policy.delimiters=text needs none. Without a policy.init it trains the
bundled tiny base, whose tokens suit the embedded problems alone.
"""

import dataclasses

from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.settings import PolicySettings, paper_training
from rstar_jax.evolve.sft import SftSettings, SftTraining
from rstar_jax.settings import to_config_dict
from rstar_jax.train import TrainConfig
from rstar_jax.transforms.lora import LoraConfig


def get_config(form=""):
    if form not in ("", "lora"):
        raise UserError(f"--config=sft:{form}: 'lora', or nothing behind the name, expected.")
    settings = SftSettings(
        policy=PolicySettings(dtype="bfloat16"), train=SftTraining(policy=paper_training().policy)
    )
    if form == "lora":
        settings = dataclasses.replace(
            settings,
            policy=PolicySettings(),
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
    return to_config_dict(settings)
