"""Training on many workers with plain torch.distributed, and the plan for 1,000 GPUs."""
