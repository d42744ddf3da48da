"""What `triptych plan memory` counts on paper against what the device's memory pool of real ranks held at most, and the
choice that a memory budget makes of it."""

import json
import subprocess
import sys
import unittest

from small_runs import REPOSITORY, RUN_RANKS

TRIPTYCH = sys.argv.pop(1)
CONFIG = REPOSITORY / "configs" / "bench_clip_small.toml"
SMALLER = ["model.image.layers=2", "model.text.layers=2", "training.global_batch=8"]
BOUND = 0.05  # of memory, measured against planned


def words_of(sets):
    return [word for one in [*SMALLER, *sets] for word in ("--set", one)]


def planned(*sets):
    """The most that a rank of each pipeline stage holds, in MiB, by the mode of recomputation."""
    out = subprocess.run([TRIPTYCH, "plan", "memory", CONFIG, "--json", "--batches", "1", *words_of(sets)], check=True,
                         capture_output=True, text=True).stdout
    return {mode: [rank["peak_bytes"] / 2**20 for rank in ranks] for mode, ranks in json.loads(out).items()}


def bench(num_ranks, *sets):
    command = [TRIPTYCH, "bench", "step", CONFIG, "--steps", "1", "--warmup", "2", *words_of(sets)]
    return subprocess.run([RUN_RANKS, str(num_ranks), *command] if num_ranks > 1 else command, capture_output=True,
                          text=True)


def peaks(run):
    """The most that each rank's device held, in MiB."""
    return [rank["pool_peak_mb"] for rank in json.loads(run.stdout)["by_rank"]]


class PlanMemory(unittest.TestCase):
    def check(self, mesh, recompute, *sets):
        with self.subTest(mesh=mesh, recompute=recompute, sets=sets):
            num_ranks = 1
            for size in mesh.values():
                num_ranks *= size
            all_sets = [f"parallel.{axis}={size}" for axis, size in mesh.items()] + list(sets)
            expected = planned(*all_sets)[recompute]
            run = bench(num_ranks, *all_sets, f"parallel.recompute={json.dumps(recompute)}")
            self.assertEqual(run.returncode, 0, run.stderr)
            measured = peaks(run)
            self.assertEqual(len(measured), num_ranks)
            of_stage = num_ranks // len(expected)
            worst = max((abs(rank / expected[r // of_stage] - 1) for r, rank in enumerate(measured)))
            print(f"{mesh} {recompute} {sets}: measured {[f'{m:.2f}' for m in measured]}, planned "
                  f"{[f'{m:.2f}' for m in expected]} MiB, {worst:.2%}", flush=True)
            self.assertLess(worst, BOUND)

    def test_what_ranks_hold_is_what_was_planned(self):
        self.check({}, "none")
        self.check({}, "selective", 'training.precision="bf16"')
        self.check({}, "full", "parallel.microbatches=2")
        self.check({"tp": 2}, "none", "parallel.sequence_parallel=true")
        self.check({"tp": 2}, "selective", "parallel.sequence_parallel=true")
        self.check({"pp": 2}, "selective", 'parallel.schedule="1f1b"', "parallel.microbatches=4")
        self.check({"pp": 2, "tp": 2}, "none", 'parallel.schedule="zb_h1"', "parallel.microbatches=4")
        self.check({"cp": 2}, "selective")
        self.check({"dp": 2, "pp": 2}, "full", 'parallel.schedule="interleaved"', "parallel.microbatches=2")

    def test_each_mode_holds_less(self):
        for sets in [["training.global_batch=64"],
                     ["training.global_batch=64", "parallel.tp=2", "parallel.sequence_parallel=true"]]:
            by_mode = planned(*sets)
            self.assertLess(max(by_mode["selective"]), 0.95 * max(by_mode["none"]))
            self.assertLess(max(by_mode["full"]), 0.9 * max(by_mode["selective"]))

    def test_a_mesh_may_have_any_size(self):
        few = planned("parallel.dp=2", "parallel.tp=2", "training.global_batch=64")["none"]
        many = planned("parallel.dp=4096", "parallel.tp=2", "training.global_batch=131072")["none"]
        # A rank's rows are the same; of a contrastive loss's other modality it gathers all.
        self.assertGreater(many[0], few[0])

    def test_a_budget_takes_the_least_that_fits(self):
        by_mode = {mode: max(ranks) for mode, ranks in planned("parallel.tp=2").items()}
        between = (by_mode["selective"] + by_mode["none"]) / 2
        budget = lambda mib, *sets: bench(2, "parallel.tp=2", f"parallel.memory_budget_mb={mib}", *sets)
        run = budget(between + 0.5)  # and a batch more than bench has
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn('takes recompute = "selective"', run.stderr)
        self.assertLess(max(peaks(run)), between + 0.5)
        run = budget(between + 0.5, 'parallel.recompute="full"')
        self.assertIn('takes recompute = "full"', run.stderr)
        few = (by_mode["full"] + by_mode["selective"]) / 2
        run = budget(few)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stderr, r'takes recompute = "selective" with [1-4] blocks in full')
        self.assertLess(max(peaks(run)), few)
        run = budget(1)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertIn("[parallel.memory_budget_mb] must hold what a rank needs, found 1 MiB; with recompute none",
                      run.stderr)
        self.assertEqual(run.stderr.count("must hold what a rank needs"), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
