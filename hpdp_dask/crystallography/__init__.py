"""Crystallography: single diffraction images, by neural networks and by classical means."""
