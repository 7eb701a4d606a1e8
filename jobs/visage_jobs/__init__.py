"""The verbs of the `visage` command and the Ray drivers behind them."""
