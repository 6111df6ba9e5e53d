"""measure.trace: files as Perfetto's JSON rules ask, with a flow from each tile's work to its reassembly."""

import collections
import json

from support import Case, main

TOLERANCE_US = 1e-3
KEYS = ("image", "images", "stage", "row", "column")


class Trace(Case):
    def trace(self, *words):
        self.halotile("run", "config.yaml", "measure.min_runs=1", "measure.trace=t.json", *words)
        trace = json.loads((self.results / "t.json").read_text())
        events = collections.defaultdict(list)
        for event in trace["traceEvents"]:
            events[event["ph"]].append(event)
        self.assertLessEqual(set(events), set("MXstf"))
        return events

    def slices(self, events):
        """By track; those of a track must not overlap."""
        tracks = collections.defaultdict(list)
        for s in events["X"]:
            for key in ("ts", "dur"):
                self.assertGreaterEqual(s[key], 0)
            self.assertTrue(s["name"])
            tracks[s["pid"], s["tid"]].append(s)
        for track in tracks.values():
            track.sort(key=lambda s: (s["ts"], s["dur"]))
            for before, behind in zip(track, track[1:]):
                self.assertLessEqual(before["ts"] + before["dur"], behind["ts"] + TOLERANCE_US)
        return tracks

    def flows(self, events, tracks):
        """By number, each the slices that it goes through."""
        flows = collections.defaultdict(list)
        for event in sorted(events["s"] + events["t"] + events["f"], key=lambda e: (e["ts"], "stf".index(e["ph"]))):
            flows[event["id"]].append(event)
        found = []
        for flow in flows.values():
            self.assertEqual("".join(e["ph"] for e in flow), "s" + "t" * (len(flow) - 2) + "f")
            self.assertEqual(len({(e["cat"], e["name"]) for e in flow}), 1)
            through = []
            for event in flow:
                at = [
                    s
                    for s in tracks[event["pid"], event["tid"]]
                    if s["ts"] - TOLERANCE_US <= event["ts"] <= s["ts"] + s["dur"] + TOLERANCE_US
                ]
                self.assertTrue(at, f"no slice at {event}")
                through.append(min(at, key=lambda s: abs(s["ts"] - event["ts"])))
            found.append(through)
        return found

    def check(self, *words):
        events = self.trace(*words)
        tracks = self.slices(events)
        names = {(m["pid"], m["tid"]): m["args"]["name"] for m in events["M"] if m["name"] == "thread_name"}
        self.assertEqual(set(names), set(tracks), "every track has its name")
        flows = self.flows(events, tracks)
        tiles = {tuple(s["args"][k] for k in KEYS): s for s in events["X"] if s["cat"] == "tile"}
        reassembled = set()
        for through in flows:
            keys = {tuple(s["args"][k] for k in KEYS) for s in through}
            self.assertEqual(len(keys), 1, "a flow stays with its tile")
            reassembled |= keys
            self.assertEqual(through[-1]["cat"], "reassembly")
            tile = tiles[keys.pop()]
            for s in through:
                self.assertGreaterEqual(s["ts"], tile["ts"] - TOLERANCE_US)
                self.assertLessEqual(s["ts"] + s["dur"], tile["ts"] + tile["dur"] + TOLERANCE_US)
        self.assertEqual(reassembled, set(tiles))
        self.assertEqual(len(flows), len(tiles))
        return tiles

    def test_views(self):
        tiles = self.check("patch.storage=view", "streams=1")
        self.assertEqual(
            {(t["args"]["row"], t["args"]["column"]) for t in tiles.values() if t["args"]["stage"] == 0},
            {(r, c) for r in range(3) for c in range(2)},
        )

    def test_packed_on_several_streams(self):
        self.check("patch.storage=packed", "streams=3")

    def test_fused_in_chunks(self):
        self.check("patch.stages=fused", "sub_batch=1", "streams=2")

    def test_whole(self):
        self.check("patch.size=whole", "streams=2", "sub_batch=2")

    def test_onednn(self):
        self.check("engine=onednn", "streams=2", "patch.storage=packed")


if __name__ == "__main__":
    main()
