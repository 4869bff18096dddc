"""report.html of a run's folder: one file that shows what there is, finished or not, and needs nothing else.

    python -m rstar_jax.launch --config=report --workdir=RUN
    python -m rstar_jax.launch --config=report --workdir=RUN --config.markdown=True       # report.md, too
    python -m rstar_jax.launch --config=report --workdir=RUN --config.trees_mb=30         # more trees in it

RUN is the --workdir of any job, also of one that is still at work or was stopped. Needs no accelerator; takes
seconds. docs/REPORT.md says what the page shows.
"""

from rstar_jax.evolve.report_page import ReportSettings
from rstar_jax.settings import to_config_dict


def get_config():
    return to_config_dict(ReportSettings())
