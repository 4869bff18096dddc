"""`--config=launch`: a config and a topology become a file that starts the one on the other.

1. the options are held to what exists and to each other (`settings.py`)
2. the job's own options are held to the topology: hosts and meshes (`fit.py`)
3. the file is made, and checked (`jobset.py`, `schema.py`, `scripts.py`, `header.py`)
4. it is written whole, where no file was
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rstar_jax import records
from rstar_jax.errors import UserError
from rstar_jax.pods import scripts
from rstar_jax.pods.fit import require_fit
from rstar_jax.pods.header import cost, header
from rstar_jax.pods.jobset import documents
from rstar_jax.pods.schema import require_valid
from rstar_jax.pods.settings import LaunchSettings
from rstar_jax.settings import home_expanded

_SCRIPTS = {"xpk": scripts.xpk, "tpu_vm": scripts.tpu_vm, "slurm": scripts.slurm}


def run(settings: LaunchSettings, options: Any) -> None:
    """Write (or print) what starts a job. options: the typed options of the config that it names.

    Raises UserError for a job that cannot run there, and for a file that is there with other content.
    """
    require_fit(settings.of, options, settings.where())
    text = made(settings)
    if not settings.out:
        print(text, end="")
        return
    path = home_expanded(Path(settings.out), "config.out")
    if path.exists() or path.is_symlink():
        if path.is_file() and path.read_bytes() == text.encode():
            print(f"{path}: it is there already, just as it would be written.")
            return
        raise UserError(
            f"config.out: {path} exists, and nothing is written over. Move it away, or give another name."
        )
    with records.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{path}: {header(settings)[0]}\n{cost(settings.where(), settings.price, settings.spot)}")


def made(settings: LaunchSettings) -> str:
    """Return the file's text: a manifest that is checked, or a script. Raises UserError for one that is not
    valid."""
    platform = settings.started_by()
    comment = [f"# {line}" for line in header(settings)]
    if platform != "jobset":
        lines = ["#!/usr/bin/env bash", *comment, *_SCRIPTS[platform](settings)]
        return "\n".join(lines) + "\n"
    found = documents(settings)
    require_valid(found)
    bodies = [yaml.safe_dump(d, sort_keys=False, width=1_000_000, allow_unicode=True) for d in found]
    return "\n".join(comment) + "\n" + "---\n".join(bodies)
