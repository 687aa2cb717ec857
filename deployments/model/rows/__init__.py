"""The row engine: continuous batching of pictures and beams over a fixed number of rows of KV cache.

Read it in this order: ``cache`` (the rows), ``sequence`` (a request in flight), ``beams`` (its search), ``scheduler``
(who gets rows, and who collapses), ``prefill`` and ``decode`` (the two kinds of forward), ``engine`` (the thread).
"""
