"""A question and its steps as a reward model reads them: token ids of its own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rstar_jax import weights
from rstar_jax.errors import UserError
from rstar_jax.models import Reading
from rstar_jax.text.tokenizer import Tokenizer
from rstar_jax.text.tokenizer_files import has_tokenizer

Prompt = Callable[[str], str]  # of a question
_SPECIAL = re.compile(r"<[^<>\s]+>")  # takes "<extra_0>", not "\n" or "a < b"


class StepText:
    """Ids of prefixes and of steps after them, so that a step's value stands at its last token.

    Our PPMs read the prompt of a policy that was trained on steps, and the steps as they are; others as their
    `Reading` says: where it has a separator, that follows every step, in prefixes as well.
    """

    def __init__(self, tokenizer: Tokenizer, reading: Reading, where: str, prompt: Prompt) -> None:
        """where: the reward model's folder, for messages. prompt: of our PPMs. Raises UserError for a
        separator that should be one token and is none."""
        self._tokenizer, self._layout, self._prompt = tokenizer, reading.prompt, prompt
        self._separator = self._mark(reading.separator, where)
        self._end = self._mark(reading.end, where)

    @classmethod
    def checked(cls, ppm: Path, policy: Tokenizer, prompt: Prompt) -> StepText:
        """The same before the reward model is loaded. Raises UserError for a folder that holds none."""
        rows = weights.check_reward_model(ppm).vocab_size
        return cls.of(ppm, weights.reading_of(ppm), rows, policy, prompt)

    @classmethod
    def of(cls, ppm: Path, reading: Reading, rows: int, policy: Tokenizer, prompt: Prompt) -> StepText:
        """Read by the tokenizer of a reward model's folder or, where it has none, the policy's.

        rows: of the reward model's embeddings. Raises UserError where they are fewer than the policy's ids.
        """
        folder = weights.tokenizer_folder(ppm)
        if has_tokenizer(folder):
            return cls(Tokenizer.load(folder, policy.grammar), reading, str(ppm), prompt)
        if rows < policy.used_ids:
            raise UserError(
                f"{ppm}: no tokenizer there, and its embeddings have {rows} rows, but the policy's tokenizer "
                f"has {policy.used_ids} ids. A PPM with its own tokenizer, or one that was trained from this "
                "policy, is expected."
            )
        return cls(policy, reading, str(ppm), prompt)

    def _mark(self, text: str, where: str) -> list[int]:
        ids = self._tokenizer.encode_mark(text) if text else []
        if _SPECIAL.fullmatch(text) and len(ids) != 1:
            raise UserError(
                f"{where}: its values stand at the token '{text}' after each step, which its tokenizer does "
                "not have. Copy the tokenizer's files that belong to it, or name another separator in its "
                'config.json: "step_scoring": {"separator": "\\n"}.'
            )
        return ids

    def prefix(self, question: str, steps: Sequence[str]) -> np.ndarray:
        """Ids of a question and of steps that are not to be valued, int32 [P]."""
        if self._layout:
            question = self._tokenizer.grammar.harmless(question)
            asked = self._tokenizer.encode_prompt(self._layout.replace("{question}", question), question)
        else:  # as it was trained, whatever the policy is asked with
            asked = self._tokenizer.encode_prompt(self._prompt(question))
        ids = [*asked, *(i for step in steps for i in self._step(step))]
        return np.asarray(ids, np.int32)

    def suffix(self, step: str) -> np.ndarray:
        """Ids of a step that is to be valued, int32 [S]."""
        return np.asarray([*self._step(step), *self._end], np.int32)

    def texts(self, question: str, steps: Sequence[str]) -> list[tuple[np.ndarray, list[int]]]:
        """Whole texts in which the values of all steps stand, int32 [T] each, and at which of their tokens.

        One text, whose tokens do not see those after them; of a model that wants the end of a conversation
        behind the last step, a text for each step.
        """
        if self._end:
            pieces = [(self.prefix(question, steps[:i]), self.suffix(step)) for i, step in enumerate(steps)]
            return [(np.concatenate(pair), [sum(map(len, pair)) - 1]) for pair in pieces]
        pieces = [self.prefix(question, ()), *map(self.suffix, steps)]
        ends = np.cumsum([len(piece) for piece in pieces])
        return [(np.concatenate(pieces), [int(end) - 1 for end in ends[1:]])]

    @property
    def reads_prose(self) -> bool:
        """Return whether steps are read without the delimiters of a task's grammar."""
        return bool(self._layout)

    def _step(self, step: str) -> list[int]:
        return [*self._tokenizer.encode_steps((step,)), *self._separator]
