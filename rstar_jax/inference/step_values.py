"""Values of all steps of whole solutions, by one pass over each text: what a PPM is asked as a judge.

A search scores a step's candidates as they come and keeps what was read (`engine/step_scorer.py`); where
whole solutions are there at once, each is read once, from its start, and nothing needs keeping.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from rstar_jax import sharding, weights
from rstar_jax.compilations import jit
from rstar_jax.data.step_labels import step_of
from rstar_jax.engine.buckets import cache_bucket, padded
from rstar_jax.errors import UserError
from rstar_jax.inference.reading import StepText
from rstar_jax.tasks import Task
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.text.tokenizer_files import has_tokenizer


class SolutionText(NamedTuple):
    """A solution as token ids. texts: int32 [T] each, with the places of values in it. tokens: of the
    longest."""

    texts: list[tuple[np.ndarray, list[int]]]
    tokens: int


class StepValues:
    """A reward model that reads whole solutions.

    ppm: its folder. context: tokens of the longest text. batch_tokens: of a device call, padding included; a
    text longer than that is a call of its own. scale: as StepScorer's, for a PPM of ours. mesh: over which
    weights and texts are split; None: one device. Raises UserError for a folder that holds no such model or
    no tokenizer.
    """

    def __init__(
        self,
        ppm: Path,
        task: Task,
        *,
        context: int,
        batch_tokens: int,
        dtype: str,
        scale: float = 1.0,
        mesh: Mesh | None = None,
    ) -> None:
        self._context, self._batch_tokens, self._mesh = context, batch_tokens, mesh
        self._grammar = task.grammar
        self._text = read_by(ppm, task)
        model = weights.load_reward_model(ppm, dtype=jnp.dtype(dtype), mesh=mesh)
        self._scale = 1.0 if model.of_probability else scale
        graphdef, self._params, self._rest = nnx.split(model, nnx.Param, ...)
        self.shapes = set[tuple[int, int]]()  # [B, T] of the programs that were called

        def raw(params: nnx.State, rest: nnx.State, tokens_BxT: jax.Array) -> jax.Array:
            return nnx.merge(graphdef, params, rest).raw(tokens_BxT)

        self._raw = jit(raw)

    def encode(self, question: str, steps: Sequence[str]) -> SolutionText:
        """The ids of a solution. Steps of prose end as the task's do, as a PPM of ours learns them."""
        if not self._text.reads_prose:
            steps = [step_of(step, self._grammar) for step in steps]
        texts = self._text.texts(question, steps)
        return SolutionText(texts, max((len(ids) for ids, _ in texts), default=0))

    def fits(self, solution: SolutionText) -> bool:
        """Return whether no text of it is longer than the context."""
        return solution.tokens <= self._context

    def values(self, solutions: Sequence[SolutionText]) -> list[tuple[float, ...]]:
        """The value of each step of each solution, [-1, 1], in order. All of them must fit.

        Texts of like length are read together, in batches of few sizes.
        """
        found: list[dict[int, list[float]]] = [{} for _ in solutions]
        rows = [(len(ids), s, t) for s, one in enumerate(solutions) for t, (ids, _) in enumerate(one.texts)]
        by_size: dict[int, list[tuple[int, int]]] = {}
        for length, s, t in sorted(rows):
            by_size.setdefault(cache_bucket(length, self._context), []).append((s, t))
        for T, places in by_size.items():
            B = self._rows(T)
            for at in range(0, len(places), B):
                some = places[at : at + B]
                values_BxT = self._read([solutions[s].texts[t][0] for s, t in some], B, T)
                for row, (s, t) in enumerate(some):
                    found[s][t] = [float(values_BxT[row, end]) for end in solutions[s].texts[t][1]]
        return [tuple(value for t in sorted(of) for value in of[t]) for of in found]

    def _rows(self, T: int) -> int:
        """Rows of a batch, so many that the devices of the mesh have as many each."""
        devices = 1 if self._mesh is None else self._mesh.shape["data"] * self._mesh.shape["fsdp"]
        return max(devices, self._batch_tokens // T // devices * devices)

    def _read(self, texts: Sequence[np.ndarray], B: int, T: int) -> np.ndarray:
        self.shapes.add((B, T))
        tokens_BxT = padded(texts, (B, T))
        where = sharding.on_mesh(("batch", None), (B, T), self._mesh)
        placed = jax.device_put(tokens_BxT, where) if where is not None else tokens_BxT
        return np.tanh(jax.device_get(self._raw(self._params, self._rest, placed)) / self._scale)


def read_by(ppm: Path, task: Task) -> StepText:
    """How a reward model reads steps, by its own tokenizer. Raises UserError for a folder that holds none."""
    weights.check_reward_model(ppm)
    folder = weights.tokenizer_folder(ppm)
    if not has_tokenizer(folder):
        raise UserError(
            f"{ppm}: no tokenizer there, by which a PPM alone reads. Copy into the folder the tokenizer's "
            "files of the policy that it was trained from."
        )
    prompt = functools.partial(task.prompt, role="ppm")
    return StepText(Tokenizer.load(folder, task.grammar), weights.reading_of(ppm), str(ppm), prompt)
