"""Estimates of what a run needs before it starts: hours (`estimate.py`) and memory (`needs.py`)."""
