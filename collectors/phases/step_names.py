"""What the names of step records mean: the user's own, or those that --auto records for training and inference."""

from __future__ import annotations

RANKS = {"": 3, "train": 2, "train+": 2, "infer": 1, "infer+": 1}
"""A process's steps are those of the highest rank that it has; other names are none."""

PROLONGS = "+"
"""A name that ends so prolongs the step before it (a second optimizer, a second model on the same batch)."""

BEFORE_STEPS = ("startup", "import")
"""Phases that no step begins with."""
