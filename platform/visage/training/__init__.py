"""The loop, run state, checkpoints and the recipes; runs without Ray and without MLflow."""
