"""Model families: one row each says how a Hugging Face config and its weight names map to ours.

To add a family: write its two config functions and its weight table, and add the row. What its config asks
for and the decoder does not do must be refused there by name.
"""

from rstar_jax.weights.families import deepseek, gemma, llama, phi3
from rstar_jax.weights.families.table import Family, Weight, places

# By Hugging Face model_type. "llama" is SmolLM2, too; "qwen2" is Qwen2, Qwen2.5 and Qwen2.5-Math.
FAMILIES: dict[str, Family] = {
    "deepseek_v2": deepseek.DEEPSEEK_V2,
    "gemma2": gemma.GEMMA2,
    "gemma3": gemma.GEMMA3_WITH_IMAGES,
    "gemma3_text": gemma.GEMMA3,
    "llama": llama.LLAMA,
    "mistral": llama.MISTRAL,
    "phi3": phi3.PHI3,
    "qwen2": llama.QWEN2,
    "qwen3": llama.QWEN3,
}

__all__ = ["FAMILIES", "Family", "Weight", "places"]
