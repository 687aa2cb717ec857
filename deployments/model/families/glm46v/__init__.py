"""GLM-4.1V and GLM-4.6V (``glm4v``, ``glm46v`` of transformers)."""
