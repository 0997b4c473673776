"""SIGTERM: who notes it, and who ends of it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import time

import pytest
from mmengine.evaluator import BaseMetric

from mmscalablevit.runner.resume import find_checkpoint
from mmscalablevit.runner.termination import EXIT_CODE, Termination

from .toy_run import build_run


def theirs(number, frame):
    """Somebody else's handler."""
    raise KeyboardInterrupt


@pytest.fixture(params=[signal.SIG_DFL, theirs], ids=["default", "theirs"])
def before(request):
    """What handles SIGTERM when a training begins."""
    own = signal.signal(signal.SIGTERM, request.param)
    yield request.param
    signal.signal(signal.SIGTERM, own)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_children_have_the_handler_that_was_there_before(before, method):
    context = multiprocessing.get_context(method)
    expected = before if method == "fork" else signal.SIG_DFL
    termination = Termination()
    termination.start()
    try:
        with context.Pool(1) as pool:
            assert pool.apply(signal.getsignal, [signal.SIGTERM]) == expected
            assert not pool.apply(signal.pthread_sigmask, [signal.SIG_BLOCK, []])
        with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
            assert executor.submit(signal.getsignal, signal.SIGTERM).result() == expected
        assert signal.getsignal(signal.SIGTERM) == termination._note
        os.kill(os.getpid(), signal.SIGTERM)
        assert termination.noted
    finally:
        termination.stop()
    assert signal.getsignal(signal.SIGTERM) == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_child_that_is_ended_in_its_first_moment_ends():
    termination = Termination()
    termination.start()
    try:
        for _ in range(50):
            if (child := os.fork()) == 0:
                time.sleep(60)
                os._exit(0)
            os.kill(child, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    finally:
        termination.stop()


class PoolMetric(BaseMetric):
    """Computes with processes that have work in hand when they are ended."""

    signals = 0

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        pool = multiprocessing.Pool(2)
        total = sum(pool.map(abs, results))
        pool.map_async(time.sleep, [600, 600])
        time.sleep(0.1)
        for _ in range(self.signals):
            os.kill(os.getpid(), signal.SIGTERM)
        pool.terminate()
        pool.join()
        return {"accuracy": total}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("signals", [0, 2])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_metric_may_use_a_pool_of_processes(tmp_path, signals, workers):
    run = build_run(tmp_path, length=4, validate=True, workers=workers)
    run.val_evaluator.metrics[:] = [metric := PoolMetric()]
    metric.signals = signals
    if not signals:
        run.train()
        assert len(run.model.seen) == 16
    else:
        with pytest.raises(SystemExit) as stop:
            run.train()
        assert stop.value.code == EXIT_CODE == 143
        # After the validation of the second epoch, which is not repeated.
        assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_2_iter_9.pth")


def test_a_handler_that_was_there_before_learns_of_the_end(tmp_path, before):
    run = build_run(tmp_path, validate=True)
    run.val_evaluator.metrics[:] = [metric := PoolMetric()]
    metric.signals = 1
    with pytest.raises(KeyboardInterrupt if before is theirs else SystemExit):
        run.train()
    assert find_checkpoint(tmp_path).path == str(tmp_path / "epoch_2_iter_9.pth")
    assert signal.getsignal(signal.SIGTERM) is before
