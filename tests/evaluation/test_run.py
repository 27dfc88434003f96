from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcodec import container, installed
from dlcodec.arguments import Effort
from dlcodec.checkpoint import Checkpoint
from dlcodec.errors import InputError, UsageError, WeightsError
from dlcodec.evaluation import plan
from dlcodec.evaluation.patch_fid import Features
from dlcodec.evaluation.plan import lay_points, prepare
from dlcodec.evaluation.results import Failure, Point, Row, read_run
from dlcodec.evaluation.run import evaluate, resume
from dlcodec.image import load, psnr
from dlcodec.limits import DEFAULT_LIMITS
from dlcodec.picture import RGB
from dlcodec.pipeline import decode_images, encode_image
from tests.evaluation.conftest import Start, begin, finish
from tests.tiny import write_checkpoint, write_fusion


def test_the_csv_has_the_documented_columns_and_true_figures(request_of: Start, pictures: Path) -> None:
    request = request_of(peers=("jpeg",), taus=(1.0, 0.5))
    finish(request)
    with (request.output / "results.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert list(lines[0]) == (
        "image images sha256 width height codec quality tau steps seed bytes bpp psnr".split()  # noqa: SIM905
    )
    assert len(lines) == 2 * (2 * 2 + 7) + (2 * 2 + 7)
    line = next(one for one in lines if one["image"] == "a.png" and one["quality"] == "2.0" and one["tau"] == "0.5")
    data = (request.output / "files" / "a.png" / "q2.dlc").read_bytes()
    assert container.unpack(data, DEFAULT_LIMITS).header.level == 512
    assert (int(line["bytes"]), float(line["bpp"])) == (len(data), 8 * len(data) / (70 * 48))
    (decoded,) = decode_images(container.unpack(data, DEFAULT_LIMITS), (0.5,), "cpu", steps=1, seed=0)
    mse = np.square(decoded.astype(float) - load(pictures / "a.png", DEFAULT_LIMITS)).mean()
    assert float(line["psnr"]) == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-9)
    assert (line["steps"], line["seed"]) == ("1", "0")
    means = [one for one in lines if one["image"] == "mean"]
    assert {one["images"] for one in means} == {"2"}
    mine = [float(one["bpp"]) for one in lines if one["quality"] == "20.0" and one["image"] != "mean"]
    assert float(next(one["bpp"] for one in means if one["quality"] == "20.0")) == pytest.approx(sum(mine) / 2)


def test_the_json_says_what_the_rows_were_made_with(request_of: Start, tiny: Path) -> None:
    request = request_of(taus=(0.0,))
    finish(request)
    document = json.loads((request.output / "results.json").read_text())
    settings = document["settings"]
    base = installed.find("mean-scale")
    assert (settings["base"], settings["fusion"]) == (base.digest, installed.find_fusion(base).digest)
    assert {"dlcodec", "torch", "numpy", "pillow"} <= settings["versions"].keys()
    assert (document["schema"], settings["device"], settings["metrics"]) == (1, "cpu", ["psnr"])
    assert len(document["rows"]) == 4
    assert [mean["images"] for mean in document["means"]] == [2, 2]
    assert document["failures"] == []


def test_any_family_is_evaluated(request_of: Start, family: str) -> None:
    run, _ = finish(request_of(model=family, taus=(1.0, 0.0)))
    assert (run.settings.family, run.failures) == (family, ())
    assert run.settings.base == installed.find(family).digest
    assert len(run.rows) == 2 * 2 * 2
    data = (request_of().output / "files" / "a.png" / "q2.dlc").read_bytes()
    assert container.unpack(data, DEFAULT_LIMITS).header.family == family


