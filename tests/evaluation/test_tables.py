from __future__ import annotations

from dataclasses import replace

from dlcodec.evaluation.results import mean_rows
from dlcodec.evaluation.tables import level_table, peer_table
from tests.evaluation.test_report import made_up


def test_a_row_a_level_and_a_column_a_tau_from_fidelity_to_realism() -> None:
    lines = level_table(made_up(), "psnr").splitlines()
    assert lines[0] == "| level | bpp | tau 1 | tau 0.5 | tau 0 |"
    assert lines[2] == "| 0 | 0.1000 | 27.0000 | 26.5000 | 26.0000 |"
    assert lines[5] == "| 3 | 0.8000 | 36.0000 | 35.5000 | 35.0000 |"
    assert len(lines) == 6


def test_what_was_sampled_is_shown_at_the_most_steps() -> None:
    assert level_table(made_up(), "lpips-alex").splitlines()[2].endswith("| 0.4100 | 0.3600 | 0.3100 |")


def test_a_mean_over_fewer_images_is_left_out() -> None:
    run = made_up()
    rows = [row for row in run.rows if not (row.point.tau == 0.5 and row.point.quality == 2 and row.image > "kodim05")]
    part = replace(run, rows=tuple(rows), means=tuple(mean_rows(rows, {})))
    assert level_table(part, "psnr").splitlines()[4] == "| 2 | 0.4000 | 33.0000 |  | 32.0000 |"


def test_peers_have_a_row_a_quality() -> None:
    lines = peer_table(made_up(), ("psnr", "lpips-alex")).splitlines()
    assert lines[0] == "| codec | quality | bpp | psnr | lpips-alex |"
    assert lines[2] == "| jpeg | 10 | 0.1000 | 27.0000 | 0.4100 |"
    assert len(lines) == 6


def test_the_name_of_a_codec_sends_a_terminal_no_commands() -> None:
    run = made_up()
    point = replace(run.means[-1].point, codec="\x1b[2Jjpeg")
    assert "| \\x1b[2Jjpeg | 40 " in peer_table(replace(run, means=(replace(run.means[-1], point=point),)), ("psnr",))
