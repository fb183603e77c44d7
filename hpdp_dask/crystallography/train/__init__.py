"""Training of networks on simulated shots: what they learn, recipes, calibration, the card."""
