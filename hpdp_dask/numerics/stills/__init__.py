"""Stills of crystals on the GPU; the CPU's kernels are beside the functions that call them."""
