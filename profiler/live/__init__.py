"""Follows runs that are being captured: what their growing raw files tell, a second or so after it was sampled.

The agent does nothing for it: whoever follows reads what the agent has written.  Standard library only, so that the
line on the terminal costs the measured machine little.
"""
