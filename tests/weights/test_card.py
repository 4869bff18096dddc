"""Model cards: the caller's words, a licence only where the base has one."""

import os
from pathlib import Path

import pytest

from rstar_jax.models import Decoder
from rstar_jax.weights import model_card, save_pretrained
from rstar_jax.weights.card import licence

PROVENANCE = {
    "base_model": "owner/base",
    "round": 2,
    "data": {"solutions": 31, "level": "a\nb"},
    "options": "5f",
}


def test_a_card_says_what_it_was_told() -> None:
    text = model_card("policy", PROVENANCE)
    assert text.startswith("---\n") and 'base_model: "owner/base"' in text
    assert 'pipeline_tag: "text-generation"' in text
    shown = [
        "- base_model: owner/base",
        "- round: 2",
        "- data:",
        "  - solutions: 31",
        "  - level: a b",
        "- options: 5f",
    ]
    assert text.endswith("\n".join(shown) + "\n")
    assert "license" not in text


def test_nothing_is_said_of_what_is_not_known() -> None:
    text = model_card("ppm", {})
    assert "base_model" not in text and "Provenance" not in text
    assert 'pipeline_tag: "text-classification"' in text


@pytest.mark.parametrize(
    ("kind", "named"), [("ppm", "process preference"), ("pqm", "(PQM)"), ("orm", "outcome reward")]
)
def test_a_reward_model_is_called_what_it_is(kind, named) -> None:
    assert named in model_card(kind, {})


@pytest.mark.parametrize(
    ("card", "wanted"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# Base\n", "apache-2.0"),
        ('---\r\nlicense: "mit"\r\n---\r\n', "mit"),
        ("---\nlicense_name: x\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        (b"\xff\xfe", None),
        (None, None),
    ],
)
def test_the_licence_is_that_of_the_base(tmp_path: Path, card, wanted: str | None) -> None:
    if card is not None:
        (tmp_path / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    assert licence(tmp_path) == wanted
    header = model_card("policy", {}, base=tmp_path).split("---")[1]
    assert (f'license: "{wanted}"' in header) == (wanted is not None)


def test_a_save_writes_the_card(tiny: Decoder, tmp_path: Path) -> None:
    save_pretrained(tiny, tmp_path / "m", card=model_card("policy", PROVENANCE))
    assert (tmp_path / "m" / "README.md").read_text() == model_card("policy", PROVENANCE)


def test_a_card_that_is_a_pipe_or_endless_names_no_licence(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "README.md")
    assert licence(tmp_path / "pipe") is None
    (tmp_path / "README.md").symlink_to("/dev/zero")
    assert licence(tmp_path) is None
