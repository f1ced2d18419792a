"""Training step of Keras as a TensorFlow graph (optionally XLA), and the sums of a validation batch."""

from __future__ import annotations

from typing import Any

from gputrain.engine.configuration.setting_definitions import RunConfig
from gputrain.engine.keras import optimizers
from gputrain.engine.keras.data.tf_data_pipeline import Batch
from gputrain.engine.keras.library import tf

_TOP = 5


class TrainStep:
    """Network and optimizer. Its methods do not wait for the device."""

    def __init__(self, network: Any, config: RunConfig, classes: int, precision: str) -> None:
        self.network = network
        self.optimizer = optimizers.make_optimizer(network, config, precision)
        self.compiled = config.speed.compile
        self._classes, self._smoothing = classes, config.optim.label_smoothing
        self._scaled = precision == "fp16"
        self._penalty = optimizers.penalty_of(network, config)
        self._train = tf.function(self._train_step, jit_compile=self.compiled, autograph=False)
        self._predict = tf.function(self._outputs, autograph=False)
        self._evaluate = tf.function(self._sums, autograph=False)

    def step(self, batch: Batch, lr: float) -> Any:
        """Train on a batch; returns loss and loss scale, float32 (2,), on the device."""
        return self._train(batch.pixels, batch.labels, batch.flips, tf.constant(lr, tf.float32))

    def trace(self, batch: Batch) -> None:
        """Trace the graph of `step` for batches like this one. XLA compiles it in the first step."""
        self._train.get_concrete_function(batch.pixels, batch.labels, batch.flips, tf.constant(0.0))

    def sums(self, batch: Batch) -> Any:
        """Sums over a batch, float64 (3,): cross-entropy without smoothing, top-1 hits, top-5 hits."""
        return self._evaluate(batch.pixels, batch.labels)

    def outputs(self, batch: Batch) -> Any:
        """Logits float32 (N, classes)."""
        return self._predict(batch.pixels)

    def _train_step(self, pixels: Any, labels: Any, flips: Any, lr: Any) -> Any:
        images = tf.cast(pixels, tf.float32)
        images = tf.where(flips[:, None, None, None], tf.reverse(images, [2]), images)
        with tf.GradientTape() as tape:
            scores = tf.cast(self.network(images, training=True), tf.float32)
            loss = tf.reduce_mean(self._losses(scores, labels))
            total = loss if self._penalty is None else loss + self._penalty()
            total = self.optimizer.scale_loss(total)
        weights = self.network.trainable_variables
        gradients = tape.gradient(total, [weight.value for weight in weights])
        self.optimizer.learning_rate.assign(lr)
        self.optimizer.apply(gradients, weights)
        scale = tf.cast(self.optimizer.dynamic_scale, tf.float32) if self._scaled else tf.constant(1.0)
        return tf.stack((loss, scale))

    def _losses(self, scores: Any, labels: Any) -> Any:
        """Cross-entropy of each sample, with label smoothing."""
        targets = tf.one_hot(labels, self._classes)
        targets = targets * (1 - self._smoothing) + self._smoothing / self._classes
        return tf.nn.softmax_cross_entropy_with_logits(targets, scores)

    def _outputs(self, pixels: Any) -> Any:
        return tf.cast(self.network(tf.cast(pixels, tf.float32), training=False), tf.float32)

    def _sums(self, pixels: Any, labels: Any) -> Any:
        scores = self._outputs(pixels)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
        best = tf.equal(tf.math.top_k(scores, min(_TOP, self._classes)).indices, labels[:, None])
        found = (losses, best[:, 0], tf.reduce_any(best, 1))
        return tf.stack([tf.reduce_sum(tf.cast(value, tf.float64)) for value in found])


def metrics_of(sums: Any, count: int, classes: int) -> dict[str, float]:
    """``loss``, ``accuracy`` and, from six classes on, ``accuracy_top5``; waits for the device."""
    loss, top1, top5 = (float(value) / count for value in sums.numpy())
    return {"loss": loss, "accuracy": top1, **({"accuracy_top5": top5} if classes > _TOP else {})}
