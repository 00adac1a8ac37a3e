"""A run's life: launching, capturing, ingesting, analysing."""
