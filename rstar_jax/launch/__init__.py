"""The only way in: `python -m rstar_jax.launch --config=NAME [--config.search.rollouts=64] [--workdir=DIR]`.

Flags (absl's, `command.py`) -> config -> one call (`entry.py`). NAME is a file in configs/ (or a path to one)
whose get_config() gives a ConfigDict; overrides are dotted; the result becomes typed settings once
(`jobs.py`). --compiled=DIR says where compiled programs are kept (`kept_programs.py`).

What is here is imported when it is first asked for, so that Ctrl-C is heeded (`signals.py`) before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rstar_jax.launch.entry import JOBS, load, main, override

__all__ = ["JOBS", "load", "main", "override"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rstar_jax.launch import entry

    return getattr(entry, name)
