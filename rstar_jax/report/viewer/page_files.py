"""The page's own style and script, as the files beside this one hold them."""

from __future__ import annotations

import functools
from importlib import resources

# In this order they share one scope, which nothing else of a page sees.
_SCRIPTS = (
    "text.js",
    "layout.js",
    "tree.js",
    "draw.js",
    "stage.js",
    "list.js",
    "details.js",
    "source.js",
    "walk.js",
)


@functools.cache
def style() -> str:
    """Return the style of the tree viewer; all of it below `.walk`."""
    return _read("walk.css")


@functools.cache
def script() -> str:
    """Return the script of the tree viewer: one module, which starts in every `.walk` of its page."""
    return "{\n" + "\n".join(map(_read, _SCRIPTS)) + "\n}\n"


def _read(name: str) -> str:
    return resources.files("rstar_jax.report.viewer").joinpath(name).read_text(encoding="utf-8")
