"""The web application over a folder of runs: `edgeprof dashboard`."""
