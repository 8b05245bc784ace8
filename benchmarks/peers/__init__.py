"""What benchmarks/sidecar.py is made of: texts, peers, our sidecar, figures, and how they are shown."""
