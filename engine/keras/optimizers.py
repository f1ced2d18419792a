"""Creates the Keras optimizer: no weight decay for norms and biases, as in the PyTorch engine."""

from __future__ import annotations

from typing import Any

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.keras.library import keras, tf

_EPSILON = 1e-8
"""torch's default; Keras has 1e-7."""
_NAME = "optimizer"
"""A fixed name, so that variable paths are the same in each process."""


SCALING = "scaled/"
"""Prefix of the paths of the loss scale's variables (fp16)."""


def make_optimizer(network: Any, config: RunConfig, precision: str) -> Any:
    """A built ``keras.optimizers.Optimizer``; in fp16 with loss scaling."""
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
    """Whether weight decay applies: not for norms and biases (He et al. 2019)."""
    return len(variable.shape) > 1


def penalty_of(network: Any, config: RunConfig) -> Any:
    """L2 penalty that makes weight decay part of the gradients, as in torch's optimizers other than AdamW.

    A function without arguments that returns a float32 scalar; None without such a penalty.
    """
    decay = config.optim.weight_decay
    if not decay or config.optim.optimizer == "adamw":
        return None
    decayed = [variable for variable in network.trainable_variables if is_decayed(variable)]
    # l2_loss is half the sum of the squares: its gradient is the weight.
    return lambda: decay * tf.add_n([tf.nn.l2_loss(variable.value) for variable in decayed])
