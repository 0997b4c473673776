import pytest
import torch

from mmscalablevit.hooks.matching import MatchingCheckpointHook


class _Run:
    """What the checkpoint hook sees of a runner."""

    def __init__(self, model) -> None:
        self.model = model


def test_a_checkpoint_of_another_model_is_told():
    model = torch.nn.Sequential()
    model.backbone, model.head = torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)
    hook, good = MatchingCheckpointHook(), dict(model.state_dict())
    hook.after_load_checkpoint(_Run(model), {"state_dict": good})
    extra = {**good, "auxiliary.weight": torch.ones(1)}
    hook.after_load_checkpoint(_Run(model), {"state_dict": extra})
    without_count = {k: v for k, v in good.items() if k != "head.num_batches_tracked"}
    hook.after_load_checkpoint(_Run(model), {"state_dict": without_count})
    cases = {
        "backbone.bias is missing": {k: v for k, v in good.items() if k != "backbone.bias"},
        r"backbone.weight has shape \(9, 2\), the model needs \(3, 2\)": {
            **good,
            "backbone.weight": torch.ones(9, 2),
        },
        "backbone.more is not in the model": {**good, "backbone.more": torch.ones(1)},
    }
    for message, state in cases.items():
        with pytest.raises(RuntimeError, match=message):
            hook.after_load_checkpoint(_Run(model), {"state_dict": state})
