"""Isolation as an axis of the study: the same run bare, in a container, or in a virtual machine."""
