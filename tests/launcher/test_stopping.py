#!/usr/bin/python3
"""A run that is stopped stops well: signals to one rank, to run-ranks and to mpirun, a rank that stands still before it
has met the others, and readers of the output that go away.

usage: test_stopping.py TRIPTYCH   the program to test
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from small_runs import RUN_RANKS, SmallRuns, leftovers, losses, ranks_of  # noqa: E402  (found beside this file)

STOPPED = 75
LONG = {"training__steps": 200000, "checkpoint__every": 0}
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2"]


class Stopping(SmallRuns):
    def start(self, run, words, **options):
        """A long run that has done some steps."""
        command = [str(word) for word in [*words, self.triptych, *self.arguments(run, **LONG, **options)]]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=os.environ | {"OMPI_MCA_btl_vader_single_copy_mechanism": "none"})
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 3:
            self.assertIsNone(process.poll(), process.stdout.read() if process.poll() is not None else "")
            self.assertLess(time.monotonic(), deadline, "no three steps in a minute")
            time.sleep(0.02)
        return process

    def check_saved(self, run, process, name):
        said = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, STOPPED, said)
        last = max(losses(run))
        self.assertEqual((run / "checkpoints" / "latest").read_text().strip(), f"step_{last:08}")
        self.assertEqual(len(re.findall(rf"stopped after step {last} of 200000, as signal {name} asked", said)), 1, said)
        return said

    def check_saved_and_same(self, run, process, name, **options):
        said = self.check_saved(run, process, name)
        # Three steps more, and as many in one go, have the same bits.
        last = max(losses(run))
        more = options | LONG | {"training__stop_after": last + 3}
        self.train(run, resume="latest", **more)
        whole = self.folder / f"{run.name}-whole"
        self.train(whole, **more)
        self.assertEqual(losses(run), losses(whole))
        self.assertEqual(len(losses(run)), last + 3)
        return said

    def test_one_rank_saves_on_every_signal(self):
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"):
            with self.subTest(name):
                run = self.folder / f"one-{name}"
                process = self.start(run, [])
                process.send_signal(getattr(signal, name))
                # All are handled alike: the first is gone on from, too.
                check = self.check_saved_and_same if name == "SIGTERM" else self.check_saved
                check(run, process, name)

    def test_no_handler_runs_where_products_are_computed(self):
        # A handler's frame on the stack of a thread that is in an fp32 product of oneDNN breaks it.
        process = self.start(self.folder / "handlers", MPIRUN, mesh={"dp": 2})
        asked = sum(1 << number - 1 for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
                                                   signal.SIGUSR2))
        for rank in ranks_of(process.pid).values():
            for thread in Path(f"/proc/{rank}/task").iterdir():
                status = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines())
                self.assertEqual(int(status["SigCgt"], 16) & asked, 0, status["Name"])
                # The kernel lets them in to the one that waits for them, while it waits.
                if status["Name"] != "signals":
                    self.assertEqual(int(status["SigBlk"], 16) & asked, asked, status["Name"])
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.communicate(timeout=60)[0].count("as signal SIGUSR1 asked"), 1)
        self.assertEqual(process.returncode, STOPPED)

    def test_run_ranks_asks_every_rank(self):
        before = leftovers()
        for number, mesh in ((signal.SIGTERM, {"dp": 2}), (signal.SIGINT, {"pp": 2})):
            with self.subTest(number.name):
                run = self.folder / f"ranks-{number.name}"
                process = self.start(run, [RUN_RANKS, 2], mesh=mesh)
                process.send_signal(number)
                said = self.check_saved_and_same(run, process, "SIGUSR1", mesh=mesh)
                self.assertIn(f"{number.name}: every rank gets SIGUSR1", said)
                self.assertNotIn("----", said, "nothing of Open MPI's own")
        self.assertEqual(leftovers() - before, set())

    def test_mpirun_passes_usr1_on(self):
        run = self.folder / "mpirun"
        process = self.start(run, MPIRUN, mesh={"dp": 2})
        process.send_signal(signal.SIGUSR1)
        self.check_saved_and_same(run, process, "SIGUSR1", mesh={"dp": 2})

    def test_a_signal_to_one_rank_stops_all(self):
        run = self.folder / "second"
        process = self.start(run, [RUN_RANKS, 2], mesh={"pp": 2})
        os.kill(ranks_of(process.pid)[1], signal.SIGUSR2)
        self.check_saved_and_same(run, process, "SIGUSR2", mesh={"pp": 2})

    def test_a_second_signal_ends_at_once(self):
        run = self.folder / "twice"
        process = self.start(run, [])
        process.send_signal(signal.SIGSTOP)  # both are there before it looks at either
        for number in (signal.SIGTERM, signal.SIGUSR1):
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
        self.assertIn(-process.returncode, (signal.SIGTERM, signal.SIGUSR1))
        self.assertEqual(list((run / "checkpoints").glob("step_*")), [])

    def test_a_report_that_cannot_be_written_leaves_the_code_of_a_stopped_run(self):
        run = self.folder / "unreported"
        process = self.start(run, [])
        (run / "report.html").write_text("not ours")
        process.send_signal(signal.SIGTERM)
        self.assertIn("warning: the report was not written", process.communicate(timeout=60)[0])
        self.assertEqual(process.returncode, STOPPED)
        self.assertEqual((run / "report.html").read_text(), "not ours")

    def test_one_that_was_ignored_stays_ignored(self):
        process = self.start(self.folder / "nohup", ["nohup"])
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        process.send_signal(signal.SIGUSR2)
        self.assertEqual(process.communicate(timeout=60)[0].count("as signal SIGUSR2 asked"), 1)
        self.assertEqual(process.returncode, STOPPED)

    def test_a_killed_rank_is_named_and_nothing_is_left(self):
        before = leftovers()
        process = self.start(self.folder / "killed", [RUN_RANKS, 2], mesh={"dp": 2})
        os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
        said = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 128 + signal.SIGKILL)
        self.assertRegex(said, r"run-ranks: \[ranks\] rank 1 of 2 was ended by signal 9 \(SIGKILL\)")
        self.assertEqual(leftovers() - before, set())

    def test_a_rank_that_stands_still_before_the_others_know_it_is_an_error(self):
        words = " ".join(f"'{word}'" for word in self.arguments(self.folder / "still", mesh={"dp": 2}, run__timeout_s=3))
        script = f'[ "$OMPI_COMM_WORLD_RANK" = 0 ] || kill -STOP $$; exec {self.triptych} {words}'
        begin = time.monotonic()
        result = subprocess.run([RUN_RANKS, "2", "bash", "-c", script], capture_output=True, text=True, timeout=60,
                                check=False)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("all ranks must have started MPI and found each other within run.timeout_s = 3 s", result.stderr)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertFalse((self.folder / "still").exists())

    def test_needs_no_home(self):
        command = self.command(*self.arguments(self.folder / "homeless", mesh={"dp": 2}), ranks=2)
        environment = {key: value for key, value in os.environ.items() if key != "HOME"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)


class Output(SmallRuns):
    def shell(self, script, words):
        """What a shell's line makes of the program called with these words, as "$@"."""
        return subprocess.run(["bash", "-c", script, "bash", str(self.triptych), *map(str, words)], capture_output=True,
                              text=True, timeout=60, check=False)

    def test_training_goes_on_without_a_reader(self):
        whole = losses(self.base)
        for number, script in enumerate(('"$@" | head -n 1; exit ${PIPESTATUS[0]}', '"$@" >&- 2>&- <&-',
                                         '"$@" > /dev/full 2>&1')):
            with self.subTest(script):
                run = self.folder / f"unread{number}"
                self.assertEqual(self.shell(script, self.arguments(run)).returncode, 0)
                self.assertEqual(losses(run), whole)
                for line in (run / "metrics.jsonl").read_text().splitlines():
                    json.loads(line)  # nothing that was printed went into a file

    def test_output_that_is_lost_is_told_by_every_subcommand(self):
        config = self.folder / "run.toml"
        trained = [config, "--set", f'run.dir="{self.base}"', "--set", f'data.path="{self.data}"', "--set",
                   f'evaluation.sets=["{self.data}"]']
        for words in (["config", "check", config], ["config", "document"], ["--help"], ["train", "--help"], ["--version"],
                      ["inspect", self.data], ["eval", *trained], ["search", *trained, "--text", "red"], ["doctor"],
                      ["tokenizer", "encode", self.data / "tokenizer.model", "a red disc"],
                      ["plan", "schedule", "--ranks", "2"], ["ingest", "pairs", "--images", self.folder / "images",
                      "--captions", self.folder / "images" / "captions.jsonl", "--out", self.folder / "again"]):
            with self.subTest(words[:2]):
                result = self.shell('"$@" > /dev/full', words)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertRegex(result.stderr, r"triptych: error: \[output\] .* some was lost")

    def test_control_characters_from_outside_are_written_out(self):
        hostile = "\x1b[2J\x9b"
        trained = [self.folder / "run.toml", "--set", f'run.dir="{self.base}"', "--set", f'data.path="{self.data}"']
        for words in (["config", "check", f"no{hostile}.toml"], ["inspect", f"no{hostile}"],
                      ["search", *trained, "--text", f"red{hostile}"],
                      ["tokenizer", "encode", self.data / "tokenizer.model", f"red{hostile}"]):
            with self.subTest(words[:2]):
                result = self.shell('"$@"', words)
                said = result.stdout + result.stderr
                self.assertNotRegex(said, "[\x00-\x08\x0b-\x1f\x7f-\x9f]")
                self.assertIn("red" if words[0] in ("search", "tokenizer") else r"\x1b[2J\u009b", said)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
