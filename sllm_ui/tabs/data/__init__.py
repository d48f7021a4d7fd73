"""The Data tab: sources, what is read of them, tokenizer, preview."""
