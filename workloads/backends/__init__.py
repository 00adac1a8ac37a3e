"""Frameworks behind one interface: build, train a step, answer a request, save."""
