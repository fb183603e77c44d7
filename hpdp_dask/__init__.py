"""From XFEL and cryo-EM images to the three-dimensional structure of a biomolecule, on Dask."""

from importlib.metadata import version

__version__ = version("hpdp-dask")
