from __future__ import annotations

import multiprocessing
from itertools import chain

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from torch.utils.data import BatchSampler

from mmscalablevit.runner.loops import BatchStream, LateBatches

from .toy_run import Numbers, build_run


def stream(sampler: type, endless: bool) -> BatchStream:
    return BatchStream(sampler(Numbers(), seed=5), 6, endless=endless)


def test_an_epoch_goes_on_behind_what_is_passed_over():
    whole = list(stream(DefaultSampler, endless=False))
    assert len(whole) == 4
    batches = stream(DefaultSampler, endless=False)
    batches.to_pass = 3
    assert list(batches) == whole[3:]
    assert list(batches) == whole  # the next epoch is whole again


@pytest.mark.parametrize("sampler", [DefaultSampler, InfiniteSampler])
def test_an_endless_stream_goes_on_through_epochs(sampler):
    whole = iter(stream(sampler, endless=True))
    first = [next(whole) for _ in range(15)]
    batches = stream(sampler, endless=True)
    batches.to_pass = 9
    rest = iter(batches)
    assert [next(rest) for _ in range(6)] == first[9:]
    if sampler is DefaultSampler:  # every epoch holds every sample
        assert sorted(chain(*first[4:8])) == list(range(22))
        assert first[4:8] != first[:4]


def test_an_endless_stream_of_nothing_ends():
    sampler = DefaultSampler(Numbers(4), seed=0)
    assert list(BatchStream(sampler, 6, drop_last=True, endless=True)) == []


def test_a_batch_sampler_that_the_config_names_is_kept():
    sampler = DefaultSampler(Numbers(), shuffle=False)
    inner = {"type": BatchSampler, "drop_last": True}
    batches = BatchStream(sampler, 6, inner=inner)
    assert list(batches) == list(BatchSampler(sampler, 6, drop_last=True)) and len(batches) == 3


def test_each_engine_may_pass_over_batches_in_its_way():
    drawn, called = LateBatches("abc"), LateBatches("abc")
    drawn.passed = called.passed = 1000
    assert [next(drawn) for _ in range(1000)] == [None] * 1000  # MMEngine
    called.skip_iter(1000)  # onedl-mmengine
    for batches in (drawn, called):
        assert [next(batches) for _ in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize(("by_epoch", "workers"), [(True, 0), (True, 2), (False, 2)])
def test_the_order_is_mmengines(tmp_path, monkeypatch, by_epoch, workers):
    ours = build_run(tmp_path / "ours", by_epoch, length=3 if by_epoch else 12, workers=workers)
    ours.train()
    theirs = build_run(tmp_path / "theirs", by_epoch, length=3 if by_epoch else 12, workers=workers)
    monkeypatch.setattr(type(theirs), "build_train_loop", Runner.build_train_loop)
    theirs.train()
    assert type(theirs.train_loop).__module__.startswith("mmengine")
    assert ours.model.seen == theirs.model.seen and len(ours.model.seen) == 12
    assert not multiprocessing.active_children()  # and no worker is left


@pytest.mark.parametrize(
    ("by_epoch", "sampler", "workers"),
    [
        (True, "DefaultSampler", 2),
        (False, "InfiniteSampler", 2),
        (False, "DefaultSampler", 0),
        (False, "DefaultSampler", 2),
    ],
)
def test_a_resumed_run_sees_the_same_samples(tmp_path, by_epoch, sampler, workers):
    length, step, name = (6, 4, "epoch_{}.pth") if by_epoch else (24, 1, "iter_{}.pth")
    whole = build_run(tmp_path / "whole", by_epoch, length, sampler=sampler, workers=workers)
    whole.train()
    for done in (1, length - 1):
        start = tmp_path / "whole" / name.format(done)
        run = build_run(
            tmp_path / f"from_{done}", by_epoch, length, start, sampler=sampler, workers=workers
        )
        run.train()
        assert run.model.seen == whole.model.seen[done * step :]
        assert torch.equal(run.model.layer.weight, whole.model.layer.weight)


def test_what_was_trained_on_is_not_loaded_again(tmp_path):
    whole = build_run(tmp_path / "whole", by_epoch=False, length=24)
    whole.train()
    assert len(whole.train_dataloader.dataset.loaded) == 24 * 6
    run = build_run(tmp_path / "run", False, 24, resume=tmp_path / "whole" / "iter_20.pth")
    run.train()
    assert len(run.train_dataloader.dataset.loaded) == 4 * 6


def test_an_epoch_of_another_length_is_entered_at_the_same_share(tmp_path):
    first = build_run(tmp_path / "first", by_epoch=True, length=2)
    checkpoint_of = next(hook for hook in first.hooks if hasattr(hook, "save_interrupted"))
    first.train_loop.position = 2  # of 4
    first.call_hook("before_train")
    first.optim_wrapper = first.build_optim_wrapper(first.optim_wrapper)
    first.train_loop._iter = 1
    saved = checkpoint_of.save_interrupted(first, in_validation=False)
    assert saved.endswith("epoch_0_iter_2.pth")
    run = build_run(tmp_path / "second", True, 1, resume=saved, batch_size=3)  # 8 batches
    run.train()
    assert len(run.model.seen) == 4
