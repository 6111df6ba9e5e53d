"""halotile's seeded values in NumPy, bit for bit: the twin of src/pipeline/network/random.hpp and weights.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np

from halotile_tools.model_file import tensor_shapes

_MASK = (1 << 64) - 1
_BLOCK = 1 << 16  # elements made at a time: the temporaries stay in the cache and out of the peak memory


def splitmix64(x: int) -> int:
    """Steele, Lea and Flood's finalizer of x + 0x9e3779b97f4a7c15."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def fnv1a(name: str) -> int:
    """64-bit FNV-1a of the name's bytes."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & _MASK
    return h


def _bits(base: int, begin: int, end: int) -> np.ndarray:
    """Elements [begin, end) of the sequence of 64-bit words (arithmetic modulo 2^64)."""
    x = np.arange(begin, end, dtype=np.uint64)
    x += np.uint64((base + 0x9E3779B97F4A7C15) & _MASK)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def sequence(seed: int, number: int) -> int:
    """The base of a numbered sequence: RandomSequence(seed, number)."""
    return splitmix64(seed ^ splitmix64(number))


def dropout_mask(seed: int, layer: str, sample: int, image: int, shape: tuple[int, ...], p: float) -> np.ndarray:
    """What a dropout layer multiplies an image's (C, H, W) map by in a sample: 0, or 1 / (1 - p) in float32."""
    of_sample = int(_bits(sequence(seed, fnv1a(layer)), sample, sample + 1)[0])
    bits = _bits(sequence(of_sample, image), 0, int(np.prod(shape))) >> np.uint64(40)
    kept = bits.astype(np.float32) * np.float32(2.0**-24) >= np.float32(p)
    scale = np.float32(1.0) / (np.float32(1.0) - np.float32(p)) if p < 1 else np.float32(0.0)
    return np.where(kept, scale, np.float32(0.0)).reshape(shape)


def random_crop(seed: int, photograph: int, size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int, bool]:
    """Top, left and whether to mirror, that `preprocess.augment` gives a photograph of (height, width) `size`."""
    top, left, mirror = _bits(sequence(seed, fnv1a("augment")), 3 * photograph, 3 * photograph + 3) >> np.uint64(32)
    return int(top) % (size[0] - crop[0] + 1), int(left) % (size[1] - crop[1] + 1), bool(int(mirror) % 2)


def uniform(seed: int, name: str, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    """The first elements of a named sequence as float32 in [-scale, scale); `scale` is rounded to float32."""
    base = splitmix64(seed ^ splitmix64(fnv1a(name)))
    values = np.empty(int(np.prod(shape)), dtype=np.float32)
    for begin in range(0, values.size, _BLOCK):
        part = values[begin : begin + _BLOCK]
        part[:] = _bits(base, begin, begin + part.size) >> np.uint64(40)  # 24 bits: exact in float32
        part *= np.float32(2.0**-23)
        part -= np.float32(1.0)
        part *= np.float32(scale)
    return values.reshape(shape)


def random_input(seed: int, shape: tuple[int, int, int, int]) -> np.ndarray:
    """What `input: {random: SEED}` gives, as (N, C, H, W)."""
    return uniform(seed, "input", shape)


def random_layer(seed: int, layer: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Weight, of PyTorch's shape, and bias that `weights: {random: SEED}` gives a layer."""
    fan_in = np.float32(np.prod(shape[1:]))
    weight = uniform(seed, f"{layer}.weight", shape, float(np.sqrt(np.float32(6.0) / fan_in)))
    bias = uniform(seed, f"{layer}.bias", shape[:1], float(np.float32(1.0) / np.sqrt(fan_in)))
    return weight, bias


def random_weights(model: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """What `weights: {random: SEED}` gives a model, by PyTorch's names."""
    tensors: dict[str, np.ndarray] = {}
    wanted = tensor_shapes(model)
    for name, shape in wanted.items():
        layer, _, part = name.rpartition(".")
        if part == "weight":
            weight, bias = random_layer(seed, layer, shape)
            tensors[name] = weight
            if f"{layer}.bias" in wanted:
                tensors[f"{layer}.bias"] = bias
    return tensors
