"""Plain modules and pure functions: tensors in, tensors out; no files, no Ray, no MLflow."""
