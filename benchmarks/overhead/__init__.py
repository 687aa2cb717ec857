"""What the graph adds to the model: ``python -m benchmarks.overhead``."""
