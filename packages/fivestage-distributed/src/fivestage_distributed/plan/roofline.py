"""Memory and time of a training step, by a roofline model of its parts.

Compute, memory traffic and communication follow from the model's shape and the layout. Each is divided by
the speed measured for the hardware; a single constant, `KERNEL_SHARE`, is fitted for all models and GPUs.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

from fivestage_distributed.plan.catalog import Accelerator, Model

# Training's matrix multiplications against the fastest measured ones; `make plan ARGS=--check` fits it.
KERNEL_SHARE = 0.71
MEMORY_SHARE = 0.85  # share of the memory bandwidth that element-wise kernels reach
# Share of a link that NCCL's ring reaches: 235 of 300 GB/s on A100, 367 of 450 on H200 (ml-engineering).
LINK_SHARE = 0.80
NETWORK_SHARE = 0.80  # the same for the network
LINK_LATENCY, NETWORK_LATENCY = 12e-6, 20e-6  # seconds of a collective within a node, and between nodes
KERNEL_SECONDS = 4e-6  # to launch a kernel
# Shares of overlapped messages that computation does not hide; nothing hides the last bucket of gradients.
TENSOR_EXPOSED, PIPELINE_EXPOSED = 0.4, 0.3
LEAST_EXPOSED = 0.05
OVERLAP_SLOWDOWN = 0.189  # of computation during communication (arXiv 2507.03114, abstract)
# Share of multiprocessors that move tokens while the others compute (arXiv 2412.19437, section 3.2.2).
EXPERT_SLOWDOWN = 20 / 132
BF16, FP32 = 2, 4  # bytes
FSDP = 3  # the ZeRO stage that shards parameters too
OPTIMIZER_BYTES = 12  # Adam: weights and two moments in FP32 (arXiv 1910.02054, section 3.1)
OPTIMIZER_TRAFFIC = 32  # bytes that Adam reads and writes per parameter and step

Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class Layout:
    """The layout of a model on GPUs."""

    dp: int = 1  # data parallel: copies of the model, or shards of it with ZeRO
    tp: int = 1  # tensor parallel: GPUs that share each matrix
    pp: int = 1  # pipeline parallel: stages
    cp: int = 1  # context parallel: parts of a sequence
    ep: int = 1  # expert parallel: groups of experts, within `dp`
    zero: int = 1  # what `dp` shards: 1 optimizer state, 2 also gradients, 3 also parameters (FSDP)
    microbatch: int = 1  # sequences per forward pass
    chunks: int = 1  # parts of a stage in an interleaved schedule; 1 is 1F1B
    # what the backward pass recomputes: nothing, attention scores, or whole layers
    recompute: Recompute = "none"

    @property
    def gpus(self) -> int:
        """Number of GPUs."""
        return self.dp * self.tp * self.pp * self.cp


@dataclass(frozen=True)
class Stack:
    """Capabilities of the training software; the defaults are usual today."""

    fused_attention: bool = True  # FlashAttention: scores are never written to memory
    attention_share: float = 0.7  # its speed relative to matrix multiplications, on the unmasked half
    # tensors that tensor parallelism does not divide are divided along the sequence
    sequence_parallel: bool = True
    overlap_gradients: bool = True  # gradients are reduced during the backward pass
    overlap_tensor: bool = False  # tensor parallel messages overlap with matrix multiplications
    overlap_pipeline: bool = True  # a stage's messages overlap with the next microbatch
    overlap_experts: bool = False  # messages to experts overlap with another microbatch (DualPipe)
    balanced_stages: bool = True  # the stages with embedding and output have fewer layers
    fp8: bool = False  # the layers' matrix multiplications are in FP8
    gradient_bytes: int = FP32  # bytes per gradient


# "2021": Megatron-LM of arXiv 2104.04473; "2022": of arXiv 2205.05198.
SOFTWARE = {
    "today": Stack(),
    "2022": Stack(
        fused_attention=False, overlap_gradients=False, overlap_pipeline=False, balanced_stages=False
    ),
    "2021": Stack(
        fused_attention=False,
        sequence_parallel=False,
        overlap_gradients=False,
        overlap_pipeline=False,
        balanced_stages=False,
    ),
}


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest GPU, by part."""

    parameters: float
    gradients: float
    optimizer: float
    activations: float
    working: float

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return float(sum(getattr(self, part.name) for part in fields(self)))


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step by part; communication counts only as far as computation does not hide it."""

    matmul: float
    attention: float
    elementwise: float
    tensor: float
    context: float
    experts: float
    pipeline: float
    bubble: float
    data: float
    optimizer: float

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return float(sum(getattr(self, part.name) for part in fields(self)))


def ring_seconds(message: float, ranks: int, bandwidth: float, latency: float, passes: int = 2) -> float:
    """Return the seconds of a ring collective: alpha-beta model, (n-1)/n of the message in each pass.

    Args:
        message: Bytes that each rank has at the end.
        ranks: GPUs in the ring.
        bandwidth: Bytes per second that each GPU sends.
        latency: Seconds of a pass with an empty message.
        passes: 2 for an all-reduce, 1 for an all-gather or a reduce-scatter.
    """
    if ranks == 1:
        return 0.0
    return passes * ((ranks - 1) / ranks * message / bandwidth + latency)


def all_to_all_seconds(message: float, ranks: int, bandwidth: float, latency: float) -> float:
    """Return the seconds of an all-to-all exchange.

    Args:
        message: Bytes that each rank has for all ranks together.
        ranks: GPUs in the group.
        bandwidth: Bytes per second that each GPU sends.
        latency: Seconds with an empty message.
    """
    return 0.0 if ranks == 1 else (ranks - 1) / ranks * message / bandwidth + latency


def bubble_share(stages: int, microbatches: int, chunks: int = 1) -> float:
    """Return the idle share of a pipeline's busy time: (p-1)/(v m) (arXiv 2104.04473, section 2.2)."""
    return (stages - 1) / (chunks * microbatches)


