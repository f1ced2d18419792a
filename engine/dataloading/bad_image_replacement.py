"""Which samples replace one with a bad image: a pure function of (seed, epoch, index)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from gputrain.engine.dataloading import random_resized_crop


def replacement_samples(seed: int, epoch: int, sample: int, count: int) -> Iterator[int]:
    """The samples to try in place of `sample`, of `count` in all, without end: the caller takes the first good one.

    They follow each other from a position that is drawn from (seed, epoch, sample): the samples of a missing folder are
    replaced by many different ones.
    """
    draw = random_resized_crop.uniforms(seed, epoch, np.array([sample]), 1, random_resized_crop.REPLACING)[0, 0]
    first = int(draw * count)
    return (following % count for following in itertools.count(first))
