#!/usr/bin/python3
"""launcher/run-ranks starts as many ranks as asked, more than there are cores too, passes exit codes and signals on, says
who was killed, and leaves nothing behind."""

import importlib.machinery
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
from small_runs import RUN_RANKS, leftovers  # noqa: E402  (found beside this file)


def run_ranks(*arguments, **options):
    return subprocess.run([RUN_RANKS, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)


def module():
    loader = importlib.machinery.SourceFileLoader("run_ranks", str(RUN_RANKS))
    loaded = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_ranks", loader))
    loader.exec_module(loaded)
    return loaded


class RunRanks(unittest.TestCase):
    def test_starts_every_rank(self):
        for ranks in (1, len(os.sched_getaffinity(0)) + 1):
            result = run_ranks(str(ranks), "bash", "-c", 'echo "$OMPI_COMM_WORLD_RANK/$OMPI_COMM_WORLD_SIZE"')
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(sorted(result.stdout.split()), sorted(f"{rank}/{ranks}" for rank in range(ranks)))

    def test_passes_the_failing_ranks_exit_code_on(self):
        self.assertEqual(run_ranks("2", "bash", "-c", "exit $((OMPI_COMM_WORLD_RANK * 2))").returncode, 2)

    def test_takes_the_ranks_code_where_mpirun_itself_crashes(self):
        """From how they were seen to end, in order, or from what they left of it."""
        for ended, left, code in (([(0, 0), (1, 2 << 8)], "", 2), ([(0, 0)], "", 128 + 11), ([(1, None)], "", 128 + 11),
                                  ([(1, None), (0, 15)], "1 75\n", 75), ([(0, 15), (1, None)], "1 75\n", 75),
                                  ([(0, 15), (1, 11)], "0 1\n", 128 + 11), ([(0, 15), (1, 9)], "", 128 + 15),
                                  ([(1, 9), (0, 15)], "0 1\n", 1), ([], "1 1\n0 2\n", 1),
                                  ([], "0 0\n1 0\n", 0), ([], "0 0\n", 128 + 11), ([(1, None)], "0 0\n1 ", 128 + 11)):
            with tempfile.TemporaryDirectory() as folder, self.subTest(ended=ended, left=left):
                job = module().Job(2, ["command"])
                job.codes = Path(folder, "codes")
                job.codes.write_text(left)
                job.ranks.ended = ended
                self.assertEqual(job.exit_code(-11), code)

    def test_ends_an_mpirun_that_stands_still_behind_its_ranks(self):
        with tempfile.TemporaryDirectory() as folder:
            mpirun = Path(folder, "mpirun")  # a rank that is killed, and that nobody asks for
            mpirun.write_text("#!/usr/bin/python3\nimport os, subprocess, time\n"
                              'rank = subprocess.Popen(["sleep", "50"], env=os.environ | {"OMPI_COMM_WORLD_RANK": "0"})\n'
                              "time.sleep(1)\nrank.kill()\ntime.sleep(50)\n")
            mpirun.chmod(0o755)
            begin = time.monotonic()
            result = run_ranks("1", "true", env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"})
            self.assertEqual(result.returncode, 128 + 9)
            self.assertIn("[mpirun] must end when its ranks have ended, it stood still.", result.stderr)
            self.assertLess(time.monotonic() - begin, 30)

    def test_leaves_out_what_mpirun_could_not_pass_on(self):
        messages = module().Messages
        line = b"[n1:16743] [[11673,0],0] ORTE_ERROR_LOG: Out of resource in file ../../../orte/util/show_help.c at line 501\n"
        self.assertTrue(messages.UNSENT_HELP.match(line))
        self.assertFalse(messages.UNSENT_HELP.match(line.replace(b"show_help.c", b"odls_base.c")))
        self.assertTrue(messages.TWICE.match(b"[n1:520] plm:rsh: Warning: setpgid(524,524) failed in parent with errno="
                                             b"Permission denied(13)\n"))

    def test_ends_when_a_rank_is_killed(self):
        script = '[ "$OMPI_COMM_WORLD_RANK" = 0 ] && sleep 50; sleep 2; kill -KILL $$'
        result = run_ranks("2", "bash", "-c", script)
        self.assertEqual(result.returncode, 128 + 9)
        self.assertRegex(result.stderr, r"rank 1 of 2 was ended by signal 9 \(SIGKILL\)")
        self.assertEqual(result.stderr.count("\n"), 1, "and nothing else")

    def test_says_what_a_crash_may_come_from(self):
        hint = module().Job.hint
        self.assertEqual(hint(signal.SIGPIPE), "")
        self.assertIn("defect", hint(signal.SIGSEGV))
        limit = resource.getrlimit(resource.RLIMIT_AS)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, limit[1]))
            self.assertIn(f"limited to {8 << 30} bytes", hint(signal.SIGSEGV))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limit)

    def test_leaves_nothing_behind(self):
        for end in ("exit 0", "kill -KILL $$", "kill -KILL $PPID; sleep 50"):  # the parent is mpirun
            before = leftovers()
            run_ranks("2", "bash", "-c", f'touch "$OMPI_MCA_orte_tmpdir_base/x" 2>/dev/null; {end}')
            self.assertEqual(leftovers() - before, set(), end)

    def test_works_without_a_home_or_a_usable_tmpdir(self):
        for name, value in (("HOME", None), ("TMPDIR", "/no/such/folder"), ("TMPDIR", "/etc/passwd"),
                            ("TMPDIR", "/tmp/" + "j" * 90)):
            environment = {key: text for key, text in os.environ.items() if key != name}
            with self.subTest(name, value=value):
                result = run_ranks("2", "true", env=environment | ({name: value} if value else {}))
                self.assertEqual(result.returncode, 0, result.stderr)

    def signalled(self, script, *numbers):
        """Its exit code and what it said, with these signals sent once both ranks run."""
        ready = "echo ready"
        with subprocess.Popen([RUN_RANKS, "2", "bash", "-c", script.replace("READY", ready)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            for _ in range(2):
                self.assertEqual(process.stdout.readline(), "ready\n")
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.3)
            said = process.communicate(timeout=60)[1]
        return process.returncode, said

    def test_passes_signals_on(self):
        script = "trap 'exit 75' USR1; trap 'exit 76' USR2; READY; while true; do sleep 0.1; done"
        for number, code in ((signal.SIGTERM, 75), (signal.SIGINT, 75), (signal.SIGUSR2, 76)):
            with self.subTest(number.name):
                found, said = self.signalled(script, number)
                self.assertEqual(found, code, said)
                self.assertEqual(said.count("run-ranks:"), 1, said)
                self.assertNotIn("mpirun", said)
                self.assertIn(number.name, said)

    def test_ranks_that_answer_no_signal_end_by_it(self):
        self.assertEqual(self.signalled("READY; sleep 50", signal.SIGTERM)[0], 128 + signal.SIGTERM)
        script = "trap '' USR1; READY; sleep 50"
        self.assertEqual(self.signalled(script, signal.SIGHUP, signal.SIGTERM)[0], 128 + signal.SIGHUP)

    def test_ranks_stop_well_where_nobody_reads(self):
        script = "trap 'echo saving >&2; exit 75' USR1; echo ready; echo x >&2; while true; do sleep 0.1; done"
        read, write = os.pipe()
        with subprocess.Popen([RUN_RANKS, "2", "bash", "-c", script], stdout=subprocess.PIPE, stderr=write,
                              text=True) as process:
            os.close(read)  # as a terminal that is closed, which sends HUP too
            os.close(write)
            for _ in range(2):
                self.assertEqual(process.stdout.readline(), "ready\n")
            time.sleep(0.5)
            process.send_signal(signal.SIGHUP)
            self.assertEqual(process.wait(60), 75)

    def test_the_exit_code_says_what_was_saved(self):
        job = module().Job(2, ["true"])
        for signals, code, expected in (([], 3, 3), ([signal.SIGTERM], 75, 75), ([signal.SIGTERM] * 2, 75, 75),
                                        ([signal.SIGTERM] * 2, 0, 0), ([signal.SIGTERM] * 2, 143, 143),
                                        ([signal.SIGHUP, signal.SIGTERM], 137, 129), ([signal.SIGTERM], 138, 143),
                                        ([signal.SIGTERM], 1, 1)):
            job.signals = signals
            self.assertEqual(job.exit_code(code), expected, (signals, code))

    def test_says_where_shared_memory_is_too_small(self):
        run = module()
        with mock.patch.object(run, "free_bytes", return_value=1 << 20), mock.patch.object(run, "say") as say:
            self.assertEqual(run.Job(4, ["true"]).shared_folder(Path("/elsewhere")), Path("/elsewhere"))
        self.assertEqual(say.call_args[0][0], "/dev/shm")
        self.assertIn(f"{4 * run.SHARED_BYTES_A_RANK} bytes there, {1 << 20} can be had", say.call_args[0][1])

    def test_lets_through_what_ranks_print(self):
        script = "printf 'a counter\\rstill it' >&2; printf -- '%.0s-' {1..80} >&2; printf '\\ntext\\n' >&2"
        result = run_ranks("1", "bash", "-c", script)
        self.assertEqual(result.stderr, "a counter\nstill it" + "-" * 80 + "\ntext\n", "of which Python made a newline")

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
