"""Memory of training a model: parameters, and activation bytes that one image stores for the backward pass.

Counted, not estimated: the tensors that autograd saves during the forward pass of torchvision's model
(hooks of ``torch.autograd.graph``, one count per storage, parameters left out) at 224 × 224 in
channels_last, with torch 2.15 and torchvision 0.29, once in float32 and once under bfloat16 autocast.
``tests/engine/model_catalog/test_activation_memory.py`` counts some of them again.
"""

from __future__ import annotations

from msgspec import Struct

COUNTED_AT = 224
"""Image size of the table, in pixels."""


class ModelCost(Struct, frozen=True):
    """Sizes of one model with 1,000 classes."""

    parameters: int
    image_bytes_fp32: float
    """Saved activations of one image of `COUNTED_AT`², in bytes."""
    image_bytes_half: float
    """The same under fp16 or bf16 autocast."""

    def activations(self, images: int, image_size: int, half: bool) -> int:
        """Activation bytes of a batch; they scale with the image's area."""
        each = self.image_bytes_half if half else self.image_bytes_fp32
        return int(images * each * (image_size / COUNTED_AT) ** 2)


def cost_of(model: str, width: int = 32) -> ModelCost | None:
    """Costs of a torchvision model by name, or of simple_cnn with `width`; None if unknown."""
    return _simple_cnn(width) if model == "simple_cnn" else _COSTS.get(model)


def _simple_cnn(width: int) -> ModelCost:
    """Counted at widths from 16 to 128: activations are linear in the width, plus those of the input image."""
    parameters = 243 * width**2 + 4099 * width + 1000
    return ModelCost(parameters, 606_120 + 349_680 * width, 305_064 + 197_576 * width)


_COSTS = {
    "resnet18": ModelCost(11_689_512, 22.2e6, 11.9e6),
    "resnet34": ModelCost(21_797_672, 32.2e6, 16.9e6),
    "resnet50": ModelCost(25_557_032, 85.9e6, 43.8e6),
    "resnet101": ModelCost(44_549_160, 126.9e6, 64.2e6),
    "resnet152": ModelCost(60_192_808, 177.4e6, 89.5e6),
    "resnext50_32x4d": ModelCost(25_028_904, 112.2e6, 56.9e6),
    "wide_resnet50_2": ModelCost(68_883_240, 112.2e6, 56.9e6),
    "mobilenet_v2": ModelCost(3_504_872, 78.2e6, 39.1e6),
    "mobilenet_v3_small": ModelCost(2_542_856, 16.2e6, 8.1e6),
    "mobilenet_v3_large": ModelCost(5_483_032, 44.1e6, 22.1e6),
    "efficientnet_b0": ModelCost(5_288_548, 88.2e6, 44.1e6),
    "efficientnet_b1": ModelCost(7_794_184, 122.9e6, 61.4e6),
    "efficientnet_b2": ModelCost(9_109_994, 128.9e6, 64.4e6),
    "efficientnet_b3": ModelCost(12_233_232, 170.4e6, 85.2e6),
    "efficientnet_b4": ModelCost(19_341_616, 225.0e6, 112.5e6),
    "efficientnet_v2_s": ModelCost(21_458_488, 154.1e6, 77.0e6),
    "densenet121": ModelCost(7_978_856, 130.4e6, 66.0e6),
    "vgg16": ModelCost(138_357_544, 73.4e6, 42.8e6),
    "alexnet": ModelCost(61_100_840, 3.7e6, 2.2e6),
    "squeezenet1_1": ModelCost(1_235_496, 21.1e6, 11.9e6),
    "shufflenet_v2_x1_0": ModelCost(2_278_604, 20.4e6, 10.5e6),
    "convnext_tiny": ModelCost(28_589_128, 109.2e6, 55.7e6),
    "vit_b_16": ModelCost(86_567_656, 118.2e6, 66.4e6),
    "swin_t": ModelCost(28_288_354, 106.5e6, 62.1e6),
    "regnet_y_8gf": ModelCost(39_381_472, 171.7e6, 85.9e6),
    "convnext_small": ModelCost(50_223_688, 174.2e6, 88.3e6),
    "regnet_y_400mf": ModelCost(4_344_144, 33.6e6, 16.8e6),
    "convnext_base": ModelCost(88_591_464, 232.0e6, 117.5e6),
    "convnext_large": ModelCost(197_767_336, 347.6e6, 176.0e6),
    "densenet161": ModelCost(28_681_000, 242.8e6, 122.6e6),
    "densenet169": ModelCost(14_149_480, 157.3e6, 79.5e6),
    "densenet201": ModelCost(20_013_928, 203.0e6, 102.3e6),
    "efficientnet_b5": ModelCost(30_389_784, 309.8e6, 154.9e6),
    "efficientnet_b6": ModelCost(43_040_704, 396.5e6, 198.3e6),
    "efficientnet_b7": ModelCost(66_347_960, 531.9e6, 265.9e6),
    "efficientnet_v2_l": ModelCost(118_515_272, 440.2e6, 220.1e6),
    "vit_l_16": ModelCost(304_326_632, 312.5e6, 175.8e6),
    "vit_b_32": ModelCost(88_224_232, 30.4e6, 17.1e6),
    "vit_l_32": ModelCost(306_535_400, 79.8e6, 44.8e6),
    "swin_s": ModelCost(49_606_258, 169.9e6, 99.3e6),
    "swin_b": ModelCost(87_768_224, 226.2e6, 132.3e6),
    "swin_v2_t": ModelCost(28_351_570, 150.1e6, 88.6e6),
    "vgg11": ModelCost(132_863_336, 48.9e6, 30.6e6),
    "vgg13": ModelCost(133_047_848, 68.1e6, 40.2e6),
    "vgg19": ModelCost(143_667_240, 78.6e6, 45.4e6),
    "vgg16_bn": ModelCost(138_365_992, 127.5e6, 69.9e6),
    "mnasnet1_0": ModelCost(4_383_312, 44.3e6, 22.1e6),
    "googlenet": ModelCost(6_624_904, 48.2e6, 29.8e6),
    "inception_v3": ModelCost(23_834_568, 50.5e6, 26.7e6),
    "resnext101_32x8d": ModelCost(88_791_336, 246.7e6, 124.1e6),
    "shufflenet_v2_x0_5": ModelCost(1_366_792, 11.1e6, 5.8e6),
    "shufflenet_v2_x1_5": ModelCost(3_503_624, 28.6e6, 14.6e6),
    "shufflenet_v2_x2_0": ModelCost(7_393_996, 38.4e6, 19.5e6),
    "squeezenet1_0": ModelCost(1_248_424, 35.8e6, 20.1e6),
    "regnet_y_800mf": ModelCost(6_432_512, 46.8e6, 23.4e6),
    "regnet_y_1_6gf": ModelCost(11_202_430, 71.8e6, 35.9e6),
    "regnet_y_3_2gf": ModelCost(19_436_338, 99.7e6, 49.9e6),
    "wide_resnet101_2": ModelCost(126_886_696, 166.8e6, 84.2e6),
    "efficientnet_v2_m": ModelCost(54_139_356, 250.7e6, 125.3e6),
    "maxvit_t": ModelCost(30_919_624, 307.0e6, 164.7e6),
}
