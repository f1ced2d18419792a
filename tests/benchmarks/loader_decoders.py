"""Candidate JPEG decoders in the same loader: threads, whole images, antialiased crops in uint8.

Only the decoder differs. The engine's own is not among them: it decodes parts of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import harness
import numpy as np
import numpy.typing as npt
import torch
from loader_peers import Setting

from gputrain.engine.dataloading import random_resized_crop

Decode = Callable[[bytes], npt.NDArray[np.uint8]]
"""From a file's bytes to (height, width, 3)."""


def _crop(pixels: torch.Tensor, draws: random_resized_crop.Draws, size: int) -> torch.Tensor:
    """A random crop of (3, height, width), antialiased."""
    left, top, width, height = random_resized_crop.random_crop_box(draws, pixels.shape[2], pixels.shape[1], 0.08)
    box = pixels[None, :, top : top + height, left : left + width]
    resized: torch.Tensor = torch.nn.functional.interpolate(box, size=(size, size), mode="bilinear", antialias=True)
    return resized[0]


def _batches(setting: Setting) -> Iterator[list[tuple[str, random_resized_crop.Draws]]]:
    """Files of whole batches, in a random order, with the random numbers of their crops."""
    paths = sorted(str(path) for path in setting.data.glob("train/*/*.jpg"))
    order = torch.randperm(len(paths)).tolist()
    rows = random_resized_crop.uniforms(0, 0, np.arange(len(paths))).tolist()
    for start in range(0, len(order) - setting.batch_size + 1, setting.batch_size):
        yield [(paths[index], rows[index]) for index in order[start : start + setting.batch_size]]


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - called for every image
        return file.read()


def _threads(setting: Setting, decode: Decode) -> harness.Pass:
    torch.set_num_threads(1)

    def make(out: torch.Tensor, path: str, draws: random_resized_crop.Draws) -> None:
        pixels = torch.from_numpy(decode(_read(path))).permute(2, 0, 1)
        out.copy_(_crop(pixels, draws, setting.size))

    def one_pass() -> int:
        count = 0
        with ThreadPoolExecutor(setting.workers) as pool:
            for batch in _batches(setting):
                shape = (len(batch), 3, setting.size, setting.size)
                out = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
                list(pool.map(make, out, *zip(*batch, strict=True)))
                count += len(batch)
        return count

    return one_pass


def with_simplejpeg(setting: Setting) -> harness.Pass:
    """simplejpeg, which contains libjpeg-turbo."""
    return _threads(setting, import_module("simplejpeg").decode_jpeg)


def with_turbojpeg(setting: Setting) -> harness.Pass:
    """PyTurboJPEG, over the system's libturbojpeg."""
    package = import_module("turbojpeg")
    try:
        decoder = package.TurboJPEG()
    except RuntimeError as error:
        raise ImportError(f"PyTurboJPEG has no library to use: {str(error).splitlines()[0]}") from None
    return _threads(setting, lambda data: decoder.decode(data, pixel_format=package.TJPF_RGB))


def with_opencv(setting: Setting) -> harness.Pass:
    """OpenCV, whose pixels are BGR."""
    cv2 = import_module("cv2")
    cv2.setNumThreads(1)

    def decode(data: bytes) -> npt.NDArray[np.uint8]:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        pixels: npt.NDArray[np.uint8] = found
        return pixels

    return _threads(setting, decode)


def with_torchvision(setting: Setting) -> harness.Pass:
    """torchvision's decode_jpeg on the CPU."""
    vision = import_module("torchvision.io")

    def decode(data: bytes) -> Any:
        encoded = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
        return vision.decode_jpeg(encoded, mode=vision.ImageReadMode.RGB).permute(1, 2, 0).numpy()

    return _threads(setting, decode)


def with_nvjpeg(setting: Setting) -> harness.Pass:
    """nvJPEG through torchvision: files are read by threads, whole batches decoded and cropped on the GPU."""
    vision = import_module("torchvision.io")
    if not torch.cuda.is_available():
        raise RuntimeError("nvJPEG needs an NVIDIA GPU, and there is none")

    def encoded(path: str) -> torch.Tensor:
        return torch.frombuffer(bytearray(_read(path)), dtype=torch.uint8)

    def one_pass() -> int:
        count = 0
        with ThreadPoolExecutor(setting.workers) as pool:
            for batch in _batches(setting):
                files = list(pool.map(encoded, (path for path, _ in batch)))
                images = vision.decode_jpeg(files, mode=vision.ImageReadMode.RGB, device="cuda")
                # The antialiased kernel of the GPU takes no bytes.
                crops = [
                    _crop(image.float(), draws, setting.size) for image, (_, draws) in zip(images, batch, strict=True)
                ]
                torch.stack(crops).round_().clamp_(0, 255).to(torch.uint8)
                count += len(batch)
        torch.cuda.synchronize()
        return count

    return one_pass


DECODERS = (
    harness.Contender("decoder_simplejpeg", "decoder: simplejpeg", "antialiased", with_simplejpeg),
    harness.Contender("decoder_turbojpeg", "decoder: PyTurboJPEG", "antialiased", with_turbojpeg),
    harness.Contender("decoder_opencv", "decoder: OpenCV", "antialiased", with_opencv),
    harness.Contender("decoder_torchvision", "decoder: torchvision.io", "antialiased", with_torchvision),
    harness.Contender("decoder_nvjpeg", "decoder: nvJPEG through torchvision", "antialiased, on the GPU", with_nvjpeg),
)
