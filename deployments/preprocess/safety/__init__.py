"""Which pictures the service does not take: checks that tell what a picture shows, and the rule what is done about it.

Read ``check.py`` (the seam), ``filter.py`` (the rule), then the backends: ``blocklist.py``, ``cards.py`` (both without
torch), ``classifier.py`` and ``clip.py`` (transformers checkpoints from a folder).
"""
