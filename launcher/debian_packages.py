"""Debian packages as sources of data: fetched with `apt-get download` and read in place; nothing is installed."""

import os
import shutil
import subprocess
import tarfile

from messages import fail, say


def run_apt(arguments, folder):
    # As root, apt would drop to a user who cannot write into our folder, and complain about it.
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *arguments]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def find_package(folder, package):
    return next(iter(sorted(folder.glob(f"{package}_*.deb"))), None)


def fetch_packages(folder, packages):
    """Downloads those of `packages` (names) that `folder` lacks; returns {package: file}."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not find_package(folder, package)]
    if missing:
        say(f"downloading {', '.join(missing)}")
        # Into a folder of its own: a download that was cut short must not look like a package next time.
        incoming = folder / "incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        result = run_apt(["download", *missing], incoming)
        if result.returncode != 0:
            update = ["apt-get", "-qq", "update"]
            say("the package lists do not have them; running apt-get update")
            subprocess.run(update if os.geteuid() == 0 else ["sudo", *update], check=False)
            result = run_apt(["download", *missing], incoming)
        if result.returncode != 0:
            fail("packages", f"apt-get download {' '.join(missing)} failed:\n{result.stdout.strip()}\n"
                 "Check the network and that Debian 12's main archive is among apt's sources.")
        for file in incoming.glob("*.deb"):
            file.rename(folder / file.name)
        incoming.rmdir()
    return {package: find_package(folder, package) for package in packages}


def walk_members(deb, prefixes, suffixes=("",)):
    """Yields (path, bytes), one after the other, of the files of a .deb whose paths start with one of `prefixes` and end
    with one of `suffixes`; all prefixes must occur. Links are passed over, and nothing is written."""
    missing = set(prefixes)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    path = member.name.removeprefix("./")
                    if member.isfile() and path.startswith(prefixes) and path.endswith(suffixes):
                        missing = {prefix for prefix in missing if not path.startswith(prefix)}
                        yield path, archive.extractfile(member).read()
        except tarfile.TarError as error:
            fail("packages", f"{deb} cannot be unpacked: {error}. Delete it and run again.")
    for prefix in prefixes:
        if prefix in missing:
            fail("packages", f"{deb} has no {prefix}. Delete it, and check that apt's sources are Debian 12's.")


def read_members(deb, prefixes, suffixes=("",)):
    """Returns {path: bytes} of what walk_members finds."""
    return dict(walk_members(deb, prefixes, suffixes))
