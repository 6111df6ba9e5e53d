"""Bad input, end to end: one clear line with place and remedy, status 2, nothing half-written."""

import os
import shutil
import subprocess

from support import CONFIG, MODEL, PROGRAM, SAMPLES, Case, main, npy, png


class BadConfig(Case):
    def config(self, text, **kinds):
        self.write("config.yaml", text)
        for command in ("run", "verify", "plan"):
            with self.subTest(command=command):
                self.refused(command, "config.yaml", **kinds)

    def test_misspelt_key(self):
        self.config(CONFIG + "strems: 4\n", saying="config.yaml:8:1: strems: is not a known key; did you mean 'streams'?")

    def test_wrong_type(self):
        self.config(CONFIG.replace("streams: 2", "streams: two"),
                    saying="config.yaml:5:10: streams: is 'two'; a whole number from 1 to 256 is needed")

    def test_duplicate_key(self):
        self.config(CONFIG + "streams: 4\n", saying="config.yaml:8:1: streams: stands twice; keep one of the two")

    def test_patch_0(self):
        self.config(CONFIG.replace("grid: [3, 2]", "size: 0"), saying="config.yaml:4:15: patch.size: is '0'; a whole number from 1")

    def test_stages_that_the_plan_has_not(self):
        for image in ((), ("--image", "x.png")):
            for stage in ("-1", "9"):
                with self.subTest(stage=stage, image=image):
                    self.refused("plan", "config.yaml", "--stage", stage, *image, saying=f"--stage {stage}: the plan has stages 0 to ")
        self.write("model.yaml", "input: {channels: 3, height: 4, width: 4}\nlayers:\n  - {type: flatten}\n"
                                 "  - {type: fully_connected, out_features: 10}\n")
        self.refused("plan", "config.yaml", "--image", "x.png", saying="the network has no spatial layers")

    def test_several_at_once(self):
        self.config(CONFIG.replace("streams: 2", "streams: -2").replace("threads: 1", "treads: 1"),
                    saying=["streams: is '-2'", "did you mean 'threads'?"], lines=2)

    def test_no_yaml(self):
        self.config("model: [", saying="config.yaml:1:")
        self.config("", saying="config.yaml: is empty")
        self.config("\x00\x01\x02", saying="config.yaml")
        self.config("[1, 2]", saying="config.yaml: holds no mapping")

    def test_yaml_without_end(self):
        self.config(CONFIG + "output: &a {directory: x, save: *a}\n", saying="config.yaml:8:13: is nested deeper than 64 levels")
        self.config(CONFIG + "---\nstreams: 4\n", saying="config.yaml:9:1: is a second document")
        self.refused("plan", "/dev/zero", saying="/dev/zero: is a device")

    def test_bytes_that_are_no_text(self):
        self.write("model.yaml", MODEL.encode().replace(b"name: conv1", b'name: "a\xff"'))
        self.halotile("run", "config.yaml", "measure.trace=t.json")
        self.assertIn("a\ufffd", (self.results / "t.json").read_text())
        self.halotile("sweep", "config.yaml", b"patch.stages=[[\xff]],fused", "--dry-run")

    def test_config_from_a_pipe(self):
        command = f"'{PROGRAM}' sweep <(sed s,model.yaml,$PWD/model.yaml, config.yaml) streams=1,2 --dry-run"
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, capture_output=True, timeout=240, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_a_network_where_an_experiment_belongs(self):
        self.write("net.onnx", b"\x08\x07\x12\x04test")
        for command in ("run", "verify", "plan", "sweep", "explain"):
            with self.subTest(command=command):
                message = self.refused(command, "model.yaml", saying="model.yaml: is a model file; an experiment is needed", lines=3)
                other = self.refused(command, "net.onnx", saying="net.onnx: is an ONNX network; an experiment is needed", lines=3)
        self.assertIn("\nmodel: net.onnx\ninput: ", other)
        self.write("pasted.yaml", message.partition("\n")[2])
        self.halotile("plan", "pasted.yaml")

    def test_home_folders(self):
        home = self.folder / "home"
        self.write("home/config.yaml", CONFIG.replace("model.yaml", "~/model.yaml") + "output: {directory: ~/results}\n")
        self.write("home/model.yaml", MODEL)
        os.environ["HOME"], before = str(home), os.environ.get("HOME", "")
        self.addCleanup(os.environ.__setitem__, "HOME", before)
        self.halotile("run", "~/config.yaml")
        self.assertTrue((home / "results/config.run.json").exists())
        self.halotile("run", "config.yaml", "output.directory=~/other", "model=~/model.yaml")
        self.assertTrue((home / "other/config.run.json").exists())
        self.halotile("sweep", "config.yaml", "streams=1,2", "--store=~/s.db")
        self.halotile("export", "~/s.db", "--output=~/s.csv")
        self.halotile("report", "~/s.db", "--output=~/s.html")
        self.assertTrue((home / "s.csv").exists() and (home / "s.html").exists())
        self.assertEqual([f for f in self.files() if "~" in f], [])
        for words in (("run", "~you/config.yaml"), ("run", "config.yaml", "output.directory=~you/x"),
                      ("sweep", "config.yaml", "streams=1,2", "--store=~you/s.db"), ("export", "~/s.db", "--output=~you/s.csv")):
            self.refused(*words, saying="~you would be another user's home folder")

    def test_missing_files(self):
        self.refused("run", "nowhere.yaml", saying="nowhere.yaml: cannot be opened; check the path")
        self.refused("run", "nowhere.onnx", saying="nowhere.onnx: cannot be opened; check the path")
        self.refused("run", ".", saying="is a folder")
        self.config(CONFIG.replace("model.yaml", "nowhere.yaml"), saying="nowhere.yaml: cannot be opened; check the path")

    def test_overrides(self):
        for word, saying in (
            ("streams=two", "command line 'streams=two': streams: is 'two'"),
            ("patch.size=0", "command line 'patch.size=0': patch.size: is '0'"),
            ("patch.sise=3", "command line 'patch.sise=3': patch.sise: is not a known key; did you mean 'size'?"),
            ("streams", "command line 'streams': is no override; write key=value"),
            ("engine=onedn", "did you mean 'onednn'?"),
            ("output.save.conv9=x.npy", "no layer 'conv9'"),
            ("patch.stages=[[conv2], [conv1]]", "'conv1' is out of order"),
            ("weights.file=none.safetensors", "none.safetensors"),
            ("patch.size=[1", "command line 'patch.size=[1': the value is not valid YAML"),
        ):
            with self.subTest(word=word):
                self.refused("run", "config.yaml", word, saying=saying)

    def test_unknown_layers(self):
        self.refused("run", "config.yaml", "output.save={conv9: x.npy}", saying=["no layer 'conv9'", "did you mean 'conv1'?"])
        self.refused("run", "config.yaml", "until=pool9", saying=["no layer 'pool9'", "did you mean 'pool1'?"])
        self.refused("verify", "config.yaml", "patch.stages=[[conv1], [conv3]]", saying="no layer 'conv3'")

    def test_what_this_build_or_engine_has_not(self):
        if self.json_of("info").get("cuda") is None:
            for words in (["device=cuda"], ["device=cuda:1"], ["engine=direct"], ["engine=cudnn"]):
                self.refused("run", "config.yaml", "engine=auto", *words, saying=[words[0].replace("=", ": ") + ": ", "device: cpu"])
        self.refused("verify", "config.yaml", "device=cuda", saying="engine: reference: runs on the CPU, but device is cuda")
        for engine in ("direct", "cudnn"):
            self.refused("run", "config.yaml", "device=cpu", f"engine={engine}", saying=f"engine: {engine}: runs on CUDA GPUs")
        self.refused("run", "config.yaml", "memory=pool", saying="memory: pool: is for CUDA devices")
        self.refused("run", "config.yaml", "input.upload=uint8", saying="only photographs (input.images) have 8-bit pixels")
        self.refused("run", "config.yaml", "precision=bf16", saying="engine reference computes in fp32 only")
        self.refused("run", "config.yaml", "precision=fp16", "engine=onednn", saying="precision: fp16")


