"""Runs the program `amikit` and yields what it prints as JSON.

>>> import amikit
>>> report = amikit.run("fleet", "images")
>>> for file in amikit.lines("ls", "web.ami", "--recursive"):
...     print(file["path"])

Nothing is computed here: each call starts the program that this package has installed, or the one that the variable
AMIKIT names. `amikit schema NAME` prints the schema of each output.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile

__all__ = ["Error", "batches", "lines", "program", "run"]


class Error(Exception):
    """The program failed. `code` is its exit code, and `error` what it says of it: kind, message, path, advice."""

    def __init__(self, code, error):
        super().__init__(error.get("message", f"amikit ended with exit code {code}"))
        self.code = code
        self.error = error


def program():
    """Returns the path of the program."""
    named = os.environ.get("AMIKIT")
    if named:
        return named
    folders = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable)]
    found = shutil.which("amikit", path=os.pathsep.join(folders)) or shutil.which("amikit")
    if not found:
        raise FileNotFoundError("the program amikit is not installed; the variable AMIKIT can name it")
    return found


def _command(args):
    return [program(), *(os.fspath(arg) for arg in args), "--json", "--quiet"]


def _check(code, said):
    # 1 is an answer: no. Anything else is a failure, and the last document says which.
    if code in (0, 1):
        return
    error = {}
    for line in said.splitlines():
        try:
            error = json.loads(line).get("error", error)
        except (ValueError, AttributeError):
            error = {"message": line}
    raise Error(code, error)


def run(*args):
    """Runs a command that prints one document, and returns it."""
    done = subprocess.run(_command(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    _check(done.returncode, done.stderr)
    return json.loads(done.stdout) if done.stdout else None


def lines(*args):
    """Runs a command that prints a document a line, and yields each as it comes."""
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8") as said:
        process = subprocess.Popen(_command(args), stdout=subprocess.PIPE, stderr=said, text=True, encoding="utf-8")
        try:
            for line in process.stdout:
                yield json.loads(line)
            code = process.wait()
            said.seek(0)
            _check(code, said.read())
        finally:
            # The caller may have stopped early.
            process.stdout.close()
            if process.poll() is None:
                process.terminate()
                process.wait()


def batches(*args, size=65536):
    """As `lines`, in Arrow record batches of up to `size` rows. Needs pyarrow."""
    import pyarrow

    rows = []
    for row in lines(*args):
        rows.append(row)
        if len(rows) == size:
            yield pyarrow.RecordBatch.from_pylist(rows)
            rows = []
    if rows:
        yield pyarrow.RecordBatch.from_pylist(rows)
