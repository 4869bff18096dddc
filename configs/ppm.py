"""A reward model trained once on given pairs, labels or values of steps, or trees, from a policy; evaluated.

    python -m rstar_jax.launch --config=ppm --workdir=W --config.rows=FILE --config.policy.init=POLICY \
        --config.heldout=HELDOUT.jsonl
    python -m rstar_jax.launch --config=ppm --config.train.reward=pqm ...    # or orm; ppm by default
    python -m rstar_jax.launch --config=ppm:lora ...      # low-rank additions, rows of 1,024 tokens

FILE: a round's curate/pairs.parquet (for a pqm values.parquet), an export's pairs, the authors' rstar_ppm or
trees, TRL's preference or stepwise rows, PRM800K, Math-Shepherd, one's own {question, steps, values}, or a
folder of such files, as a run's round1/search (docs/DATA.md, "Data in"). POLICY: a policy's folder, such as
W/policy/model of a warm start or a round's policy/model. Of 5 % of the problems the rows are held out: how
many pairs of them the model puts in the right order is reported, of a pqm also how far its values are off.
Without --config.heldout nothing is searched. W/ppm/model is then a --config.policy.ppm of rounds, or
`solve`'s --config.ppm. --config=ppm is the paper's training: 1 epoch, batch 512, rows of 4,096 tokens, 7e-6
falling linearly, all weights, in bfloat16; what trains a round trains it. ppm:lora suits two cores, as a warm
start's.
"""

import dataclasses

from rstar_jax.engine import DecodeConfig
from rstar_jax.errors import UserError
from rstar_jax.evolve.ppm import PpmSettings, PpmTraining
from rstar_jax.evolve.settings import PolicySettings, paper_training
from rstar_jax.settings import to_config_dict
from rstar_jax.train import TrainConfig
from rstar_jax.transforms.lora import LoraConfig


def get_config(form=""):
    if form not in ("", "lora"):
        raise UserError(f"--config=ppm:{form}: 'lora', or nothing behind the name, expected.")
    settings = PpmSettings(
        policy=PolicySettings(dtype="bfloat16"), train=PpmTraining(ppm=paper_training().ppm)
    )
    if form == "lora":
        settings = dataclasses.replace(
            settings,
            policy=PolicySettings(),
            decode=DecodeConfig(leaves=16, max_step_tokens=256, context=1536),
            train=PpmTraining(
                ppm=TrainConfig(
                    epochs=1,
                    batch=32,
                    seq_len=1024,
                    microbatch=2,
                    learning_rate=2e-4,
                    warmup_fraction=0.05,
                    ppm_center=0.1,
                    lora=LoraConfig(rank=16),
                )
            ),
        )
    return to_config_dict(settings)
