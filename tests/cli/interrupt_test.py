"""Ctrl-C in the middle of long work: a message, status 130, no half-written file, and finished results kept."""

import signal
import subprocess
import time

from support import PROGRAM, Case, main

LONG = ("measure.min_runs=1000000", "measure.max_seconds=1000")


class Interrupt(Case):
    def start(self, *words):
        process = subprocess.Popen([PROGRAM, *words], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        return process

    def wait_until_at_work(self, process):
        """The results' folder is made first; behind it comes the work."""
        for _ in range(600):
            if self.results.exists():
                break
            time.sleep(0.05)
        time.sleep(0.5)
        self.assertIsNone(process.poll(), "the work was to last longer")

    def end(self, process, status):
        output, message = process.communicate(timeout=120)
        self.assertEqual(process.returncode, status, message)
        return output, message.decode()

    def test_run(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number):
                process = self.start("run", "config.yaml", *LONG, "output.save={logits: l.npy}")
                self.wait_until_at_work(process)
                begin = time.monotonic()
                process.send_signal(number)
                output, message = self.end(process, 130)
                self.assertLess(time.monotonic() - begin, 20)
                self.assertEqual(output, b"")
                self.assertEqual(message, "halotile: interrupted; no result was written\n")
                self.assertEqual(self.files(), ["config.yaml", "model.yaml"])

    def test_finished_results_are_kept(self):
        self.halotile("run", "config.yaml", "output.save={logits: l.npy}")
        before = {name: (self.folder / name).read_bytes() for name in self.files()}
        process = self.start("run", "config.yaml", *LONG, "output.save={logits: l.npy}", "weights.random=8")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        self.end(process, 130)
        self.assertEqual({name: (self.folder / name).read_bytes() for name in self.files()}, before)

    def test_verify(self):
        # Enough tiles and pixels for many seconds.
        self.write("model.yaml", "input: {channels: 16, height: 400, width: 400}\nlayers:\n"
                   + "  - {type: conv, out_channels: 16, kernel: 5, padding: 2}\n" * 8)
        process = self.start("verify", "config.yaml", "patch.size=8")
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        output, message = self.end(process, 130)
        self.assertEqual(output, b"")
        self.assertIn("interrupted", message)

    def test_a_second_ctrl_c_ends_at_once(self):
        process = self.start("run", "config.yaml", *LONG, "streams=1", "input.height=1500", "input.width=1500", "patch=whole",
                             "until=conv1")
        self.wait_until_at_work(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        self.assertIn(process.returncode, (130, -signal.SIGINT))
        self.assertFalse((self.results / "config.run.json").exists())


if __name__ == "__main__":
    main()
