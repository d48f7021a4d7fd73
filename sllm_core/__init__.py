"""Everything of sLLM Trainer that is not the window: data, model, training, writing, jobs."""

VERSION = "0.1.0"
