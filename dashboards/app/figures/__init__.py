"""Figures that only the application draws; each is a function from `CutData` to a picture or the reason for none."""
