#!/usr/bin/python3
"""`triptych bench scaling`: what it writes says what the runs that it starts print, and what cannot be measured is refused
before anything is.

usage: test_scaling.py TRIPTYCH   the program to test
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path
from statistics import mean, median

import numpy as np
from PIL import Image

sys.dont_write_bytecode = True
from small_runs import TASKS  # noqa: E402  (found beside this file)

SVG = "{http://www.w3.org/2000/svg}"


def rows_of(file):
    with open(file, newline="") as table:
        return list(csv.DictReader(table))


class Scaling(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.config = self.folder / "run.toml"
        self.config.write_text(f'task = "classify"\n{TASKS["classify"]}')
        self.out = self.folder / "scaling"

    def bench(self, *words, environment=None):
        return subprocess.run([PROGRAM, "bench", "scaling", self.config, "--out", self.out, "--steps", "3", "--warmup", "1",
                               "--rounds", "2", *words], capture_output=True, text=True, timeout=120,
                              env={**os.environ, **(environment or {})})

    def refused(self, code, parts, *words, environment=None):
        told = self.bench(*words, environment=environment)
        self.assertEqual(told.returncode, code, told.stderr)
        for part in parts:
            self.assertIn(part, told.stderr)
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["run.toml"])

    def test_what_it_writes_is_what_the_runs_say(self):
        told = self.bench("--ranks", "1,2", "--mesh", "dp", "--mesh", "tp=2,sequence_parallel=true")
        self.assertEqual(told.returncode, 0, told.stderr)
        rows = rows_of(self.out / "scaling.csv")
        names = ["1 rank", "dp=2", "tp=2,sequence_parallel=true"]
        self.assertEqual([row["mesh"] for row in rows], names)
        self.assertEqual([row["ranks"] for row in rows], ["1", "2", "2"])
        rounds = [[json.loads((self.out / "runs" / f"mesh_{i + 1}_round_{r}.json").read_text()) for r in (1, 2)]
                  for i in range(3)]
        meshes = [{"pp": 1, "dp": dp, "cp": 1, "tp": tp} for dp, tp in ((1, 1), (2, 1), (1, 2))]
        of_ranks = rows_of(self.out / "ranks.csv")
        for i, (row, runs) in enumerate(zip(rows, rounds)):
            ranks = len(runs[0]["by_rank"])
            self.assertEqual([run["mesh"] for run in runs], [meshes[i]] * 2)
            self.assertEqual([run["threads"] for run in runs], [1, 1])
            self.assertEqual(ranks, int(row["ranks"]))
            # Weak: the batch of the config is one rank's.
            self.assertEqual({run["global_batch"] for run in runs}, {4 * ranks})
            self.assertEqual(int(row["global_batch"]), 4 * ranks)
            times, least = [[run["step_ms"][key] for run in runs] for key in ("median", "min")]
            close = lambda key, value: self.assertAlmostEqual(float(row[key]) / value, 1, 4, key)
            close("step_ms_median", median(times))
            close("step_ms_best", min(least))
            close("samples_per_s_median", 4 * ranks / median(times) * 1e3)
            base = rounds[0]  # of 1 rank: per rank the same batch
            close("efficiency_median", median(b["step_ms"]["median"] / t for b, t in zip(base, times)))
            close("efficiency_best", min(b["step_ms"]["min"] for b in base) / min(least))
            close("pool_peak_mb", max(rank["pool_peak_mb"] for run in runs for rank in run["by_rank"]))
            self.assertEqual({run["data"] for run in runs}, {"synthetic"})
            self.assertEqual(row["loader_share"], "")  # nothing is said of what was not measured
            shares = [float(row[key + "_share"]) for key in ("compute", "communication", "pipeline", "optimizer")]
            self.assertAlmostEqual(sum(shares), 1, 4)
            if ranks > 1:
                self.assertGreater(shares[1], 0.02)
            parts = {one["part"] for one in of_ranks if one["mesh"] == row["mesh"] and one["unit"] == "ms"}
            self.assertNotIn("loader", parts)
            # One rank's is the time that its trace takes to see none.
            self.assertEqual({part for part in parts if part.startswith(("start ", "wait "))} == set(), ranks == 1)
            self.assertEqual(shares[2], 0)
            for rank in range(ranks):
                mine = {(one["unit"], one["part"]): float(one["value"]) for one in of_ranks
                        if one["mesh"] == row["mesh"] and one["rank"] == str(rank)}
                said = [run["by_rank"][rank] for run in runs]
                self.assertAlmostEqual(mine["MB", "gradients"], said[0]["pool_peak_mb_by_part"]["gradients"], 4)
                self.assertAlmostEqual(mine["ms", "step"] / mean(one["traced_step_ms"]["all"] for one in said), 1, 4)
                parts = sum(value for (unit, part), value in mine.items() if unit == "ms" and part != "step")
                self.assertAlmostEqual(parts / mine["ms", "step"], 1, 4)
            self.assertIn(f"{row['mesh']} ", told.stdout)
            self.assertEqual([row[key] for key in row if key.startswith("planned")], [""] * 3)
        self.assertEqual(len(of_ranks), len({(one["mesh"], one["rank"], one["unit"], one["part"]) for one in of_ranks}))
        self.assertIn("weak scaling, 1 thread a rank, synthetic data", told.stdout)
        self.assertNotIn("loader", told.stdout)
        for name in ("throughput", "efficiency", "time", "memory"):
            root = xml.parse(self.out / f"{name}.svg").getroot()
            self.assertEqual(root.tag, f"{SVG}svg")
            texts = [text.text for text in root.iter(f"{SVG}text")]
            for expected in names if name in ("time", "memory") else ["ideal", "dp", "tp=2,sequence_parallel=true"]:
                self.assertIn(expected, texts)

    def cluster(self):
        file = self.folder / "cluster.toml"
        link = "gb_per_s = 1.0\nlatency_us = 1.0\n"
        file.write_text("[device]\nfp32_tflops = 0.01\nhalf_tflops = 0.01\nmemory_gb_per_s = 1.0\noverlaps = false\n"
                        f"[node]\ndevices = 8\n{link}[network]\n{link}")
        return file

    def test_a_file_of_this_machines_rates_plans_its_steps(self):
        file = self.folder / "measured.toml"
        words = [PROGRAM, "bench", "cluster", self.config, "--out", file, "--rounds", "2", "--steps", "3", "--set",
                 "training.global_batch=32"]
        told = subprocess.run(words, capture_output=True, text=True, timeout=120)
        self.assertEqual(told.returncode, 0, told.stderr)
        rates = tomllib.loads(file.read_text())
        self.assertEqual(rates["network"] | {"devices": rates["node"]["devices"]}, rates["node"])
        self.assertLess(rates["node"]["gb_per_s"], 1e4)  # a fit to something
        self.assertGreater(rates["node"]["gb_per_s"], 0.01)
        self.assertFalse(rates["device"]["overlaps"])
        fitted = re.findall(r"batch (\d+) +[\d.]+ +([\d.]+)", told.stdout)
        self.assertEqual([batch for batch, _ in fitted], ["32", "8"] * 2)
        # What the file plans of a step that it was fitted to, of one microbatch, is what the fit said of it, in tenths.
        plan = subprocess.run([PROGRAM, "plan", "step", self.config, "--cluster", file, "--json", "--set",
                               "training.global_batch=32", "--set", "parallel.microbatches=1"], capture_output=True,
                              check=True).stdout
        self.assertAlmostEqual(1e3 * json.loads(plan)["compute_seconds"], float(fitted[0][1]), delta=0.051)
        again = subprocess.run(words, capture_output=True, text=True, timeout=120)
        self.assertEqual(again.returncode, 2)
        self.assertIn("must name a new file", again.stderr)

    def test_what_is_planned_stands_beside_it(self):
        cluster = self.cluster()
        told = self.bench("--cluster", cluster, "--mesh", "dp", "--mesh", "alone")
        self.assertEqual(told.returncode, 0, told.stderr)
        rows = rows_of(self.out / "scaling.csv")
        self.assertEqual([row["mesh"] for row in rows], ["1 rank", "dp=2", "2 alone"])
        plans = [json.loads(subprocess.run([PROGRAM, "plan", "step", self.config, "--cluster", cluster, "--json", "--batches", "1",
                                            "--set", f"parallel.dp={dp}", "--set", f"training.global_batch={4 * dp}"],
                                           capture_output=True, check=True).stdout) for dp in (1, 2, 1)]
        alone = 4 / plans[0]["seconds"]
        for row, plan, rate in zip(rows, plans, (alone, 8 / plans[1]["seconds"] / 2, alone)):
            self.assertAlmostEqual(float(row["planned_step_ms"]) / (1e3 * plan["seconds"]), 1, 4)
            self.assertAlmostEqual(float(row["planned_efficiency"]), rate / alone, 4)
            self.assertAlmostEqual(float(row["planned_peak_mb"]) * 2**20 / plan["peak_bytes"], 1, 4)
            self.assertAlmostEqual(float(row["planned_peak_mb"]) / float(row["pool_peak_mb"]), 1, delta=0.05)
            self.assertEqual(sum(plan["peak_bytes_by_part"].values()), plan["peak_bytes"])
            self.assertLess(0, plan["optimizer_seconds"])
            self.assertLess(plan["optimizer_seconds"], plan["compute_seconds"])
        self.assertLess(float(rows[1]["planned_efficiency"]), 1)
        self.assertIn("Planned by", told.stdout)
        for name, expected in (("throughput", "dp, planned"), ("efficiency", "dp, planned"), ("time", "planned"),
                               ("memory", "planned")):
            texts = [text.text for text in xml.parse(self.out / f"{name}.svg").getroot().iter(f"{SVG}text")]
            self.assertIn(expected, texts)

    def make_data(self):
        """Eight pictures that take far longer to decode than a step of the config takes."""
        images = self.folder / "images"
        images.mkdir()
        noise = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), np.uint8)
        with open(images / "captions.jsonl", "w", encoding="utf-8") as lines:
            for number in range(8):
                Image.fromarray(np.roll(noise, number)).save(images / f"{number}.png", compress_level=1)
                lines.write(json.dumps({"image": f"{number}.png", "label": number % 5}) + "\n")
        subprocess.run([PROGRAM, "ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--out",
                        self.folder / "data"], check=True, capture_output=True)
        text = self.config.read_text() + f'\n[data]\npath = "{self.folder / "data"}"\nthreads = 1\nprefetch = 1\n'
        self.config.write_text(text)

    def test_what_a_step_waits_for_its_loader_is_a_part_of_it(self):
        self.make_data()
        told = self.bench("--data", "--ranks", "1,2", "--mesh", "dp", "--cluster", self.cluster())
        self.assertEqual(told.returncode, 0, told.stderr)
        rows = rows_of(self.out / "scaling.csv")
        of_ranks = rows_of(self.out / "ranks.csv")
        for i, row in enumerate(rows):
            runs = [json.loads((self.out / "runs" / f"mesh_{i + 1}_round_{r}.json").read_text()) for r in (1, 2)]
            self.assertEqual({run["data"] for run in runs}, {"loader"})
            shares = [float(row[f"{part}_share"]) for part in ("compute", "communication", "pipeline", "optimizer", "loader")]
            self.assertAlmostEqual(sum(shares), 1, 4)
            self.assertGreater(shares[-1], shares[0])
            for rank in range(int(row["ranks"])):
                for run in runs:
                    parts = dict(run["by_rank"][rank]["traced_step_ms"])
                    self.assertGreater(parts["loader"], 0)
                    self.assertAlmostEqual(parts.pop("all") / sum(parts.values()), 1, 6)
                mine = [float(one["value"]) for one in of_ranks if one["mesh"] == row["mesh"] and one["rank"] == str(rank)
                        and one["part"] == "loader"]
                self.assertAlmostEqual(mine[0], mean(run["by_rank"][rank]["traced_step_ms"]["loader"] for run in runs),
                                       delta=1e-4 * mine[0])
            # Two batches are on the device, as in training, and as they are planned.
            self.assertAlmostEqual(float(row["planned_peak_mb"]) / float(row["pool_peak_mb"]), 1, delta=0.05)
        self.assertRegex(told.stdout, r"optimizer +loader +memory MiB")
        self.assertIn("the config's data", told.stdout)
        texts = [text.text for text in xml.parse(self.out / "time.svg").getroot().iter(f"{SVG}text")]
        self.assertIn("loader", texts)
        table = subprocess.run([PROGRAM, "bench", "step", self.config, "--data", "--steps", "1", "--table"],
                               capture_output=True, text=True, timeout=120)
        self.assertRegex(table.stdout, r"(?m)^loader +[\d.]+ +[\d.]+%$")

    def test_data_that_are_not_enough_are_refused(self):
        self.refused(2, ["data.path", "must name a data set"], "--data")
        self.make_data()
        told = self.bench("--data", "--ranks", "1,2,4", "--mesh", "dp")
        self.assertEqual(told.returncode, 2, told.stderr)
        for part in ("[--data]", "16 rows on dp=4, found 8 samples", "or leave --data out"):
            self.assertIn(part, told.stderr)
        self.assertFalse(self.out.exists())
        told = subprocess.run([PROGRAM, "bench", "step", self.config, "--data", "--set", "training.global_batch=16"],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(told.returncode, 2, told.stderr)
        self.assertIn("must not be larger than the data set", told.stderr)

    def test_strong_scaling_keeps_the_batch_and_a_full_folder_is_left_alone(self):
        words = ("--mode", "strong", "--mesh", "pp,microbatches=2")
        told = self.bench(*words)
        self.assertEqual(told.returncode, 0, told.stderr)
        rows = rows_of(self.out / "scaling.csv")
        self.assertEqual([(row["mesh"], row["global_batch"]) for row in rows], [("1 rank", "4"), ("pp=2,microbatches=2", "4")])
        alone, both = [float(row["step_ms_best"]) for row in rows]
        self.assertAlmostEqual(float(rows[1]["efficiency_best"]), alone / both / 2, 4)
        self.assertGreater(float(rows[1]["pipeline_share"]), 0)
        before = (self.out / "scaling.csv").read_bytes()
        again = self.bench(*words)
        self.assertEqual(again.returncode, 2)
        self.assertIn("must be a new or an empty folder", again.stderr)
        self.assertEqual((self.out / "scaling.csv").read_bytes(), before)

    def test_ranks_that_know_nothing_of_each_other_are_runs_of_one_rank(self):
        told = self.bench("--mesh", "alone")
        self.assertEqual(told.returncode, 0, told.stderr)
        rows = rows_of(self.out / "scaling.csv")
        self.assertEqual([(row["mesh"], row["ranks"], row["global_batch"]) for row in rows],
                         [("1 rank", "1", "4"), ("2 alone", "2", "8")])
        both = [[json.loads((self.out / "runs" / f"mesh_2_round_{r}_run_{i}.json").read_text()) for i in (1, 2)] for r in (1, 2)]
        self.assertEqual({(run["ranks"], run["global_batch"]) for round in both for run in round}, {(1, 4)})
        times = [max(run["step_ms"]["median"] for run in round) for round in both]
        self.assertAlmostEqual(float(rows[1]["samples_per_s_median"]) / (8 / median(times) * 1e3), 1, 4)
        self.assertEqual({one["rank"] for one in rows_of(self.out / "ranks.csv") if one["mesh"] == "2 alone"}, {"0", "1"})
        self.assertEqual(float(rows[1]["pipeline_share"]), 0)

    def test_what_cannot_be_measured_is_refused(self):
        self.refused(2, ["[--mesh]", "must be an axis of the mesh", "`sp`", "Write dp, cp, tp or pp"], "--mesh", "sp")
        self.refused(2, ["one axis may stand alone", "`dp,tp`"], "--mesh", "dp,tp")
        self.refused(2, ["an axis of the mesh must be named", "`microbatches=2`"], "--mesh", "microbatches=2")
        self.refused(2, ["must be there once", "`dp=2,dp=2`"], "--mesh", "dp=2,dp=2")
        self.refused(2, ["must be there once", "`dp,dp=2`"], "--mesh", "dp,dp=2")
        self.refused(2, ["must have a number of ranks", "`tp=two`"], "--mesh", "tp=two")
        self.refused(2, ["at least one rank", "`tp=0`"], "--mesh", "tp=0")
        self.refused(2, ["at most 1024 ranks"], "--mesh", "dp=1024,tp=1024,pp=1024")
        self.refused(2, ["at least two meshes", "found 1 rank", "Name more --ranks"], "--ranks", "1")
        self.refused(2, ["--ranks"], "--ranks", "0")
        self.refused(2, ["--mode"], "--mode", "medium")
        self.refused(2, ["`alone` must be compared in --mode weak"], "--mesh", "alone", "--mode", "strong")
        bad = self.cluster()
        bad.write_text(bad.read_text().replace("half_tflops", "half_tflop"))
        words = self.bench("--cluster", bad)
        self.assertEqual(words.returncode, 2, words.stderr)
        self.assertIn("half_tflops", words.stderr)
        bad.unlink()
        self.refused(2, ["--cluster", "nowhere"], "--cluster", self.folder / "nowhere")
        # What the config cannot be, as it says it itself.
        self.refused(2, ["parallel.microbatchs", "parallel.microbatches"], "--mesh", "pp=2,microbatchs=2")
        self.refused(2, ["must be a multiple of parallel.dp * parallel.microbatches"], "--mesh", "dp=3", "--mode", "strong")
        self.refused(2, ["must be one process", "found OMPI_COMM_WORLD_RANK"], environment={"OMPI_COMM_WORLD_RANK": "0"})

    def test_a_run_that_fails_leaves_nothing(self):
        self.refused(1, ["mpirun is not installed", "every run must end well, the run on 1 rank ended with exit code 1"],
                     environment={"PATH": "/nowhere"})


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
