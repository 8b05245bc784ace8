"""Load from processes of its own on a real sidecar, and what it does to whoever is under it."""
