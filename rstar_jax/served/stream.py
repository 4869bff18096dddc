"""One response as it comes: pieces of texts of several continuations, cut at their stops.

A server may leave the stop at the end of a text (vLLM and SGLang, asked to; TGI), say which it was
(`stop_reason` of vLLM, `matched_stop` of SGLang), or show it among the tokens of the log-probabilities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from rstar_jax.served.requests import Continuation


class Malformed(Exception):
    """A response that is not as OpenAI's completions are."""


class Refusal(Exception):
    """An error that the server reports where an answer was expected. retry_after: seconds, 0 where it does
    not say."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class _Text:
    """One continuation under way."""

    def __init__(self) -> None:
        self.text, self.stop = "", ""
        self.logprob, self.tokens, self.pieces = 0.0, list[Any](), 0
        self.counted = 0  # tokens that have a log-probability
        self.reason: str | None = None  # the server's, once it has ended the text
        self.met: Any = None  # the stop by the server's word
        self.told = False  # whether the server has such words

    @property
    def ended(self) -> bool:
        return bool(self.stop) or self.reason is not None


class Response:
    """The continuations of one response, by index; `take` each event's data, or `whole` of one that is not
    streamed. count: how many were asked for."""

    def __init__(self, count: int, stops: Sequence[str]) -> None:
        self._count, self._stops = count, tuple(stops)
        self._stop = re.compile("|".join(map(re.escape, stops))) if stops else None
        self._longest = max(map(len, stops), default=0)
        self._texts: dict[int, _Text] = {}
        self.done = False  # "[DONE]" came
        self.prompt_tokens, self.completion_tokens = 0, 0

    def take(self, data: str) -> bool:
        """Take the data of an event; return whether it brought a token or an end. Raises Malformed and
        Refusal."""
        if data == "[DONE]":
            self.done = True
            return True
        return self.whole(data)

    def whole(self, data: str) -> bool:
        """Take a response, or a piece of one, as JSON. Raises Malformed, Refusal."""
        try:
            held = json.loads(data)
            if error := held.get("error") or (held.get("object") == "error" and held):
                raise Refusal(_code(error), message_of(error))
            self._usage(held.get("usage"))
            moved = False
            for choice in held.get("choices") or ():
                moved |= self._add(choice)
            return moved
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise Malformed(f"{type(error).__name__}: {error} in {data[:80]!r}") from error

    def _usage(self, usage: Any) -> None:
        if usage:
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.completion_tokens = int(usage.get("completion_tokens") or 0)

    def _add(self, choice: dict[str, Any]) -> bool:
        index = choice.get("index") or 0
        if not 0 <= index < self._count:
            raise ValueError(f"index {index} of {self._count}")
        one = self._texts.setdefault(index, _Text())
        piece, reason = choice.get("text") or "", choice.get("finish_reason")
        if one.stop:  # what it goes on to write behind a stop is nothing to us
            one.reason = one.reason or reason
            return False
        if not isinstance(piece, str):
            raise ValueError(f"text {piece!r}")
        one.pieces += bool(piece)
        self._logprobs(one, choice.get("logprobs"))
        if reason:
            one.reason = str(reason)
        for name in ("stop_reason", "matched_stop"):
            if name in choice:
                one.told = True
                one.met = choice[name] or one.met
        self._cut(one, piece)
        return bool(piece) or bool(reason)

    @staticmethod
    def _logprobs(one: _Text, held: Any) -> None:
        if not held:
            return
        values = held.get("token_logprobs") or ()
        one.logprob += sum(filter(None, values))
        one.counted += len(values)
        one.tokens += held.get("tokens") or ()

    def _cut(self, one: _Text, piece: str) -> None:
        """Add a piece, up to the first stop; that may have begun in the text before."""
        start = max(0, len(one.text) - self._longest + 1)
        one.text += piece
        if self._stop and (found := self._stop.search(one.text, start)):
            one.text, one.stop = one.text[: found.end()], found.group()
        elif one.reason == "stop" and (stop := self._restored(one)):
            one.text, one.stop = one.text + stop, stop

    def _restored(self, one: _Text) -> str:
        """Return the stop that the server has taken off the end of a text."""
        if one.met in self._stops:
            return one.met
        written = "".join(token for token in one.tokens if isinstance(token, str))
        if self._stop and written.startswith(one.text) and (found := self._stop.search(written)):
            return found.group() if found.start() == len(one.text) else ""
        return ""

    @property
    def begun(self) -> bool:
        """Return whether anything came."""
        return bool(self._texts)

    @property
    def complete(self) -> bool:
        """Return whether all that were asked for have ended."""
        return len(self._texts) == self._count and all(one.ended for one in self._texts.values())

    @property
    def ended_here(self) -> bool:
        """Return whether all have ended, and some by a stop that the server goes on behind."""
        return self.complete and any(one.reason is None for one in self._texts.values())

    @property
    def tells(self) -> bool | None:
        """Return whether the server says which stop it met; None where no text shows it."""
        by_stop = [one for one in self._texts.values() if one.reason == "stop"]
        if any(one.stop or one.told for one in by_stop):
            return True
        return False if by_stop else None

    def choices(self) -> list[Continuation]:
        """Return the continuations that have ended, from the first on, as far as there is none missing."""
        found = []
        for index in range(self._count):
            one = self._texts.get(index)
            if one is None or not one.ended:
                break
            # Halves of a character that came in two pieces are joined; a lone half is no text.
            text = one.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            tokens = one.counted or len(one.tokens) or one.pieces
            fault = "" if one.stop or one.reason == "length" else "ended by the model"
            found.append(Continuation(text, one.stop, round(one.logprob, 6), tokens, fault))
        return found


def message_of(error: Any) -> str:
    """Return the words of an error as servers give it: OpenAI's object, FastAPI's detail, or a text."""
    if isinstance(error, str):
        with_json = error.lstrip()[:1] in ("{", "[")
        try:
            return message_of(json.loads(error)) if with_json else " ".join(error.split())[:1000]
        except (ValueError, RecursionError):
            return error[:1000]
    if isinstance(error, dict):
        for name in ("error", "message", "detail"):
            if error.get(name):
                found = message_of(error[name])
                param = error.get("param")
                return f"{found} ('{param}')" if isinstance(param, str) else found
    return json.dumps(error)[:1000]


def _code(error: Any) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500
