"""Smaller learning rates for what lies deeper in a backbone, in each of the frameworks.

MMPretrain's constructor asks the whole model for the depth of a layer, which models of the other
frameworks do not tell; those of MMDetection and MMSegmentation know the backbones that they name.
"""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor of optimizers, with layer-wise decay of the learning rate.

    ``paramwise_cfg`` takes ``layer_decay_rate`` beside its other settings: the last layer, to which
    all behind the backbone belongs, learns at the optimizer's rate, and each layer before it at so
    many times the rate of the next. The model's ``backbone`` says by ``get_layer_depth`` which
    layer a parameter is of.
    """

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add the parameters of a module to the optimizer's groups.

        Args:
            params: The groups, which get one for each parameter.
            module: The module; the whole model where there is no prefix.
            prefix: Its name in the model.
            is_dcn_module: As in MMEngine's constructor.
        """
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        rate = self.paramwise_cfg.get("layer_decay_rate", 1.0)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        backbone: Any = module.get_submodule("backbone")
        for group in params:
            depth, layers = backbone.get_layer_depth(names[id(group["params"][0])], "backbone.")
            group["lr"] = group.get("lr", self.base_lr) * rate ** (layers - 1 - depth)
        rates = [group["lr"] for group in params]
        print_log(f"learning rates from {min(rates):.2g} to {max(rates):.2g}", logger="current")
