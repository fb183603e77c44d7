"""Diffraction images while they arrive: hits, resolution and lattices of each, as they come.

source      where images come from, as a user names it
recipe      what is done with every image, and which are shown
pictures    small pictures of those
table       what was found, as tables
"""
