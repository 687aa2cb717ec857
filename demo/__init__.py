"""The embedded demo model: its pictures, its training, its evaluation and the trained checkpoint."""
