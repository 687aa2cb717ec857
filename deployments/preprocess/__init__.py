"""The preprocessor: from a stranger's bytes to pixels that the model can take. CPU only, no torch."""
