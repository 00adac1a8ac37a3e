"""Statistics of many runs: effects, intervals, variance."""
