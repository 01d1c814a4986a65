"""Formats of exported networks: each module writes one, quantises it, and runs its files in the format's own runtime."""