def model_states(
    parameters: float, dp: int, zero: int, gradient_bytes: int = BF16
) -> tuple[float, float, float]:
    """Return the bytes of parameters, gradients and optimizer state of one rank (arXiv 1910.02054, table 1).

    Args:
        parameters: Number of parameters, after tensor and pipeline parallelism.
        dp: Data parallel ranks.
        zero: ZeRO stage, 0 to 3.
        gradient_bytes: Bytes per gradient; 2 in the paper.
    """
    each = ((3, BF16), (2, gradient_bytes), (1, OPTIMIZER_BYTES))
    kept = [size * parameters / (dp if zero >= stage else 1) for stage, size in each]
    return kept[0], kept[1], kept[2]


def layer_activations(
    model: Model, tokens: float, sequence: int, tp: int, stack: Stack, recompute: Recompute
) -> float:
    """Return the bytes that a layer keeps for the backward pass (arXiv 2205.05198, equations 1 to 4).

    Args:
        model: Shape of the model.
        tokens: Tokens of a microbatch on this GPU.
        sequence: Tokens of a whole sequence.
        tp: Tensor parallel ranks.
        stack: The training software: sequence parallelism, fused attention.
        recompute: With "full" only the layer's input is kept.
    """
    along = tp if stack.sequence_parallel else 1
    if recompute == "full":
        return BF16 * tokens * model.hidden / along
    whole = 4 * BF16 * model.hidden + (2 * model.hidden if model.dropout else 0)
    width = model.ffn
    if model.experts:
        width = (model.experts.active + model.experts.shared) * model.experts.ffn
        whole += BF16 * model.hidden * model.experts.active  # tokens, once for each expert that gets them
    shared = BF16 * (2 * model.query_size + 2 * model.key_value_size + width * (3 if model.gated else 2))
    if not stack.fused_attention and recompute == "none":
        shared += 5 * model.heads * sequence  # scores, their softmax and its dropout
    return tokens * (whole / along + shared / tp)


