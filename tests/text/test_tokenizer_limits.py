"""A tokenizer whose own rules would take for ever, or all memory, is refused when its folder is read."""

from pathlib import Path

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers

import rstar_jax
from rstar_jax.errors import UserError
from rstar_jax.text import tokenizer_limits
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.text.tokenizer import Tokenizer

TINY = Path(rstar_jax.__file__).parent / "assets" / "tiny-base"


def folder_with(path: Path, *, split: str = "", normalizer=None) -> Path:
    """A folder whose tokenizer is the tiny one but for its rules."""
    backend = Tokenizer.load(TINY, CODE_STEPS)._backend
    if split:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(split), "isolated")
    if normalizer is not None:
        backend.normalizer = normalizer
    path.joinpath("tokenizer.json").write_text(backend.to_str())
    return path


@pytest.mark.parametrize(
    "expression",
    [
        r"(a+)+[bc]",
        r"(a|a)*[bc]",
        r"(x+x+)+y",
        r"((ab)+)+c",
        r"(\w+\s?)+!",
        r"(\d+,?)+\.",
        r"( |\s)+$",
        r"'s|\p{L}+|(?:\s*\n)+\d",
    ],
)
def test_exponential_expressions_are_refused_in_a_line(tmp_path, capfd, expression):
    with pytest.raises(UserError, match=r"tokenizer\.json is unfit: an expression in it fails at the text"):
        Tokenizer.load(folder_with(tmp_path, split=expression), CODE_STEPS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "expression",
    [
        r"(?:\p{L}\p{M}*)+| ?\p{N}+|\s+",
        r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\s+",
        r"\d{1,3}(?=(?:\d{3})*\b)",
        r"(?i:'s|'t|'re)?\p{L}+(?:-\p{L}+)*",
    ],
)
def test_repeated_groups_that_are_quick_are_taken(tmp_path, expression):
    assert Tokenizer.load(folder_with(tmp_path, split=expression), CODE_STEPS).encode("it is, 1,000 times")


def test_what_takes_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_limits, "_MOST_CPU_S", -1.0)
    assert Tokenizer.load(TINY, CODE_STEPS).encode("1")  # repeats no group: nothing is tried
    with pytest.raises(UserError, match="takes too long at the text"):
        Tokenizer.load(folder_with(tmp_path, split=r"(?:\p{L}\p{M}*)+"), CODE_STEPS)


def test_replacements_that_grow_are_refused(tmp_path):
    grow = normalizers.Replace("a", "aaaa")
    assert Tokenizer.load(
        folder_with(tmp_path, normalizer=normalizers.Sequence([grow] * 4)), CODE_STEPS
    ).encode("a")
    with pytest.raises(UserError, match="makes 1,048,576 letters of one"):
        Tokenizer.load(folder_with(tmp_path, normalizer=normalizers.Sequence([grow] * 10)), CODE_STEPS)
