"""Detector frames, in and out: what XFEL imaging and crystallography share."""
