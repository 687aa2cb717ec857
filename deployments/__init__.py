"""The deployments of the graph, one folder each, and the contract between them."""
