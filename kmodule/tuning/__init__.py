"""``edgeprof tune``: sets a disk's read-ahead, and if asked its scheduler, by what its files are read like."""
