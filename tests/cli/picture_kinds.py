"""Small PNG and JPEG files of every kind that programs write, made byte by byte: Pillow writes few of them."""

import itertools
import struct
import zlib

import numpy as np

HEIGHT, WIDTH = 29, 37


# --- PNG

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def chunk(name, body=b""):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def packed_rows(part, depth):
    for row in part:
        if depth == 16:
            yield row.astype(">u2").tobytes()
        elif depth == 8:
            yield row.astype(np.uint8).tobytes()
        else:
            yield np.packbits(((row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)).tobytes()


def filtered(rows, kind, pixel):
    """The rows behind one of PNG's filters, each with its number before it."""
    above = None
    for row in rows:
        now = np.frombuffer(row, np.uint8).astype(int)
        up = np.zeros_like(now) if above is None else above
        left, corner = np.zeros_like(now), np.zeros_like(now)
        left[pixel:], corner[pixel:] = now[:-pixel], up[:-pixel]
        toward = left + up - corner
        near = np.where((abs(toward - left) <= abs(toward - up)) & (abs(toward - left) <= abs(toward - corner)), left,
                        np.where(abs(toward - up) <= abs(toward - corner), up, corner))
        guess = (np.zeros_like(now), left, up, (left + up) // 2, near)[kind]
        yield bytes([kind]) + ((now - guess) % 256).astype(np.uint8).tobytes()
        above = now


def png(depth, colour, interlaced=False, before=(), behind=(), shape=(HEIGHT, WIDTH), filters=0, idats=1, seed=0):
    """Noise; before, behind: chunks (name, bytes) around the pixels, which are spread over `idats` chunks."""
    samples = np.random.default_rng(seed).integers(0, 1 << depth, (*shape, CHANNELS[colour]))
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    pixel = max(1, CHANNELS[colour] * depth // 8)
    raw = b""
    for top, left, down, right in passes:
        part = samples[top::down, left::right]
        if part.size:
            raw += b"".join(filtered(packed_rows(part, depth), filters, pixel))
    data = zlib.compress(raw, 9)
    cuts = [len(data) * i // idats for i in range(idats + 1)]
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, interlaced))
            + b"".join(chunk(*c) for c in before) + b"".join(chunk(b"IDAT", data[a:b]) for a, b in itertools.pairwise(cuts))
            + b"".join(chunk(*c) for c in behind) + chunk(b"IEND"))


def palette(entries, seed=1):
    return b"PLTE", np.random.default_rng(seed).integers(0, 256, 3 * entries, dtype=np.uint8).tobytes()


LAYOUTS = [(d, 0) for d in (1, 2, 4, 8, 16)] + [(d, 3) for d in (1, 2, 4, 8)] + [(d, c) for c in (2, 4, 6) for d in (8, 16)]


def png_kinds():
    kinds = {}
    for (depth, colour), interlaced in itertools.product(LAYOUTS, (False, True)):
        table = [palette(1 << depth)] if colour == 3 else []
        name = f"png {depth} bits, colour type {colour}{', interlaced' if interlaced else ''}"
        kinds[name] = png(depth, colour, interlaced, table)
        if colour == 0:
            kinds[name + ", tRNS"] = png(depth, colour, interlaced, [(b"tRNS", struct.pack(">H", 1))])
        if colour == 2:
            kinds[name + ", tRNS"] = png(depth, colour, interlaced, [(b"tRNS", struct.pack(">HHH", 1, 2, 3))])
        if colour == 3:
            for which, alpha in (("one", b"\xff\0"), ("many", bytes(range(7, 7 + (1 << depth) % 200)))):
                kinds[f"{name}, tRNS of {which}"] = png(depth, colour, interlaced, [*table, (b"tRNS", alpha)])
    marks = {
        "gAMA": [(b"gAMA", struct.pack(">I", 100000))],
        "gAMA of 0": [(b"gAMA", struct.pack(">I", 0))],
        "sRGB": [(b"sRGB", b"\0")],
        "sRGB, gAMA and cHRM": [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455)),
                                (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))],
        "a linear gAMA and cHRM": [(b"gAMA", struct.pack(">I", 100000)),
                                   (b"cHRM", struct.pack(">8I", 34570, 35850, 73470, 26530, 11520, 82640, 15660, 1770))],
        "iCCP": [(b"iCCP", b"profile\0\0" + zlib.compress(bytes(200)))],
        "pHYs and tIME": [(b"pHYs", struct.pack(">IIB", 3, 1, 0)), (b"tIME", struct.pack(">HBBBBB", 2026, 1, 1, 0, 0, 0))],
        "a private chunk": [(b"prVt", b"something")],
    }
    for (depth, colour), (name, chunks) in itertools.product(((8, 0), (8, 2), (8, 3), (16, 2), (8, 6)), marks.items()):
        table = [palette(256)] if colour == 3 else []
        kinds[f"png {depth} bits, colour type {colour}, {name}"] = png(depth, colour, False, [*chunks, *table])
    kinds["png with sBIT"] = png(8, 2, before=[(b"sBIT", b"\5\6\5")])
    kinds["png with bKGD"] = png(8, 6, before=[(b"bKGD", struct.pack(">HHH", 255, 0, 0))])
    kinds["png with a suggested palette"] = png(8, 2, before=[palette(7)])
    kinds["png with a palette longer than needed"] = png(8, 3, before=[palette(256)])
    for filters in range(5):
        kinds[f"png with filter {filters}"] = png(8, 2, filters=filters)
        kinds[f"png 16 bits with filter {filters}"] = png(16, 6, filters=filters)
    for shape in ((1, 1), (1, 40), (40, 1), (2, 3), (5, 1), (8, 8)):
        for interlaced in (False, True):
            kinds[f"png of {shape}{' interlaced' * interlaced}"] = png(8, 2, interlaced, shape=shape)
            kinds[f"png of {shape}, 1 bit{' interlaced' * interlaced}"] = png(1, 0, interlaced, shape=shape)
    kinds["png in 9 IDAT chunks"] = png(8, 2, idats=9)
    kinds["png in more IDAT chunks than bytes"] = png(8, 2, shape=(2, 2), idats=60)  # some are empty
    frame = struct.pack(">IIIIIHHBB", 0, WIDTH, HEIGHT, 0, 0, 1, 10, 0, 0)
    kinds["apng of one frame"] = png(8, 2, before=[(b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", frame)])
    return kinds


# --- JPEG: blocks of random coefficients, so that any sampling and any marking can be had

DC_SIZES, AC_SIZES = range(9), range(1, 7)
ZIGZAG_USED = 9  # coefficients behind the first that are not 0


def bits_of(value):
    """JPEG's size and bits of a difference or coefficient."""
    size = abs(value).bit_length()
    return size, value if value >= 0 else value + (1 << size) - 1


class BitWriter:
    def __init__(self):
        self.bits = []

    def put(self, value, count):
        self.bits.extend(value >> i & 1 for i in range(count - 1, -1, -1))

    def bytes(self):
        padded = self.bits + [1] * (-len(self.bits) % 8)
        return np.packbits(np.array(padded, np.uint8)).tobytes().replace(b"\xff", b"\xff\0")


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def scan(components, mcus, generator, restart):
    """One scan of blocks; components: (id, horizontal, vertical); mcus: their number, down and across."""
    codes = b""
    bits, before = BitWriter(), {}
    for mcu in range(mcus[0] * mcus[1]):
        if restart and mcu and mcu % restart == 0:
            codes += bits.bytes() + bytes([0xFF, 0xD0 + (mcu // restart - 1) % 8])
            bits, before = BitWriter(), {}
        for name, h, v in components:
            for _ in range(1 if len(components) == 1 else h * v):
                dc = int(generator.integers(-60, 60))
                size, value = bits_of(dc - before.get(name, 0))
                before[name] = dc
                bits.put(size, 4)  # codes of 4 bits, in the order of the symbols
                bits.put(value, size)
                for coefficient in generator.integers(1, 24, ZIGZAG_USED) * generator.choice([-1, 1], ZIGZAG_USED):
                    size, value = bits_of(int(coefficient))
                    bits.put(size, 4)
                    bits.put(value, size)
                bits.put(0, 4)  # the end of the block
    head = bytes([len(components)]) + b"".join(bytes([name, 0]) for name, _, _ in components) + b"\0\x3f\0"
    return segment(0xDA, head) + codes + bits.bytes()


def jpeg(components, markers=(), shape=(HEIGHT, WIDTH), seed=0, restart=0, apart=False, wide_tables=False, behind_frame=b""):
    """components: (id, horizontal, vertical) sampling factors; markers: segments before the frame; apart: a scan for each
    component. Baseline."""
    generator = np.random.default_rng(seed)
    across = max(h for _, h, _ in components)
    down = max(v for _, _, v in components)

    def mcus_of(group):
        if len(group) > 1:
            return [-(-size // (8 * most)) for size, most in zip(shape, (down, across))]
        _, h, v = group[0]
        return [-(-(-(-size * own // most)) // 8) for size, own, most in zip(shape, (v, h), (down, across))]

    groups = [[c] for c in components] if apart else [components]
    scans = b"".join(scan(group, mcus_of(group), generator, restart) for group in groups)
    counts = [0, 0, 0]
    dc_table = bytes([0x00, *counts, len(DC_SIZES), *[0] * 12, *DC_SIZES])
    ac_table = bytes([0x10, *counts, 1 + len(AC_SIZES), *[0] * 12, 0, *AC_SIZES])
    steps = b"\x10" + struct.pack(">64H", *[8] * 64) if wide_tables else b"\0" + bytes([8] * 64)
    frame = struct.pack(">BHHB", 8, *shape, len(components)) + b"".join(bytes([i, h << 4 | v, 0]) for i, h, v in components)
    return (b"\xff\xd8" + b"".join(markers) + segment(0xDB, steps) + segment(0xC1 if wide_tables else 0xC0, frame) + behind_frame
            + (segment(0xDD, struct.pack(">H", restart)) if restart else b"")
            + segment(0xC4, dc_table) + segment(0xC4, ac_table) + scans + b"\xff\xd9")


def adobe(transform):
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


JFIF = segment(0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, 0, 1, 1, 0, 0))
EVEN = [(1, 1, 1), (2, 1, 1), (3, 1, 1)]


def jpeg_samplings():
    luma = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (1, 4), (4, 2), (2, 4)]
    kinds = {f"jpeg luma {h}x{v}": jpeg([(1, h, v), (2, 1, 1), (3, 1, 1)], [JFIF]) for h, v in luma}
    for name, factors in {
        "chroma of two kinds": [(2, 2), (2, 1), (1, 2)],
        "chroma of one full, one quarter": [(2, 2), (2, 2), (1, 1)],
        "chroma finer than luma": [(1, 1), (2, 1), (2, 1)],
        "all 2x1": [(2, 1), (2, 1), (2, 1)],
        "all 1x2": [(1, 2), (1, 2), (1, 2)],
        "luma 3x1": [(3, 1), (1, 1), (1, 1)],
        "luma 1x3": [(1, 3), (1, 1), (1, 1)],
    }.items():
        kinds[f"jpeg {name}"] = jpeg([(i + 1, h, v) for i, (h, v) in enumerate(factors)], [JFIF])
    kinds["jpeg grey 2x2"] = jpeg([(1, 2, 2)], [JFIF])
    for shape in ((1, 1), (1, 50), (50, 1), (16, 16), (17, 33), (8, 8)):
        kinds[f"jpeg luma 2x2 of {shape}"] = jpeg([(1, 2, 2), (2, 1, 1), (3, 1, 1)], [JFIF], shape)
        kinds[f"jpeg luma 2x1 of {shape}"] = jpeg([(1, 2, 1), (2, 1, 1), (3, 1, 1)], [JFIF], shape)
    return kinds


def jpeg_structures():
    """The same pixels in other orders of segments and scans."""
    quarter = [(1, 2, 2), (2, 1, 1), (3, 1, 1)]
    kinds = {f"jpeg restarts every {n}": jpeg(quarter, [JFIF], restart=n) for n in (1, 2, 3, 5)}
    for name, components in {"4:4:4": EVEN, "4:2:0": quarter, "grey": [(1, 1, 1)], "CMYK": [(i, 1, 1) for i in (1, 2, 3, 4)]}.items():
        kinds[f"jpeg a scan for each component, {name}"] = jpeg(components, [JFIF], apart=True)
        kinds[f"jpeg a scan for each component, restarts, {name}"] = jpeg(components, [JFIF], apart=True, restart=2)
    kinds["jpeg tables of 16 bits"] = jpeg(EVEN, [JFIF], wide_tables=True)
    kinds["jpeg comment"] = jpeg(EVEN, [JFIF, segment(0xFE, b"hello")])
    kinds["jpeg bytes behind its end"] = jpeg(EVEN, [JFIF]) + b"more"
    kinds["jpeg fill bytes before a marker"] = jpeg(EVEN, [b"\xff\xff\xff", JFIF])
    kinds["jpeg profile"] = jpeg(EVEN, [JFIF, segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(200))])
    kinds["jpeg orientation behind the frame"] = jpeg(EVEN, [JFIF], behind_frame=segment(0xE1, HEADER + exif(6)))
    kinds["jpeg orientation behind the end"] = jpeg(EVEN, [JFIF])[:-2] + segment(0xE1, HEADER + exif(6)) + b"\xff\xd9"
    second = jpeg(EVEN, [segment(0xE1, HEADER + exif(3))])
    return kinds | {"jpeg two in one file": jpeg(EVEN, [segment(0xE1, HEADER + exif(6))]) + second}


def jpeg_markings():
    ids = {"1 2 3": (1, 2, 3), "0 1 2": (0, 1, 2), "R G B": tuple(b"RGB"), "r g b": tuple(b"rgb"), "5 6 7": (5, 6, 7)}
    marks = {"none": [], "JFIF": [JFIF], "Adobe 0": [adobe(0)], "Adobe 1": [adobe(1)], "Adobe 2": [adobe(2)],
             "JFIF and Adobe 0": [JFIF, adobe(0)], "JFIF and Adobe 1": [JFIF, adobe(1)]}
    kinds = {f"jpeg components {name}, marks {mark}": jpeg([(i, 1, 1) for i in numbers], markers)
             for (name, numbers), (mark, markers) in itertools.product(ids.items(), marks.items())}
    for mark, markers in marks.items():
        kinds[f"jpeg grey, marks {mark}"] = jpeg([(1, 1, 1)], markers)
    return kinds


def four_channel_kinds():
    marks = {"none": [], "JFIF": [JFIF], "Adobe 0": [adobe(0)], "Adobe 1": [adobe(1)], "Adobe 2": [adobe(2)],
             "JFIF and Adobe 2": [JFIF, adobe(2)]}
    kinds = {f"jpeg of four channels, marks {mark}": jpeg([(i, 1, 1) for i in (1, 2, 3, 4)], markers)
             for mark, markers in marks.items()}
    for mark in ("Adobe 0", "Adobe 2"):
        kinds[f"jpeg of four channels, subsampled, marks {mark}"] = jpeg([(1, 2, 2), (2, 1, 1), (3, 1, 1), (4, 2, 2)], marks[mark])
        kinds[f"jpeg of channels C M Y K, marks {mark}"] = jpeg([(i, 1, 1) for i in b"CMYK"], marks[mark])
    return kinds


# --- Orientation

HEADER = b"Exif\0\0"
ONE = {1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q",
       17: "q", 99: "H"}  # TIFF's types of fields


def exif(orientation, order="<", kind=3, count=1, entries=(), magic=None):
    """A TIFF header and one directory; entries: more of them, before the orientation's, in full bytes."""
    letter = ONE[kind]
    one = (orientation, 1) if len(letter) == 2 else (str(orientation).encode(),) if letter == "c" else (orientation,)
    value = struct.pack(order + letter, *one) * count
    end = 8 + 2 + 12 * (len(entries) + 1) + 4
    field = value if len(value) <= 4 else struct.pack(order + "I", end)
    start = magic or (b"II*\0" if order == "<" else b"MM\0*")
    return (start + struct.pack(order + "IH", 8, len(entries) + 1) + b"".join(entries)
            + struct.pack(order + "HHI", 0x112, kind, count) + field.ljust(4, b"\0") + bytes(4) + (value if len(value) > 4 else b""))


def entry(tag, kind, count, value, order="<"):
    return struct.pack(order + "HHII", tag, kind, count, value)


def raw_profile(block):
    """As ImageMagick writes it."""
    digits = block.hex()
    lines = "\n".join(digits[i:i + 72] for i in range(0, len(digits), 72))
    return f"\nexif\n{len(block):8}\n{lines}\n".encode()


def text_chunks(text, key=b"Raw profile type exif"):
    return {"tEXt": (b"tEXt", key + b"\0" + text), "zTXt": (b"zTXt", key + b"\0\0" + zlib.compress(text)),
            "iTXt": (b"iTXt", key + b"\0\0\0\0\0" + text), "packed iTXt": (b"iTXt", key + b"\0\1\0en\0\0" + zlib.compress(text))}


def turned(before=(), behind=()):
    return png(8, 2, before=before, behind=behind, shape=(7, 11))


def with_app1(*bodies):
    return jpeg(EVEN, [segment(0xE1, body) for body in bodies], shape=(7, 11))


def blocks():
    """EXIF blocks by name: byte orders, types, counts, what stands around the tag."""
    found = {f"orientation {n}": exif(n) for n in range(10)}
    for order, (kind, count) in itertools.product("<>", itertools.product(ONE, (0, 1, 2, 3))):
        found[f"byte order {order}, type {kind}, {count} values"] = exif(6, order, kind, count)
    for magic in (b"MM*\0", b"II\0*", b"MM\0+"):
        found[f"magic {magic}"] = exif(6, "<" if magic[:2] == b"II" else ">", magic=magic)
    software = entry(0x131, 2, 3, 0x00004241)
    cut = entry(0x131, 2, 9, 5000)
    huge = entry(0x131, 12, 0xFFFFFFFF, 10)
    for name, entries in {"another tag": [software], "text outside the block": [cut], "a huge value": [huge],
                          "an unknown type": [entry(0x131, 77, 1, 0)], "itself as nothing": [entry(0x112, 3, 0, 3)],
                          "itself of an unknown type": [entry(0x112, 77, 1, 3)], "itself": [entry(0x112, 3, 1, 3)],
                          "itself as bytes": [entry(0x112, 1, 1, 3)]}.items():
        found[f"behind {name}"] = exif(8, entries=entries)
    found["a ratio that is no whole number"] = exif(13, kind=5)[:-4] + struct.pack("<I", 2)
    found["a ratio of 12 to 2"] = exif(12, kind=5)[:-4] + struct.pack("<I", 2)
    found["cut behind the entry"] = exif(6)[:22]
    found["cut in the entry"] = exif(6)[:20]
    found["nothing"] = b""
    return found


def orientation_kinds():
    xmp = b"<rdf:Description tiff:Orientation=\"5\"/>"
    jpeg_xmp = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    kinds = {}
    for name, block in blocks().items():
        kinds[f"jpeg, {name}"] = with_app1(HEADER + block)
        kinds[f"jpeg, {name}, XMP"] = with_app1(HEADER + block, jpeg_xmp)
        kinds[f"png eXIf, {name}"] = turned([(b"eXIf", block)])
        kinds[f"png zTXt, {name}"] = turned([text_chunks(raw_profile(HEADER + block))["zTXt"]])
    six, three = exif(6, ">"), exif(3)
    kinds["jpeg, header twice"] = with_app1(HEADER * 2 + six)
    kinds["jpeg, block in two segments"] = with_app1(HEADER + six[:11], HEADER + six[11:])
    kinds["jpeg, two blocks"] = with_app1(HEADER + six, HEADER + three)
    kinds["jpeg, XMP alone"] = with_app1(jpeg_xmp)
    for place, (header, how) in itertools.product(("before", "behind"), itertools.product((0, 1, 2), text_chunks(b""))):
        kinds[f"png {how} {place} the pixels, {header} headers"] = turned(
            **{place: [text_chunks(raw_profile(HEADER * header + six))[how]]})
        kinds[f"png XMP in {how} {place} the pixels, {header}"] = turned(**{place: [text_chunks(xmp, b"XML:com.adobe.xmp")[how]]})
    for header in (0, 1):
        kinds[f"png eXIf, {header} headers, before"] = turned([(b"eXIf", HEADER * header + six)])
        kinds[f"png eXIf, {header} headers, behind"] = turned([], [(b"eXIf", HEADER * header + six)])
    texts = text_chunks(raw_profile(three))
    kinds["png two eXIf"] = turned([(b"eXIf", three), (b"eXIf", six)])
    kinds["png two eXIf, one behind"] = turned([(b"eXIf", three)], [(b"eXIf", six)])
    kinds["png eXIf and text"] = turned([(b"eXIf", six), texts["zTXt"]])
    kinds["png text and eXIf"] = turned([texts["zTXt"], (b"eXIf", six)])
    kinds["png text, eXIf behind"] = turned([texts["zTXt"]], [(b"eXIf", six)])
    kinds["png text twice"] = turned([texts["zTXt"], text_chunks(raw_profile(six))["tEXt"]])
    kinds["png text under exif"] = turned([(b"tEXt", b"exif\0" + HEADER + six)])
    kinds["png raw profile and XMP"] = turned([texts["tEXt"], text_chunks(xmp, b"XML:com.adobe.xmp")["iTXt"]])
    kinds["png large digits, line ends of Windows"] = turned([text_chunks(raw_profile(six).upper().replace(b"\n", b"\r\n"))["tEXt"]])
    kinds["png profile packed and cut short"] = turned([(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw_profile(six))[:-4])])
    kinds["png profile that is no zlib stream"] = turned([texts["tEXt"], (b"zTXt", b"Raw profile type exif\0\0nonsense")])
    kinds["png under another key"] = turned([text_chunks(raw_profile(six), b"Raw profile type APP1")["zTXt"]])
    kinds["png much text around"] = turned([(b"tEXt", b"Comment\0" + b"x" * 100)] * 2000 + [(b"eXIf", six)])
    kinds["png text of 9 MB"] = turned([(b"tEXt", b"Comment\0" + b"x" * 9_000_000), (b"eXIf", six)])
    return kinds