def test_a_refined_run_has_refined_files_and_is_no_other_run(request_of: Start, pictures: Path) -> None:
    request = request_of(taus=(1.0,), effort="high")
    run, _ = finish(request)
    assert run.settings.effort == "high"
    data = (request.output / "files" / "a.png" / "q2.dlc").read_bytes()
    rgb = load(pictures / "a.png", DEFAULT_LIMITS)
    assert data == encode_image(rgb, 2.0, "cpu", effort="high")
    assert data != encode_image(rgb, 2.0, "cpu")
    with pytest.raises(UsageError, match="begun with effort high, now it is medium"):
        finish(request_of(taus=(1.0,)))


def test_an_interrupted_run_resumes_and_does_nothing_twice(request_of: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    request = request_of(taus=(1.0, 0.5))
    whole, _ = finish(request_of(taus=(1.0, 0.5), output=request.output.parent / "whole"))
    steps = evaluate(*begin(request))
    early = [next(steps) for _ in range(3)]
    steps.close()
    with (request.output / "results.csv").open("a") as stream:
        stream.write("a.png,1,0123")  # a line that was being written
    encoded: list[float] = []
    original = evaluate.__globals__["encode_image"]

    def count(rgb: object, level: float, device: str, base: Checkpoint, effort: Effort) -> bytes:
        encoded.append(level)
        return original(rgb, level, device, base=base, effort=effort)

    monkeypatch.setitem(evaluate.__globals__, "encode_image", count)
    run, late = finish(request)
    assert len(late) == 8 - 3
    assert encoded == [0.0, 2.0]  # b.png only: the file of a.png at level 2 was there
    assert all(isinstance(event, Row) for event in (*early, *late))
    assert run.rows == whole.rows
    assert run.means == whole.means
    assert finish(request)[1] == []
    assert encoded == [0.0, 2.0]


def test_more_points_extend_a_run(request_of: Start) -> None:
    first, _ = finish(request_of())
    run, events = finish(request_of(levels=(0.0, 1.0, 2.0), peers=("jpeg",)))
    assert len(events) == 2 * (1 + 7)
    assert all(row in run.rows for row in first.rows)


def test_the_fusion_weights_of_earlier_rows_are_kept_on_record_and_not_mixed(
    request_of: Start, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused, _ = finish(request_of(taus=(0.0,)))
    plain, _ = finish(request_of(taus=(1.0,)))
    assert fused.settings.fusion
    assert plain.settings.fusion == fused.settings.fusion
    shutil.copytree(tiny_folder, tmp_path / "others")
    monkeypatch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "others"))
    write_fusion(tmp_path / "others", seed=1)
    with pytest.raises(UsageError, match="begun with fusion"):
        begin(request_of(taus=(0.5,)))


def test_a_run_from_before_default_steps_were_kept_is_read_and_resumed(request_of: Start) -> None:
    request = request_of(taus=(1.0, 0.0), levels=(0.0,))
    run, _ = finish(request)
    assert run.settings.default_steps == 10
    path = request.output / "results.json"
    document = json.loads(path.read_text())
    del document["settings"]["default_steps"], document["settings"]["metric_weights"]
    path.write_text(json.dumps(document))
    assert read_run(request.output).settings.default_steps is None
    run, events = finish(request_of(taus=(0.0,), levels=(0.0, 1.0)))
    assert (len(events), run.settings.default_steps) == (2, 10)
    run, _ = finish(request_of(taus=(1.0,)))
    assert run.settings.default_steps == 10


def test_the_weights_of_a_metric_are_on_record_and_not_mixed(
    request_of: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcodec.evaluation.plan.load_measure", lambda *_: psnr)
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "lpips_v0.1_alex.safetensors").write_bytes(b"some")
    names = ("psnr", "lpips-alex", "lpips-vgg")
    run, _ = finish(request_of(metrics=names, levels=(0.0,), metric_weights=folder))
    expected = {"lpips-alex": hashlib.sha256(b"some").hexdigest()[:16]}
    assert run.settings.metric_weights == expected
    run, _ = finish(request_of(metrics=names, levels=(0.0, 1.0)))  # the library's own download
    assert run.settings.metric_weights == expected
    (folder / "lpips_v0.1_alex.safetensors").write_bytes(b"other")
    with pytest.raises(UsageError, match="begun with lpips-alex weights"):
        begin(request_of(metrics=names, metric_weights=folder))


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ('"schema": 1', '"schema": 2', "have schema 2; this version reads schema 1"),
        ('"psnr"\n', '"cvvdp"\n', "have the metric 'cvvdp', which this version lacks"),
    ],
)
def test_results_of_a_newer_version_are_refused(request_of: Start, ours: str, theirs: str, told: str) -> None:
    request = request_of(levels=(0.0,))
    finish(request)
    path = request.output / "results.json"
    path.write_text(path.read_text().replace(ours, theirs))
    with pytest.raises(InputError, match=told):
        read_run(request.output)


