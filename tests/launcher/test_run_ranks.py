#!/usr/bin/python3
"""launcher/run-ranks starts as many ranks as asked, more than there are cores too, and passes exit codes on."""

import os
import subprocess
import unittest
from pathlib import Path

RUN_RANKS = Path(__file__).parents[2] / "launcher" / "run-ranks"


def run_ranks(*arguments):
    return subprocess.run([RUN_RANKS, *arguments], capture_output=True, text=True, timeout=60, check=False)


class RunRanks(unittest.TestCase):
    def test_starts_every_rank(self):
        for ranks in (1, len(os.sched_getaffinity(0)) + 1):
            result = run_ranks(str(ranks), "bash", "-c", 'echo "$OMPI_COMM_WORLD_RANK/$OMPI_COMM_WORLD_SIZE"')
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(sorted(result.stdout.split()), sorted(f"{rank}/{ranks}" for rank in range(ranks)))

    def test_passes_the_failing_ranks_exit_code_on(self):
        self.assertEqual(run_ranks("2", "bash", "-c", "exit $((OMPI_COMM_WORLD_RANK * 2))").returncode, 2)

    def test_ends_when_a_rank_is_killed(self):
        script = '[ "$OMPI_COMM_WORLD_RANK" = 0 ] && sleep 50; kill -KILL $$'
        self.assertEqual(run_ranks("2", "bash", "-c", script).returncode, 128 + 9)

    def test_refuses_what_cannot_be_run(self):
        for arguments, code, says in ((("0", "true"), 2, "found '0'"), (("two", "true"), 2, "found 'two'"), (("2",), 2, ""),
                                      (("2", "/no/such/program"), 1, "/no/such/program")):
            with self.subTest(arguments):
                result = run_ranks(*arguments)
                self.assertEqual(result.returncode, code)
                self.assertIn(says, result.stderr)

    def test_help(self):
        result = run_ranks("--help")
        self.assertEqual(result.returncode, 0)
        self.assertIn("usage: launcher/run-ranks N COMMAND", result.stdout)


if __name__ == "__main__":
    unittest.main()
