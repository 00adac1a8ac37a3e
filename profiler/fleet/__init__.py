"""Fleets: a matrix over many boards, each behind a proxy at the desk, so that nothing but the run touches the board."""
