"""Speed beside others, measured in one process on this machine: python -m benchmarks.NAME."""
