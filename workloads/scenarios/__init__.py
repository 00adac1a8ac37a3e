"""Scenarios: several workloads at once, each in a role with a cgroup of its own, so that interference is measured."""
