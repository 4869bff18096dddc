"""Published throughputs beside what `pace.py` says of the same settings.

Settings are those of the named project's own scripts: MaxText's configs/v5p/*.sh and llama2_70b.sh, the TPU
recipes of v6e and Ironwood; sglang-jax's and vLLM-TPU's reports of 1,024 tokens read and 1,024 written.
"""

from __future__ import annotations

import dataclasses

from rstar_jax.plan.cost import Shape
from rstar_jax.plan.pace import ASSUMED, Efficiency, Pace
from rstar_jax.topologies import CHIPS


@dataclasses.dataclass(frozen=True)
class Training:
    """A published training. rows: of `row` tokens on a JAX device. again: what of a layer's forward pass is
    computed again, as a remat of ours that is nearest. tflops: a chip, counted as MaxText counts: six
    operations a parameter, attention not halved for being causal."""

    name: str
    source: str
    chip: str
    chips: int
    shape: Shape
    rows: float
    row: int
    tensor: int
    again: str
    tflops: float

    def predicted(self, assumed: Efficiency = ASSUMED) -> float:
        chip = CHIPS[self.chip]
        devices = self.chips * chip.devices
        pace = Pace(self.shape, chip, assumed)
        seconds = pace.gradients(self.rows * devices, self.row, self.again, devices, self.tensor).total
        tokens = self.rows * chip.devices * self.row / (seconds + pace.update(devices))
        return tokens * (6 * self.shape.matrices + 3 * self.shape.attention_flops(self.row)) / 1e12


@dataclasses.dataclass(frozen=True)
class Serving:
    """A published server: so many requests at a time on `tensor` devices, 1,024 tokens read and as many
    written each; every token is looked at by the host. size: bytes of a weight. tokens: written, a second and
    chip."""

    name: str
    source: str
    chip: str
    chips: int
    shape: Shape
    requests: int
    size: float
    tokens: float
    length: int = 1024

    def predicted(self, assumed: Efficiency = ASSUMED) -> float:
        chip = CHIPS[self.chip]
        tensor, pace = self.chips * chip.devices, Pace(self.shape, chip, assumed)
        step = pace.decode(self.requests, 1, 1.5 * self.length, 0, tensor=tensor, size=self.size, looks=1.0)
        # With every token that is written one of another request's prompt is read.
        # Numbers of one byte are multiplied at twice the rate.
        reading = pace.read(self.requests, self.length / 2, tensor=tensor, size=self.size)
        step += reading * self.size / 2
        return self.requests / step / self.chips


def _maxtext(width: int, layers: int, heads: int, mlp: int) -> Shape:
    return Shape(width, layers, heads, heads, 128, mlp, 32_000, False)


_LLAMA_70B = Shape(8192, 80, 64, 8, 128, 28_672, 128_256, False)
_LLAMA2_70B = dataclasses.replace(_LLAMA_70B, vocab=32_000)
_LLAMA_8B = Shape(4096, 32, 32, 8, 128, 14_336, 128_256, False)
_QWEN_8B = Shape(4096, 36, 32, 8, 128, 12_288, 151_936, False)
_QWEN_32B = Shape(5120, 64, 64, 8, 128, 25_600, 151_936, False)
_SCALED = "MaxText configs/v5p"
PUBLISHED: tuple[Training | Serving, ...] = (
    Training("32B", _SCALED, "v5p", 64, _maxtext(8192, 32, 64, 28_672), 7, 2048, 4, "dots", 328),
    Training("64B", _SCALED, "v5p", 64, _maxtext(8192, 64, 64, 28_672), 3, 2048, 4, "dots", 323),
    Training("128B", _SCALED, "v5p", 128, _maxtext(8192, 64, 128, 57_344), 1, 2048, 8, "dots", 315),
    # Both products into the MLP are computed again, as of the last three: near "full".
    Training("Llama2-70B", _SCALED, "v5p", 256, _LLAMA2_70B, 4, 4096, 1, "full", 0.654 * 459),
    Training("Llama3.1-8B", "TPU recipes", "v6e", 256, _LLAMA_8B, 3, 8192, 1, "full", 0.455 * 918),
    Training("Llama3.1-70B", "TPU recipes", "v6e", 256, _LLAMA_70B, 5, 8192, 1, "full", 0.503 * 918),
    Training("Llama3.1-70B", "TPU recipes", "tpu7x", 64, _LLAMA_70B, 2, 8192, 1, "full", 1207),
    Serving("Qwen3-8B", "sglang-jax", "v6e", 4, _QWEN_8B, 256, 2, 1893),
    Serving("Qwen3-8B", "sglang-jax", "tpu7x", 4, _QWEN_8B, 256, 2, 2130),
    Serving("Qwen3-32B, fp8", "vLLM-TPU", "tpu7x", 1, _QWEN_32B, 320, 1, 6557),
)
