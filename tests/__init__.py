"""The tests of sLLM Trainer: python3 -m tests."""
