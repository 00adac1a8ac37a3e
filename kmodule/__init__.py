"""KMLib: machine learning inside the kernel, and the Python that builds and loads it."""
