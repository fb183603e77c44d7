"""Heterogeneity: networks that learn the conformations of particles with known poses."""
