#!/usr/bin/env python3
"""Writes tests/formats/golden/: small images of many kinds, and what Pillow and torchvision make of them.

    python3 tests/formats/golden/make_preprocess_golden.py

Needs numpy and Pillow 13 or later; where torchvision is installed, the network inputs are checked against it as well. The
results are kept in the repository, so that the tests need no Python: run this again only to add cases. Every line
of golden.txt is one case; a result is kept as its CRC-32 (zlib) over the bytes, rows first, channels last, and small
ones also as <case>.npy to find the first difference.
"""

import io
import pathlib
import random
import struct
import zlib

import numpy as np
import PIL
from PIL import Image, ImageOps

GOLDEN = pathlib.Path(__file__).resolve().parent
ROOT = GOLDEN.parents[2]
SAMPLES = "data/samples"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
ORDERS = ("pillow13", "pillow12")
TALL = "tests/formats/golden/tall.png"  # 61 x 27
MEAN, STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

lines = []


def read(path):
    """The image as we promise to read it."""
    with Image.open(ROOT / path) as image:
        if image.mode == "I;16":  # our one difference: the high byte, where Pillow clips
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        return ImageOps.exif_transpose(image).convert("RGB")


def resize(image, height, width, resample, order="pillow13"):
    """In Pillow 13's order of passes, or in two calls in that of 12: columns first, whatever the sizes."""
    if order == "pillow13":
        return image.resize((width, height), resample)
    return image.resize((width, image.height), resample).resize((width, height), resample)


def record(case, result, name=None):
    result = np.ascontiguousarray(result)
    lines.append(f"{case} {zlib.crc32(result.tobytes()):08x}")
    if name and result.nbytes <= 4096:
        np.save(GOLDEN / f"{name}.npy", result)


def picture(height, width, seed):
    """Smooth colours with some noise, as uint8 (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 3.1 + seed) + np.cos(y / 2.3), np.sin((x + y) / 4.7), np.cos(x / 5.3 - y / 3.9 + seed)]
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    return np.clip(np.stack(waves, -1) * 60 + 128 + noise, 0, 255).astype(np.uint8)


def decode_case(name, data):
    path = GOLDEN / name
    path.write_bytes(data)
    relative = path.relative_to(ROOT)
    image = read(relative)
    record(f"decode {relative} {image.height} {image.width}", np.asarray(image), path.stem)


# --- JPEG


def jpeg(image, **options):
    buffer = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def segments(data):
    """(marker, offset, end) of the segments before the first scan."""
    at = 2
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        yield data[at + 1], at, end
        at = end


def without_segment(data, marker):
    for kind, begin, end in segments(data):
        if kind == marker:
            return data[:begin] + data[end:]
    raise ValueError(f"no segment {marker:x}")


def exif_block(orientation, order="<", kind=3, count=1):
    """A TIFF header and one directory with one tag; kind 1: BYTE, 3: SHORT, 4: LONG, 5: RATIONAL, 9: SLONG, 11: FLOAT."""
    numbers = (orientation, 1) if kind == 5 else (orientation,)
    value = struct.pack(order + {1: "B", 3: "H", 4: "I", 5: "II", 9: "i", 11: "f"}[kind], *numbers) * count
    field = value if len(value) <= 4 else struct.pack(order + "I", 26)  # behind the directory
    return ((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IHHHI", 8, 1, 0x112, kind, count) +
            field.ljust(4, b"\0") + b"\0\0\0\0" + (value if len(value) > 4 else b""))


def raw_profile(block):
    """A text chunk's way of holding EXIF, as ImageMagick writes it."""
    return f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()


