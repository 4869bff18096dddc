"""A run's face: one live display while it works, tables and report.json at its end."""

from rstar_jax.report.progress import Progress
from rstar_jax.report.tables import render, show
from rstar_jax.report.write import read_report, write_report

__all__ = ["Progress", "read_report", "render", "show", "write_report"]
