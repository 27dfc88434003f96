"""The engine, with stages that say what they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlcodec.batch.plan import Job
from dlcodec.batch.run import Finished, run

JOBS = [Job(Path(str(number)), ()) for number in range(20)]


def number(job: Job) -> int:
    return int(job.source.name)


def twice(job: Job, item: int) -> Iterator[int]:
    yield item
    yield -item


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_every_job_runs_once_and_in_order(overlap: int) -> None:
    outcomes = list(run(JOBS, number, twice, lambda job, piece: 10 * piece, overlap=overlap))
    assert [outcome.job for outcome in outcomes] == JOBS
    assert [outcome.results for outcome in outcomes] == [(10 * n, -10 * n) for n in range(20)]
    assert all(outcome.error is None for outcome in outcomes)


@pytest.mark.parametrize("overlap", [0, 2])
def test_a_failure_in_any_stage_ends_its_job_alone(overlap: int) -> None:
    def read(job: Job) -> int:
        if number(job) == 3:
            raise ValueError("read")
        return number(job)

    def work(job: Job, item: int) -> Iterator[int]:
        yield item
        if item == 5:
            raise ValueError("work")

    def write(job: Job, piece: int) -> int:
        if piece == 7:
            raise ValueError("write")
        return piece

    outcomes = list(run(JOBS, read, work, write, overlap=overlap))
    failed = {number(outcome.job): (str(outcome.error), outcome.results) for outcome in outcomes if outcome.error}
    assert failed == {3: ("read", ()), 5: ("work", (5,)), 7: ("write", ())}
    assert sum(len(outcome.results) for outcome in outcomes) == 18


def test_a_finished_job_is_neither_worked_on_nor_written() -> None:
    def fail(*_: object) -> Iterator[int]:
        raise AssertionError

    (outcome,) = run(JOBS[:1], lambda job: Finished((5,)), fail, lambda job, piece: 6, overlap=1)
    assert (outcome.results, outcome.error) == ((5,), None)


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_the_pictures_in_memory_are_bounded(overlap: int) -> None:
    lock, counts = threading.Lock(), {"read": 0, "worked": 0, "written": 0}
    most_read = most_made = 0

    def count(stage: str) -> None:
        nonlocal most_read, most_made
        with lock:
            counts[stage] += 1
            most_read = max(most_read, counts["read"] - counts["worked"])
            most_made = max(most_made, counts["worked"] - counts["written"])

    def read(job: Job) -> int:
        count("read")
        return 0

    def work(job: Job, item: int) -> list[int]:
        time.sleep(0.001)
        count("worked")
        return [item]

    def write(job: Job, piece: int) -> int:
        time.sleep(0.003)
        count("written")
        return piece

    list(run(JOBS, read, work, write, overlap=overlap))
    assert counts == {"read": 20, "worked": 20, "written": 20}
    assert most_read <= overlap + 1
    assert most_made <= overlap + 1


def test_the_stages_overlap_and_the_network_stays_in_the_calling_thread() -> None:
    begun, threads = time.perf_counter(), set()

    def work(job: Job, item: int) -> list[int]:
        threads.add(threading.current_thread())
        time.sleep(0.02)
        return [item]

    def slow(*_: object) -> int:
        time.sleep(0.02)
        return 0

    list(run(JOBS, slow, work, slow, overlap=1))
    assert time.perf_counter() - begun < 20 * 0.06 * 0.75
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("overlap", [0, 2])
def test_an_interrupt_ends_writes_that_have_begun_and_begins_no_others(overlap: int) -> None:
    begun, ended = [], []

    def work(job: Job, item: int) -> list[int]:
        if item == 4:
            raise KeyboardInterrupt
        return [item]

    def write(job: Job, piece: int) -> int:
        begun.append(piece)
        time.sleep(0.01)
        ended.append(piece)
        return piece

    with pytest.raises(KeyboardInterrupt):
        list(run(JOBS, number, work, write, overlap=overlap))
    assert sorted(begun) == sorted(ended)
    assert max(ended) <= 3
    settled = len(begun)
    time.sleep(0.05)
    assert len(begun) == settled
