"""`make plan`, as a person types it."""

import re
from pathlib import Path

import pytest

from fivestage_distributed.plan.__main__ import job_of, main, options
from fivestage_distributed.plan.catalog import number


def planned(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> tuple[str, str]:
    """Return the printed text and the page."""
    main([*arguments, "--page", str(tmp_path / "plan.html")])
    return capsys.readouterr().out, (tmp_path / "plan.html").read_text(encoding="utf-8")


def test_the_plan_for_1000_gpus(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--model", "70b", "--tokens", "2T", "--gpus", "1024", "--gpu", "h100"]
    printed, page = planned(capsys, tmp_path, *arguments)
    for word in (
        "projected",
        "MFU",
        "million USD",
        "MWh",
        "goodput",
        "activations",
        "Why this layout",
        "16,000",
    ):
        assert word in printed
    assert page.count("<svg") == 5
    assert "projected</small>" in page
    assert "published" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace(
        "https://github.com", ""
    )  # loads nothing


def test_the_mfu_of_fp8_names_its_peak(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In FP8, MFU is relative to the BF16 peak, so it can exceed the BF16 limit."""
    for precision, name in ((["--fp8"], "MFU of the BF16 peak"), ([], "MFU")):
        for text in planned(capsys, tmp_path, "--model", "8b", "--gpus", "64", *precision):
            assert set(re.findall(r"MFU(?: of the \w+ peak)?", text)) == {name}
            assert text.count(name) >= 3  # the speed, the layouts, the scales


def test_options_change_the_plan() -> None:
    plain = job_of(options("--model", "8b", "--gpus", "64"))
    assert plain.batch == 512  # 4M tokens
    assert job_of(options("--model", "405b")).batch == 2048
    other = job_of(options("--fp8", "--price", "1", "--network", "25", "--batch", "1M", "--software", "2022"))
    assert other.stack.fp8
    assert not other.stack.fused_attention
    assert (other.price, other.accelerator.network_gbps, other.batch) == (1, 25, 122)
    assert job_of(options("--layout", "tp=2,pp=2,recompute=full")).fixed == {
        "tp": 2,
        "pp": 2,
        "recompute": "full",
    }


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    shape = tmp_path / "ours.yaml"
    shape.write_text("{layers: 24, hidden: 2048, heads: 16, ffn: 8192, vocab: 32000, gated: true}")
    assert job_of(options("--model", str(shape))).model.name == "ours"
    for size in ("500m", "30b", "2t"):
        assert job_of(options("--model", size)).model.parameters == pytest.approx(
            number(size, "size"), rel=0.05
        )


def test_published_runs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--check"])
    printed = capsys.readouterr().out
    assert "Megatron-LM 2021: megatron-1t" in printed
    assert "KERNEL_SHARE" in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--gpu h1000", r"--gpu 'h1000' is unknown\. Did you mean h100\? Use one of v100, a100"),
        ("--model lama-70b", r"--model 'lama-70b' is unknown\. Did you mean llama-"),
        ("--model nowhere.yaml", r"nowhere\.yaml cannot be read"),
        ("--tokens many", r"--tokens 'many' is not a number: write for example 2T"),
        ("--tokens -1", r"--tokens '-1' must be above zero"),
        ("--gpus 0", r"--gpus must be above zero, but is 0"),
        ("--gpus 8", r"does not fit 8 h100: .* Use at least 24\."),
        ("--fp8 --gpu a100", r"a100 has no FP8"),
        ("--batch 1k", r"A step of 1,000 tokens \(--batch\) is shorter than a sequence of 8,192 tokens"),
        ("--layout speed=3", r"--layout: 'speed' is not one of dp, tp, pp"),
        ("--layout tp=x", r"--layout: 'tp=x' needs a number, as in tp=2"),
        ("--layout recompute=some", r"recompute='some' is not one of none, selective, full"),
        ("--layout tp=3", r"No layout of 1,024 GPUs with tp=3 divides 80 layers, 64 heads"),
        ("--model 1m", r"no shape like Llama 3's has 1,000,000 parameters; the nearest has 66,617,344"),
        ("--price 0", r"--price must be above zero"),
        ("--prices nowhere.yaml", r"nowhere\.yaml cannot be read"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(arguments: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=sentence):
        main([*arguments.split(), "--page", str(tmp_path / "plan.html")])


def test_a_wrong_shape_names_its_field(tmp_path: Path) -> None:
    for text, sentence in (
        ("{layers: many}", r"layers: Input should be a valid integer"),
        ("{layers: 1, speed: 2}", r"hidden|speed"),
        ("[1, 2]", r"does not describe a model"),
        ("{layers: 0, hidden: 8, heads: 1, ffn: 8, vocab: 8, gated: true}", r"must be at least 1"),
    ):
        (tmp_path / "shape.yaml").write_text(text)
        with pytest.raises(SystemExit, match=sentence):
            main(["--model", str(tmp_path / "shape.yaml"), "--page", str(tmp_path / "plan.html")])


def test_prices_may_be_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "accelerators: {h100: {per_hour: 1.23, what: our contract, source: the contract, as_of: 2026-11-01}}"
    )
    printed, page = planned(capsys, tmp_path, "--model", "8b", "--gpus", "64", "--prices", str(prices))
    assert "at 1.23" in printed
    assert "our contract, 1 Nov 2026" in page
    with pytest.raises(SystemExit, match=r"has no price for a100: add it"):
        main(["--model", "8b", "--gpu", "a100", "--prices", str(prices)])


def test_a_small_run_is_told_in_numbers_that_are_not_zero(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    printed, _ = planned(capsys, tmp_path, "--model", "100m", "--tokens", "1B", "--gpus", "1")
    assert "1B tokens of 135.1m on 1 h100" in printed  # the nearest shape, by its own size
    for line in printed.splitlines():
        if line.strip().startswith(("days", "cost", "energy", "failures")):
            assert not re.search(r" 0(\.0+)? ", line)
    assert " USD: " in printed
    assert " hours, each" in printed
