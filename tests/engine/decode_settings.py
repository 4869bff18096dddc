"""What the room's tests share: one vocabulary, one set of stops, one shape of the engine."""

from rstar_jax.engine import DecodeConfig
from rstar_jax.types import Finish

V = 64
STOPS: dict[int, Finish] = {3: "step", 5: "code", 7: "answer"}
CONFIG = DecodeConfig(leaves=4, rows=2, max_step_tokens=24, context=96, chunk=8)
