"""A folder that ``edgeprof run --auto`` puts on PYTHONPATH; only its ``sitecustomize`` is meant to be found there."""
