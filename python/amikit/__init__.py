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
    """Runs a command, and yields each document that it prints as it comes: one a line, the items of a list, or a single one."""
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8") as said:
        process = subprocess.Popen(_command(args), stdout=subprocess.PIPE, stderr=said, text=True, encoding="utf-8")
        try:
            for line in process.stdout:
                # A single one may take many lines; of a list, each has one of its items.
                if line == "{\n":
                    line += process.stdout.read()
                line = line.strip().removeprefix("[").removesuffix("]").removesuffix(",")
                if line:
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
    """As `lines`, in Arrow record batches of up to `size` rows, all of the schema that the program promises. Needs pyarrow."""
    import pyarrow

    rows, schema = [], None
    for row in lines(*args):
        if schema is None:
            # A list of extents, as `map` prints, has no room for the name.
            name = row["schema"].split(".")[1] if "schema" in row else os.fspath(args[0])
            schema = pyarrow.schema(list(_arrow(run("schema", name))))
        rows.append(row)
        if len(rows) == size:
            yield pyarrow.RecordBatch.from_pylist(rows, schema)
            rows = []
    if rows:
        yield pyarrow.RecordBatch.from_pylist(rows, schema)


def _arrow(document):
    """Returns the type of Arrow that what a JSON schema allows has."""
    import pyarrow

    def fields(node):
        node = resolve(node)
        found = {name: kind(it) for name, it in node.get("properties", {}).items()}
        for one in node.get("oneOf", []) + node.get("anyOf", []):
            for name, it in fields(one).items():
                found[name] = either(found.get(name, it), it)
        return found

    def either(a, b):
        if a == b:
            return a
        if pyarrow.types.is_struct(a) and pyarrow.types.is_struct(b):
            both = {it.name: it.type for it in b}
            both.update({it.name: either(it.type, both.get(it.name, it.type)) for it in a})
            return pyarrow.struct(list(both.items()))
        raise TypeError(f"one name is {a} and {b} there: take these by lines()")

    def resolve(node):
        while "$ref" in node:
            node = document["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return node

    def kind(node):
        node = resolve(node)
        if "const" in node or "enum" in node:
            value = node["const"] if "const" in node else node["enum"][0]
            return pyarrow.scalar(value).type
        said = node.get("type", "object")
        said = said if isinstance(said, str) else next(it for it in said if it != "null")
        if said == "integer":
            return pyarrow.uint64() if node.get("minimum", -1) >= 0 else pyarrow.int64()
        if said == "array":
            return pyarrow.list_(kind(node["items"]))
        if said == "object":
            values = node.get("additionalProperties")
            if isinstance(values, dict):
                return pyarrow.map_(pyarrow.string(), kind(values))
            return pyarrow.struct(list(fields(node).items()))
        return {"string": pyarrow.string(), "boolean": pyarrow.bool_(), "number": pyarrow.float64()}[said]

    kinds = kind(document["items"] if document.get("type") == "array" else document)
    return list(kinds)
