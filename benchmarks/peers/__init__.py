"""The whole service beside what a user would take instead: ``python -m benchmarks.peers``."""
