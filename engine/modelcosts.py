"""What training a model costs in memory: parameters, and bytes that one image leaves behind for the backward pass.

Counted, not estimated: the tensors that autograd saves during the forward pass of torchvision's model
(hooks of ``torch.autograd.graph``, one count per storage, parameters left out) at 224 × 224 in
channels_last, with torch 2.15 and torchvision 0.29, once in float32 and once under bfloat16 autocast.
``tests/engine/test_modelcosts.py`` counts some of them again.
"""

from __future__ import annotations

from msgspec import Struct

COUNTED_AT = 224
"""Side of the images that the table holds for, in pixels."""


class ModelCost(Struct, frozen=True):
    """Sizes of one model with 1,000 classes."""

    parameters: int
    image_bytes_fp32: float
    """Saved activations of one image of `COUNTED_AT`², in bytes."""
    image_bytes_half: float
    """The same under fp16 or bf16 autocast."""

    def activations(self, images: int, image_size: int, half: bool) -> int:
        """Bytes that are saved for the backward pass of a batch; convolutions scale with the image's area."""
        each = self.image_bytes_half if half else self.image_bytes_fp32
        return int(images * each * (image_size / COUNTED_AT) ** 2)


def cost_of(model: str, width: int = 32) -> ModelCost | None:
    """The costs of a model by its name in torchvision, or of simple_cnn with `width`; None when it is not known."""
    return _simple_cnn(width) if model == "simple_cnn" else _COSTS.get(model)


def _simple_cnn(width: int) -> ModelCost:
    """Counted at widths from 16 to 128: the activations are linear in the width, the picture being the rest."""
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
}
