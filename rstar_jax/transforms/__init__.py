"""A model's weights in other forms: int8, low-rank additions, the layout for decoding.

`models/linear.py` multiplies by each of them."""