class BadModel(Case):
    def model(self, text, **kinds):
        self.write("model.yaml", text)
        for command in ("run", "plan"):
            with self.subTest(command=command):
                self.refused(command, "config.yaml", **kinds)

    def test_negative_stride(self):
        self.model(MODEL.replace("stride: 2, padding: 2", "stride: -2, padding: 2"),
                   saying=["model.yaml:3:", "layers[0].stride: is '-2'; a whole number from 1"])

    def test_groups_that_do_not_divide(self):
        self.model(MODEL.replace("groups: 2", "groups: 3"),
                   saying=["model.yaml:7:5: layers[4]: has groups 3, which does not divide its 8 input and 8 output channels"])

    def test_kernel_larger_than_the_padded_input(self):
        self.model(MODEL.replace("kernel: 5", "kernel: 31"),
                   saying=["model.yaml:3:5: layers[0]", "the kernel (31 positions) is larger than the padded input (28"])

    def test_misspelt_words(self):
        self.model(MODEL.replace("out_channels: 8, kernel: 5", "out_channel: 8, out_channels: 8, kernel: 5"),
                   saying=["model.yaml:3:", "layers[0].out_channel: is not a known key; did you mean 'out_channels'?"])
        self.model(MODEL.replace("type: lrn", "type: lnr"), saying=["layers[2].type: is 'lnr'", "did you mean 'lrn'?"])

    def test_nothing(self):
        self.model("", saying="model.yaml: is empty")
        self.model("input: {channels: 3, height: 2, width: 2}\nlayers: []\n", saying="holds no layers")
        self.model("# only a comment\n", saying="model.yaml: is empty")

    def test_overflowing_sizes(self):
        self.model("input: {channels: 2147483647, height: 2147483647, width: 2147483647}\nlayers: [{type: relu}]\n",
                   saying=["model.yaml:2:9: layers: the input is too large", "overflows", "use smaller sizes"])
        self.model("input: {channels: 2147483647, height: 1, width: 1}\n"
                   "layers: [{type: conv, out_channels: 2147483647, kernel: 1}]\n",
                   saying=["model.yaml:2:10: layers[0]", "the bytes of the weights overflows"])
        self.model("input: {channels: 4, height: 8, width: 8}\nlayers: [{type: adaptive_avg_pool, output: 2147483647}]\n",
                   saying=["model.yaml:2:10: layers[0]", "overflows"])

    def test_sizes_beyond_any_memory(self):
        self.refused("run", "config.yaml", "input.height=2147483647", "input.width=2147483647", saying="overflows")
        message = self.refused("run", "config.yaml", "until=norm1", "input.height=3000000", "input.width=3000000",
                               saying="memory")
        self.assertIn("use", message)
        self.refused("plan", "config.yaml", "until=norm1", "input.height=3000000", "input.width=20", "patch.size=1", saying="use larger")


