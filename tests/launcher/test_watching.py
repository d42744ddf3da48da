#!/usr/bin/python3
"""What a run writes for those who watch it: TensorBoard's events, status.json, the report while it trains and the one made
anew, and the page that compares runs.

usage: test_watching.py TRIPTYCH   the program to test
"""

import json
import re
import struct
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from read_events import read_files  # noqa: E402
from small_runs import SmallRuns  # noqa: E402  (found beside this file)


def as_float32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def event_files(run):
    return sorted(run.glob("events.out.tfevents.*"))


class Watching(SmallRuns):
    def check_events(self, run, events):
        """Each number of metrics.jsonl, as a float32, and no other; what is null is left out. As TensorBoard reads: a START
        makes it forget what came before of its step and later."""
        seen = {}
        for event in events:
            if event.get("start"):
                seen = {step: value for step, value in seen.items() if step < event["step"]}
            if "scalars" in event:
                seen[event["step"]] = event
        lines = lines_of(run)
        self.assertEqual(list(seen), [line["step"] for line in lines])
        for line in lines:
            event = seen[line["step"]]
            self.assertEqual(event["time"], line["time"])
            numbers = {tag.partition("/")[2]: value for tag, value in event["scalars"].items()}
            self.assertEqual(numbers, {key: as_float32(value) for key, value in line.items()
                                       if key not in ("step", "time") and value is not None})

    def test_tensorboard_has_the_numbers_of_the_metrics(self):
        run = self.folder / "watched"
        self.train(run, mesh={"dp": 2}, training__steps=6, training__stop_after=4, checkpoint__every=2)
        self.assertEqual(len(event_files(run)), 1)
        self.check_events(run, read_files(event_files(run)))
        # Back to step 2: what the first part says of steps 3 and 4 does not count any more.
        self.train(run, training__steps=6, checkpoint__every=2, resume=2)
        self.assertEqual(len(event_files(run)), 2)
        events = read_files(event_files(run))
        self.assertEqual([event["step"] for event in events if event.get("start")], [1, 3])
        self.check_events(run, events)
        for event in events:
            if "texts" in event:
                self.assertIn(event["texts"]["config"].split("\n")[1], (run / "config.toml").read_text())

    def test_a_trace_has_what_every_rank_did_in_the_steps_that_were_asked_for(self):
        run = self.folder / "traced"
        words = self.arguments(run, mesh={"pp": 2, "dp": 2}, training__steps=6, parallel__schedule='"interleaved"')
        told = self.run_program(*words, "--trace-from", 3, "--trace-steps", 2, ranks=4)
        events = json.loads((run / "trace_3.json").read_text())["traceEvents"]
        self.assertIn("time of a rank, the mean of all: compute ", told.stdout + told.stderr)
        self.assertRegex(told.stdout + told.stderr, r"(?m)^dp all_reduce +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+%$")
        names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
        self.assertEqual([names[rank].rpartition(",")[0] for rank in range(4)],
                         [f"rank {rank}, pp {rank // 2}, dp {rank % 2}, cp 0, tp 0" for rank in range(4)])
        work = {rank: [event for event in events if event["pid"] == rank and event["ph"] == "X"] for rank in range(4)}
        for rank, spans in work.items():
            steps = [event for event in spans if event["cat"] == "step"]
            self.assertEqual([event["name"] for event in steps], ["step 3", "step 4"])
            actions = [event["name"] for event in spans if event["cat"] == "schedule"]
            stages = {0: (0, 2), 1: (1, 3)}[rank // 2]
            for kind in ("E", "F", "B"):  # twice two microbatches on two stages
                self.assertEqual(sorted(name for name in actions if name[0] == kind),
                                 sorted(2 * [f"{kind}{m}@{stage}" for stage in stages for m in range(2)]))
            saves = [event["name"] for event in spans if event["cat"] == "save"]
            self.assertEqual(saves, ["the checkpoint of step 3"])
            for span in spans:  # within a step or the saving of a checkpoint between two
                self.assertTrue(any(outer["ts"] <= span["ts"] + 1e-2 and
                                    span["ts"] + span["dur"] <= outer["ts"] + outer["dur"] + 1e-2
                                    for outer in spans if outer["cat"] in ("step", "save")), span)
        # Ranks of a group see the same operations, by their numbers.
        def operations(rank, group):
            return [(event["name"], event["args"]["details"]) for event in events
                    if event["pid"] == rank and event["ph"] == "b" and event["cat"].startswith(group)]
        self.assertTrue(operations(0, "dp["))
        self.assertEqual(operations(0, "dp["), operations(1, "dp["))
        self.assertEqual(operations(2, "dp["), operations(3, "dp["))
        # A message is received after it began to be sent: the ranks' clocks are one.
        def times(rank, name, phase):
            return [event["ts"] for event in events if event["pid"] == rank and event["ph"] == phase
                    and event["cat"].startswith("pp[") and event["name"].startswith(name)]
        sent, received = times(0, "send(", "b"), times(2, "recv(", "e")
        self.assertEqual(len(sent), len(received))
        for begin, end in zip(sent, received):
            self.assertLessEqual(begin, end + 1e-2)

        late = self.arguments(run, training__steps=6)
        self.assertIn("must be a step that is still to be trained, 1 to 6, found 7",
                      self.program(*late, "--overwrite", "--trace-from", 7, expect=2))
        self.assertTrue((run / "trace_3.json").exists())
        (run / "trace_9.json").write_text("of somebody else")
        self.program(*late, "--overwrite", "--trace-from", 5, "--trace-steps", 9)  # as far as the run goes
        self.assertEqual(sorted(path.name for path in run.glob("trace_*")), ["trace_5.json", "trace_9.json"])
        events = json.loads((run / "trace_5.json").read_text())["traceEvents"]
        self.assertEqual([event["name"] for event in events if event.get("cat") == "step"], ["step 5", "step 6"])

    def test_the_report_says_how_the_run_goes_and_is_made_anew_the_same(self):
        run = self.folder / "reported"
        self.train(run, mesh={"pp": 2}, training__steps=6, training__stop_after=4)
        status = json.loads((run / "status.json").read_text())
        self.assertEqual([status[key] for key in ("state", "step", "last_step")], ["stopped", 4, 6])
        self.assertEqual([rank["place"] for rank in status["ranks"]], ["pp 0, dp 0, cp 0, tp 0", "pp 1, dp 0, cp 0, tp 0"])
        for rank in status["ranks"]:
            self.assertEqual(rank["steps"], 4)
            self.assertGreater(rank["cpu_s"], 0)
            self.assertGreaterEqual(rank["peer_wait_s"], 0)
            self.assertLessEqual(rank["peer_wait_s"] + rank["loader_wait_s"], rank["steps_s"] * 1.01 + 0.002)
            self.assertGreater(rank["rss_mb"], 1)
        self.assertAlmostEqual(status["ranks"][0]["steps_s"], sum(line["step_ms"] for line in lines_of(run)) / 1e3, 5)
        page = (run / "report.html").read_text()
        for part in ("Stopped</b> step 4 of 6", "As training.stop_after says.", "pp 2 x dp 1 x cp 1 x tp 1", "Time by rank"):
            self.assertIn(part, page)
        self.assertIn(f"report: {run}/report.html", self.output("report", run))
        self.assertEqual((run / "report.html").read_text(), page)
        self.train(run, training__steps=6, resume="latest")  # on one rank
        page = (run / "report.html").read_text()
        for part in ("Finished</b> 6 steps", "pp 1 x dp 1 x cp 1 x tp 1"):
            self.assertIn(part, page)

    def test_what_was_planned_of_a_step_stands_beside_what_it_takes(self):
        cluster = self.folder / "machines.toml"
        link = "gb_per_s = 1.0\nlatency_us = 1.0\n"
        cluster.write_text('name = "machines of 1998 & later"\n[device]\nfp32_tflops = 0.01\nhalf_tflops = 0.01\n'
                           f"memory_gb_per_s = 1.0\noverlaps = false\n[node]\ndevices = 8\n{link}[network]\n{link}")
        run = self.folder / "planned"
        self.train(run, mesh={"dp": 2}, run__cluster=str(cluster), training__steps=4)
        status = json.loads((run / "status.json").read_text())
        plan = json.loads(self.output("plan", "step", run / "config.toml", "--cluster", cluster, "--json"))
        self.assertEqual(status["planned"]["cluster"], "machines of 1998 & later")
        self.assertAlmostEqual(status["planned"]["step_ms"], 1e3 * plan["seconds"])
        self.assertAlmostEqual(status["planned"]["wait_ms"], 1e3 * sum(plan["wait_seconds"].values()))
        self.assertGreater(status["planned"]["wait_ms"], 0)
        self.assertAlmostEqual(status["planned"]["peak_mb"], plan["peak_bytes"] / 2**20)
        # Memory is the engine's own count: of steps, and this run has no evaluations.
        held = max(rank["pool_peak_mb"] for rank in status["ranks"])
        self.assertAlmostEqual(held / status["planned"]["peak_mb"], 1, delta=0.05)
        for part in ("Planned and measured", "machines of 1998 &amp; later"):
            self.assertIn(part, (run / "report.html").read_text())
        # A run that cannot be planned trains; one whose file is none does not begin.
        cluster.write_text("[device]\nfp32_tflop = 1.0\n")
        refused = self.train(self.folder / "refused", run__cluster=str(cluster), expect=2)
        self.assertIn("fp32_tflop", refused)

    def test_an_evaluation_stays_in_the_report_and_tells_what_its_names_mean(self):
        run = self.folder / "measured"
        self.train(run, training__steps=4)
        (self.data / "about.txt").write_text("Shapes that\nwere <drawn>.\n")
        baseline = self.folder / "raw_pixels.json"
        baseline.write_text(json.dumps({"about": "No model at all.", self.data.name: {"text to image recall@1": 0.125}}))
        self.addCleanup((self.data / "about.txt").unlink)
        arguments = ["--set", f'run.dir="{run}"', "--set", f'evaluation.sets=["{self.data}"]', "--baseline", baseline]
        # By a program of another mesh than the run's.
        self.output("eval", self.folder / "run.toml", *arguments, ranks=2)
        page = (run / "report.html").read_text()
        results = json.loads((run / "evaluation.json").read_text())
        self.assertEqual(results["step"], 4)
        for part in ("Shapes that were &lt;drawn&gt;.", "No model at all.", "raw pixels", "Measured at step 4",
                     "pp 1 x dp 1 x cp 1 x tp 1", "<h2>Training</h2>", 'class="hits"'):
            self.assertIn(part, page)
        self.assertLess(page.index("Recall@1"), page.index("<h2>Training</h2>"))
        self.assertLess(page.index("<h2>Training</h2>"), page.index('class="hits"'), "curves before the cards")
        self.output("report", run)
        self.assertEqual((run / "report.html").read_text(), page)

    def test_runs_are_compared(self):
        runs = [self.folder / "one", self.folder / "two"]
        self.train(runs[0], training__steps=3)
        self.train(runs[1], training__steps=4, optimizer__learning_rate=1e-3)
        page = self.folder / "cmp.html"
        self.output("report", *runs, "--out", page)
        text = page.read_text()
        for part in ("<bdi>one</bdi>", "<bdi>two</bdi>", "optimizer.learning_rate", "<bdi>0.002</bdi>", "<bdi>0.001</bdi>",
                     "training.steps", "Loss by time"):
            self.assertIn(part, text)
        self.assertNotIn("run.seed", text)
        self.assertEqual(re.findall(r"(?:src|href)=\"(?!data:)", text), [])
        self.output("report", *runs, "--out", page)  # its own page is replaced
        page.write_text("mine")
        self.assertIn("is not replaced", self.program("report", *runs, "--out", page, expect=2))
        self.assertEqual(page.read_text(), "mine")
        self.assertIn("--out", self.program("report", *runs, expect=2))
        self.assertIn("must be a file .html", self.program("report", *runs, "--out", self.folder / "x.txt", expect=2))
        self.assertIn("must be the folder of a run", self.program("report", self.folder / "nowhere", expect=2))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
