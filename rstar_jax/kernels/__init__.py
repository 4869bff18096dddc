"""Attention by platform: plainly (`*_xla`), by kernels for TPUs and GPUs, and split over a mesh."""
