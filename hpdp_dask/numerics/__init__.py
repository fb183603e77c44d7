"""Pure functions of arrays, NumPy or CuPy; no Dask, no files, no globals."""
