"""Data sets: made by seed, written in the formats that people store them in, read by the loaders that they use."""
