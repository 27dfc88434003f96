"""Jobs through three stages that overlap: read ahead, work in the main thread, write behind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from dlcodec.batch.plan import Job

Item = TypeVar("Item")
Piece = TypeVar("Piece")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Finished(Generic[Result]):
    """What ``read`` returns for a job that needs no work."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result_co]):
    """How a job went: what was written before ``error``, if there was one, and the seconds of its three stages."""

    job: Job
    results: tuple[Result_co, ...]
    error: Exception | None
    read_seconds: float
    work_seconds: float
    write_seconds: float

    @property
    def seconds(self) -> float:
        """Of all stages; of several jobs, stages overlap."""
        return self.read_seconds + self.work_seconds + self.write_seconds


class _Inline(Executor):
    """Runs each call where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(slots=True)
class _Started(Generic[Result]):
    """A job on its way."""

    job: Job
    read_seconds: float = 0.0
    work_seconds: float = 0.0
    error: Exception | None = None
    finished: tuple[Result, ...] = ()
    writes: list[Future[tuple[Result, float]]] = field(default_factory=list)

    def outcome(self) -> Outcome[Result]:
        results, seconds, error = list(self.finished), 0.0, self.error
        for future in self.writes:
            try:
                result, taken = future.result()
            except Exception as fault:
                error = error or fault
            else:
                results.append(result)
                seconds += taken
        return Outcome(self.job, tuple(results), error, self.read_seconds, self.work_seconds, seconds)


def _timed(call: Callable[..., Result], *arguments: Any) -> tuple[Result, float]:
    begun = time.perf_counter()
    result = call(*arguments)
    return result, time.perf_counter() - begun


def _read(read: Callable[[Job], Item], job: Job) -> Item:
    if job.fault:
        raise job.fault
    return read(job)


def run(
    jobs: Iterable[Job],
    read: Callable[[Job], Item | Finished[Result]],
    work: Callable[[Job, Item], Iterable[Piece]],
    write: Callable[[Job, Piece], Result],
    *,
    overlap: int,
) -> Iterator[Outcome[Result]]:
    """Run all jobs and yield how each went, in their order; an exception of a job ends that job alone.

    ``read`` and ``write`` run in ``overlap`` threads each, ``work`` in the calling thread: never more than
    ``overlap + 1`` items are read and not yet worked on, the one at work included, nor more than ``overlap`` pieces
    wait to be written beside the one being made. With ``overlap`` 0 everything runs in the calling thread.
    When the caller stops, or is interrupted, writes that have begun end; nothing else begins.
    """
    pools = [ThreadPoolExecutor(overlap) if overlap else _Inline() for _ in range(2)]
    readers, writers = pools
    waiting = iter(jobs)
    reading: deque[tuple[Job, Future[tuple[Item | Finished[Result], float]]]] = deque()
    writing: deque[Future[tuple[Result, float]]] = deque()
    started: deque[_Started[Result]] = deque()
    try:
        while True:
            for job in islice(waiting, overlap + 1 - len(reading)):
                reading.append((job, readers.submit(_timed, _read, read, job)))
            if not reading:
                break
            job, future = reading.popleft()
            current: _Started[Result] = _Started(job)
            started.append(current)
            begun = time.perf_counter()
            try:
                item, current.read_seconds = future.result()
                begun = time.perf_counter()
                if isinstance(item, Finished):
                    current.finished = item.results
                else:
                    for piece in work(job, item):
                        current.work_seconds += time.perf_counter() - begun
                        write_future = writers.submit(_timed, write, job, piece)
                        current.writes.append(write_future)
                        writing.append(write_future)
                        while len(writing) > overlap:
                            wait([writing.popleft()])
                        begun = time.perf_counter()
                    current.work_seconds += time.perf_counter() - begun
            except Exception as error:
                current.error = error
            # Neither name may keep a picture alive while the next one is awaited.
            item = piece = future = None  # type: ignore[assignment]
            while started and all(write.done() for write in started[0].writes):
                yield started.popleft().outcome()
        while started:
            yield started.popleft().outcome()
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
