from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from dlcodec.errors import OutputError, UsageError
from dlcodec.evaluation.compare import gap_table, is_fair, pairs, summary_table
from dlcodec.evaluation.curves import at_main_setting, is_kodak, run_curves
from dlcodec.evaluation.plots import draw, middle_level, write_figures
from dlcodec.evaluation.report import build_report
from dlcodec.evaluation.results import Point, Row, Run, Settings, mean_rows, read_run
from dlcodec.evaluation.tables import level_table
from dlcodec.evaluation.worst_and_best import pick
from tests.evaluation.conftest import Start, finish
from tests.tiny import write_checkpoint

SETTINGS = Settings("kodak", "mean-scale", "0", "1", ("psnr", "lpips-alex"), "cpu", "x", 1, "float32", {})


def made_up(gain: float = 0.0, images: int = 24) -> Run:
    """A run of invented figures with everything that can be drawn: taus, steps, seeds and a peer, named as Kodak."""
    rows = []
    for image in (f"kodim{number:02}.png" for number in range(1, images + 1)):
        for level in range(4):
            points = [Point("dlcodec", level, 1.0), Point("jpeg", 10 * level + 10)]
            points += [Point("dlcodec", level, tau, n, seed) for tau in (0.0, 0.5) for n in (1, 10) for seed in (0, 1)]
            for point in points:
                tau, steps = (1.0 if point.tau is None else point.tau), point.steps or 10
                values = {
                    "psnr": 26 + 3 * level + tau + gain,
                    "lpips-alex": (0.3 + 0.1 * tau + 0.1 / steps) / (level + 1),
                }
                rows.append(Row(image, 1, "0", 768, 512, point, 1.0, 0.1 * 2**level, values))
    return Run(f"gain {gain:g}", SETTINGS, tuple(rows), tuple(mean_rows(rows, {})), ())


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster", "background"):
                (self.images if (value or "").startswith("data:image/") else self.found).append(value or "")
        if tag in ("link", "script", "iframe", "object", "base"):
            self.found.append(tag)


def test_the_report_is_one_file_without_references(request_of: Start, pictures: Path) -> None:
    (pictures / "broken<b>.png").write_bytes(b"no")
    request = request_of(taus=(1.0, 0.0), peers=("jpeg",))
    run, _ = finish(request)
    page = build_report(run, request.output)
    parser = _References()
    parser.feed(page)
    assert parser.found == []
    assert not re.search(r"url\(|@import", page)
    assert len(parser.images) == len(draw([run])) + 2 * 3  # worst and best: original, tau 0, tau 1
    assert "PSNR (dB), worst" in page
    assert "Failed: broken&lt;b&gt;.png" in page
    assert f"{run.means[0].metrics['psnr']:.4f}" in page
    for path in pictures.iterdir():
        path.unlink()
    assert "No further pictures: cannot read" in build_report(read_run(request.output), request.output)


@pytest.mark.usefixtures("without_fusion")
def test_a_report_at_tau_1_needs_no_fusion_for_its_pictures(request_of: Start) -> None:
    request = request_of(taus=(1.0,))
    run, _ = finish(request)
    assert run.settings.fusion is None
    assert "No further pictures" not in build_report(run, request.output)


def test_a_report_of_weights_that_are_not_installed_has_its_pictures_by_model(
    request_of: Start, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "other", seed=1)
    other = str(tmp_path / "other")
    request = request_of(taus=(1.0,), levels=(1.0,), model=other)
    run, _ = finish(request)
    assert "No further pictures: the file needs" in build_report(run, request.output)
    assert "No further pictures" not in build_report(run, request.output, other)
    with pytest.raises(UsageError, match="neither a family"):
        build_report(run, request.output, "nothing")


def test_figures_are_written_as_svg_and_png_and_are_the_same_again(tmp_path: Path) -> None:
    run = made_up()
    names = {path.name for path in write_figures([run], tmp_path)}
    metrics = ("psnr", "lpips-alex")
    figures = ["trade-lpips-alex", *(f"{what}-{name}" for what in ("rate", "tau", "steps") for name in metrics)]
    assert names == {f"{name}.{kind}" for name in figures for kind in ("svg", "png")}
    first = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        if name.endswith("svg"):
            assert ElementTree.fromstring(first[name]).tag.endswith("svg")
        else:
            with Image.open(tmp_path / name) as image:
                assert min(image.size) > 500
    with pytest.raises(OutputError, match="--force"):
        write_figures([run], tmp_path)
    write_figures([run], tmp_path, force=True)
    assert {name: (tmp_path / name).read_bytes() for name in names} == first