def memory(model: Model, layout: Layout, sequence: int, microbatches: int, stack: Stack) -> Memory:
    """Return the bytes on the fullest GPU, which is in the first or the last stage.

    Args:
        model: Shape of the model.
        layout: Its layout.
        sequence: Tokens per sequence.
        microbatches: Microbatches per step and pipeline.
        stack: The training software.
    """
    inner, shards = layout.tp * layout.pp, layout.dp * layout.cp
    embedding = model.vocab * model.hidden
    stage = (model.parameters - model.expert_parameters - (1 if model.tied else 2) * embedding) / inner
    ends = embedding / layout.tp * (1 if layout.pp > 1 or model.tied else 2)
    dense = model_states(stage + ends, shards, layout.zero, stack.gradient_bytes)
    experts = model_states(
        model.expert_parameters / (inner * layout.ep),
        max(1, shards // layout.ep),
        layout.zero,
        stack.gradient_bytes,
    )
    tokens = layout.microbatch * sequence / layout.cp
    kept = layer_activations(model, tokens, sequence, layout.tp, stack, layout.recompute)
    in_flight = float(min(microbatches, layout.pp))
    if layout.chunks > 1 and microbatches > layout.pp:
        in_flight *= 1 + (layout.pp - 1) / (layout.pp * layout.chunks)
    working = (BF16 + FP32) * tokens * model.vocab / layout.tp  # logits
    if layout.recompute == "full":  # of the layer that is recomputed
        working += layer_activations(model, tokens, sequence, layout.tp, stack, "none")
    if layout.zero == FSDP:  # the current layer and the next one
        working += 2 * BF16 * (model.parameters - model.expert_parameters) / layout.tp / (model.layers + 1)
    return Memory(
        parameters=dense[0] + experts[0],
        gradients=dense[1] + experts[1],
        optimizer=dense[2] + experts[2],
        activations=kept * in_flight * model.layers / layout.pp,
        working=working,
    )


def step_time(
    model: Model, accelerator: Accelerator, layout: Layout, sequence: int, microbatches: int, stack: Stack,
    kernel_share: float = KERNEL_SHARE,
) -> StepTime:  # fmt: skip
    """Return the seconds of a step, by part.

    Args:
        model: Shape of the model.
        accelerator: The GPU, its node and its network.
        layout: Layout of the model.
        sequence: Tokens per sequence.
        microbatches: Microbatches per step and pipeline.
        stack: The training software.
        kernel_share: Speed of matrix multiplications relative to the fastest measured ones.
    """
    layer = _Layer(model, accelerator, layout, sequence, stack, kernel_share)
    sums = dict.fromkeys(("matmul", "attention", "elementwise", "tensor", "context", "experts"), 0.0)
    for layers, experts in ((model.layers - model.expert_layers, False), (model.expert_layers, True)):
        if layers:
            for part, seconds in layer.seconds(experts=experts).items():
                sums[part] += layers / layout.pp * seconds
    if stack.overlap_experts:
        busy = sums["matmul"] + sums["attention"]
        sums["experts"] = max(EXPERT_SLOWDOWN * busy, sums["experts"] - busy)
    head, layers_of_a_stage = layer.head_seconds(), sum(sums.values())
    mean = layers_of_a_stage + head / layout.pp  # seconds of a microbatch, on the average stage
    slowest = layers_of_a_stage + head
    if stack.balanced_stages and layout.pp > 1:
        uneven = math.ceil(model.layers / layout.pp) * layout.pp / model.layers
        slowest = max(mean, layers_of_a_stage * uneven)
    messages = layer.stage_messages()
    data, optimizer = layer.gradient_seconds(microbatches, mean)
    return StepTime(
        **{part: microbatches * seconds for part, seconds in sums.items() if part != "matmul"},
        matmul=microbatches * (sums["matmul"] + slowest - layers_of_a_stage),
        pipeline=microbatches * messages,
        bubble=(layout.pp - 1) / layout.chunks * (mean + messages),
        data=data,
        optimizer=optimizer,
    )


class _Layer:
    """The parts of a microbatch's time on one GPU."""

    def __init__(
        self,
        model: Model,
        accelerator: Accelerator,
        layout: Layout,
        sequence: int,
        stack: Stack,
        kernel_share: float,
    ) -> None:
        self.model, self.accelerator, self.layout, self.stack = model, accelerator, layout, stack
        self.sequence, self.tokens = sequence, layout.microbatch * sequence / layout.cp
        self.flops = accelerator.matmul_tflops * 1e12 * kernel_share
        self.layer_flops = accelerator.matmul_tflops_fp8 * 1e12 * kernel_share if stack.fp8 else self.flops
        self.memory = accelerator.memory_gbps * 1e9 * MEMORY_SHARE
        self.link = accelerator.link_gbps * 1e9 * LINK_SHARE
        self.network = accelerator.network_gbps * 1e9 * NETWORK_SHARE

    def path(self, ranks: int, apart: int) -> tuple[float, float]:
        """Return bytes per second and latency of a group whose ranks are `apart` GPUs from each other.

        A ring uses as many network links of a node as it has ranks there.
        """
        inside = max(1, min(ranks, self.accelerator.node // apart))
        if inside == ranks:
            return self.link, LINK_LATENCY
        return min(self.link, self.network * inside), NETWORK_LATENCY

    def seconds(self, *, experts: bool) -> dict[str, float]:
        """Return the seconds of one layer for one microbatch, forward, backward and recomputed, by part."""
        model, layout, stack = self.model, self.layout, self.stack
        *projections, output = model.attention_matrices
        matmul = sum(self._matmul(inputs, outputs / layout.tp) for inputs, outputs in projections)
        matmul += self._matmul(output[0] / layout.tp, output[1])
        feed_forward, width = self._feed_forward(experts=experts)
        attention = 4 * self.tokens * self.sequence * model.score_size / layout.tp / self.flops
        if stack.fused_attention:
            attention *= 0.5 / stack.attention_share
        again = 1 if layout.recompute == "full" else 0
        collectives = 1 if model.parallel_block else 2
        tensor = collectives * ring_seconds(
            BF16 * self.tokens * model.hidden, layout.tp, *self.path(layout.tp, 1)
        ) * (TENSOR_EXPOSED if stack.overlap_tensor else 1)  # fmt: skip
        context = ring_seconds(
            BF16 * layout.microbatch * self.sequence * 2 * model.key_value_size / layout.tp,
            layout.cp, *self.path(layout.cp, layout.tp), passes=1,
        )  # fmt: skip
        passes = (3.5 if stack.fused_attention else 3) + again + (1 if layout.recompute == "selective" else 0)
        return {
            "matmul": (matmul + feed_forward) * (3 + again),
            "attention": attention * passes,
            "elementwise": self._traffic(width, experts=experts) / self.memory * (3 + again),
            "tensor": tensor * (2 + again),
            "context": context * (2 + again),
            "experts": self._exchange() * (2 + again) if experts else 0.0,
        }

    def head_seconds(self) -> float:
        """Return the seconds of the output projection and the loss, forward and backward."""
        outputs = self.model.vocab / self.layout.tp
        flops = 6 * self.tokens * self.model.hidden * outputs / self.flops
        return flops + 4 * FP32 * self.tokens * outputs / self.memory

    def stage_messages(self) -> float:
        """Return the seconds to send a microbatch's activations and gradients between stages."""
        layout = self.layout
        if layout.pp == 1:
            return 0.0
        between = layout.tp * layout.cp * layout.dp
        bandwidth, latency = self.path(layout.pp, between) if between < self.accelerator.node else (
            self.network, NETWORK_LATENCY
        )  # fmt: skip
        once = BF16 * self.tokens * self.model.hidden / layout.tp / bandwidth + latency
        return 2 * layout.chunks * once * (PIPELINE_EXPOSED if self.stack.overlap_pipeline else 1)

    def gradient_seconds(self, microbatches: int, microbatch_seconds: float) -> tuple[float, float]:
        """Return the seconds of exposed gradient communication, and of the optimizer."""
        layout, stack, model = self.layout, self.stack, self.model
        ranks = layout.dp * layout.cp
        own = model.expert_parameters / (layout.tp * layout.pp * layout.ep)
        own += (model.parameters - model.expert_parameters) / (layout.tp * layout.pp)
        optimizer = own / (ranks if layout.zero else 1) * OPTIMIZER_TRAFFIC / self.memory
        if ranks == 1:
            return 0.0, optimizer
        bandwidth, latency = self.path(ranks, layout.tp)
        if layout.zero == FSDP:  # per microbatch: parameters for both passes, and gradients
            sent = (2 * BF16 + stack.gradient_bytes) * own
            starts = 3 * model.layers * latency * max(1.0, math.log2(ranks / self.accelerator.node))
            times, least = microbatches, 1 / model.layers  # nothing hides the first layer
        else:
            sent = (BF16 + stack.gradient_bytes) * own
            starts = 2 * math.ceil(math.log2(ranks)) * latency
            times, least = 1, LEAST_EXPOSED
        once = ring_seconds(sent, ranks, bandwidth, 0, passes=1) + starts
        if not stack.overlap_gradients:
            return times * once, optimizer
        exposed = max(least * once, once - microbatch_seconds)
        return times * (exposed + OVERLAP_SLOWDOWN * min(once, microbatch_seconds)), optimizer

    def _matmul(self, inputs: float, outputs: float) -> float:
        traffic = BF16 * (self.tokens * (inputs + outputs) + inputs * outputs)
        flops = 2 * self.tokens * inputs * outputs
        return max(flops / self.layer_flops, traffic / self.memory) + KERNEL_SECONDS

    def _feed_forward(self, *, experts: bool) -> tuple[float, float]:
        """Return the forward seconds of the feed-forward matrices, and the inner width per token."""
        model, tp = self.model, self.layout.tp
        up = 2 if model.gated else 1
        if not experts or model.experts is None:
            inner = model.ffn / tp
            return self._matmul(model.hidden, up * inner) + self._matmul(inner, model.hidden), model.ffn
        moe = model.experts
        local = moe.count / self.layout.ep  # experts on this GPU
        rows, inner = self.tokens * moe.active / local, moe.ffn / tp  # per expert, evenly loaded
        seconds = 0.0
        for inputs, outputs in ((model.hidden, up * inner), (inner, model.hidden)):
            traffic = BF16 * (rows * (inputs + outputs) + inputs * outputs)
            flops = 2 * rows * inputs * outputs
            seconds += local * max(flops / self.layer_flops, traffic / self.memory) + KERNEL_SECONDS
        if moe.shared:
            inner = moe.shared * moe.ffn / tp
            seconds += self._matmul(model.hidden, up * inner) + self._matmul(inner, model.hidden)
        return seconds, (moe.active + moe.shared) * moe.ffn

    def _traffic(self, width: float, *, experts: bool) -> float:
        """Return the bytes that a layer's element-wise kernels read and write in the forward pass."""
        model, stack, tp = self.model, self.stack, self.layout.tp
        along = tp if stack.sequence_parallel else 1
        # Two normalizations at 4 bytes per element, two residual additions at 7; fewer in a parallel block.
        token = (15 if model.parallel_block else 22) * model.hidden / along
        token += (6 if model.gated else 4) * width / tp  # the activation function
        if not stack.fused_attention:  # scale, mask and softmax, and dropout
            token += (13 if model.dropout else 8) * model.heads / tp * self.sequence
        if stack.fp8:  # matrix inputs, read in BF16 and written in FP8
            token += 3 * (2 * model.hidden + (model.query_size + width) / tp)
        if experts and model.experts:  # tokens sorted by expert, and back
            token += 8 * model.experts.active * model.hidden
        return self.tokens * token

    def _exchange(self) -> float:
        """Return the seconds to send tokens to their experts and back, in the forward pass."""
        moe, layout = self.model.experts, self.layout
        if moe is None:
            return 0.0
        bandwidth, latency = self.path(layout.ep, layout.tp * layout.cp)
        copies = moe.active
        if bandwidth < self.link:  # over the network, each GPU has one link
            bandwidth = self.network
            copies = min(moe.active, moe.nodes or moe.active)
        size = 1.5 if self.stack.fp8 else BF16  # FP8 on the way to the experts
        return 2 * all_to_all_seconds(
            size * self.tokens * copies * self.model.hidden, layout.ep, bandwidth, latency
        )
