"""The bundled tiny base again from nothing: its tokenizer, flawed solutions, next-token training.

    python -m rstar_jax.launch --config=pretrain_tiny [--workdir=DIR]

Hardware: one CPU core, 2 GiB, six to ten minutes, one more for its measurement. Writes DIR/tiny-base, a
Hugging Face folder of at most 2 MB with a README of the figures; to bundle it, copy it to
rstar_jax/assets/. How often which step of which family is flawed: --config.flaws; a smaller trial:
--config.solutions=5000.
"""

from rstar_jax.pretrain import PretrainConfig
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(PretrainConfig())
