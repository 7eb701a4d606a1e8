"""MLflow runs, the model registry, promotion gates and reports."""
