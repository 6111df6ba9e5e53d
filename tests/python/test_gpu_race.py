"""The comparison on a GPU, without one: races with failures, costs, choice of works, XLA's network, a whole run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from halotile_tools.common import ROOT
from halotile_tools.model_file import read_model
from halotile_tools.peers.gpu_halotile import patched
from halotile_tools.peers.gpu_limits import cost, limit_of
from halotile_tools.peers.gpu_peers import chosen, work_names
from halotile_tools.peers.gpu_race import (
    Budget,
    Contestant,
    Field,
    Prepared,
    Reference,
    Timing,
    TooLong,
    plan_turn,
    time_limit,
)
from halotile_tools.peers.gpu_works import MODELS, WORKS, error_target, target

FAKE = Path(__file__).resolve().with_name("fake_halotile.py")
SCRIPT = ROOT / "experiments" / "peers" / "gpu_peers.py"

RIGHT = np.array([[1.0, 2.0]], np.float32)


class Fake(Contestant):
    def __init__(self, name: str, heat: str, ms: float, off: float = 0.0, breaks_in: int = 99, **more: object) -> None:
        self.name, self.heat, self.precision = name, heat, "bf16"
        self.ms, self.off, self.left = ms, off, breaks_in
        self.closed = 0
        for key, value in more.items():
            setattr(self, key, value)

    def prepare(self) -> Prepared:
        if self.left < 0:
            raise RuntimeError("no such engine")
        return Prepared(RIGHT * (1 + self.off), self.ms)

    def turn(self) -> Timing:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("broke")
        return {"samples_ms": [self.ms, self.ms * 1.5, self.ms]}

    def close(self) -> None:
        self.closed += 1


def raced(*contestants: Fake, seconds: float = 60) -> Field:
    field = Field(Reference(RIGHT, RIGHT.astype(np.float64)), {"peer": 2})
    budget = Budget(seconds)
    for contestant in contestants:
        field.enter(contestant, budget, 5)
    field.race(3, budget, 5)
    return field


def test_the_fastest_of_a_heat_race_and_ratios_are_of_rounds() -> None:
    slow, peers = Fake("slow", "peer", 9), [Fake("a", "peer", 4), Fake("b", "peer", 6)]
    field = raced(Fake("own", "halotile", 2), slow, *peers)
    assert list(field.rounds) == ["own", "a", "b"]
    assert field.fastest("peer") == "a"
    assert field.ratio("a", "own") == 2
    assert field.ratio("slow", "own") is None
    summary = field.summary(limit_ms=1)
    assert summary["own"]["share_of_limit"] == 0.5
    assert summary["slow"]["raced"] is False
    assert slow.closed == 1


def test_who_fails_or_differs_stays_out_and_the_rest_goes_on() -> None:
    field = raced(
        Fake("broken", "halotile", 1, breaks_in=-1),
        Fake("instead", "halotile", 2, instead_of="broken"),
        Fake("not needed", "halotile", 2, instead_of="instead"),
        Fake("wrong", "peer", 1, off=0.1),
        Fake("nan", "peer", 1, off=float("nan")),
        Fake("breaks later", "peer", 1, breaks_in=1),
        Fake("fine", "peer", 3),
    )
    assert set(field.failures) == {"broken", "wrong", "nan", "breaks later"}
    assert field.ratio("fine", "instead") == 1.5
    assert "not needed" not in field.results


def test_a_spent_budget_skips_and_says_so() -> None:
    field = raced(Fake("late", "peer", 1), seconds=0)
    assert field.skipped == ["late"]
    assert field.fastest("peer") is None


def test_time_limit_interrupts() -> None:
    with pytest.raises(TooLong), time_limit(0.05):
        time.sleep(5)


def test_turns_are_neither_endless_nor_single() -> None:
    assert plan_turn(0.001) == (300, 100)
    assert plan_turn(1000) == (5, 10)


def test_costs_are_the_networks_own() -> None:
    # Published numbers of the 2012 network: 60,965,224 parameters, 724 million multiplications an image.
    of = cost(read_model(MODELS["2012"]), 1, (227, 227))
    assert of.weights == 60_965_224
    assert of.flops == pytest.approx(2 * 724e6, rel=0.01)
    assert of.outputs == 1000
    rates = {"bf16_flops": 1e12, "memory": 1e11, "host_to_device": 1e10}
    assert limit_of(rates, "bf16", of)["limit_ms"] == pytest.approx(of.flops / 1e9)
    assert limit_of(rates, "bf16", of, host_bytes=10**9)["limit_ms"] == pytest.approx(100)


def test_works_are_chosen_by_patterns() -> None:
    names = work_names()
    assert chosen(["*-bf16-b1,tower-tiles-b1"], names) == ["2012-bf16-b1", "tower-bf16-b1", "tower-tiles-b1"]
    assert chosen([], names) == list(WORKS)
    assert chosen(["naive"], names) == ["naive"]
    with pytest.raises(ValueError, match="no work is called"):
        chosen(["bf17"], names)


def test_what_was_not_measured_misses_its_target() -> None:
    assert not target("x", None, at_least=1)["met"]
    assert not target("x", None, at_most=1)["met"]
    assert target("x", 1.05, at_most=1.1)["met"]
    assert not target("x", 1.05, at_least=1.1)["met"]


def test_errors_are_those_of_tensor_cores_over_pytorchs_least() -> None:
    def of(error: float, engine: str = "", precision: str = "fp32") -> dict[str, object]:
        return {"rms_error_vs_float64": error, "precision": precision, "keys": {"engine": engine}}

    ours = {"halotile tensor_core, graph": of(2, "tensor_core"), "halotile fp16": of(9, "tensor_core", "fp16")}
    found = {
        **ours,
        "halotile direct, graph": of(8, "direct"),
        "PyTorch eager": of(4),
        "PyTorch graph": of(2.5),
        "XLA": of(1),
    }
    judged = error_target(WORKS["2012-fp32-b32"], found)
    assert (judged["value"], judged["met"]) == (0.8, True)
    assert not error_target(WORKS["2012-fp32-b32"], ours)["met"], "without a peer nothing is known"


def test_tf32_is_cut_or_rounded_to_nearest_even() -> None:
    import torch

    from halotile_tools.peers.tf32_rounding import cut, nearest

    unit = 2.0**-10
    x = torch.tensor([1 + 0.75 * unit, -1 - 0.75 * unit, 1 + 0.5 * unit, 1 + 1.5 * unit, 2 - 0.25 * unit, 0.0])
    assert cut(x).tolist() == [1, -1, 1, 1 + unit, 2 - unit, 0]
    assert nearest(x).tolist() == [1 + unit, -1 - unit, 1, 1 + 2 * unit, 2, 0]


def test_batched_tiles_need_one_stream() -> None:
    assert patched(4, "fused", "batched")["streams"] == 1
    assert patched(4, "fused", "graph")["streams"] == 4


def test_xla_computes_what_pytorch_computes() -> None:
    pytest.importorskip("jax")
    import torch

    from halotile_tools.peers.networks import torch_network
    from halotile_tools.peers.xla_process import Prepared as OfXla
    from halotile_tools.random import random_input

    request = {"until": "", "weights_seed": 7, "input_seed": 1, "input_batch": 2, "precision": "fp32"}
    made = OfXla({**request, "model": str(MODELS["2012"]), "shape": [1, 3, 227, 227]}).outputs()
    with torch.inference_mode():
        x = torch.from_numpy(random_input(1, (2, 3, 227, 227))[:1])
        expected = torch_network(read_model(MODELS["2012"]), 7)(x)[0].numpy()
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_whole_script(tmp_path: Path) -> None:
    output = tmp_path / "peers.json"
    words = ["--without-gpu", "--rounds", "2", "--xla", "none", "--only", "tower-bf16-b1", "--output", output]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, SCRIPT, *words, "--halotile", FAKE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    kept = json.loads(output.read_text())
    work = kept["works"]["tower-bf16-b1"]
    assert "halotile, graph" in work["failures"], "the program refused it"
    assert work["best_halotile"] == "halotile, streams"
    assert work["best_peer_against_halotile"] > 0
    assert work["contestants"][work["best_peer"]]["error_vs_float64"] < 3e-2
    assert [row["work"] for row in kept["table"]] == ["tower-bf16-b1"]
    assert "tower-bf16-b1: best peer against halotile, speed" in done.stdout
    assert "tower-bf16-b1: rms error against float64 over PyTorch's" in done.stdout
