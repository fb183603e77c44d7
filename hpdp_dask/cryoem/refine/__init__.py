"""Refinement of orientations in two halves: search, sums, half-maps, and when to stop."""