def app1(data, body):
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def jpeg_cases():
    image = picture(29, 37, 1)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        decode_case(f"jpeg_{subsampling.replace(':', '')}.jpg", jpeg(image, subsampling=subsampling, quality=90))
    decode_case("jpeg_quality100.jpg", jpeg(image, quality=100))
    decode_case("jpeg_quality10.jpg", jpeg(image, quality=10))
    decode_case("jpeg_progressive.jpg", jpeg(image, progressive=True))
    decode_case("jpeg_restarts.jpg", jpeg(image, restart_marker_blocks=2))
    decode_case("jpeg_rgb.jpg", jpeg(image, keep_rgb=True))
    decode_case("jpeg_grey.jpg", jpeg(image[:, :, 0]))
    decode_case("jpeg_grey_progressive.jpg", jpeg(image[:, :, 1], progressive=True))
    for height, width in ((1, 1), (1, 17), (17, 1), (8, 8), (16, 16), (2, 3), (9, 33)):
        decode_case(f"jpeg_{height}x{width}.jpg", jpeg(picture(height, width, 2), subsampling="4:2:0"))
    # 4:4:0, which Pillow does not write: swap the luma's sampling factors of a 4:2:2 image with square block counts.
    data = bytearray(jpeg(picture(16, 16, 4), subsampling="4:2:2", quality=95))
    frame = next(begin for kind, begin, _ in segments(bytes(data)) if kind == 0xC0)
    assert data[frame + 11] == 0x21
    data[frame + 11] = 0x12
    decode_case("jpeg_440.jpg", bytes(data))

    cmyk = Image.fromarray(np.dstack([picture(13, 19, 3), picture(13, 19, 4)[:, :, 0] // 2]), "CMYK")
    data = jpeg(cmyk, quality=95)
    decode_case("jpeg_cmyk_adobe.jpg", data)
    decode_case("jpeg_cmyk_plain.jpg", without_segment(data, 0xEE))
    adobe = next(begin for kind, begin, _ in segments(data) if kind == 0xEE)
    ycck = bytearray(data)
    ycck[adobe + 15] = 2  # the same numbers, now read as YCCK
    decode_case("jpeg_ycck.jpg", bytes(ycck))

    small = jpeg(picture(7, 11, 5), quality=95)
    for orientation in range(0, 10):
        decode_case(f"jpeg_orientation{orientation}.jpg", app1(small, b"Exif\0\0" + exif_block(orientation)))
    decode_case("jpeg_orientation_big_endian.jpg", app1(small, b"Exif\0\0" + exif_block(6, ">")))
    decode_case("jpeg_orientation_long.jpg", app1(small, b"Exif\0\0" + exif_block(8, ">", 4)))
    decode_case("jpeg_orientation_broken_exif.jpg", app1(small, b"Exif\0\0" + exif_block(6)[:9]))
    xmp = b"http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation=\"5\"/>"
    decode_case("jpeg_orientation_xmp.jpg", app1(small, xmp))
    decode_case("jpeg_orientation_exif_before_xmp.jpg", app1(app1(small, xmp), b"Exif\0\0" + exif_block(3)))
    decode_case("jpeg_orientation_header_twice.jpg", app1(small, b"Exif\0\0" * 2 + exif_block(6)))
    for name, kind, count in (("byte", 1, 1), ("slong", 9, 1), ("rational", 5, 1), ("float", 11, 1), ("two_values", 3, 2),
                              ("two_rationals", 5, 2)):
        for order, suffix in (("<", ""), (">", "_big_endian")):
            decode_case(f"jpeg_orientation_{name}{suffix}.jpg", app1(small, b"Exif\0\0" + exif_block(6, order, kind, count)))
    decode_case("jpeg_orientation_byte_before_xmp.jpg", app1(app1(small, xmp), b"Exif\0\0" + exif_block(6, kind=1)))


# --- PNG, written here because Pillow writes neither interlaced images nor every pixel layout

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(samples, depth, colour, interlaced=False, before=(), after=()):
    """samples: (height, width, channels) of whole numbers; before, after: (chunk name, bytes) around the pixels."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    def rows(part):
        for row in part:
            if depth == 16:
                packed = row.astype(">u2").tobytes()
            elif depth == 8:
                packed = row.astype(np.uint8).tobytes()
            else:
                bits = ((row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
                packed = np.packbits(bits).tobytes()
            yield b"\0" + packed

    height, width = samples.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    parts = [samples[top::down, left::right] for top, left, down, right in passes]
    raw = b"".join(row for part in parts if part.size for row in rows(part))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in before) +
            chunk(b"IDAT", zlib.compress(raw, 9)) + b"".join(chunk(*c) for c in after) + chunk(b"IEND", b""))


def png_cases():
    generator = np.random.default_rng(6)
    height, width = 11, 13

    def noise(depth, channels):
        return generator.integers(0, 1 << depth, (height, width, channels))

    for interlaced in (False, True):
        suffix = "_interlaced" if interlaced else ""
        for depth in (1, 2, 4, 8, 16):
            decode_case(f"png_grey{depth}{suffix}.png", png(noise(depth, 1), depth, 0, interlaced))
        for depth in (1, 2, 4, 8):
            palette = generator.integers(0, 256, 3 << depth, dtype=np.uint8).tobytes()
            decode_case(f"png_palette{depth}{suffix}.png",
                        png(noise(depth, 1), depth, 3, interlaced, [(b"PLTE", palette)]))
        for depth in (8, 16):
            decode_case(f"png_rgb{depth}{suffix}.png", png(noise(depth, 3), depth, 2, interlaced))
            decode_case(f"png_grey_alpha{depth}{suffix}.png", png(noise(depth, 2), depth, 4, interlaced))
            decode_case(f"png_rgba{depth}{suffix}.png", png(noise(depth, 4), depth, 6, interlaced))
    palette = generator.integers(0, 256, 48, dtype=np.uint8).tobytes()
    decode_case("png_palette_transparency.png",
                png(noise(4, 1), 4, 3, False, [(b"PLTE", palette), (b"tRNS", bytes(range(0, 160, 10)))]))
    decode_case("png_grey_transparency.png", png(noise(2, 1), 2, 0, False, [(b"tRNS", b"\0\2")]))
    samples = noise(8, 3)
    key = struct.pack(">HHH", *samples[3, 4])
    decode_case("png_rgb_transparency.png", png(samples, 8, 2, False, [(b"tRNS", key)]))
    decode_case("png_gamma.png", png(samples, 8, 2, False, [(b"gAMA", struct.pack(">I", 100000))]))
    decode_case("png_1x1.png", png(samples[:1, :1], 8, 2))
    decode_case("png_1x1_interlaced.png", png(samples[:1, :1], 8, 2, True))
    small = samples[:4, :7]
    decode_case("png_orientation6.png", png(small, 8, 2, False, [(b"eXIf", exif_block(6, ">"))]))
    decode_case("png_orientation_behind_pixels.png", png(small, 8, 2, False, [], [(b"eXIf", exif_block(8))]))
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>7</tiff:Orientation>"
    decode_case("png_orientation_xmp.png", png(small, 8, 2, False, [(b"iTXt", xmp)]))
    decode_case("png_orientation_header.png", png(small, 8, 2, False, [(b"eXIf", b"Exif\0\0" + exif_block(6))]))
    decode_case("png_orientation_two_chunks.png",
                png(small, 8, 2, False, [(b"eXIf", exif_block(3)), (b"eXIf", exif_block(6, ">"))]))
    decode_case("png_orientation_chunks_around.png",
                png(small, 8, 2, False, [(b"eXIf", exif_block(3))], [(b"eXIf", exif_block(8))]))
    key = b"Raw profile type exif\0"
    for order, suffix in (("<", ""), (">", "_big_endian")):
        text = raw_profile(b"Exif\0\0" + exif_block(6, order))
        for chunk in ((b"tEXt", key + text), (b"zTXt", key + b"\0" + zlib.compress(text)),
                      (b"iTXt", key + b"\0\0\0\0" + text), (b"iTXt", key + b"\1\0\0\0" + zlib.compress(text))):
            name = chunk[0].decode() + ("_packed" if chunk[1][len(key)] == 1 else "") + suffix
            decode_case(f"png_orientation_{name}.png", png(small, 8, 2, False, [chunk]))
            decode_case(f"png_orientation_{name}_behind_pixels.png", png(small, 8, 2, False, [], [chunk]))


# --- Resizing, cropping and the whole way to a network's input


def resize_cases():
    (GOLDEN / pathlib.Path(TALL).name).write_bytes(png(picture(61, 27, 8), 8, 2))
    sizes = {
        f"{SAMPLES}/astronaut.jpg": [(256, 256), (227, 227), (1, 1), (700, 600), (512, 100), (100, 512), (511, 513),
                                     (3, 1000), (31, 29)],
        f"{SAMPLES}/chelsea.png": [(256, 384), (224, 224), (150, 225), (299, 451), (20, 30)],
        f"{SAMPLES}/gravel.png": [(64, 65)],
        "tests/formats/golden/png_rgb8.png": [(5, 7), (11, 26), (22, 13), (30, 31), (33, 1), (1, 39), (10, 12),
                                              (12, 14), (8, 12), (9, 12), (10, 13), (10, 14)],
        TALL: [(60, 16), (30, 20), (12, 5), (57, 26), (56, 26), (59, 25), (1, 1), (80, 7)],
    }
    for path, wanted in sizes.items():
        image = read(path)
        for height, width in wanted:
            for name, resample in FILTERS.items():
                results = {order: np.asarray(resize(image, height, width, resample, order)) for order in ORDERS}
                differ = not np.array_equal(*results.values())
                for order, result in results.items():
                    record(f"resize {path} {height} {width} {name} {order}", result,
                           f"resize_{pathlib.Path(path).stem}_{height}x{width}_{name}" + f"_{order}" * differ)


def resized_extent(height, width, size):
    short, long = min(height, width), max(height, width)
    if short == size:
        return height, width
    scaled = int(size * long / short)
    return (scaled, size) if width <= height else (size, scaled)


def center_crop(image, height, width):
    pixels = np.asarray(image)
    missing = max(0, height - pixels.shape[0]), max(0, width - pixels.shape[1])
    pixels = np.pad(pixels, [(m // 2, (m + 1) // 2) for m in missing] + [(0, 0)])
    top = int(round((pixels.shape[0] - height) / 2.0))
    left = int(round((pixels.shape[1] - width) / 2.0))
    return pixels[top:top + height, left:left + width]


def geometry_cases():
    generator = random.Random(7)
    for _ in range(300):
        height, width, size = (generator.randint(1, limit) for limit in (5000, 5000, 600))
        lines.append("extent %d %d %d %d %d" % (height, width, size, *resized_extent(height, width, size)))
    small = "tests/formats/golden/png_rgb8.png"  # 11 x 13
    for height, width in ((11, 13), (10, 12), (9, 11), (8, 10), (7, 9), (1, 1), (2, 2), (14, 13), (11, 16), (14, 15),
                          (5, 20)):
        record(f"crop {small} {height} {width}", center_crop(read(small), height, width), f"crop_{height}x{width}")


def input_cases():
    try:
        import torchvision
        from torchvision import transforms
    except ImportError:
        torchvision = None
    for path, size, crop in (("astronaut.jpg", 256, (227, 227)), ("chelsea.png", 256, (224, 224)),
                             ("rocket.jpg", 256, (227, 227)), ("coffee.jpg", 400, (384, 500)),
                             ("gravel.png", 100, (128, 90)), ("hubble_deep_field.jpg", 232, (224, 224)),
                             (TALL, 16, (16, 16)), (TALL, 9, (20, 8))):
        path = path if path == TALL else f"{SAMPLES}/{path}"
        image = read(path)
        for name, resample in FILTERS.items():
            height, width = resized_extent(image.height, image.width, size)
            pixels = center_crop(resize(image, height, width, resample), *crop)
            values = pixels.astype(np.float32) / np.float32(255)
            values = (values - np.float32(MEAN)) / np.float32(STDDEV)
            if torchvision:
                mode = getattr(transforms.InterpolationMode, name.upper())
                peer = transforms.Compose([transforms.Resize(size, mode), transforms.CenterCrop(crop),
                                           transforms.ToTensor(), transforms.Normalize(MEAN, STDDEV)])(image)
                assert np.array_equal(peer.permute(1, 2, 0).numpy(), values), path
            record(f"input {path} {size} {crop[0]} {crop[1]} {name}", values)
    return f"torchvision {torchvision.__version__}" if torchvision else "no torchvision"


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.iterdir():
        if old.is_file() and old.suffix != ".py":
            old.unlink()
    for sample in sorted((ROOT / SAMPLES).iterdir()):
        if sample.suffix in (".jpg", ".png"):
            image = read(sample.relative_to(ROOT))
            record(f"decode {sample.relative_to(ROOT)} {image.height} {image.width}", np.asarray(image))
    jpeg_cases()
    png_cases()
    resize_cases()
    geometry_cases()
    peer = input_cases()
    title = f"# Written by tests/formats/golden/make_preprocess_golden.py with Pillow {PIL.__version__}, {peer}. Do not edit."
    (GOLDEN / "golden.txt").write_text("\n".join([title, *lines]) + "\n")


if __name__ == "__main__":
    main()
