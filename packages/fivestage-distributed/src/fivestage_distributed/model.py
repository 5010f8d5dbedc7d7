"""A decoder-only transformer (pre-norm; Radford et al. 2019) that can be cut into pipeline stages."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fivestage_distributed.configuration import ModelConfig

IGNORED = -100  # target that the loss ignores; the default of `cross_entropy`


class Attention(nn.Module):
    """Causal self-attention; the number of heads follows from the matrices, which `tp` may have divided."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width = config.width // config.heads
        self.query, self.key, self.value, self.output = (
            nn.Linear(config.width, config.width, bias=False) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        query, key, value = (
            linear(x).view(batch, length, -1, self.head_width).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        projected: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, length, -1))
        return projected


class Block(nn.Module):
    """A transformer block: attention, then two linear layers, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, 4 * config.width, bias=False)
        self.down = nn.Linear(4 * config.width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(functional.gelu(self.up(self.mlp_norm(x))))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Maps tokens to logits of the next token; a pipeline stage has only its own layers."""

    def __init__(self, config: ModelConfig, *, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute
        self.token: nn.Embedding | None = nn.Embedding(config.vocabulary, config.width)
        self.position: nn.Embedding | None = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleDict({str(layer): Block(config) for layer in range(config.layers)})
        self.norm: nn.LayerNorm | None = nn.LayerNorm(config.width)
        self.head: nn.Linear | None = nn.Linear(config.width, config.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                scale = (
                    0.02 / math.sqrt(2 * config.layers)
                    if name.endswith(("output.weight", "down.weight"))
                    else 0.02
                )
                nn.init.normal_(parameter, std=scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.token is not None and self.position is not None:
            x = self.token(x) + self.position(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks.values():
            x = checkpoint(block, x, use_reentrant=False) if self.recompute else block(x)
        if self.norm is not None and self.head is not None:
            x = self.head(self.norm(x))
        return x

    def keep_stage(self, stage: int, stages: int) -> Transformer:
        """Drop the layers of all other stages; parameters keep their names, so checkpoints stay valid."""
        layers = len(self.blocks)
        if layers < stages:
            raise ValueError(f"{layers} layers cannot be divided among {stages} stages")
        first, end = (one * layers // stages for one in (stage, stage + 1))
        for name in list(self.blocks):
            if not first <= int(name) < end:
                del self.blocks[name]
        if stage > 0:
            self.token = self.position = None
        if stage < stages - 1:
            self.norm = self.head = None
        return self


def initial_model(config: ModelConfig, seed: int, *, recompute: bool = False) -> Transformer:
    """Return the untrained model of a seed, the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(config, recompute=recompute)
