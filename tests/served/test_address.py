"""Addresses of served models."""

from __future__ import annotations

import pytest

from rstar_jax.errors import UserError
from rstar_jax.served import Address, ServedConfig, is_served, parse


def test_an_address():
    found = parse("https://host:8000/v1/#org/name", "config.x")
    assert found == Address("https://host:8000/v1", "org/name")
    assert str(found) == "https://host:8000/v1#org/name"
    assert is_served("http://x") and not is_served("models/tiny") and not is_served("gs://bucket")


@pytest.mark.parametrize(
    "spec",
    ["http://", "http://#m", "http://h:80/v1", "http://h:x/v1#m", "http://h:99999/v1#m", "http://h/v1?a=b#m"],
)
def test_what_is_none_names_option_value_and_form(spec):
    with pytest.raises(UserError, match=r"config\.x: .*http://HOST:PORT/v1#MODEL"):
        parse(spec, "config.x")


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(UserError, match="OPENAI_API_KEY") as raised:
        parse("http://me:geheim@host/v1#m", "config.x")
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    "option", [{"slots": 0}, {"stall_s": 0}, {"top_p": 0}, {"top_p": 1.5}, {"attempts": 0}]
)
def test_nonsense_is_refused(option):
    with pytest.raises(UserError, match=rf"config\.served\.{next(iter(option))}"):
        ServedConfig(**option)
