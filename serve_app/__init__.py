"""The application: the graph, its settings and its command line. Imports the deployments, never the reverse."""
