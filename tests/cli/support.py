"""What the end-to-end tests of the halotile program share. Python's standard library only.

Each test file is run as `python3 FILE PROGRAM [unittest arguments]`.
"""

import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = pathlib.Path(sys.argv[1]).resolve()
SOURCE = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = SOURCE / "data" / "samples"

# For sanitizer builds: an impossible allocation fails as without them, and libraries' own leaks are not ours.
for tool in ("ASAN_OPTIONS", "TSAN_OPTIONS"):
    os.environ[tool] = ":".join(filter(None, [os.environ.get(tool), "allocator_may_return_null=1"]))
os.environ["LSAN_OPTIONS"] = f"suppressions={SOURCE}/tests/cli/leaks.supp:print_suppressions=0"

# Reductions, overlapping pools and padding at every layer, but small: sanitizer builds run this too.
MODEL = """\
input: {channels: 3, height: 24, width: 20}
layers:
  - {type: conv, name: conv1, out_channels: 8, kernel: 5, stride: 2, padding: 2}
  - {type: relu, name: relu1}
  - {type: lrn, name: norm1}
  - {type: max_pool, name: pool1, kernel: 3, stride: 2, ceil_mode: true}
  - {type: conv, name: conv2, out_channels: 8, kernel: 3, padding: 1, groups: 2}
  - {type: relu, name: relu2}
  - {type: flatten}
  - {type: fully_connected, name: fc3, out_features: 10}
  - {type: softmax, name: prob}
"""

CONFIG = """\
model: model.yaml
input: {random: 1, batch: 3}
engine: reference
patch: {grid: [3, 2]}
streams: 2
threads: 1
measure: {warmup: 0, min_runs: 2, max_seconds: 5}
"""


class Case(unittest.TestCase):
    """A test with a folder of its own, which holds model.yaml and config.yaml."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="halotile-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.results = self.folder / "results"
        self.write("model.yaml", MODEL)
        self.write("config.yaml", CONFIG)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def halotile(self, *words, status=0, stdout=subprocess.PIPE):
        """Runs the program in the test's folder and checks its exit status."""
        done = subprocess.run([PROGRAM, *words], cwd=self.folder, stdout=stdout, stderr=subprocess.PIPE, timeout=240)
        self.assertEqual(done.returncode, status, done.stderr.decode(errors="replace"))
        return done

    def json_of(self, *words, status=0):
        """Runs a command with --json: standard output must be exactly one JSON object."""
        done = self.halotile(*words, "--json", status=status)
        value = json.loads(done.stdout)
        self.assertIsInstance(value, dict)
        self.assertEqual(done.stderr, b"")
        return value

    def refused(self, *words, saying, lines=1):
        """Runs what must fail: status 2, nothing on standard output, clear lines on standard error, no file."""
        before = self.files()
        done = self.halotile(*words, status=2)
        self.assertEqual(done.stdout, b"")
        message = re.sub(
            r"==\d+==WARNING: .*\n", "", done.stderr.decode(errors="replace")
        )  # of a sanitizer's allocator
        self.assertTrue(message.startswith("halotile: "), message)
        self.assertEqual(len(message.splitlines()), lines, message)
        for word in ("terminate", "what():", "exception", "std::", "basic_", "bad conversion", "ERROR:"):
            self.assertNotIn(word, message)
        for part in [saying] if isinstance(saying, str) else saying:
            self.assertIn(part, message)
        self.assertEqual(self.files(), before, "a refused run leaves no files behind")
        return message

    def start(self, *words, **how):
        """Starts the program in the test's folder."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([PROGRAM, *words], cwd=self.folder, **{**streams, **how})
        self.addCleanup(process.kill)
        return process

    def wait_until(self, reached, process):
        """Waits for something the running program does, however loaded the machine is."""
        end = time.monotonic() + 120
        while not reached():
            self.assertIsNone(process.poll(), "the work was to last longer")
            self.assertLess(time.monotonic(), end, "the program does not get there")
            time.sleep(0.02)

    def wait_until_it_catches(self, number, process):
        """A signal that comes before the program handles it ends the program at once."""
        status = pathlib.Path(f"/proc/{process.pid}/status")
        caught = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.M)
        self.wait_until(lambda: int(caught.search(status.read_text())[1], 16) >> (number - 1) & 1, process)

    def wait_until_it_saves(self, name, process):
        """Saved maps have temporary names from before the work until its end."""
        self.wait_until(lambda: any(self.results.glob(f".{name}.*.part")), process)

    def files(self):
        """All files below the folder; hidden and temporary ones too."""
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if not p.is_dir())

    def array(self, name):
        """Shape and raw bytes of a float32 .npy file of the results."""
        data = (self.results / name).read_bytes()
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        length = struct.unpack("<H", data[8:10])[0]
        header = eval(data[10 : 10 + length], {"__builtins__": {}})  # a dictionary of literals
        self.assertEqual(header["descr"], "<f4")
        self.assertFalse(header["fortran_order"])
        return header["shape"], data[10 + length :]


def png(width, height, colour=b"\x80\x40\x20"):
    """The bytes of an RGB image of one colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\x00" + colour * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def npy(shape, values):
    """The bytes of a float32 .npy file."""
    header = repr({"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{len(values)}f", *values)


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
