"""Model families: everything that differs between kinds of checkpoints stands behind ``family``, and nowhere else.

A package for each, which ``registry`` knows: ``files`` (what must lie in the folder, told without torch), ``kind`` (how
it is read and asked) and ``adapter`` (the model taken apart for the row engine).
"""
