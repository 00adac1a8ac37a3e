"""Folders of runs at an fsspec address, and work on many runs by Dask."""
