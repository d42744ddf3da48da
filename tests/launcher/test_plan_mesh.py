"""What `triptych plan step` and `plan mesh` say of clusters on which one thing alone takes time, against what that
thing's own formula gives."""

import csv
import json
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

from small_runs import REPOSITORY, TASKS

TRIPTYCH = sys.argv.pop(1)
CONFIG = REPOSITORY / "configs" / "bench_clip_small.toml"
SVG = "{http://www.w3.org/2000/svg}"
FAST = 1e9  # a rate at which what it is of takes no time
CLUSTER = """
[device]
fp32_tflops = {tflops}
half_tflops = {tflops}
memory_gb = {memory_gb}
memory_gb_per_s = {memory}
overlaps = {overlaps}
[node]
devices = {devices}
gb_per_s = {node}
latency_us = 0
[network]
gb_per_s = {network}
latency_us = 0
"""


class PlanMesh(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def cluster(self, **rates):
        values = {"tflops": FAST, "memory": FAST, "node": FAST, "network": FAST, "devices": 8, "memory_gb": 0,
                  "overlaps": "false"} | rates
        path = self.folder / "cluster.toml"
        path.write_text(CLUSTER.format(**{key: float(value) if key in ("tflops", "memory", "node", "network",
                                                                       "memory_gb") else value
                                          for key, value in values.items()}))
        return path

    def plan(self, command, cluster, *words, sets=(), config=CONFIG):
        words = [TRIPTYCH, "plan", command, config, "--cluster", cluster, "--json", *words]
        for one in sets:
            words += ["--set", one]
        return subprocess.run([str(word) for word in words], capture_output=True, text=True)

    def step(self, cluster, *sets, config=CONFIG):
        run = self.plan("step", cluster, sets=sets, config=config)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def bench(self):
        return json.loads(subprocess.run([TRIPTYCH, "bench", "step", CONFIG, "--steps", "1", "--warmup", "1"], check=True,
                                         capture_output=True, text=True).stdout)

    def test_products_take_their_flops_at_the_rate(self):
        step = self.step(self.cluster(tflops=1))
        # Counted by the model's own formulas, attention's products included.
        self.assertAlmostEqual(step["seconds"] * 1e3 / self.bench()["gflop_per_step"], 1, delta=0.03)

    def test_an_all_reduce_sends_what_a_ring_does(self):
        gradients = 4 * self.bench()["parameters"]
        for dp in (2, 4):
            for devices, rates in ((8, {"node": 1}), (1, {"network": 1})):
                step = self.step(self.cluster(devices=devices, **rates), f"parallel.dp={dp}")
                # Beside it embeddings are gathered and numbers summed, which is little.
                self.assertAlmostEqual(step["wait_seconds"]["dp"] / (2 * (dp - 1) / dp * gradients / 1e9), 1, delta=0.05)
                self.assertAlmostEqual(step["seconds"], sum(step["wait_seconds"].values()), delta=0.01 * step["seconds"])
        # A reduce-scatter and an all-gather send as much.
        step = self.step(self.cluster(node=1), "parallel.dp=4", "parallel.zero=1")
        self.assertAlmostEqual(step["wait_seconds"]["dp"] / (2 * 3 / 4 * gradients / 1e9), 1, delta=0.05)

    def test_tensor_parallelism_sends_eight_streams_a_block(self):
        config = REPOSITORY / "configs" / "bench_vit_s16.toml"  # 12 blocks, 16 sequences of 197 tokens of width 384
        stream = 12 * 16 * 197 * 384
        for keys, streams, element in (([], 8, 4), (['training.precision="bf16"'], 8, 2),
                                       (["parallel.sequence_parallel=true"], 8, 4),
                                       (["parallel.sequence_parallel=true", 'parallel.recompute="selective"'], 10, 4)):
            step = self.step(self.cluster(node=1), "parallel.tp=2", *keys, config=config)
            # Half of each, to the other of two; with sequence parallelism one token in 197 more, and a gather at the end.
            self.assertAlmostEqual(step["wait_seconds"]["tp"] / (streams / 2 * stream * element / 1e9), 1, delta=0.03)

    def test_of_hybrid_sharding_only_sums_of_pieces_leave_a_machine(self):
        gradients = 4 * self.bench()["parameters"]
        for zero in (1, 3):
            step = self.step(self.cluster(devices=4, network=1), "parallel.dp=8", f"parallel.zero={zero}",
                             "parallel.zero_group=4")
            # Of each of two machines four ranks sum a quarter each: an all-reduce between two sends it once.
            self.assertAlmostEqual(step["wait_seconds"]["dp far"] / (gradients / 4 / 1e9), 1, delta=0.05)
            self.assertNotIn("dp near", {kind for kind, time in step["wait_seconds"].items() if time > 1e-6})

    def test_what_goes_on_beside_kernels_takes_no_time_of_its_own(self):
        slow = self.step(self.cluster(tflops=0.01, node=1), "parallel.dp=2", "parallel.bucket_mb=1")
        beside = self.step(self.cluster(tflops=0.01, node=1, overlaps="true"), "parallel.dp=2",
                           "parallel.bucket_mb=1")
        self.assertLess(beside["wait_seconds"].get("dp", 0), 0.2 * slow["wait_seconds"]["dp"])
        self.assertAlmostEqual(beside["compute_seconds"], slow["compute_seconds"], delta=1e-6)

    def test_of_what_tensor_parallelism_sends_a_piece_is_waited_for(self):
        config = REPOSITORY / "configs" / "bench_vit_s16.toml"
        for sequence_parallel, exposed, of in (("false", 2, 4), ("true", 6, 8)):
            keys = ["parallel.tp=2", f"parallel.sequence_parallel={sequence_parallel}"]
            whole = self.step(self.cluster(tflops=0.01, node=1), *keys, config=config)["wait_seconds"]["tp"]
            for pieces in (1, 2, 4):
                # Products take far longer than what travels. Forward, each product of a block's border waits for the
                # first piece that comes or the last that goes; in backward, for the first piece alone, of gathers:
                # sums travel beside the products of the weights.
                step = self.step(self.cluster(tflops=0.01, node=1, overlaps="true"), *keys,
                                 f"parallel.tp_pieces={pieces}", config=config)
                self.assertAlmostEqual(step["wait_seconds"]["tp"] / whole, exposed / of / pieces, delta=0.02)

    def test_what_tensor_parallelism_sends_goes_in_as_many_pieces_as_make_it_faster(self):
        config = REPOSITORY / "configs" / "bench_vit_s16.toml"
        cluster = self.cluster(tflops=1, node=1, overlaps="true")
        cluster.write_text(cluster.read_text().replace("latency_us = 0", "latency_us = 500"))  # what a piece costs
        run = self.plan("mesh", cluster, "--devices", 2, config=config)
        self.assertEqual(run.returncode, 0, run.stderr)
        found = next(one for one in json.loads(run.stdout) if one["tp"] == 2)
        seconds = {}
        for pieces in (1, 2, 4, 8, 16):
            step = self.step(cluster, "parallel.tp=2", "parallel.sequence_parallel=true", f"parallel.tp_pieces={pieces}",
                             f"parallel.microbatches={found['microbatches']}", 'parallel.schedule="1f1b"',
                             f"parallel.recompute=\"{found['recompute']}\"", config=config)
            seconds[pieces] = step["seconds"]
        self.assertEqual(found["tp_pieces"], min(seconds, key=seconds.get))
        self.assertGreater(found["tp_pieces"], 1)
        self.assertLess(found["tp_pieces"], 16)
        self.assertAlmostEqual(found["seconds"], seconds[found["tp_pieces"]], 9)

    def test_a_pipeline_has_its_bubble(self):
        config = REPOSITORY / "configs" / "bench_vit_s16.toml"  # twelve blocks alike, and a split loss
        for microbatches in (4, 8):
            step = self.step(self.cluster(tflops=1), "parallel.pp=2", f"parallel.microbatches={microbatches}",
                             'parallel.schedule="1f1b"', config=config)
            self.assertAlmostEqual(step["bubble_seconds"] / step["seconds"], 1 / (microbatches + 1), delta=0.02)

    def test_the_fastest_that_memory_holds_comes_first(self):
        run = self.plan("mesh", self.cluster(tflops=1, node=100), "--devices", 4)
        self.assertEqual(run.returncode, 0, run.stderr)
        plans = json.loads(run.stdout)
        self.assertEqual([one["seconds"] for one in plans], sorted(one["seconds"] for one in plans))
        self.assertGreater(len({(one["pp"], one["dp"], one["tp"]) for one in plans}), 3)
        self.assertTrue(all(one["pp"] * one["dp"] * one["cp"] * one["tp"] == 4 for one in plans))
        most = sorted(one["peak_bytes"] for one in plans)[len(plans) // 2]
        run = self.plan("mesh", self.cluster(tflops=1, node=100, memory_gb=most / 1e9), "--devices", 4)
        held = json.loads(run.stdout)
        self.assertTrue(held)
        self.assertTrue(all(one["peak_bytes"] <= most for one in held))
        run = self.plan("mesh", self.cluster(memory_gb=0.001), "--devices", 4)
        self.assertEqual(run.returncode, 2)
        self.assertRegex(run.stderr, r"0.001 GB of a device must hold a rank's part, found none of \d+ meshes of 4 devices")

    def test_devices_need_be_no_power_of_two(self):
        run = self.plan("mesh", self.cluster(tflops=1, node=100), "--devices", 6, sets=["training.global_batch=24"])
        self.assertEqual(run.returncode, 0, run.stderr)
        meshes = {(one["pp"], one["dp"], one["tp"]) for one in json.loads(run.stdout)}
        self.assertLessEqual({(1, 6, 1), (3, 2, 1), (6, 1, 1), (1, 3, 2)}, meshes)
        run = self.plan("mesh", self.cluster(), "--devices", 97, sets=["training.global_batch=24"])
        self.assertEqual(run.returncode, 2)
        for words in ("must allow a mesh of 97 devices, found none; pp 1 x dp 97 x cp 1 x tp 1:", "24 / (97 * 1)"):
            self.assertIn(words, run.stderr)

    def test_no_mesh_is_planned_that_a_run_would_refuse(self):
        config = REPOSITORY / "configs" / "bench_vit_s16.toml"  # of six heads
        run = self.plan("mesh", self.cluster(), "--devices", 4, sets=["training.global_batch=16"], config=config)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual({one["tp"] for one in json.loads(run.stdout)}, {1, 2})

    def simulate(self, cluster, most, *words, config=CONFIG):
        return subprocess.run([str(word) for word in (TRIPTYCH, "plan", "mesh", config, "--cluster", cluster, "--simulate",
                                                      most, *words)], capture_output=True, text=True)

    def test_a_simulation_has_the_fastest_of_all_meshes(self):
        # Of clusters on which kernels, links, memory and the network decide. Meshes that a bound leaves out have no part
        # in what --devices lists, which plans them all.
        batch = 16
        held = self.step(self.cluster(), f"training.global_batch={batch}", "parallel.microbatches=1")["peak_bytes"]
        for rates in ({"tflops": 1, "memory": 100, "node": 10, "network": 1, "devices": 2},
                      {"tflops": 1, "node": 0.05, "network": 0.05, "devices": 1, "overlaps": "true"},
                      {"tflops": 0.1, "memory": 10, "memory_gb": 0.9 * held / 1e9, "devices": 4, "node": 1}):
            cluster = self.cluster(**rates)
            out = self.folder / f"simulated_{rates['tflops']}_{rates['devices']}"
            run = self.simulate(cluster, 9, "--set", f"training.global_batch={batch}", "--out", out)
            self.assertEqual(run.returncode, 0, run.stderr)
            rows = list(csv.DictReader((out / "scaling.csv").read_text().splitlines()))
            self.assertEqual([row["devices"] for row in rows], ["1", "2", "4", "8"])
            first = None
            for row in rows:
                devices = int(row["devices"])
                all_of = self.plan("mesh", cluster, "--devices", devices,
                                   sets=[f"training.global_batch={batch * devices}"])
                self.assertEqual(all_of.returncode, 0, all_of.stderr)
                best = json.loads(all_of.stdout)[0]
                for key in ("pp", "dp", "cp", "tp", "zero", "microbatches"):
                    self.assertEqual(int(row[key]), best[key], (rates, devices, key))
                for key in ("schedule", "recompute"):
                    self.assertEqual(row[key], best[key], (rates, devices))
                first = first or best["seconds"]
                values = {"step_ms": 1e3 * best["seconds"], "efficiency": first / best["seconds"],
                          "samples_per_s": batch * devices / best["seconds"], "peak_mb": best["peak_bytes"] / 2**20,
                          "compute_ms": 1e3 * best["compute_seconds"], "bubble_ms": 1e3 * best["bubble_seconds"]}
                for group, seconds in best["wait_seconds"].items():
                    values[f"{group}_ms"] = 1e3 * seconds
                for key, value in values.items():
                    self.assertAlmostEqual(float(row[key]), value, delta=1e-4 * abs(value) + 1e-12, msg=(devices, key))
                self.assertIn(f"{100 * first / best['seconds']:.1f} %", run.stdout)

    def test_a_simulation_says_and_draws_what_limits_it(self):
        batch = ("--set", "training.global_batch=16")
        out = self.folder / "simulated"
        run = self.simulate(self.cluster(tflops=1, node=0.01, devices=64), 4, *batch, "--out", out)
        self.assertEqual(run.returncode, 0, run.stderr)
        limits = re.search(r"^What limits it on 4 devices, .*: (\S+) ([\d.]+) %", run.stdout, re.MULTILINE)
        rows = list(csv.DictReader((out / "scaling.csv").read_text().splitlines()))
        waits = {key: float(value) / float(rows[-1]["step_ms"]) - float(rows[0][key]) / float(rows[-1]["step_ms"])
                 for key, value in rows[-1].items() if key.endswith("_ms") and key != "step_ms"}
        self.assertEqual(limits[1] + "_ms", max(waits, key=waits.get))
        self.assertAlmostEqual(float(limits[2]), 100 * max(waits.values()), delta=0.06)
        self.assertNotEqual(limits[1], "compute")
        texts = {name: [text.text for text in xml.parse(out / name).getroot().iter(f"{SVG}text")]
                 for name in ("efficiency.svg", "time.svg")}
        self.assertIn(f"limited by {limits[1]} {limits[2]} %", " ".join(texts["efficiency.svg"]))
        for expected in ("1", "2", "4", "ideal"):
            self.assertIn(expected, texts["efficiency.svg"])
        for expected in ("1", "2", "4", "compute", limits[1]):
            self.assertIn(expected, texts["time.svg"])
        # Nothing is planned for what cannot be written.
        again = self.simulate(self.cluster(tflops=1), 4, *batch, "--out", out)
        self.assertEqual(again.returncode, 2)
        self.assertIn(str(out), again.stderr)
        self.assertEqual(again.stdout, "")
        self.assertEqual(self.plan("mesh", self.cluster(), "--out", self.folder / "none").returncode, 2)

    def stages(self, *words, config=CONFIG):
        run = subprocess.run([str(word) for word in (TRIPTYCH, "plan", "stages", config, "--set", "parallel.pp=3", "--set",
                                                     "parallel.microbatches=4", *words)], capture_output=True, text=True)
        if run.returncode != 0:
            return run, None, None, None
        cuts = re.search(r"^parallel\.cuts = (\[.*\])$", run.stdout, re.MULTILINE)
        slowest = re.search(r"^slowest stage: ([\d.]+) ms; cut by FLOPs: ([\d.]+) ms$", run.stdout, re.MULTILINE)
        times = re.findall(r"^  (\S+) +([\d.]+) ms$", run.stdout, re.MULTILINE)
        return run, json.loads(cuts[1]), [float(one) for one in slowest.groups()], times

    def test_stages_are_cut_where_the_slowest_is_fastest_of_what_memory_holds(self):
        # Of the bytes that kernels move the embeddings and the update have more than their share of FLOPs.
        for config in (CONFIG, REPOSITORY / "configs" / "bench_captioner.toml"):
            cluster = self.cluster(tflops=0.1, memory=1)
            run, cuts, (slowest, by_flops), times = self.stages("--cluster", cluster, config=config)
            names, ms = [name for name, _ in times], [float(time) for _, time in times]
            sums = lambda begins: [sum(ms[a:b]) for a, b in zip(begins, begins[1:])]
            best = min(max(sums([0, a, b, len(ms)])) for a in range(1, len(ms)) for b in range(a + 1, len(ms)))
            begins = [0, *(names.index(name) for name in cuts), len(ms)]
            self.assertAlmostEqual(max(sums(begins)), best, delta=0.01)
            self.assertAlmostEqual(slowest, best, delta=0.01)
            self.assertLessEqual(slowest, by_flops + 0.001)
            # The config takes the line as it is.
            listed = subprocess.run([TRIPTYCH, "plan", "stages", config, "--set", "parallel.pp=3", "--set",
                                     f"parallel.cuts={json.dumps(cuts)}"], capture_output=True, text=True)
            self.assertEqual(listed.returncode, 0, listed.stderr)
            self.assertEqual(re.findall(r"^stage [12], .*\n  (\S+)", listed.stdout, re.MULTILINE), cuts)
        held = [float(one) for one in re.findall(r"the rank holds ([\d.]+) MiB", run.stdout)]
        self.assertEqual(len(held), 3)
        # Less than the rank with most has then: another cut, of which no rank has more, or none.
        limit = max(held) - 1
        for budget in (limit, 1):
            run, *_ = self.stages("--cluster", cluster, "--set", f"parallel.memory_budget_mb={float(budget)}", config=config)
            if run.returncode != 0:
                self.assertEqual(run.returncode, 2, run.stderr)
                self.assertRegex(run.stderr, "hold at most|holds")
                continue
            self.assertGreater(budget, 1)
            held = [float(one) for one in re.findall(r"the rank holds ([\d.]+) MiB", run.stdout)]
            self.assertLessEqual(max(held), limit)

    def test_blocks_are_timed_on_this_machine(self):
        config = self.folder / "run.toml"
        config.write_text(f'task = "classify"\n{TASKS["classify"]}')
        run, cuts, (slowest, by_flops), times = self.stages("--measured", config=config)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(len(cuts), 2)
        self.assertTrue(all(float(ms) > 0 for _, ms in times))
        self.assertLessEqual(slowest, by_flops)

    def test_a_cluster_is_read_with_all_that_is_wrong_with_it(self):
        path = self.folder / "bad.toml"
        path.write_text("[device]\nfp32_tflop = 1.0\nhalf_tflops = -1.0\n")
        run = self.plan("step", path)
        self.assertEqual(run.returncode, 2)
        for word in ("fp32_tflop", "half_tflops", "node.gb_per_s"):
            self.assertIn(word, run.stderr)


if __name__ == "__main__":
    unittest.main()
