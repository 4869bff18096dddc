"""Runs beside each other: what differs in their options, and by how much their figures differ."""
