"""Keras under `exec`, on TensorFlow and on torch (extra ``frameworks``): steps and epochs by its callbacks."""

from __future__ import annotations

import pytest
from helpers.scripts.forked import Seen, run_forked

from gputrain.engine.probe import layout
from gputrain.engine.user_script.script_rank import ScriptRank

pytestmark = pytest.mark.frameworks

MODEL = """
import os
os.environ.update(KERAS_BACKEND="{backend}", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", KERAS_HOME=os.getcwd())
import keras, numpy
keras.utils.set_random_seed(0)
x, y = numpy.random.rand(90, 8).astype("float32"), numpy.random.randint(0, 3, 90)
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
options = dict(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
"""
ARRAYS = """
model.compile(**options)
model.fit(x, y, batch_size=8, epochs=2, validation_data=(x, y), validation_batch_size=30, verbose=0)
"""
PIPELINE = """
import tensorflow
rows = tensorflow.data.Dataset.from_tensor_slices((x, y)).batch(8)
model.compile(**options, steps_per_execution=4)
model.fit(rows, epochs=2, validation_data=rows, verbose=0)
"""
LOADER = """
import torch
rows = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
model.compile(**options)
model.fit(torch.utils.data.DataLoader(rows, batch_size=8), epochs=2, verbose=0,
          validation_data=torch.utils.data.DataLoader(rows, batch_size=30))
"""
SEQUENCE = """
class Rows(keras.utils.PyDataset):
    def __len__(self):
        return 12
    def __getitem__(self, index):
        return x[8 * index:8 * index + 8], y[8 * index:8 * index + 8]
model.compile(**options)
model.evaluate(Rows(), verbose=0)
model.fit(Rows(), epochs=2, verbose=0)
"""
ON_TENSORFLOW = {"arrays": ARRAYS, "pipeline": PIPELINE}
ON_TORCH = {"arrays": ARRAYS, "loader": LOADER, "sequence": SEQUENCE}


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    pytest.importorskip("tensorflow")
    # TensorFlow has threads once it is imported, so each child imports it itself.
    scripts = {name: MODEL.format(backend="tensorflow") + text for name, text in ON_TENSORFLOW.items()}
    return run_forked(tmp_path_factory.mktemp("tensorflow"), "", scripts)


@pytest.fixture(scope="module")
def on_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    pytest.importorskip("keras")
    return run_forked(tmp_path_factory.mktemp("torch"), MODEL.format(backend="torch"), ON_TORCH)


def _epoch(seen: Seen) -> tuple[int, int, int]:
    return tuple(int(seen.slot(at)) for at in (layout.EPOCH, layout.EPOCH_BATCHES, layout.EPOCH_LENGTH))  # type: ignore[return-value]


def test_arrays_on_tensorflow(on_tensorflow: dict[str, Seen]) -> None:
    seen = on_tensorflow["arrays"]
    # 90 samples make eleven batches of 8 and one of 2.
    assert (seen.updates, seen.samples, seen.validation) == (24, 180, 6)
    assert _epoch(seen) == (2, 12, 12)
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= seen.logged.keys()
    assert seen.slot(layout.LOSS) > 0
    assert 0 < seen.slot(layout.COMPUTE) <= seen.slot(layout.STEP_SECONDS)


def test_a_tf_data_pipeline_with_several_steps_in_one_call(on_tensorflow: dict[str, Seen]) -> None:
    seen = on_tensorflow["pipeline"]
    assert seen.updates == 24
    assert _epoch(seen)[:2] == (2, 12)
    assert {"loss", "val_loss"} <= seen.logged.keys()
    # `batch` of tf.data does not say how large its batches are.
    assert seen.samples == 0


@pytest.mark.parametrize("name", ON_TENSORFLOW)
def test_the_wait_on_tensorflow_is_unknown(name: str, on_tensorflow: dict[str, Seen]) -> None:
    assert "inside the compiled step" in on_tensorflow[name].unknown
    assert on_tensorflow[name].slot(layout.WAIT) == 0


@pytest.mark.parametrize("name", ["arrays", "loader"])
def test_arrays_and_a_data_loader_on_torch(name: str, on_torch: dict[str, Seen]) -> None:
    seen = on_torch[name]
    assert (seen.updates, seen.samples, seen.validation) == (24, 180, 6)
    assert _epoch(seen) == (2, 12, 12)
    assert seen.unknown == ""
    assert 0 < seen.slot(layout.WAIT) <= seen.slot(layout.STEP_SECONDS)
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= seen.logged.keys()
    assert {line["framework"] for line in seen.loaders()} == {"keras" if name == "arrays" else ""}


def test_a_sequence_on_torch_after_an_evaluation(on_torch: dict[str, Seen]) -> None:
    seen = on_torch["sequence"]
    assert (seen.updates, seen.samples, seen.validation) == (24, 180, 12)
    assert _epoch(seen) == (2, 12, 12)
    assert seen.unknown == ""


def test_the_epoch_is_the_frameworks_own(on_tensorflow: dict[str, Seen]) -> None:
    rank = ScriptRank(on_tensorflow["arrays"].page)
    assert rank.epoch() == (1, 12, 12)
