"""Formats of exported networks: each module writes one, quantises it, and runs its files in its own runtime."""
