"""The data that flows: xarray Datasets on Zarr v3, one schema for particles, one for frames."""
