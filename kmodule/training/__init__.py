"""Trains the models of KMLib's kernel users from what was captured, and says how good they are."""
