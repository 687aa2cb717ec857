"""The model deployment: loading, prompt, pixels, engines. The only package of the graph that imports torch."""
