"""Text to token ids and back, over Hugging Face tokenizer files.

`tokenizer.json` is read by the `tokenizers` library alone; a folder without it goes through transformers'
AutoTokenizer (slow to import, hence only then). A prompt begins with the BOS where the tokenizer itself would
put one; nothing else is added.

Steps are encoded one by one, and a search goes on from any of them, so no token may reach across the end of a
prompt or a step. Delimiters that are tokens see to that. Those that are text are split off before merging
("." and "<code>" never become ".<" and "code>"), in prompts, steps and the saved tokenizer.json alike.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from rstar_jax.errors import UserError
from rstar_jax.text import apart, byte_pairs, tokenizer_files, tokenizer_limits
from rstar_jax.text.grammar import Grammar
from rstar_jax.text.spellings import spellings
from rstar_jax.types import Finish

Ids = tuple[int, ...]
_END_OF_TEXT = "<|endoftext|>"
_MARK = re.compile(r"<([|\uff5c]).*\1>")  # takes "<|im_end|>", which not every vocabulary calls special


class Tokenizer:
    """A tokenizer that knows a step grammar.

    grammar: of the task whose steps it encodes. eos_id: the id that ends a text, None if the folder names
    none. pad_id: pad, else eos, else 0. bos_id: the id that every prompt begins with, None where the
    tokenizer's own post-processing puts none.

    What questions, models and programs write is text: where it has the name of a control token in it
    ("<|endoftext|>"), the name is spelt out; the grammar's own delimiters alone are tokens there. In the
    frame of another model's prompt control tokens are tokens.

    A tokenizer may have added tokens that its model has no embedding for (images, in models of text only).
    A prompt that has one in it is refused; where a step does, it is spelt out, too.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        grammar: Grammar,
        config: dict[str, Any] | None = None,
        rows: int | None = None,
    ) -> None:
        """backend: the `tokenizers` object. grammar: of the task. config: the content of
        tokenizer_config.json. rows: how many embeddings the model has; None: as many as there are ids."""
        self._backend, self.grammar = backend, grammar
        self._before = next(iter(grammar.stops))  # what texts are encoded behind
        self._rows = rows
        self._backend.no_truncation()
        self._backend.no_padding()
        self._config = dict(config or {})
        self._merging = apart.without(backend.pre_tokenizer, grammar.delimiters)
        self._keep_delimiters_apart()
        self._encode_step = functools.lru_cache(maxsize=1 << 16)(self._step_pieces)

    def __reduce__(self) -> tuple[Any, ...]:  # what it has encoded stays here
        return type(self), (self._backend, self.grammar, self._config, self._rows)

    @classmethod
    def load(cls, path: str | Path, grammar: Grammar) -> Tokenizer:
        """From a model folder; raises UserError if it holds no tokenizer files, or damaged or unfit ones."""
        backend, config, rows = tokenizer_files.read(Path(path))
        if why := tokenizer_limits.unfit(backend):
            raise UserError(f"{path}: tokenizer.json is unfit: {why}. Take the model's original tokenizer.")
        try:
            return cls(backend, grammar, config, rows)
        except Exception as error:  # tokenizers raises bare Exception
            raise UserError(
                f"{path}: the tokenizer files cannot be used ({error}). Copy them again."
            ) from error

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, grammar: Grammar, *, phrases: bool = False
    ) -> Tokenizer:
        """A byte-level BPE of its own, digits single, with the grammar's special tokens and end of text.

        phrases: tokens may span words. Where solutions are full of fixed phrases ("\\nprint("), one token for
        each makes them a third shorter, and a CPU decodes them that much sooner.
        """
        return cls(
            byte_pairs.trained(
                texts, vocab_size, special=[_END_OF_TEXT, *grammar.delimiters], phrases=phrases
            ),
            grammar,
            {
                "tokenizer_class": tokenizer_files.AS_WRITTEN,
                "eos_token": _END_OF_TEXT,
                "pad_token": _END_OF_TEXT,
                "clean_up_tokenization_spaces": False,
            },
        )

    def save(self, path: str | Path) -> None:
        """Writes tokenizer.json and tokenizer_config.json, which transformers' AutoTokenizer reads too."""
        tokenizer_files.write(Path(path), self._backend, self._config)

    @property
    def reads_as_qwen2(self) -> bool:
        """True if text is normalized and split before merging exactly as by Qwen2's tokenizer class."""
        return byte_pairs.splits_as_qwen2(self._backend)

    def set_chat_template(self, template: str) -> None:
        """Give saved folders this chat template (Jinja, `usage.chat_template`) in place of the old one."""
        self._config["chat_template"] = template

    def add_special_tokens(self) -> int:
        """Adds the grammar's tokens that the vocabulary lacks; returns how many were added.

        If there are any, the model must then be given `vocab_size` embeddings.
        """
        missing = [token for token in self.grammar.delimiters if token not in self._added]
        known = self._backend.get_vocab(with_added_tokens=True)
        if missing:
            self._merging = apart.begin_once(self._backend, self._merging)
        added = self._backend.add_special_tokens(
            [AddedToken(token, special=True, normalized=False) for token in missing]
        )
        if added:
            self._rows = None
            taken = {i for token, i in known.items() if token not in missing}
            for token in missing:  # where ids have gaps, the library gives some of them twice
                if self._backend.token_to_id(token) in taken:
                    raise UserError(
                        f"'{token}' cannot be added, as its ids have gaps. Take policy.delimiters=text."
                    )
        self._encode_step.cache_clear()
        for name in ("_added", "_foreign", "_control", "_anchor", "vocab_size", "stop_ids"):
            self.__dict__.pop(name, None)
        self._keep_delimiters_apart()
        return added

    def _keep_delimiters_apart(self) -> None:
        """Split those delimiters off that are no tokens, so that what stands around them is not merged in."""
        text = [token for token in self.grammar.delimiters if token not in self._added]
        self._backend.pre_tokenizer = apart.isolating(text, self._merging)

    @functools.cached_property
    def _added(self) -> dict[str, int]:
        return {token.content: i for i, token in self._backend.get_added_tokens_decoder().items()}

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the highest id: the least number of rows that an embedding needs."""
        return max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def used_ids(self) -> int:
        """One more than the highest id that a text is encoded to."""
        return self.vocab_size if self._rows is None else min(self.vocab_size, self._rows)

    @functools.cached_property
    def _foreign(self) -> re.Pattern[str] | None:
        """The added tokens that the model has no embedding for."""
        if self._rows is None:
            return None
        names = [re.escape(token) for token, i in self._added.items() if i >= self._rows]
        return re.compile("|".join(names)) if names else None

    @functools.cached_property
    def _control(self) -> re.Pattern[str] | None:
        """The added tokens that no text from outside may become: control tokens, and those of `_foreign`."""
        added = self._backend.get_added_tokens_decoder()
        names = {
            token.content
            for i, token in added.items()
            if token.special or _MARK.fullmatch(token.content) or (self._rows is not None and i >= self._rows)
        }
        names -= {*self.grammar.delimiters}
        longest_first = sorted(names, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if names else None

    @functools.cached_property
    def stop_ids(self) -> dict[int, Finish]:
        """The ids that end a step; empty for a vocabulary without them (then cut the text, `cut_at_stop`)."""
        return {self._added[t]: finish for t, finish in self.grammar.stops.items() if t in self._added}

    def stop_sequences(self) -> dict[tuple[int, ...], Finish]:
        """The sequences of ids that end a step, as `decode.stops` wants them.

        One id for each stop that is a token. A stop that is none is written with several, which differ with
        the text around it: the first may hold what comes before ("):<"), the last what follows (">\\n"). Each
        sequence decodes to a text that holds the stop, at most followed by the rest of its last token. Nearly
        every way that `encode` writes a stop is here; what is missed, or written otherwise, is for
        `cut_at_stop` to find.
        """
        found: dict[tuple[int, ...], Finish] = {(token,): finish for token, finish in self.stop_ids.items()}
        missing = [stop for stop in self.grammar.stops if stop not in self._added]
        found |= {tuple(self._encode(stop)): self.grammar.stops[stop] for stop in missing}
        # A model may write what `encode` never would: tokens that reach across a delimiter's ends.
        self._backend.pre_tokenizer = self._merging
        try:
            for stop in missing:
                spelt = spellings(self._backend, stop, self.vocab_size)
                found |= dict.fromkeys(spelt, self.grammar.stops[stop])
        finally:
            self._keep_delimiters_apart()
        return found

    @property
    def eos_id(self) -> int | None:
        return self._named("eos_token")

    @functools.cached_property
    def bos_id(self) -> int | None:
        """The id that starts every prompt: add_bos_token of tokenizer_config.json decides, and where that
        does not say, the post-processing of tokenizer.json."""
        asked, named = self._config.get("add_bos_token"), self._named("bos_token")
        if asked is False or (asked and named is not None):
            return named if asked else None
        bare, whole = (self._backend.encode("x", add_special_tokens=put).ids for put in (False, True))
        return whole[0] if len(whole) > len(bare) and whole[0] != bare[0] else None

    @functools.cached_property
    def control_ids(self) -> frozenset[int]:
        """Special tokens that are none of the grammar's: chat marks, ends of text, padding."""
        special = {i for i, token in self._backend.get_added_tokens_decoder().items() if token.special}
        return frozenset(special - {self._added.get(token) for token in self.grammar.delimiters})

    @property
    def pad_id(self) -> int:
        return next((i for i in (self._named("pad_token"), self.eos_id) if i is not None), 0)

    def _named(self, name: str) -> int | None:
        value = self._config.get(name)
        token = value.get("content") if isinstance(value, dict) else value
        return self._backend.token_to_id(token) if isinstance(token, str) else None

    def encode(self, text: str) -> list[int]:
        """Ids of a text, special tokens recognised, none added. Raises UserError as `encode_prompt`."""
        self._require_embeddings(text)
        return self._encode(text)

    def _require_embeddings(self, text: str) -> None:
        if self._foreign and (found := self._foreign.search(text)):
            raise UserError(
                f"the text {text[max(0, found.start() - 30) : found.end() + 30]!r} has the token "
                f"{found[0]!r}, for which this tokenizer's model, of {self._rows} embeddings, has none. "
                "Take it out of the text, or take a model that has it."
            )

    def encode_prompt(self, text: str, outside: str | None = None) -> list[int]:
        """Ids of what stands before the first step, behind the BOS where there is one (once, also where the
        frame of another model's prompt has it already).

        outside: the part of it that is no frame, such as the question; None: all. Control tokens are not
        recognised there. Raises UserError for a token that the model has no embedding for.
        """
        spans = None
        if outside is not None:
            spans = [found.span() for found in re.finditer(re.escape(outside), text)] if outside else []
        self._require_embeddings(text)
        first, *rest = apart.halved(text, self._control, spans)
        ids = self._encode(first) + [i for piece in rest for i in self._behind(piece)]
        return ids if self.bos_id in (None, *ids[:1]) else [self.bos_id, *ids]

    def _encode(self, text: str) -> list[int]:
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            if not tokenizer_limits.is_panic(error):
                raise
            raise UserError(
                f"the tokenizer fails at the text {text[:60]!r} ({error}): its tokenizer.json splits texts "
                "by an expression that is not fit for that. Take the model's original tokenizer."
            ) from error

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens kept."""
        return self._backend.decode(list(map(int, ids)), skip_special_tokens=False)

    def encode_steps(self, steps: Sequence[str], sampled: Sequence[Ids] = ()) -> list[int]:
        """Ids of the steps, each encoded on its own (and remembered).

        sampled: those that each was sampled with, as `encode_step` takes them; empty if not known.
        """
        given = sampled or [()] * len(steps)
        pieces = (piece for step in zip(steps, given, strict=True) for piece in self.encode_step(*step))
        return [token for piece in pieces for token in piece]

    def encode_step(self, step: str, sampled: Ids = ()) -> tuple[Ids, Ids]:
        """Ids of what the policy wrote of a step, and of the output that the interpreter appended.

        sampled: what a policy wrote the step with. A text can be spelt in several ways, and a policy does not
        always choose the one that merging gives. These ids stand for the text if they are ids of it in this
        vocabulary, with every delimiter spelt as `encode` spells it and no control token named; else
        (another tokenizer's, cut at a stop) they are passed over.
        """
        return self._encode_step(step, sampled)

    def encode_solution(
        self, prompt: str, steps: Sequence[str], sampled: Sequence[Ids] = ()
    ) -> tuple[list[int], list[bool]]:
        """Ids of prompt and steps, and which of them the policy learns.

        False for the prompt and output that the interpreter wrote. No EOS is added. sampled: as for
        `encode_steps`.
        """
        ids = self.encode_prompt(prompt)
        mask = [False] * len(ids)
        for step in zip(steps, sampled or [()] * len(steps), strict=True):
            written, output = self.encode_step(*step)
            ids += written + output
            mask += [True] * len(written) + [False] * len(output)
        return ids, mask

    def _step_pieces(self, step: str, sampled: Ids) -> tuple[Ids, Ids]:
        written, output = self.grammar.split_tool(step)
        ids = sampled if sampled and self._spells(sampled, written) else tuple(self._continuing(written))
        return ids, tuple(self._continuing(output))

    def _spells(self, ids: Ids, text: str) -> bool:
        named = self._control is not None and self._control.search(text)  # a control token, to be spelt out
        if named or not 0 <= min(ids) <= max(ids) < self.used_ids or self.decode(ids) != text:
            return False
        for token in (token for token in self.grammar.delimiters if token in text):
            spelt = self._encode_step(token, ())[0]
            found = sum(ids[i : i + len(spelt)] == spelt for i in range(len(ids)) if ids[i] == spelt[0])
            if found != text.count(token):
                return False
        return True

    @functools.cached_property
    def _anchor(self) -> list[int]:
        return self._encode(self._before)

    def _continuing(self, text: str) -> list[int]:
        """Ids of a text from outside behind a delimiter."""
        return [i for piece in apart.halved(text, self._control) for i in self._behind(piece)]

    def encode_mark(self, text: str) -> list[int]:
        """Ids of a text behind a step in which control tokens are tokens: a reward model's separator."""
        return self._behind(text)

    def _behind(self, text: str) -> list[int]:
        """Ids of a text behind a delimiter: some vocabularies begin a text otherwise than they go on with it
        (with a space of their own)."""
        return self._encode(self._before + text)[len(self._anchor) :]
