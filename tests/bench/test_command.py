"""``dlcodec bench`` as a user runs it, with tiny weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from dlcodec import installed
from dlcodec.bench import children, machine
from dlcodec.bench.peer_process import PeerProcess
from dlcodec.bench.peers import load_peer
from dlcodec.bench.subject import choose_subject
from dlcodec.cli import app
from dlcodec.errors import DlcodecError, UsageError, WeightsError
from dlcodec.fusion.denoiser import DenoiserParams
from dlcodec.info import describe
from tests.tiny import CHANNELS, make_denoiser, make_network

pytestmark = pytest.mark.usefixtures("tiny")
ENCODE = ["read", "analysis", "hyper-analysis", "exact path", "correction", "range coding", "write"]
FUSION = ["noise", "fusion, condition branch", "fusion, a step", "fusion, all steps"]
DECODE = ["read", "weights", "exact path", "range coding", "synthesis", "write"]


@pytest.fixture(autouse=True)
def quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices: that the machine has rates is all that is looked at here."""
    monkeypatch.setitem(machine._SIDE, "cpu", 64)


def bench(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["bench", "--size", "70x50", "--repeats", "2", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def measured(*arguments: str) -> Any:
    return json.loads(bench("--json", *arguments))


def parts(report: Any, direction: str) -> set[str]:
    return {s["name"].partition(": ")[2] for s in report["stages"] if s["name"].startswith(direction)}


@pytest.mark.parametrize("steps", [1, 3])
def test_every_stage_is_timed_and_the_networks_are_counted(steps: int) -> None:
    report = measured("--tau", "0", "--steps", str(steps), "--precision", "fp32")
    assert parts(report, "encode") == set(ENCODE)
    assert parts(report, "decode") == {*DECODE, *FUSION}
    stages = {stage["name"]: stage for stage in report["stages"]}
    for name, stage in stages.items():
        is_network = any(word in name for word in ("analysis", "correction", "exact", "fusion", "synthesis"))
        assert (stage["flops"] > 0) == is_network == (stage["share"] is not None), name
        assert stage["timing"]["seconds"] > 0 or "condition" in name
    fusion = [stages[f"decode: fusion, {part}"]["flops"] for part in ("condition branch", "a step", "all steps")]
    assert fusion[0] + steps * fusion[1] == fusion[2]
    assert stages["decode: exact path"]["number_type"] == "float64"
    assert stages["encode: analysis"]["number_type"] == "float32"
    assert stages["decode: synthesis"]["number_type"] == report["number_type"] == "float32"


def test_a_step_executes_the_same_operations_whatever_their_number() -> None:
    def step(*arguments: str) -> tuple[int, int]:
        stages = {stage["name"]: stage["flops"] for stage in measured(*arguments)["stages"]}
        return stages["decode: fusion, condition branch"], stages["decode: fusion, a step"]

    assert step("--steps", "1") == step("--steps", "5")


def test_at_tau_1_there_is_no_fusion() -> None:
    report = measured("--tau", "1")
    assert parts(report, "decode") == set(DECODE)
    assert [network["role"] for network in report["networks"]] == ["base"]
    assert report["number_type"] == "float32"


def test_the_parameters_of_each_network_are_counted(family: str, tiny_folder: Path) -> None:
    model = str(tiny_folder / family)
    base, fusion = measured("--model", model, "--tau", "0", "--steps", "1", "--repeats", "1")["networks"]
    network = make_network(family=family)
    for name in ("g_a", "h_a", "h_s", "g_s"):
        assert base["parts"][name] == sum(tensor.numel() for tensor in network.get_submodule(name).parameters())
    assert base["parts"].keys() == {"g_a", "h_a", "g_s", *network.exact_groups, "others"}
    assert fusion["parts"].keys() == {"D", "adapters", "blocks", "others"}
    params = DenoiserParams(M=CHANNELS[family][1], C=16, units=2, heads=2, window=8)
    assert fusion["parts"]["D"] == sum(tensor.numel() for tensor in make_denoiser(0, params).state_dict().values())
    for each in (base, fusion):
        assert sum(each["parts"].values()) == each["parameters"]
    heading = bench("--model", model, "--tau", "1", "--repeats", "1").splitlines()[3]
    assert heading.endswith(": " + ", ".join(f"{name} {count:,}" for name, count in base["parts"].items()))


def test_the_report_says_on_what_it_was_measured() -> None:
    report = measured("--tau", "1")
    where = report["machine"]
    assert {"dlcodec", "python", "torch", "numpy"} <= where["versions"].keys()
    assert where["device"] == "cpu"
    assert where["name"]
    assert where["threads"] >= 1
    assert all(rate > 0 for rate in where["rates"].values())
    assert (report["width"], report["height"], report["level"], report["repeats"]) == (70, 50, 1.0, 2)
    assert report["peak_memory"] > 50 * 2**20
    assert [whole["name"] for whole in report["wholes"]] == ["dlcodec: encode", "dlcodec: decode, tau 1"]


def test_the_text_has_a_line_for_every_stage() -> None:
    text = bench("--tau", "0", "--steps", "2")
    for part in (*ENCODE, *FUSION, *DECODE):
        assert f": {part} " in text
    assert "coffee.png, 70 x 50, mean-scale, level 1, tau 0, steps 2" in text.splitlines()[0]


def test_peers_are_timed_beside_ours() -> None:
    pytest.importorskip("pillow_jxl")
    names = [w["name"] for w in measured("--tau", "1", "--peer", "jxl", "--peer", "avif")["wholes"]]
    assert names[2:] == ["jxl: encode", "jxl: decode", "avif: encode", "avif: decode"]


@pytest.mark.parametrize("family", ["mean-scale", "cheng2020"])
def test_compressai_is_timed_on_each_family_that_it_has(family: str, tiny_folder: Path) -> None:
    pytest.importorskip("compressai.models", exc_type=(ImportError, RuntimeError))
    report = measured("--model", str(tiny_folder / family), "--tau", "1", "--peer", "compressai")
    assert report["family"] == family
    assert [whole["name"] for whole in report["wholes"]][2:] == ["compressai: compress", "compressai: decompress"]


def test_without_compressai_its_peer_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("dlcodec.importing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "compressai.models", None)
    found = installed.find("mean-scale")
    subject = choose_subject(found, None, "70x50", level=1, tau=1, steps=None, device="cpu", precision="auto")
    with pytest.raises(UsageError, match="peer compressai needs the package compressai"):
        load_peer("compressai", subject)


def test_peers_have_a_process_as_python_starts_it() -> None:
    pytest.importorskip("pillow_jxl")
    found = installed.find("mean-scale")
    subject = choose_subject(found, None, "70x50", level=1, tau=1, steps=None, device="cpu", precision="auto")
    with PeerProcess(["jxl"], subject) as peers:
        assert peers.sizes == dict.fromkeys(("jxl: encode", "jxl: decode"), load_peer("jxl", subject).bytes)
        assert min(peers.run("jxl: encode")) > 0
        child = peers._process
    assert child.poll() is not None


def test_peers_whose_process_dies_are_a_failure_in_one_sentence() -> None:
    found = installed.find("mean-scale")
    subject = choose_subject(found, None, "70x50", level=1, tau=1, steps=None, device="cpu", precision="auto")
    with PeerProcess(["avif"], subject) as peers:
        peers._process.kill()
        with pytest.raises(DlcodecError, match="the process that runs the peers has ended"):
            peers.run("avif: decode")


def test_whole_commands_and_a_batch_run_in_processes_of_their_own() -> None:
    report = measured("--tau", "1", "--batch", "2", "--repeats", "1")
    assert [command["name"] for command in report["commands"]] == ["encode", "decode"]
    assert report["batch"]["pictures"] == 2
    decode = report["commands"][1]["timing"]["seconds"]
    assert report["batch"]["ratio"] == pytest.approx(2 * decode / report["batch"]["timing"]["seconds"])


def test_whole_commands_take_the_model_that_is_measured(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    families = []

    def run(arguments: Sequence[str | Path]) -> tuple[float, float, int]:
        assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 0
        families.append(describe(next(a for a in map(Path, arguments) if a.suffix == ".dlc").read_bytes()).family)
        return 1.0, 1.0, 2**20

    monkeypatch.setattr(children, "_run", run)
    measured("--model", str(tiny_folder / "cheng2020"), "--tau", "1", "--cold", "--repeats", "1")
    assert families == ["cheng2020"] * 4


def test_the_sweep_grows_until_its_time_is_up() -> None:
    costs = measured("--tau", "1", "--sweep", "0.01")["costs"]
    assert len(costs) == 1
    assert costs[0]["pixels"] == pytest.approx(1e5, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peer", "gif"], "gif"),
        (["--model", "vtm"], "vtm"),
        (["--tau", "2"], "tau"),
        (["--steps", "51"], "steps"),
        (["-q", "9"], "level"),
        (["--size", "big"], "size"),
        (["--tau", "1", "--peer", "compressai", "-q", "1.5"], "compressai has whole levels only, not 1.5"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bench(*arguments)


@pytest.mark.usefixtures("without_fusion")
def test_tau_below_1_without_its_weights_is_refused() -> None:
    with pytest.raises(WeightsError, match="tau below 1"):
        bench("--tau", "0")


def test_a_command_is_not_charged_with_the_memory_of_the_one_that_starts_it() -> None:
    held = bytearray(2**28)
    held[:: 2**12] = b"x" * 2**16
    _, _, peak = children._run(["--version"])
    assert 2**20 < peak < 2**27
    assert len(held) == 2**28


def test_children_run_no_file_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "typer"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    children._run(["--version"])


def test_the_name_of_a_picture_sends_a_terminal_no_commands(tmp_path: Path) -> None:
    Image.new("RGB", (70, 50)).save(tmp_path / "a\x1b[2J.png")
    assert bench("--tau", "1", str(tmp_path / "a\x1b[2J.png")).startswith("a\\x1b[2J.png, 70 x 50")
