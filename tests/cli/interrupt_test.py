"""Ctrl-C in the middle of long work: a message, status 130, no half-written file, and finished results kept."""

import signal
import time

from support import Case, main

LONG = ("measure.min_runs=1000000", "measure.max_seconds=1000")


# Whatever those who started the test do with SIGHUP.
HANGS_UP = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}
SAVING = (*LONG, "output.save={logits: l.npy}")


class Interrupt(Case):
    def end(self, process, status):
        output, message = process.communicate(timeout=120)
        self.assertEqual(process.returncode, status, message)
        return output, message.decode()

    def test_run(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=number):
                process = self.start("run", "config.yaml", *SAVING, **HANGS_UP)
                self.wait_until_it_saves("l.npy", process)
                begin = time.monotonic()
                process.send_signal(number)
                output, message = self.end(process, 130)
                self.assertLess(time.monotonic() - begin, 20)
                self.assertEqual(output, b"")
                self.assertEqual(message, "halotile: interrupted; no result was written\n")
                self.assertEqual(self.files(), ["config.yaml", "model.yaml"])

    def test_signals_are_caught_first_of_all(self):
        # Whenever it comes: at the start nothing is there yet that would look at it.
        for _ in range(10):
            process = self.start("run", "config.yaml", *SAVING)
            self.wait_until_it_catches(signal.SIGINT, process)
            process.send_signal(signal.SIGINT)
            self.end(process, 130)
            self.assertEqual(self.files(), ["config.yaml", "model.yaml"])

    def test_a_terminal_that_closes_may_send_several(self):
        process = self.start(
            "run",
            "config.yaml",
            *SAVING,
            "streams=1",
            "input.height=1500",
            "input.width=1500",
            "patch=whole",
            "until=conv1",
            **HANGS_UP,
        )
        self.wait_until_it_saves("l.npy", process)
        for _ in range(5):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        self.end(process, 130)
        self.assertEqual(self.files(), ["config.yaml", "model.yaml"])

    def test_nohup(self):
        process = self.start(
            "run",
            "config.yaml",
            "output.save={logits: l.npy}",
            "measure.min_runs=100000",
            "measure.max_seconds=1",
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )
        self.wait_until_it_saves("l.npy", process)
        process.send_signal(signal.SIGHUP)
        self.end(process, 0)
        self.assertIn("results/l.npy", self.files())

    def test_finished_results_are_kept(self):
        self.halotile("run", "config.yaml", "output.save={logits: l.npy}")
        before = {name: (self.folder / name).read_bytes() for name in self.files()}
        process = self.start("run", "config.yaml", *SAVING, "weights.random=8")
        self.wait_until_it_saves("l.npy", process)
        process.send_signal(signal.SIGINT)
        self.end(process, 130)
        self.assertEqual({name: (self.folder / name).read_bytes() for name in self.files()}, before)

    def test_verify(self):
        # Enough tiles and pixels for many seconds.
        self.write(
            "model.yaml",
            "input: {channels: 16, height: 400, width: 400}\nlayers:\n"
            + "  - {type: conv, out_channels: 16, kernel: 5, padding: 2}\n" * 8,
        )
        process = self.start("verify", "config.yaml", "patch.size=8")
        self.wait_until_it_catches(signal.SIGINT, process)
        time.sleep(1)  # into the work, where the machine is fast enough
        process.send_signal(signal.SIGINT)
        output, message = self.end(process, 130)
        self.assertEqual(output, b"")
        self.assertIn("interrupted", message)

    def test_a_second_ctrl_c_ends_at_once(self):
        process = self.start(
            "run",
            "config.yaml",
            *SAVING,
            "streams=1",
            "input.height=1500",
            "input.width=1500",
            "patch=whole",
            "until=conv1",
        )
        self.wait_until_it_saves("l.npy", process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        self.assertIn(process.returncode, (130, -signal.SIGINT))
        self.assertFalse((self.results / "config.run.json").exists())


if __name__ == "__main__":
    main()