def _lines(run: Run | list[Run], name: str) -> dict[str, list[tuple[float, float]]]:
    (axes,) = draw(run if isinstance(run, list) else [run])[name].axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    styles = [(line.get_marker(), line.get_linestyle(), line.get_color()) for line in axes.lines]
    assert len(set(map(str, styles))) == len(styles)
    return {str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()] for line in axes.lines}


def test_the_lines_are_the_means_at_most_steps_and_lowest_seed() -> None:
    run = made_up()
    rate = _lines(run, "rate-lpips-alex")
    assert rate["dlcodec tau 0"][0] == pytest.approx((0.1, 0.31))  # ten steps
    assert {"jpeg", "CRDR, beta 3.84 (published)"} <= rate.keys()
    assert len(_lines(run, "trade-lpips-alex")["0.200 bpp, tau 0 to 1"]) == 3
    steps = _lines(run, "steps-lpips-alex")["dlcodec tau 0, level 2"]
    assert [count for count, _ in steps] == [1, 10]
    assert [value for _, value in steps] == pytest.approx([0.4 / 3, 0.31 / 3])
    both = _lines([run, made_up(2.0)], "tau-psnr")
    assert both["gain 2: level 2, 0.400 bpp"] == [(1.0, 35.0), (0.5, 34.5), (0.0, 34.0)]
    assert middle_level(run) == 2


def _extended(*extra: tuple[float, float, int], default: int | None = 10) -> Run:
    """The invented run, at 10 steps and seed 0, with means at further levels, taus and steps; their lpips is 9."""
    run = made_up()
    rows = [row for row in run.rows if row.point.steps in (None, 10) and not row.point.seed]
    for level, tau, steps in extra:
        point = Point("dlcodec", level, tau, steps, 0)
        rows += [
            replace(row, point=point, metrics={"psnr": 1.0, "lpips-alex": 9.0})
            for row in run.rows
            if row.point == Point("dlcodec", level, 1.0)
        ]
    settings = replace(SETTINGS, default_steps=default)
    return replace(run, settings=settings, rows=tuple(rows), means=tuple(mean_rows(rows, {})))


@pytest.mark.parametrize("levels", [(3,), (0, 1, 2, 3)])
def test_more_steps_in_the_same_folder_change_no_headline(levels: tuple[int, ...]) -> None:
    run = _extended(*((level, 0.0, 50) for level in levels))
    before = _extended()
    for metric in ("psnr", "lpips-alex"):
        assert run_curves(run, metric) == run_curves(before, metric)
        assert level_table(run, metric) == level_table(before, metric)
    assert [title for title, _ in pick(run)] == [title for title, _ in pick(before)]
    level = 3 if len(levels) == 1 else 2
    assert [steps for steps, _ in _lines(run, "steps-psnr")[f"dlcodec tau 0, level {level}"]] == [10, 50]


def test_where_the_models_own_steps_are_missing_the_most_there_are_stand_in() -> None:
    run = _extended((2, 0.25, 20), (2, 0.25, 50))
    assert [curve.values for curve in run_curves(run, "lpips-alex") if curve.name == "dlcodec tau 0.25"] == [(9.0,)]
    (row,) = [row for row in at_main_setting(run, run.means) if row.point.tau == 0.25]
    assert row.point.steps == 50
    old = _extended((2, 0.0, 50), default=None)
    assert run_curves(old, "lpips-alex")[2].values[2] == 9.0
    picked = {row.point for _, row in pick(_extended((2, 0.5, 50), default=20))}
    assert picked == {Point("dlcodec", 2, 0.0, 10, 0)}


