"""How `sharding: full` divides a model: parameters of its largest block, and those outside of its blocks.

Counted, not estimated: by `engine/training/networks/blocks.py` in torchvision's models with 1,000 classes (torchvision
0.29). ``tests/engine/model_catalog/test_divided_blocks.py`` counts all of them again.
"""

from __future__ import annotations

from msgspec import Struct


class DividedBlocks(Struct, frozen=True):
    """Parameters of one model."""

    rest: int
    """Outside of all blocks."""
    largest: int
    """Of the largest block; 0: the model has none and is gathered as a whole."""
    batch_norm: bool
    """It has BatchNorm, so that weights are gathered as float32."""


def blocks_of(model: str, width: int = 32) -> DividedBlocks | None:
    """Of a torchvision model by name, or of simple_cnn with `width`; None if unknown."""
    return _simple_cnn(width) if model == "simple_cnn" else _BLOCKS.get(model)


def _simple_cnn(width: int) -> DividedBlocks:
    """Its stages, of which the last is the largest; outside are the first convolution and the linear layer."""
    return DividedBlocks(77 * width + 4000 * width + 1000, 9 * (4 * width) ** 2 + 8 * width, True)


_BLOCKS = {
    "resnet18": DividedBlocks(522_536, 4_720_640, True),
    "resnet34": DividedBlocks(522_536, 4_720_640, True),
    "resnet50": DividedBlocks(2_058_536, 6_039_552, True),
    "resnet101": DividedBlocks(2_058_536, 6_039_552, True),
    "resnet152": DividedBlocks(2_058_536, 6_039_552, True),
    "resnext50_32x4d": DividedBlocks(2_058_536, 5_550_080, True),
    "wide_resnet50_2": DividedBlocks(2_058_536, 14_692_352, True),
    "mobilenet_v2": DividedBlocks(1_281_000, 473_920, True),
    "mobilenet_v3_small": DividedBlocks(1_615_848, 294_096, True),
    "mobilenet_v3_large": DividedBlocks(2_511_080, 797_360, True),
    "efficientnet_b0": DividedBlocks(1_281_000, 717_232, True),
    "efficientnet_b1": DividedBlocks(1_281_000, 1_563_600, True),
    "efficientnet_b2": DividedBlocks(1_409_000, 1_888_920, True),
    "efficientnet_b3": DividedBlocks(1_537_000, 2_244_960, True),
    "efficientnet_b4": DividedBlocks(1_793_000, 3_049_200, True),
    "efficientnet_v2_s": DividedBlocks(1_281_000, 1_005_120, True),
    "densenet121": DividedBlocks(1_036_584, 2_837_760, True),
    "vgg16": DividedBlocks(138_357_544, 0, False),
    "alexnet": DividedBlocks(61_100_840, 0, False),
    "squeezenet1_1": DividedBlocks(514_792, 197_184, False),
    "shufflenet_v2_x1_0": DividedBlocks(1_502_880, 167_968, True),
    "convnext_tiny": DividedBlocks(770_536, 4_763_136, False),
    "vit_b_16": DividedBlocks(1_513_192, 7_087_872, False),
    "swin_t": DividedBlocks(770_536, 7_091_928, False),
    "regnet_y_8gf": DividedBlocks(2_017_928, 9_614_528, True),
    "convnext_small": DividedBlocks(770_536, 4_763_136, False),
    "regnet_y_400mf": DividedBlocks(441_928, 518_870, True),
    "convnext_base": DividedBlocks(1_027_048, 8_448_000, False),
    "convnext_large": DividedBlocks(1_540_072, 18_963_456, False),
    "densenet161": DividedBlocks(2_227_720, 11_548_224, True),
    "densenet169": DividedBlocks(1_677_864, 5_913_600, True),
    "densenet201": DividedBlocks(1_934_376, 8_071_680, True),
    "efficientnet_b5": DividedBlocks(2_049_000, 3_976_320, True),
    "efficientnet_b6": DividedBlocks(2_305_000, 5_026_320, True),
    "efficientnet_b7": DividedBlocks(2_561_000, 6_199_200, True),
    "efficientnet_v2_l": DividedBlocks(1_281_000, 6_199_200, True),
    "vit_l_16": DividedBlocks(2_017_256, 12_596_224, False),
    "vit_b_32": DividedBlocks(3_169_768, 7_087_872, False),
    "vit_l_32": DividedBlocks(4_226_024, 12_596_224, False),
    "swin_s": DividedBlocks(770_536, 7_091_928, False),
    "swin_b": DividedBlocks(1_027_048, 12_601_632, False),
    "swin_v2_t": DividedBlocks(770_536, 7_101_720, False),
    "vgg11": DividedBlocks(132_863_336, 0, False),
    "vgg13": DividedBlocks(133_047_848, 0, False),
    "vgg19": DividedBlocks(143_667_240, 0, False),
    "vgg16_bn": DividedBlocks(138_365_992, 0, True),
    "mnasnet1_0": DividedBlocks(1_694_984, 605_440, True),
    "googlenet": DividedBlocks(2_162_760, 664_320, True),
    "inception_v3": DividedBlocks(23_834_568, 0, True),
    "resnext101_32x8d": DividedBlocks(2_058_536, 9_584_640, True),
    "shufflenet_v2_x0_5": DividedBlocks(1_224_352, 30_336, True),
    "shufflenet_v2_x1_5": DividedBlocks(1_748_640, 381_568, True),
    "shufflenet_v2_x2_0": DividedBlocks(4_052_640, 728_096, True),
    "squeezenet1_0": DividedBlocks(527_208, 197_184, False),
    "regnet_y_800mf": DividedBlocks(785_928, 1_655_220, True),
    "regnet_y_1_6gf": DividedBlocks(889_928, 2_169_606, True),
    "regnet_y_3_2gf": DividedBlocks(1_513_928, 4_803_768, True),
    "wide_resnet101_2": DividedBlocks(2_058_536, 14_692_352, True),
    "efficientnet_v2_m": DividedBlocks(1_281_000, 3_976_320, True),
    "maxvit_t": DividedBlocks(775_680, 3_155_088, True),
}
