"""Training sets made of captured runs: tables of examples with features, labels, groups and splits."""