def test_a_metric_without_means_is_left_out_of_the_report(request_of: Start) -> None:
    request = request_of(taus=(1.0, 0.0), peers=("jpeg",))
    run, _ = finish(request)
    cut = replace(run, settings=replace(run.settings, metrics=("psnr", "fid")))
    assert {name.split("-")[1] for name in draw([cut])} == {"psnr"}
    assert "FID" not in build_report(cut, request.output).partition("<h2>Means")[0]
    partly = [
        replace(mean, metrics={**mean.metrics, "fid": 1.0}) if mean.point.tau is None else mean for mean in cut.means
    ]
    figures = draw([replace(cut, means=tuple(partly))])
    assert [name for name in figures if "fid" in name] == ["rate-fid"]
    build_report(replace(cut, means=tuple(partly)), request.output)


def test_published_curves_stand_only_beside_the_images_they_were_measured_on() -> None:
    part = made_up(images=23)
    assert is_kodak(made_up())
    assert not is_kodak(part)
    assert not any("published" in name for name in _lines(part, "rate-psnr"))
    assert not is_fair(part, "mbt2018-mean")
    assert is_fair(part, "jpeg")
    assert is_fair(made_up(), "mbt2018-mean")


def test_means_that_lack_an_image_are_not_beside_published_curves() -> None:
    whole = made_up()
    rows = [row for row in whole.rows if (row.image, row.point) != ("kodim24.png", Point("dlcodec", 3, 1.0))]
    cut = replace(whole, rows=tuple(rows), means=tuple(mean_rows(rows, {})))
    assert not is_kodak(cut)
    assert not any(is_fair(cut, reference) for reference in ("mbt2018-mean", "jpeg", whole))
    assert not is_fair(whole, cut)
    assert is_fair(whole, made_up(1.0))


def test_a_run_is_compared_with_another_run_its_own_curves_or_a_published_one() -> None:
    run, better = made_up(), made_up(1.0)
    table = {row[0]: row for row in summary_table(better, run, "psnr")}
    assert table["dlcodec tau 0"][2:4] == ["+1.0000", "+1.0000"]
    assert float(table["dlcodec tau 0"][1]) < 0
    names = [curve.name for curve, _ in pairs(run, "jpeg", "psnr")]
    assert names == ["dlcodec tau 1", "dlcodec tau 0.5", "dlcodec tau 0"]
    assert all(row[3] == "-1.0000" for row in gap_table(run, "jpeg", "psnr") if row[0] == "dlcodec tau 0")
    assert gap_table(run, "mbt2018-mean", "psnr")[1][3] == "outside"
    with pytest.raises(UsageError, match="neither a results folder nor a curve of psnr"):
        pairs(run, "nothing", "psnr")
    assert [curve.name for curve in run_curves(run, "psnr")][-1] == "jpeg"


def test_the_worst_image_is_the_one_with_the_worst_value() -> None:
    run = made_up(images=3)
    rows = [
        Row(r.image, 1, "0", 1, 1, r.point, 1, r.bpp, {**r.metrics, "psnr": 1.0})
        if r.image == "kodim02.png"
        else Row(r.image, 1, "0", 1, 1, r.point, 1, r.bpp, {**r.metrics, "lpips-alex": 0.9})
        if r.image == "kodim03.png"
        else r
        for r in run.rows
    ]
    chosen = pick(Run("x", SETTINGS, tuple(rows), tuple(mean_rows(rows, {})), ()))
    worst = {title.split(",")[0]: row.image for title, row in chosen if "worst" in title}
    assert worst == {"PSNR (dB)": "kodim02.png", "LPIPS (alex)": "kodim03.png"}
    assert {row.point for _, row in chosen} <= {Point("dlcodec", 2, 0.0, 10, seed) for seed in (0, 1)}


def test_steps_are_drawn_where_each_tau_has_a_seed_of_its_own() -> None:
    run = made_up()
    rows = [row for row in run.rows if row.point.seed is None or row.point.seed == (row.point.tau == 0.5)]
    lines = _lines(replace(run, rows=tuple(rows), means=tuple(mean_rows(rows, {}))), "steps-psnr")
    assert [[steps for steps, _ in line] for line in lines.values()] == [[1, 10], [1, 10]]


def test_the_name_of_a_folder_stands_in_the_legend_as_it_is() -> None:
    runs = [replace(made_up(), name=name) for name in ("_a", "$b_1$")]
    figure = draw(runs)["tau-psnr"]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text().strip() for text in legend.get_texts()] == [
        f"{run.name}: level 2, 0.400 bpp" for run in runs
    ]
    assert not any(text.get_parse_math() for text in legend.get_texts())
