"""Ctrl-C means what it means in a terminal, also where the tests are run in the background."""

import signal

import pytest


@pytest.fixture(autouse=True)
def ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