def test_a_table_that_csv_cannot_read_is_damaged(request_of: Start) -> None:
    request = request_of(levels=(0.0,))
    finish(request)
    with (request.output / "results.csv").open("a") as stream:
        stream.write("a" * 2**18 + "\n")
    with pytest.raises(InputError, match=r"damaged.*field larger than field limit"):
        read_run(request.output)


def test_the_name_of_an_image_may_have_a_carriage_return(request_of: Start, pictures: Path) -> None:
    (pictures / "a.png").rename(pictures / "a\r1.png")
    run, _ = finish(request_of(levels=(0.0,)))
    assert {row.image for row in run.rows} == {"a\r1.png", "b.png"}
    assert finish(request_of(levels=(0.0,)))[1] == []


def test_an_image_is_read_once_for_its_digest_and_its_pixels(
    request_of: Start, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = evaluate.__globals__["read_bounded"]

    def read(path: Path, most: int) -> bytes:
        data: bytes = original(path, most)
        if path.parent == pictures:
            Image.new("RGB", (9, 9)).save(path)  # exchanged as soon as it was read
        return data

    expected = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in pictures.glob("*.png")}
    monkeypatch.setitem(evaluate.__globals__, "read_bounded", read)
    rows = [event for event in evaluate(*begin(request_of(levels=(0.0,)))) if isinstance(event, Row)]
    assert {row.image: row.sha256 for row in rows} == expected
    assert {(row.width, row.height) for row in rows} == {(70, 48), (64, 64)}


def test_an_image_with_transparent_pixels_is_reported(request_of: Start, pictures: Path) -> None:
    Image.new("RGBA", (64, 64), (1, 2, 3, 4)).save(pictures / "c.png")
    _, events = finish(request_of(levels=(0.0,)))
    (failure,) = [event for event in events if isinstance(event, Failure)]
    assert (failure.what, failure.exit_code, "has transparent pixels" in failure.error) == ("c.png", 3, True)


