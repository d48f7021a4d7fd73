"""The Refine tab: what should not be trained on, and why."""
