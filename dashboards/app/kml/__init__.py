"""What the application knows of KMLib: models and evaluations in the folder, and the kernel of this machine."""
