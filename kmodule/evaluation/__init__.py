"""Evaluations of what KMLib decides: fixed work in guests that count instructions; see docs/evaluation.md."""
