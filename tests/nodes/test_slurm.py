#!/usr/bin/python3
"""launcher/slurm/train.sbatch on a Slurm of two nodes: it learns what one machine does, saves before its time limit, is
requeued, goes on and ends; is requeued after a failure only if it has got on; and has one GPU a task.

usage: test_slurm.py TRIPTYCH [TRIPTYCH_CUDA]   the programs to test, the latter emulated
"""

import os
import re
import signal
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).parents[1] / "launcher"))
import namespace_hosts  # noqa: E402  (found beside this file)
from slurm_cluster import Cluster  # noqa: E402  (found beside this file)
from small_runs import REPOSITORY, SmallRuns, losses  # noqa: E402  (found in the folder above)

SCRIPT = REPOSITORY / "launcher" / "slurm" / "train.sbatch"
TRIPTYCH_CUDA = None
MESH = {"dp": 2, "tp": 2}
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
LONG = {"training__steps": 200000, "checkpoint__every": 0}


class Slurm(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        namespace_hosts.make_hosts(cls.folder)
        cls.cluster = Cluster(cls.folder / "slurm")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        super().tearDownClass()

    def submit(self, run, *options, program=None, mesh=None, **keys):
        """The job's number. Its tasks are two on each node, and its script is the one that users have."""
        words = [str(word) for word in self.arguments(run, mesh=mesh or MESH, **keys)]
        environment = {"TRIPTYCH": str(program or self.triptych), "TRIPTYCH_INTERFACE": namespace_hosts.CARD}
        return self.cluster.submit("--nodes=2", "--ntasks-per-node=2", "--time=20", f"--output={run}.log", *options, SCRIPT,
                                   words[1], run, *words[2:], environment=environment)

    def wait_for(self, job, *states, seconds=120):
        """What Slurm knows of a job once it is in one of these states; every change is printed."""
        deadline, last = time.monotonic() + seconds, None
        while True:
            found = self.cluster.job(job)
            seen = (f"job {job} {found['JobState']} ({found['Reason']}), restarts {found['Restarts']}, "
                    f"exit code {found['ExitCode']}")
            if seen != last:
                print(f"{time.monotonic() - self.begin:5.1f} s  {seen}", flush=True)
            last = seen
            if found["JobState"] in states:
                return found
            if time.monotonic() > deadline:
                self.fail(f"not in {states} within {seconds} s: {found}\n{self.cluster.logs()}")
            time.sleep(0.3)

    def setUp(self):
        self.begin = time.monotonic()

    def wait_for_steps(self, run, count):
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < count:
            self.assertLess(time.monotonic(), deadline, f"no {count} steps in a minute")
            time.sleep(0.1)

    def log(self, run):
        text = Path(f"{run}.log").read_text()
        print(text, flush=True)
        return text

    def test_two_nodes_learn_what_one_machine_does(self):
        run, one = self.folder / "nodes", self.folder / "one"
        job = self.submit(run)
        self.assertEqual(self.wait_for(job, *ENDED)["JobState"], "COMPLETED")
        self.train(one, mesh=MESH)
        expected, found = losses(one), losses(run)
        self.assertEqual(list(found), list(expected))
        for step, loss in expected.items():  # the float64 sum over both nodes has another order: test_nodes.py
            self.assertLessEqual(abs(float(found[step]) / float(loss) - 1), 1e-15)
        said = self.log(run)
        self.assertIn("4 tasks on hosta,hostb, newest checkpoint: none", said)
        self.assertIn("ended with 0, newest checkpoint: step_00000006", said)

    def test_the_time_limit_saves_requeues_and_goes_on(self):
        run = self.folder / "limit"
        # The second start ends by itself, some steps on.
        program = self.program_of("some-steps", f"""
if [ "$SLURM_RESTART_COUNT" = 1 ]; then
  last=$(tail -n 1 {run}/metrics.jsonl | grep -o '"step":[0-9]*' | cut -d: -f2)
  set -- "$@" --set training.stop_after=$((last + 5))
fi
exec {self.triptych} "$@"
""")
        job = self.submit(run, "--time=1", "--signal=USR1@20", program=program, **LONG)
        found = self.wait_for(job, *ENDED)
        said = self.log(run)
        self.assertEqual((found["JobState"], found["Restarts"]), ("COMPLETED", "1"))
        stopped = int(re.search(r"stopped after step (\d+) of 200000, as signal SIGUSR1 asked", said)[1])
        self.assertIn(f"start 1: ended with 75, newest checkpoint: step_{stopped:08}, to be requeued", said)
        self.assertIn(f"start 2: 4 tasks on hosta,hostb, newest checkpoint: step_{stopped:08}", said)
        self.assertEqual(list(losses(run)), list(range(1, stopped + 6)))

    def test_scancel_saves_and_is_the_end(self):
        run = self.folder / "cancel"
        job = self.submit(run, **LONG)
        self.wait_for_steps(run, 3)
        self.cluster.run("scancel", job)
        found = self.wait_for(job, *ENDED)
        self.cluster.wait_for(lambda: ": ended with" in Path(f"{run}.log").read_text(), "the end")
        said = self.log(run)
        self.assertEqual((found["JobState"], found["Restarts"]), ("CANCELLED", "0"))
        self.assertRegex(said, r"stopped after step \d+ of 200000, as signal SIGTERM asked")
        self.assertNotIn("to be requeued", said)

    def test_a_failure_is_tried_again_if_there_is_a_new_checkpoint(self):
        run = self.folder / "killed"
        # In the first start a rank is killed after a checkpoint; the second one fails before it has another.
        program = self.program_of("fails", '[ "$SLURM_RESTART_COUNT" = 1 ] && exit 1\n'
                                           f'exec {self.triptych} "$@"\n')
        job = self.submit(run, program=program, **LONG | {"checkpoint__every": 50})
        self.wait_for_steps(run, 60)
        os.kill(self.rank(1), signal.SIGKILL)
        found = self.wait_for(job, *ENDED)
        said = self.log(run)
        self.assertEqual((found["JobState"], found["Restarts"], found["ExitCode"]), ("FAILED", "1", "1:0"))
        first, second = re.findall(r"start (\d): ended with (\d+), newest checkpoint: (\w+)(.*)", said)
        self.assertEqual(first[3], ", to be requeued")
        self.assertEqual(second, ("2", "1", first[2], ""))

    def program_of(self, name, script):
        program = self.folder / name
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        return program

    def rank(self, number):
        """Its process."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (f"SLURM_PROCID={number}".encode() in (folder / "environ").read_bytes().split(b"\0")
                        and os.readlink(folder / "exe") == str(self.triptych)):
                    return int(folder.name)
            except OSError:
                continue
        raise AssertionError(f"no rank {number}")

    def test_every_task_has_a_gpu_of_its_own(self):
        run = self.folder / "gpus"
        shown = self.folder / "shown"
        shown.mkdir()
        program = self.program_of("show", f"""
echo "$CUDA_VISIBLE_DEVICES" > {shown}/$SLURM_PROCID
exec env TRIPTYCH_EMULATOR_DEVICES=2 TRIPTYCH_EMULATOR_MEMORY_MB=256 {TRIPTYCH_CUDA} "$@"
""")
        # On one node: the emulated GPUs of two would have the same names.
        job = self.submit(run, "--nodes=1", "--gpus-per-task=1", mesh={"tp": 2}, program=program, run__device='"cuda"',
                          training__steps=2, checkpoint__every=0)
        found = self.wait_for(job, *ENDED)
        said = self.log(run)
        self.assertEqual(found["JobState"], "COMPLETED", said)
        self.assertEqual([(shown / str(rank)).read_text().strip() for rank in range(2)], ["0", "1"])
        self.assertEqual(len(losses(run)), 2)


def main():
    global TRIPTYCH_CUDA
    namespace_hosts.enter()
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and "/" in sys.argv[1]:
        TRIPTYCH_CUDA = Path(sys.argv.pop(1)).resolve()
    else:
        del Slurm.test_every_task_has_a_gpu_of_its_own
    unittest.main()


if __name__ == "__main__":
    main()
