"""Properties of memory and step time that hold for any model and layout."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fivestage_distributed.plan.catalog import Model, find_accelerator, find_model
from fivestage_distributed.plan.roofline import (
    SOFTWARE,
    Layout,
    Memory,
    Stack,
    all_to_all_seconds,
    bubble_share,
    memory,
    ring_seconds,
    step_time,
)

POWERS = st.sampled_from([1, 2, 4, 8, 16])
H100 = find_accelerator("h100")


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Decoder-only transformers of any size."""
    heads = draw(st.sampled_from([8, 16, 32, 64]))
    hidden = heads * draw(st.sampled_from([64, 128]))
    kv_heads = draw(st.sampled_from([one for one in (1, 4, 8, heads) if one <= heads]))
    return Model(
        layers=draw(st.integers(1, 96)), hidden=hidden, heads=heads, ffn=draw(st.integers(1, 5)) * hidden,
        vocab=draw(st.integers(1000, 250_000)), gated=draw(st.booleans()), kv_heads=kv_heads,
        biases=draw(st.booleans()), tied=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Layouts of dense models."""
    return Layout(
        dp=draw(POWERS), pp=draw(POWERS),
        tp=draw(st.sampled_from([1, 2, 4, 8])), cp=draw(st.sampled_from([1, 2])),
        zero=draw(st.integers(0, 3)), microbatch=draw(st.sampled_from([1, 2, 4])),
        recompute=draw(st.sampled_from(["none", "selective", "full"])),
    )  # fmt: skip


STACKS = st.sampled_from(list(SOFTWARE.values()))


@given(models(), layouts(), STACKS, st.sampled_from(["dp", "tp", "cp"]))
def test_more_gpus_never_need_more_memory_each(model: Model, layout: Layout, stack: Stack, name: str) -> None:
    sequence, batch = 4096, 32 * layout.dp * layout.microbatch
    more = replace(layout, **{name: 2 * getattr(layout, name)})

    def needed(one: Layout) -> float:
        return memory(model, one, sequence, batch // (one.dp * one.microbatch), stack).total

    assert needed(more) <= needed(layout) * (1 + 1e-9)


@given(models(), layouts(), STACKS, st.integers(0, 2))
def test_a_higher_stage_of_zero_never_keeps_more(
    model: Model, layout: Layout, stack: Stack, stage: int
) -> None:
    lower = memory(model, replace(layout, zero=stage), 4096, 8, stack)
    higher = memory(model, replace(layout, zero=stage + 1), 4096, 8, stack)
    for part in ("parameters", "gradients", "optimizer", "activations"):
        assert getattr(higher, part) <= getattr(lower, part)


@given(models(), layouts(), STACKS)
def test_recomputation_keeps_less_and_takes_longer(model: Model, layout: Layout, stack: Stack) -> None:
    kept, again = (replace(layout, recompute=name) for name in ("none", "full"))
    arguments = 4096, 8, stack
    assert memory(model, again, *arguments).activations < memory(model, kept, *arguments).activations
    assert step_time(model, H100, again, *arguments).total > step_time(model, H100, kept, *arguments).total


@given(
    models(),
    layouts(),
    STACKS,
    st.sampled_from(["link_gbps", "network_gbps", "memory_gbps", "matmul_tflops"]),
)
def test_faster_hardware_is_never_slower(model: Model, layout: Layout, stack: Stack, name: str) -> None:
    faster = replace(H100, **{name: 2 * getattr(H100, name)})
    times = [step_time(model, one, layout, 4096, 16, stack).total for one in (faster, H100)]
    assert times[0] <= times[1] * (1 + 1e-9)


@given(models(), layouts(), STACKS)
def test_a_step_is_its_parts_and_no_faster_than_the_hardware(
    model: Model, layout: Layout, stack: Stack
) -> None:
    microbatches, sequence = 16, 4096
    found = step_time(model, H100, layout, sequence, microbatches, stack)
    assert all(getattr(found, part.name) >= 0 for part in fields(found))
    tokens = microbatches * layout.dp * layout.microbatch * sequence
    flops = tokens * model.flops_per_token(sequence, causal=True)
    assert flops / found.total / layout.gpus < H100.matmul_tflops * 1e12


def test_units() -> None:
    assert ring_seconds(1e9, 4, 1e9, 0) == 2 * 3 / 4  # bytes and bytes per second, twice around
    assert ring_seconds(1e9, 4, 1e9, 0.5, passes=1) == 3 / 4 + 0.5
    assert ring_seconds(1e9, 1, 1e9, 0.5) == all_to_all_seconds(1e9, 1, 1e9, 0.5) == 0
    assert all_to_all_seconds(1e9, 8, 1e9, 0) == 7 / 8
    assert bubble_share(8, 32) == 7 / 32
    assert bubble_share(8, 32, 2) == 7 / 64
    model = find_model("70b")
    one = memory(model, Layout(zero=0), 8192, 1, Stack())
    assert one.parameters == 2 * model.parameters  # bytes
    assert one.optimizer == 12 * model.parameters
    assert one.total == pytest.approx(sum(getattr(one, part.name) for part in fields(Memory)))


def test_the_bubble_is_the_formula_of_its_paper() -> None:
    model = replace(find_model("gpt-3-175b"), vocab=1)
    layout = Layout(tp=8, pp=8, chunks=3)
    found = step_time(model, H100, layout, 2048, 64, replace(Stack(), overlap_pipeline=False))
    busy = found.total - found.bubble - found.data - found.optimizer
    assert found.bubble / busy == pytest.approx(bubble_share(8, 64, 3), rel=1e-3)


def test_attention_keeps_less_when_fused() -> None:
    model, layout = find_model("gpt-3-175b"), Layout(tp=8)
    fused, plain = (memory(model, layout, 8192, 1, Stack(fused_attention=one)) for one in (True, False))
    assert fused.activations < 0.5 * plain.activations


def test_experts_are_divided_and_send_messages() -> None:
    model = find_model("mixtral")
    alone, apart = (Layout(dp=64, ep=ep, zero=1) for ep in (1, 8))
    assert (
        memory(model, apart, 4096, 1, Stack()).parameters
        < 0.3 * memory(model, alone, 4096, 1, Stack()).parameters
    )
    assert step_time(model, H100, alone, 4096, 1, Stack()).experts == 0
    assert step_time(model, H100, apart, 4096, 1, Stack()).experts > 0
