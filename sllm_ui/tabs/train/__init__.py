"""The Train tab: what will be trained, what that means, and the run."""
