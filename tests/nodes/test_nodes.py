#!/usr/bin/python3
"""Ranks on several hosts, which are network namespaces: they learn what one host's ranks learn, save when they are
asked to, and end when the link between the hosts is cut, with the names of those that are gone.

usage: test_nodes.py TRIPTYCH   the program to test
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).parents[1] / "launcher"))
import namespace_hosts  # noqa: E402  (found beside this file)
from small_runs import RUN_RANKS, TASKS, SmallRuns, losses  # noqa: E402  (found in the folder above)

STOPPED = 75
SECONDS_TO_END = 30
LONG = {"training__steps": 200000, "checkpoint__every": 0}
# Relative, of a loss: what ranks of both hosts sum, they sum on each host first, which is another order, and that of
# gradients makes some tens of roundings of float32.
TOLERANCE = 2e-6
# Of one whose gradients were not: only its own sum over all ranks, in float64, has another order.
ORDER_OF_HOSTS = 1e-15
# Of an axis of so many ranks, on two hosts of two ranks each.
CARRIERS = {("tp", 2): "shared memory", ("dp", 2): "MPI in pieces", ("dp", 4): "shared memory and MPI"}


def say(text):
    print(text, flush=True)


class Nodes(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        namespace_hosts.make_hosts(cls.folder)
        cls.hosts = cls.folder / "hosts"
        cls.hosts.write_text("hosta slots=2\nhostb slots=2  # the other one\n")

    def start(self, words, hosts=None):
        begin = [RUN_RANKS, "--hosts", hosts or self.hosts, "--interface", namespace_hosts.CARD]
        return subprocess.Popen(namespace_hosts.on_host("hosta", [*begin, *words]), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def on_hosts(self, words, hosts=None, expect=0):
        process = self.start(words, hosts)
        said = process.communicate(timeout=120)[0]
        self.assertEqual(process.returncode, expect, said)
        return said

    def start_training(self, run, **options):
        """A long run that has done some steps."""
        process = self.start([self.triptych, *self.arguments(run, **LONG, **options)])
        self.wait_for_steps(run, process)
        return process

    def wait_for_steps(self, run, process):
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 3:
            self.assertIsNone(process.poll(), process.stdout.read() if process.poll() is not None and process.stdout else "")
            self.assertLess(time.monotonic(), deadline, "no three steps in a minute")
            time.sleep(0.05)

    def test_ranks_fill_the_hosts_in_the_files_order(self):
        script = 'echo "$OMPI_COMM_WORLD_RANK $(hostname)"'
        for order in (("hosta", "hostb"), ("hostb", "hosta")):
            file = self.folder / "order"
            file.write_text(f"{order[0]} slots=3\n\n{order[1]} slots=1\n")
            places = [f"{rank} {host}" for rank, host in enumerate([order[0]] * 3 + [order[1]])]
            self.assertEqual(sorted(self.on_hosts(["sh", "-c", script], file).splitlines()), places)

    def test_the_first_ranks_alone_may_be_asked_for(self):
        script = 'echo "$OMPI_COMM_WORLD_RANK $(hostname)"'
        for number, places in ((1, ["0 hosta"]), (3, ["0 hosta", "1 hosta", "2 hostb"])):
            self.assertEqual(sorted(self.on_hosts(["--ranks", str(number), "sh", "-c", script]).splitlines()), places)
        self.assertIn("5 ranks, 4 slots", self.on_hosts(["--ranks", "5", "true"], expect=2))

    def test_scaling_is_measured_over_the_hosts(self):
        config, out = self.folder / "scaled.toml", self.folder / "scaled"
        config.write_text(f'task = "classify"\n{TASKS["classify"]}')
        words = [self.triptych, "bench", "scaling", config, "--hosts", self.hosts, "--interface", namespace_hosts.CARD, "--ranks",
                 "1,4", "--mesh", "dp", "--steps", "2", "--warmup", "1", "--rounds", "1", "--out", out]
        told = subprocess.run([str(word) for word in namespace_hosts.on_host("hosta", words)], capture_output=True, text=True,
                              timeout=120)
        self.assertEqual(told.returncode, 0, told.stderr)
        runs = [json.loads((out / "runs" / f"mesh_{i}_round_1.json").read_text()) for i in (1, 2)]
        self.assertEqual([len(run["by_rank"]) for run in runs], [1, 4])
        # Over two hosts messages go over TCP: both wait for them.
        self.assertTrue(all(rank["traced_step_ms"].get("wait dp", 0) > 0 for rank in runs[1]["by_rank"]))

    def test_two_hosts_learn_what_one_does(self):
        say(f"{'mesh of 4 ranks':22}  step {'one host':>20}  {'two hosts':>20}  relative difference")
        for mesh in ({"dp": 2, "tp": 2}, {"pp": 2, "tp": 2}, {"dp": 4}):
            name = " x ".join(f"{axis} {size}" for axis, size in mesh.items())
            one, two = self.folder / f"one {name}", self.folder / f"two {name}"
            self.train(one, mesh=mesh)
            said = self.on_hosts([self.triptych, *self.arguments(two, mesh=mesh)])
            carriers = [f"{axis} through {CARRIERS.get((axis, mesh[axis]), 'MPI')}" for axis in ("tp", "dp", "pp") if axis in mesh]
            self.assertIn(f"ranks 0-1 on hosta, ranks 2-3 on hostb; {', '.join(carriers)}; TCP between machines over "
                          "fabric0 (10.77.0.1)\n", said)
            self.assertNotIn("warning", said)
            expected, found = losses(one), losses(two)
            self.assertEqual(list(found), list(expected))
            self.assertEqual(len(found), 6)
            for step, loss in expected.items():
                difference = abs(float(found[step]) / float(loss) - 1)
                say(f"{name:22}  {step:4} {loss:>20}  {found[step]:>20}  {difference:.1e}")
                self.assertLessEqual(difference, TOLERANCE if mesh == {"dp": 4} else ORDER_OF_HOSTS)

    def mpirun(self, *options):
        """A plain one on both hosts, without what run-ranks tells it, in a session of its own."""
        words = ["mpirun", *options, "--bind-to", "none", "--hostfile", self.hosts, "--mca", "pml", "ob1", "--mca", "btl",
                 "self,vader,tcp", "--mca", "btl_vader_single_copy_mechanism", "none", "--mca", "mpi_yield_when_idle", "1"]
        os.environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return words

    def test_ranks_in_turn_are_warned_of(self):
        words = [*self.mpirun("--map-by", "node"), "-np", "4", self.triptych,
                 *self.arguments(self.folder / "turns", mesh={"dp": 2, "tp": 2})]
        result = subprocess.run(namespace_hosts.on_host("hosta", words), capture_output=True, text=True, timeout=120,
                                check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr.count("warning: [placement]"), 1, result.stderr)
        self.assertIn("2 of 2 groups are on several, where ranks that fill one machine after the other would leave 0; found "
                      "ranks 0, 2 on hosta, ranks 1, 3 on hostb", result.stderr)
        self.assertEqual(len(losses(self.folder / "turns")), 6)

    def test_the_ranks_alone_notice_a_cut_link(self):
        run, said = self.folder / "alone", self.folder / "alone.log"
        words = [*self.mpirun("--map-by", "slot"), "-np", "4", self.triptych,
                 *self.arguments(run, mesh={"dp": 2, "tp": 2}, **LONG)]
        with open(said, "w", encoding="utf-8") as output:
            process = subprocess.Popen(namespace_hosts.on_host("hosta", words), stdout=output, stderr=subprocess.STDOUT)
        self.wait_for_steps(run, process)
        namespace_hosts.set_link("hostb", "down")
        begin = time.monotonic()
        try:
            seconds = {}  # by host, until its ranks had ended: neither reaches the other's
            while len(seconds) < 2 and time.monotonic() < begin + 3 * SECONDS_TO_END:
                for host in {"hosta", "hostb"} - set(seconds):
                    if b"triptych" not in self.programs(host):
                        seconds[host] = time.monotonic() - begin
                time.sleep(0.1)
        finally:
            process.kill()  # it waits for its daemon on the other host
            process.wait()
            namespace_hosts.set_link("hostb", "up")
        text = said.read_text()
        ended = ", ".join(f"on {host} after {seconds[host]:.1f} s" for host in sorted(seconds))
        say(f"the link was cut under a plain mpirun; the ranks had ended {ended}. They said:\n{text}")
        self.assertEqual(len(seconds), 2)
        self.assertLess(max(seconds.values()), SECONDS_TO_END)
        self.assertEqual(text.count("triptych: error:"), 1, text)
        self.assertRegex(text, r"\[group .*\] every machine must answer: hostb has acknowledged nothing for \d+ s \(from "
                               r"10\.77\.0\.1 to 10\.77\.0\.2\)\. This rank waited for number ")
        self.assertIn("No answer from hostb with all its ranks, 2-3; these answer: rank", text)

    def test_a_signal_saves_on_all_hosts_and_one_host_goes_on(self):
        run, mesh = self.folder / "signal", {"dp": 2, "tp": 2}
        process = self.start_training(run, mesh=mesh)
        os.kill(self.run_ranks_process(), signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, STOPPED, said)
        last = max(losses(run))
        self.assertIn(f"stopped after step {last} of 200000, as signal SIGUSR1 asked", said)
        more = LONG | {"training__stop_after": last + 2}
        self.train(run, mesh={"pp": 2}, resume="latest", **more)
        self.assertEqual(max(losses(run)), last + 2)

    def run_ranks_process(self):
        """Its number: what was started is on its way through `ip` and `unshare`."""
        for folder in Path("/proc").glob("[0-9]*"):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if len(words) > 1 and words[1] == os.fsencode(RUN_RANKS):
                return int(folder.name)
        raise AssertionError("no run-ranks")

    def test_a_cut_link_ends_all_and_names_who_is_gone(self):
        run = self.folder / "cut"
        process = self.start_training(run, mesh={"dp": 2, "tp": 2})
        namespace_hosts.set_link("hostb", "down")
        begin = time.monotonic()
        try:
            said = process.communicate(timeout=3 * SECONDS_TO_END)[0]
            seconds = time.monotonic() - begin
            while self.programs() and time.monotonic() < begin + 3 * SECONDS_TO_END:
                time.sleep(0.1)
            seconds_there = time.monotonic() - begin
        finally:
            namespace_hosts.set_link("hostb", "up")
        say(f"the link was cut; run-ranks ended with {process.returncode} {seconds:.1f} s later, and all ranks on both hosts had "
            f"after {seconds_there:.1f} s. It said:\n{said}")
        self.assertEqual(process.returncode, 1, said)
        self.assertIn("hostb (ranks 2-3)", said)
        self.assertLess(seconds, SECONDS_TO_END)
        self.assertLess(seconds_there, SECONDS_TO_END)

    def programs(self, host=None):
        """The processes of Triptych and Open MPI that have not ended, on one host or both."""
        found = []
        network = host and os.readlink(f"/proc/{namespace_hosts.processes[host].pid}/ns/net")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                program = os.path.basename((folder / "cmdline").read_bytes().split(b"\0")[0])
                if host and os.readlink(folder / "ns/net") != network:
                    continue
            except OSError:
                continue
            if program in (b"triptych", b"orted", b"mpirun"):
                found.append(program)
        return found


class HostFiles(unittest.TestCase):
    def test_what_is_wrong_is_told(self):
        for text, says in (("hosta\n", "line 1: a line must be `HOST slots=RANKS`, found 'hosta'"),
                           ("hosta\nhostb\n", "line 1: a line must be `HOST slots=RANKS`, found 'hosta'.\n  "),
                           ("# none\n\n", "must have 1 to 99999 slots in all, found 0"),
                           ("a slots=2\n-oProxyCommand=x slots=2\n", "line 2: a line must be"),
                           ("a slots=2\nb slots=1\na slots=1\n", "line 3: a host must stand there once, a is in line 1 too"),
                           ("a slots=99999\nb slots=1\n", "found 100000"), ("a slots=0\n", "line 1"),
                           ("\xfc slots=1\n", "ASCII")):
            with self.subTest(text), tempfile.NamedTemporaryFile("w", encoding="latin-1") as file:
                file.write(text)
                file.flush()
                self.refused(["--hosts", file.name, "true"], says)
        self.refused(["--hosts", "/no/such/file", "true"], "must be a file that lists hosts: No such file")
        self.refused(["--hosts", "/dev/null", "--interface", "-x", "true"], "[interface]")
        self.refused(["--hosts", "/dev/null"], "--hosts FILE and a COMMAND must be given")
        self.refused(["--hosts"], "--hosts FILE and a COMMAND must be given")

    def refused(self, words, says):
        result = subprocess.run([RUN_RANKS, *words], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn(says, result.stderr)


if __name__ == "__main__":
    namespace_hosts.enter()
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
