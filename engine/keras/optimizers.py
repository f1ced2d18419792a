"""The update rule of the settings, with the decay kept away from norms and biases as in torch."""

from __future__ import annotations

from typing import Any

from gputrain.engine.configuration.run_config import RunConfig
from gputrain.engine.keras.library import keras, tf

_EPSILON = 1e-8
"""Torch's; Keras has 1e-7."""
_NAME = "optimizer"
"""One name, so that the paths of its variables are the same in each process."""


SCALING = "scaled/"
"""How the paths of the variables begin that scale the loss in fp16."""


def make_optimizer(network: Any, config: RunConfig, precision: str) -> Any:
    """A ``keras.optimizers.Optimizer`` with its variables made; in fp16 one that scales the loss."""
    inner = _inner(network, config)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, name=SCALING.rstrip("/")) if precision == "fp16" else inner
    optimizer.build(network.trainable_variables)
    return optimizer


def _inner(network: Any, config: RunConfig) -> Any:
    optim = config.optim
    beta = {"beta_1": optim.momentum, "beta_2": 0.999, "epsilon": _EPSILON}
    common: dict[str, Any] = {"learning_rate": optim.lr, "name": _NAME}
    if optim.clip_grad_norm:
        common["global_clipnorm"] = optim.clip_grad_norm
    match optim.optimizer:
        case "adam":
            return keras.optimizers.Adam(**beta, **common)
        case "adamw":
            made = keras.optimizers.AdamW(weight_decay=optim.weight_decay, **beta, **common)
            if plain := [variable for variable in network.trainable_variables if not is_decayed(variable)]:
                made.exclude_from_weight_decay(var_list=plain)
            return made
        case "rmsprop":
            return keras.optimizers.RMSprop(rho=0.99, momentum=optim.momentum, epsilon=_EPSILON, **common)
        case _:
            return keras.optimizers.SGD(momentum=optim.momentum, nesterov=optim.momentum > 0, **common)


def is_decayed(variable: Any) -> bool:
    """Weights are; norms and biases are not (He et al. 2019)."""
    return len(variable.shape) > 1


def penalty_of(network: Any, config: RunConfig) -> Any:
    """What is added to the loss for the decay to be part of the gradients, as torch's rules but adamw have it.

    A function without arguments that gives a float32 scalar; None where there is no such decay.
    """
    decay = config.optim.weight_decay
    if not decay or config.optim.optimizer == "adamw":
        return None
    decayed = [variable for variable in network.trainable_variables if is_decayed(variable)]
    # l2_loss is half the sum of the squares: its gradient is the weight.
    return lambda: decay * tf.add_n([tf.nn.l2_loss(variable.value) for variable in decayed])
