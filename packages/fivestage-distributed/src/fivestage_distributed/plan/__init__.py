"""The plan for training a language model on many GPUs: memory, layout, speed, days, cost, failures."""
