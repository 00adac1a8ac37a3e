"""Storage as an axis of the study: file system, device settings, cache state, swap; all undone at the end."""
