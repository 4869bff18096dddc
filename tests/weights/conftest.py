"""The tiny decoder that the tests of models share."""

from tests.models.conftest import tiny

__all__ = ["tiny"]
