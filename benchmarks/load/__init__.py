"""The load test: what the service does at, and far beyond, what it can answer."""
