"""Model definitions, built from configurations alone; nothing is downloaded."""
