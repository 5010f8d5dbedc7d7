"""Distributed training with plain torch.distributed, and planning for 1,000 GPUs."""
