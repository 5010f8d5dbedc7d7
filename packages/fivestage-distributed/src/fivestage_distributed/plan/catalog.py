"""Models, accelerators and prices for a plan, by name or from the user's files."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fivestage.capacity.inputs import Price, read
from fivestage.common.errors import UserError
from fivestage.common.strict_yaml import read_yaml
from fivestage.contract.strict_model import StrictModel

CATALOG = Path(__file__).with_name("catalog.yaml")
PRICES = Path(__file__).with_name("prices.yaml")
SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmbt])", re.IGNORECASE)
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
WIDTH_OF_DEPTH, HEAD, FFN_OF_HIDDEN, VOCABULARY = 112, 128, 3.5, 128_256  # as Llama 3 has them

# By how much a shape may miss the requested size, and up to where it is named after that size.
MOST_MISSED, ROUNDED = 0.5, 0.05

_CHECKED = ConfigDict(extra="forbid")
Kind = TypeVar("Kind")


@dataclass(frozen=True, config=_CHECKED)
class Experts:
    """A mixture of experts in place of one feed-forward layer."""

    count: int  # routed experts per layer
    active: int  # routed experts per token
    ffn: int  # inner size of an expert
    shared: int = 0  # additional experts that process every token
    dense_layers: int = 0  # number of first layers with an ordinary feed-forward layer
    nodes: int = 0  # maximum number of nodes that a token is sent to; 0 for no limit


@dataclass(frozen=True, config=_CHECKED)
class Latent:
    """Multi-head latent attention (arXiv 2405.04434): ranks of its projections and sizes of a head."""

    query: int
    key_value: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, config=_CHECKED)
class Model:
    """The shape of a decoder-only transformer; catalog.yaml explains the fields."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab: int
    gated: bool
    kv_heads: int = 0
    head_size: int = 0
    positions: int = 0
    biases: bool = False
    tied: bool = False
    dropout: bool = False
    parallel_block: bool = False
    latent: Latent | None = None
    experts: Experts | None = None
    source: str = ""
    name: str = ""

    @property
    def query_size(self) -> int:
        """Size of a token's queries in one layer, all heads together."""
        return self.heads * (self.head_size or self.hidden // self.heads)

    @property
    def key_value_size(self) -> int:
        """Size of a token's keys in one layer; the values have the same size."""
        return self.query_size // self.heads * (self.kv_heads or self.heads)

    @property
    def score_size(self) -> float:
        """Multiplications per pair of tokens for a layer's scores; the weighted sum takes as many."""
        if self.latent is None:
            return self.query_size
        return self.heads * (self.latent.nope + self.latent.rope + self.latent.value) / 2

    @property
    def attention_matrices(self) -> list[tuple[int, int]]:
        """Input and output size of each matrix of a layer's attention, the output projection last."""
        if self.latent is None:
            return [
                (self.hidden, self.query_size + 2 * self.key_value_size),
                (self.query_size, self.hidden),
            ]
        latent, heads = self.latent, self.heads
        return [
            (self.hidden, latent.query),
            (latent.query, heads * (latent.nope + latent.rope)),
            (self.hidden, latent.key_value + latent.rope),
            (latent.key_value, heads * (latent.nope + latent.value)),
            (heads * latent.value, self.hidden),
        ]

    @property
    def expert_layers(self) -> int:
        """Number of layers with experts."""
        return self.layers - self.experts.dense_layers if self.experts else 0

    def feed_forward(self, ffn: int) -> int:
        """Return the parameters of one feed-forward layer with an inner size."""
        return (3 if self.gated else 2) * self.hidden * ffn

    @property
    def attention_parameters(self) -> int:
        """Parameters of one layer's attention."""
        return sum(inputs * outputs for inputs, outputs in self.attention_matrices)

    @property
    def expert_parameters(self) -> int:
        """Parameters of all routed experts, which expert parallelism divides."""
        if self.experts is None:
            return 0
        return self.expert_layers * self.experts.count * self.feed_forward(self.experts.ffn)

    @property
    def parameters(self) -> int:
        """Parameters; with `biases` including normalizations and biases, as arXiv 2104.04473 counts."""
        embeddings = (1 if self.tied else 2) * self.vocab * self.hidden + self.positions * self.hidden
        small = self.query_size + 2 * self.key_value_size + self.ffn + 6 * self.hidden if self.biases else 0
        return self._matrices(all_experts=True) + embeddings + self.layers * small

    @property
    def active_parameters(self) -> int:
        """Parameters that one token is multiplied with, including the output projection."""
        return self._matrices(all_experts=False) + self.vocab * self.hidden

    def _matrices(self, *, all_experts: bool) -> int:
        dense = self.layers - self.expert_layers
        total = self.layers * self.attention_parameters + dense * self.feed_forward(self.ffn)
        if self.experts:
            used = (self.experts.count if all_experts else self.experts.active) + self.experts.shared
            router = self.hidden * self.experts.count
            total += self.expert_layers * (used * self.feed_forward(self.experts.ffn) + router)
        return total

    def flops_per_token(self, sequence: int, *, recomputed: bool = False, causal: bool = False) -> float:
        """Return the training FLOPs per token: 2 forward and 4 backward per weight.

        Args:
            sequence: Tokens per sequence.
            recomputed: Whether to count the layers' forward pass twice, as Megatron-LM 2021 does with full
                recomputation (arXiv 2104.04473, equation 3); these are hardware FLOPs, not model FLOPs.
            causal: Whether to leave out the half of the attention that the mask hides.
        """
        attention = 12 * self.layers * self.score_size * sequence * (0.5 if causal else 1)
        head = 6 * self.vocab * self.hidden
        layers = 6 * self.active_parameters - head + attention
        return layers * (4 / 3 if recomputed else 1) + head


@dataclass(frozen=True, config=_CHECKED)
class Accelerator:
    """A GPU or other accelerator with its node and network; catalog.yaml explains the fields."""

    tflops: float
    matmul_tflops: float
    memory_gib: float
    memory_gbps: float
    link_gbps: float
    network_gbps: float
    node: int
    system_watts: float
    source: str
    tflops_fp8: float = 0
    matmul_tflops_fp8: float = 0
    assumed: str = ""
    name: str = ""


class Prices(StrictModel):
    """The content of prices.yaml: USD per accelerator hour, including its share of node and network."""

    accelerators: dict[str, Price]


def mfu(tflops: float, accelerator: Accelerator) -> float:
    """Return the model FLOP utilization: achieved share of the bfloat16 peak (arXiv 2204.02311)."""
    return tflops / accelerator.tflops


def number(text: str, name: str) -> float:
    """Parse a number with a unit: 70b, 2T, 4M, 512."""
    match = SIZE.fullmatch(text)
    try:
        value = float(match[1]) * UNITS[match[2].lower()] if match else float(text)
    except ValueError as error:
        raise UserError(f"{name} {text!r} is not a number: write for example 2T, 300B or 1.5e12.") from error
    if not 0 < value < float("inf"):
        raise UserError(f"{name} {text!r} must be above zero.")
    return value


@cache
def catalog() -> Mapping[str, Any]:
    """Load catalog.yaml."""
    return dict(read_yaml(CATALOG))


def find_model(text: str) -> Model:
    """Return a model by name, by size, or from a file."""
    models, key = catalog()["models"], text.lower()
    name = catalog()["aliases"].get(key, key)
    if name in models:
        return _checked(Model, {**models[name], "name": name}, CATALOG)
    if text.endswith((".yaml", ".yml")):
        content = read_yaml(Path(text))
        if not isinstance(content, dict):
            raise UserError(
                f"{text} does not describe a model: write layers, hidden, heads, ffn, vocab and gated."
            )
        return _checked(Model, {"name": Path(text).stem, **content}, Path(text))
    if SIZE.fullmatch(key):
        return _like_llama_3(number(key, "--model"))
    raise UserError(
        f"--model {text!r} is unknown.{_suggestion(key, [*models, *catalog()['aliases']])} Use one of "
        f"{', '.join(sorted(models))}, a size such as 30b, or a YAML file with layers, hidden, "
        "heads, ffn, vocab and gated."
    )


def find_accelerator(text: str) -> Accelerator:
    """Return an accelerator by name."""
    known, key = catalog()["accelerators"], text.lower()
    if key not in known:
        raise UserError(
            f"--gpu {text!r} is unknown.{_suggestion(key, list(known))} Use one of {', '.join(known)}, "
            f"or add it to {CATALOG.name}."
        )
    return _checked(Accelerator, {**known[key], "name": key}, CATALOG)


def accelerator_of(device: str) -> Accelerator | None:
    """Return the accelerator for a driver's device name, such as NVIDIA A100-SXM4-40GB, if known."""
    known = [
        one for one in catalog()["accelerators"] if all(part in device.lower() for part in one.split("-"))
    ]
    return find_accelerator(max(known, key=len)) if known else None


def find_price(accelerator: str, path: Path = PRICES) -> Price:
    """Return the price of an accelerator hour."""
    prices = read(Prices, path).accelerators
    if accelerator not in prices:
        raise UserError(
            f"{path} has no price for {accelerator}: add it, or use another file with --prices FILE."
        )
    return prices[accelerator]


def _like_llama_3(parameters: float) -> Model:
    """Return a shape of this size with Llama 3's ratio of width to depth."""

    def shape(hidden: int, layers: int) -> Model:
        heads, ffn = hidden // HEAD, int(FFN_OF_HIDDEN * hidden)
        return Model(layers, hidden, heads, ffn, VOCABULARY, gated=True, kv_heads=min(8, heads))

    shapes = []
    for hidden in range(2 * HEAD, 512 * HEAD, 2 * HEAD if parameters < UNITS["b"] else 8 * HEAD):
        none, one = shape(hidden, 0).parameters, shape(hidden, 1).parameters
        shapes.append(shape(hidden, max(1, round((parameters - none) / (one - none)))))
    best = min(shapes, key=lambda model: abs(math.log(model.hidden / model.layers / WIDTH_OF_DEPTH)))
    missed = abs(best.parameters / parameters - 1)
    if missed > MOST_MISSED:
        raise UserError(
            f"--model: no shape like Llama 3's has {parameters:,.0f} parameters; the nearest has "
            f"{best.parameters:,}. Use a YAML file with layers, hidden, heads, ffn, vocab and gated."
        )
    size = parameters if missed <= ROUNDED else best.parameters
    unit = "b" if size >= UNITS["b"] else "m"
    return replace(best, name=f"{size / UNITS[unit]:.4g}{unit}", source="a shape like Llama 3's")


def _checked(kind: type[Kind], content: Mapping[str, Any], path: Path) -> Kind:
    try:
        checked = TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {field}: {first['msg']}. Correct that field and run again.") from error
    if isinstance(checked, Model) and (
        min(checked.layers, checked.hidden, checked.heads, checked.ffn, checked.vocab) < 1
    ):
        raise UserError(f"{path}: layers, hidden, heads, ffn and vocab must be at least 1.")
    return checked


def _suggestion(text: str, known: list[str]) -> str:
    close = get_close_matches(text, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""
