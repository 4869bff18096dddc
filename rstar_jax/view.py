"""A run's trees in a browser, for folders that are too large for one file: a server on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from rstar_jax.errors import UserError
from rstar_jax.report.viewer.serve import server
from rstar_jax.report.viewer.tree_index import tree_files


@dataclasses.dataclass(frozen=True)
class ViewSettings:
    """A look at the trees of the folder that --workdir names.

    port: of loopback (127.0.0.1) on which the page is served; 0 for any that is free.
    """

    job: str = "view"
    port: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise UserError(
                f"config.port: {self.port} given, 1 to 65535 expected, or 0 for any that is free."
            )


def run(settings: ViewSettings, workdir: Path) -> int:
    """Serve until Ctrl-C. Raises UserError where there is no tree, or the port cannot be had."""
    if not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: no such folder. Give that of a run, such as runs/quickstart.")
    if not tree_files(workdir):
        raise UserError(
            f"--workdir={workdir}: no tree there, such as round1/search/trees-*.parquet. Give the folder of "
            "a run that has searched."
        )
    with server(workdir, settings.port) as serving:
        host, port = serving.server_address[:2]
        print(f"The trees of {workdir}: http://{host!s}:{port}/ (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever(poll_interval=0.2)
    return 0
