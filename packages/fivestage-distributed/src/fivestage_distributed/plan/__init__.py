"""Planning the training of a language model on many GPUs: memory, layout, speed, days, cost, failures."""
