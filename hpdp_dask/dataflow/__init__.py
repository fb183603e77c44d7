"""The only place that drives Dask: images through functions, sums of images, progress."""
