"""All four rounds on a CPU: the bundled tiny model, the embedded problems, minutes.

    make quickstart        or        python -m rstar_jax.launch --config=quickstart

Hardware: one or two cores, 2 GiB, five to seven minutes. The paper's four rounds in small: the same stages,
rules and order; fewer rollouts and candidates, learning rates for a model of a quarter of a million
parameters.
"""

from rstar_jax.curate import CurateConfig
from rstar_jax.engine import DecodeConfig
from rstar_jax.evolve.settings import (
    EvaluateSettings,
    ProblemSettings,
    RunSettings,
    SearchSettings,
    TrainSettings,
)
from rstar_jax.settings import to_config_dict
from rstar_jax.train import TrainConfig


def get_config():
    return to_config_dict(
        RunSettings(
            # Held out are levels 2 and 3: of level 1 the policy alone answers 94 percent right by round 4,
            # which leaves a search no room.
            problems=ProblemSettings(train="240", heldout="suite:150:2-3"),
            search=SearchSettings(
                rollouts=(4, 6, 6, 8),
                escalation=((), (12,), (12,), (16, 32)),
                candidates=(4, 6, 6, 8),
                # Above this so small a model writes garbled steps, and a garbled step that leads to a right
                # answer is learnt.
                temperature=(0.7,),
                prompt=("finetuned",),
                batch=24,
            ),
            decode=DecodeConfig(leaves=32, max_step_tokens=64, context=384),
            curate=CurateConfig(min_margin=0.5),
            train=TrainSettings(
                policy=TrainConfig(epochs=1, batch=16, seq_len=256, microbatch=2, learning_rate=8e-4),
                ppm=TrainConfig(epochs=8, batch=32, seq_len=256, microbatch=4, learning_rate=1e-3),
            ),
            # Whole solutions, of which each answer counts by the PPM's values of all steps.
            evaluate=EvaluateSettings(
                strategy="best_of_n",
                rollouts=32,
                temperature=0.7,
                scores="strength",
                top_k=0,
            ),
        )
    )
