"""The built-in workloads: models, their data, and the loops that train them or serve requests with them.

They run as the workload of a capture, as any other program would, and mark what they do with `edgeprof.phase`
and `edgeprof.step`.  Only `spec` and `catalog` are read outside that process; both are light.
"""
