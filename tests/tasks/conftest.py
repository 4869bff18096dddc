"""The sandbox that the tests of the sandbox share."""

from tests.sandbox.conftest import sandbox

__all__ = ["sandbox"]
