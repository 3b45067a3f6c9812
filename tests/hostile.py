"""Files of somebody who means harm, and a process that opens them and says what it touched.

``python hostile.py`` reads a list of command lines from standard input, runs each in the current folder, and writes
what came of it as lines of JSON: status, what it said, and what was opened, imported or started that is
nobody's business here.
"""

import contextlib
import io
import json
import os
import resource
import sys
import time
from pathlib import Path

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "socket.bind")
CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
)


class Watch:
    """An audit hook: what is touched outside of a folder."""

    def __init__(self, folder):
        self.folder, self.touched, self.on = os.path.realpath(folder), [], False
        self.outside = str(Path(self.folder).with_name("outside"))

    def __call__(self, event, arguments):
        if not self.on:
            return
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            path, _, flags = arguments
            self._look(path, bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)))
        elif event in CHANGES:
            for path in arguments:
                if isinstance(path, str | os.PathLike):
                    self._look(path, True)
        elif event.startswith(FORBIDDEN):
            self.touched.append(f"{event} {arguments[:2]}")
        elif (
            event == "import"
            and arguments[0] in {"evil", "torch", "kaleido"}
            and (arguments[1] or "").startswith(self.folder)
        ):
            self.touched.append(f"import {arguments[0]}")

    def _look(self, path, changing):
        real = os.path.realpath(path)
        inside = real.startswith(f"{self.folder}{os.sep}") or real == self.folder
        if real.startswith(self.outside) or (changing and not inside and real not in {os.devnull}):
            self.touched.append(f"{'changed' if changing else 'read'} {real}")
        if inside and not changing and real.endswith("evil.py"):
            self.touched.append(f"read {real}")


def main():
    from backprop_ref.cli import run

    asked = json.load(sys.stdin)
    run(["--version"])
    watch = Watch(".")
    sys.addaudithook(watch)
    for arguments in asked:
        out, err = io.StringIO(), io.StringIO()
        watch.touched, started = [], time.process_time()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            watch.on = True
            try:
                status = run(arguments)
            except BaseException as error:
                status = f"{type(error).__name__}: {error}"
            watch.on = False
        with Path("found.json").open("a") as file:
            found = {
                "arguments": arguments,
                "status": status,
                "out": out.getvalue()[-2000:],
                "err": err.getvalue()[-2000:],
                "touched": watch.touched,
                "seconds": time.process_time() - started,
                "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
