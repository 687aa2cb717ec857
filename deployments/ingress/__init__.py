"""The ingress: everything that speaks HTTP. CPU only, no torch."""