class BadInput(Case):
    def test_no_images_found(self):
        (self.folder / "photos").mkdir()
        self.write("photos/readme.txt", "none here")
        self.refused("run", "config.yaml", "input.images=[photos]", saying=["photos holds no images", "name another folder"])
        self.refused("verify", "config.yaml", "input.images=[nowhere]", saying="nowhere does not exist; check the path")
        self.refused("run", "config.yaml", "input.images=[]", saying="no images")

    def test_truncated_jpeg(self):
        data = (SAMPLES / "rocket.jpg").read_bytes()
        self.write("cut.jpg", data[: len(data) // 2])
        self.refused("run", "config.yaml", "input.images=cut.jpg", saying="cut.jpg")

    def test_text_file_named_jpg(self):
        self.write("letter.jpg", "Dear reader,\n" * 100)
        self.refused("run", "config.yaml", "input.images=letter.jpg", saying="letter.jpg")

    def test_empty_and_truncated_png(self):
        self.write("empty.png", b"")
        self.refused("run", "config.yaml", "input.images=empty.png", saying="empty.png")
        self.write("cut.png", png(30, 30)[:60])
        self.refused("run", "config.yaml", "input.images=cut.png", saying="cut.png")

    def test_one_bad_image_among_good_ones(self):
        self.write("photos/a.png", png(30, 30))
        self.write("photos/b.jpg", "no photograph")
        self.refused("run", "config.yaml", "input.images=[photos]", "input.batch=1", saying="b.jpg")
        self.refused("verify", "config.yaml", "input.images=[photos]", saying="b.jpg")

    def test_link_that_leads_nowhere_among_good_images(self):
        self.write("photos/a.png", png(30, 30))
        (self.folder / "photos" / "b.png").symlink_to("nowhere.png")
        self.refused("run", "config.yaml", "input.images=[photos]", saying="b.png does not exist")
        done = self.halotile("run", "config.yaml", "input.images=[photos]", "input.on_error=skip")
        self.assertRegex(done.stderr.decode(), "^halotile: skipped: .*b.png does not exist; check the path\n$")

    def test_arrays_that_do_not_fit(self):
        self.write("x.npy", npy((1, 4, 24, 20), [0.0] * (4 * 24 * 20)))
        self.refused("run", "config.yaml", "input.file=x.npy", saying=["x.npy", "(1, 4, 24, 20)", "(N, 3, 24, 20)"])
        self.write("x.npy", npy((1, 24, 20, 3), [0.0] * (3 * 24 * 20)))
        self.refused("run", "config.yaml", "input.file=x.npy",
                     saying=["(1, 24, 20, 3)", "NCHW is expected", "looks like NHWC"])
        self.write("same.yaml", "input: {channels: 3, height: 2, width: 2}\nlayers:\n  - {type: relu}\n")
        self.refused("run", "config.yaml", "input.file=x.npy", "model=same.yaml", "patch=whole",
                     saying=["takes (N, C, H, W) = (N, 3, 24, 20)", "NCHW is expected", "looks like NHWC"])
        self.write("y.npy", b"\x93NUMPY")
        self.refused("run", "config.yaml", "input.file=y.npy", saying="y.npy")
        self.refused("run", "config.yaml", "input.file=z.npy", saying="z.npy")

    def test_photographs_for_a_network_of_other_channels(self):
        self.write("model.yaml", MODEL.replace("channels: 3", "channels: 4"))
        self.write("a.png", png(30, 30))
        self.refused("run", "config.yaml", "input.images=a.png", saying="photographs have 3 channels, the network takes 4")

    def test_crop_that_is_not_the_networks(self):
        self.write("a.png", png(30, 30))
        self.refused("run", "config.yaml", "input.images=a.png", "preprocess.crop=10",
                     saying="preprocess.crop: is 10x10, but the network takes 24x20")


class BadOutput(Case):
    def test_folder_that_cannot_be(self):
        self.write("file", "in the way")
        self.refused("run", "config.yaml", "output.directory=file/sub", saying=["file/sub", "output.directory"])
        self.refused("run", "config.yaml", "output.directory=file", saying="file")
        self.refused("run", "config.yaml", "output.directory=/proc/halotile", saying="/proc/halotile")

    def test_folder_without_permission(self):
        if os.geteuid() == 0:
            self.skipTest("permissions do not stop root")
        self.results.mkdir(mode=0o500)
        self.refused("run", "config.yaml", saying=["results", "choose a folder"])

    def test_what_is_read_is_not_replaced(self):
        self.write("a.json", CONFIG)
        self.write("photos/a.png", png(30, 30))
        self.write("photos/labels.csv", "file,label\na.png,1\n")
        self.write("x.npy", npy((1, 3, 24, 20), [0.0] * (3 * 24 * 20)))
        kept = {name: (self.folder / name).read_bytes() for name in self.files()}
        photos = ("input.images=photos", "input.labels=photos/labels.csv")
        for words, saying in (
            (("plan", "config.yaml", "--image", "config.yaml"), "--image: config.yaml is the config, which would be lost"),
            (("plan", "config.yaml", "--image", "model.yaml"), "--image: model.yaml is the model"),
            (("plan", "config.yaml", *photos, "--image", "photos/a.png"), "--image: photos/a.png is one of the images"),
            (("plan", "config.yaml", *photos, "--image", "photos/labels.csv"), "--image: photos/labels.csv is the file of labels"),
            (("run", "a.json", "measure.trace=a.json", "output.directory=."), "measure.trace: ./a.json is the config"),
            (("run", "config.yaml", "input.file=x.npy", "output.save.conv1=x.npy", "output.directory=."),
             "output.save.conv1: ./x.npy is the input"),
        ):
            with self.subTest(words=words):
                self.refused(*words, saying=saying)
        self.assertEqual({name: (self.folder / name).read_bytes() for name in self.files()}, kept)

    def test_full_disk(self):
        mount = self.folder / "small"
        mount.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], capture_output=True, check=False) \
            if shutil.which("mount") else None
        if mounted is None or mounted.returncode != 0:
            self.skipTest("no right to mount a small disk here")
        self.addCleanup(subprocess.run, ["umount", mount], check=False, capture_output=True)
        done = self.halotile("run", "config.yaml", "input.batch=20", f"output.directory={mount}",
                             "output.save={conv1: c.npy}", status=2)
        message = done.stderr.decode()
        self.assertIn("c.npy", message)
        self.assertIn("free some space", message)
        self.assertEqual(len(message.splitlines()), 1)
        self.assertEqual(list(mount.iterdir()), [], "nothing half-written stays")

    def test_standard_output_that_takes_nothing(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        for words in (("info",), ("plan", "config.yaml", "--json"), ("verify", "config.yaml"), ("run", "config.yaml", "--json")):
            with self.subTest(words=words), open("/dev/full", "wb") as full:
                done = self.halotile(*words, status=2, stdout=full)
                self.assertIn("standard output", done.stderr.decode())
                self.assertEqual(len(done.stderr.splitlines()), 1)

    def redirected(self, words, streams):
        """Exit status and output of the program with its streams as the shell's words say."""
        done = subprocess.run(["bash", "-c", f"'{PROGRAM}' {words} {streams}"], cwd=self.folder, stdout=subprocess.PIPE, timeout=240,
                              check=False)
        return done.returncode, done.stdout

    def test_standard_error_that_takes_nothing(self):
        for streams in ("2>&-", "2>/dev/full"):
            for words in ("--nonsense", "run nowhere.yaml", "run config.yaml streams=0"):
                with self.subTest(streams=streams, words=words):
                    self.assertEqual(self.redirected(words, streams), (2, b""))

    def test_a_note_costs_no_run(self):
        for name in ("a", "b"):
            self.write(f"photos/{name}.png", png(30, 30))
        self.write("photos/c.png", "no photograph")
        words = ("run", "config.yaml", "input.images=photos", "input.on_error=skip", "input.batch=1", "output.save.conv1=c.npy")
        self.assertIn(b"skipped", self.halotile(*words).stderr)
        expected = self.array("c.npy")
        # Of closed streams the next file that is opened has the number; no note may end up in it.
        for streams in ("2>/dev/full", "2>&-", "<&- 2>&-"):
            with self.subTest(streams=streams):
                (self.results / "c.npy").unlink()
                self.assertEqual(self.redirected(" ".join(words), streams)[0], 0)
                self.assertEqual(self.array("c.npy"), expected)
        (self.results / "c.npy").unlink()
        self.assertEqual(self.redirected(" ".join(words), "<&- >&- 2>/dev/null")[0], 2)
        self.assertEqual(self.array("c.npy"), expected)

    def test_reader_that_goes_away(self):
        # `halotile plan ... | head -1`: no message, no harm.
        command = f"'{PROGRAM}' plan config.yaml patch.size=1 --json | head -c 10"
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, capture_output=True, timeout=240, check=False)
        self.assertEqual(done.stderr, b"")


if __name__ == "__main__":
    main()
