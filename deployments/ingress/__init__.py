"""The ingress: speaks HTTP on a CPU, without torch.

``http`` is the surface, ``pipeline`` the way of a request, ``download`` fetches pictures by address, ``answers`` knows
what was answered before.
"""
