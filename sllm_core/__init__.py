"""Everything of sLLM Trainer that is not the window: data, model, training, writing, jobs."""