def test_a_run_refuses_rows_of_other_weights_metrics_or_images(
    request_of: Start, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(request_of())
    with pytest.raises(UsageError, match="begun with metrics"):
        begin(request_of(metrics=("psnr", "ms-ssim")))
    with monkeypatch.context() as patch:
        write_checkpoint(tmp_path / "others", seed=1)
        patch.setenv("DLCODEC_WEIGHTS", str(tmp_path / "others"))
        with pytest.raises(UsageError, match="begun with base"):
            begin(request_of())
    Image.new("RGB", (64, 64)).save(pictures / "b.png")
    with pytest.raises(UsageError, match=r"rows of another b\.png"):
        begin(request_of())


def test_a_broken_image_is_reported_and_the_others_are_measured(request_of: Start, pictures: Path) -> None:
    (pictures / "aa.png").write_bytes((pictures / "b.png").read_bytes()[:200])
    run, events = finish(request_of())
    (failure,) = [event for event in events if isinstance(event, Failure)]
    assert (failure.what, failure.exit_code, failure.points) == ("aa.png", 3, 2)
    assert {row.image for row in run.rows} == {"a.png", "b.png"}
    assert run.failures == (failure,)
    Image.new("RGB", (64, 64), "red").save(pictures / "aa.png")
    run, events = finish(request_of())
    assert len(events) == 2  # the mended image
    assert run.failures == ()


def test_an_image_too_small_for_a_metric_is_a_failure_not_a_hole(request_of: Start, pictures: Path) -> None:
    Image.new("RGB", (170, 170)).save(pictures / "large.png")
    run, events = finish(request_of(metrics=("psnr", "ms-ssim")))
    assert {row.image for row in run.rows} == {"large.png"}
    failures = [event for event in events if isinstance(event, Failure)]
    assert [failure.exit_code for failure in failures] == [3] * 4
    assert "161 pixels" in failures[0].error


def test_an_unforeseen_fault_of_one_image_does_not_end_the_run(
    request_of: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = evaluate.__globals__["encode_image"]

    def fail_on_small(rgb: np.ndarray, level: float, device: str, base: Checkpoint, effort: Effort) -> bytes:  # type: ignore[type-arg]
        if rgb.shape[0] == 48:
            raise MemoryError("too much")
        return original(rgb, level, device, base=base, effort=effort)

    monkeypatch.setitem(evaluate.__globals__, "encode_image", fail_on_small)
    run, events = finish(request_of())
    assert {row.image for row in run.rows} == {"b.png"}
    assert [event.exit_code for event in events if isinstance(event, Failure)] == [1, 1]


def test_tau_below_one_without_fusion_weights_is_left_out_with_a_sentence(
    request_of: Start, without_fusion: Path
) -> None:
    plan, settings, failures = prepare(request_of(taus=(0.0, 0.5, 1.0)))
    assert [(failure.exit_code, "fusion weights" in failure.error) for failure in failures] == [(7, True)]
    assert {point.tau for point in plan.points} == {1.0}
    assert settings.fusion is None
    with pytest.raises(WeightsError, match="fusion weights"):
        prepare(request_of(taus=(0.0,)))


def test_what_cannot_be_had_is_left_out_and_the_rest_runs(request_of: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ImportError("absent")

    monkeypatch.setattr("dlcodec.evaluation.metrics.import_module", refuse)
    plan, settings, failures = prepare(request_of(metrics=("dists", "psnr", "fid"), peers=("bpg", "jpeg")))
    assert [failure.what for failure in failures] == ["bpg", "dists", "fid"]
    assert settings.metrics == ("psnr",)
    assert list(plan.peers) == ["jpeg"]


class ColourDistance:
    """Stands in for Inception: the mean colour is the feature, its largest difference the distance."""

    def features(self, rgb: RGB) -> Features:
        return rgb.reshape(1, -1, 3).mean(1, dtype=np.float32)

    def distance(self, originals: list[Features], decoded: list[Features]) -> float:
        return float(np.abs(np.concatenate(originals).mean(0) - np.concatenate(decoded).mean(0)).max())


def test_a_metric_of_the_whole_set_is_in_the_means_alone_and_survives_a_resumed_run(
    request_of: Start, pictures: Path
) -> None:
    request = request_of(levels=(1.0,))
    plan, settings, _ = prepare(request)
    plan = replace(plan, fid=ColourDistance())  # type: ignore[arg-type]
    settings = replace(settings, metrics=("psnr", "fid"))
    steps = evaluate(plan, settings, resume(plan, settings)[0], [])
    next(steps)
    steps.close()
    assert len(list(evaluate(plan, settings, resume(plan, settings)[0], []))) == 1
    run = read_run(request.output)
    paths = [pictures / name for name in ("a.png", "b.png")]
    coded = [(request.output / "files" / path.name / "q1.dlc").read_bytes() for path in paths]
    sets = [
        [load(path, DEFAULT_LIMITS) for path in paths],
        [next(decode_images(container.unpack(data, DEFAULT_LIMITS), (1.0,), "cpu")) for data in coded],
    ]
    colours = [np.mean([rgb.reshape(-1, 3).mean(0) for rgb in one], 0) for one in sets]
    assert run.means[0].metrics["fid"] == pytest.approx(np.abs(colours[0] - colours[1]).max(), abs=1e-3)
    assert run.means[0].metrics["fid"] > 0
    assert all("fid" not in row.metrics for row in run.rows)


def test_an_original_whose_features_cannot_be_had_does_not_end_the_run(request_of: Start) -> None:
    class Small(ColourDistance):
        def features(self, rgb: RGB) -> Features:
            if rgb.shape[0] == 48:
                raise MemoryError("too much")
            return super().features(rgb)

    plan, settings, _ = prepare(request_of(levels=(1.0,)))
    plan = replace(plan, fid=Small())  # type: ignore[arg-type]
    settings = replace(settings, metrics=("psnr", "fid"))
    events = list(evaluate(plan, settings, resume(plan, settings)[0], []))
    assert events[0] == Failure("a.png", "MemoryError: too much", 1, 1)
    assert [event.image for event in events[1:] if isinstance(event, Row)] == ["b.png"]


def test_a_metric_of_the_whole_set_that_fails_leaves_the_rest_whole(request_of: Start) -> None:
    class Broken(ColourDistance):
        def distance(self, originals: list[Features], decoded: list[Features]) -> float:
            raise MemoryError("too much")

    request = request_of(levels=(1.0,))
    plan, settings, _ = prepare(request)
    plan = replace(plan, fid=Broken())  # type: ignore[arg-type]
    settings = replace(settings, metrics=("psnr", "fid"))
    events = list(evaluate(plan, settings, resume(plan, settings)[0], []))
    expected = Failure("fid, dlcodec tau 1 quality 1", "MemoryError: too much", 1)
    assert events[2:] == [expected]
    run = read_run(request.output)
    assert run.failures == (expected,)
    assert run.means[0].metrics.keys() == {"psnr"}
    assert len(json.loads((request.output / "results.json").read_text())["rows"]) == 2


def test_minus_zero_is_zero(request_of: Start) -> None:
    run, _ = finish(request_of(taus=(-0.0,), levels=(0.0,)))
    assert {str(row.point.tau) for row in run.rows} == {"0.0"}


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": (2.5,)},
        {"taus": (1.1,)},
        {"steps": (0,)},
        {"seeds": (-1,)},
        {"seeds": (), "taus": (0.0, 1.0)},
        {"metrics": ("ssim",)},
        {"device": "tpu"},
        {"model": "jpeg"},
    ],
)
def test_values_out_of_range_are_refused(request_of: Start, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        prepare(request_of(**changes))


def test_a_folder_without_images_is_refused(request_of: Start, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        prepare(request_of(source=tmp_path))
    with pytest.raises(InputError, match="cannot read the folder"):
        prepare(request_of(source=tmp_path / "absent"))
    with pytest.raises(InputError, match="no results"):
        read_run(tmp_path)


def test_steps_and_seeds_multiply_only_what_is_sampled() -> None:
    points = lay_points((0.0,), (0.0, 1.0), (1, 2), (5,), ())
    assert points == (
        Point("dlcodec", 0.0, 1.0),
        Point("dlcodec", 0.0, 0.0, 1, 5),
        Point("dlcodec", 0.0, 0.0, 2, 5),
    )


def test_a_package_that_came_since_and_the_order_of_metrics_are_no_other_run(
    request_of: Start, pictures: Path, photo: RGB, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(photo[:161, :161]).save(pictures / name)
    first, _ = finish(request_of(metrics=("psnr", "ms-ssim")))
    versions = {**first.settings.versions, "torch-fidelity": "1"}
    monkeypatch.setattr(plan, "find_versions", lambda _: versions)
    run, events = finish(request_of(metrics=("ms-ssim", "psnr")))
    assert (events, run.settings.metrics) == ([], ("psnr", "ms-ssim"))
    assert run.settings.versions == versions
    versions["torch"] = "0"
    with pytest.raises(UsageError, match="begun with versions"):
        begin(request_of(metrics=("psnr", "ms-ssim")))
