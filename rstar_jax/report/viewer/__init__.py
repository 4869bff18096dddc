"""A walk through the trees of a workdir: which there are, one at a time, in a page of our own.

tree_index.py   a row a tree, made of few columns of each file, kept beside the run
problems.py     the problems of an index, filtered and counted
tree_block.py   one tree as columns, for the page
lessons.py      what curate took from it: solutions and preference pairs
vote.py         which trajectory the run's own vote takes an answer from
embed.py        trees inside report.html, as many as fit
serve.py        trees of any folder, on loopback
*.js, *.css     the page
"""

from rstar_jax.report.viewer.embed import Walk, embedded

__all__ = ["Walk", "embedded"]
