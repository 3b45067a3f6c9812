"""backprop-ref vectors."""

from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.conformance.vectors import files as golden
from backprop_ref.errors import InvalidInput


def vectors(out, check, as_json):
    """Writes the golden vectors into a folder, or compares it with them; 1 if something differs."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file; give a folder")
    if check and not folder.is_dir():
        raise InvalidInput(f"{folder}: no such folder to check; leave out --check to write it")
    if not check and folder.is_dir() and any(folder.iterdir()):
        raise InvalidInput(f"{folder} is not empty, and nothing is overwritten; give a new folder, or --check this one")
    made = golden.generate()
    found = golden.files(made)
    lines = golden.differences(folder, found) if check else []
    if not check:
        golden.write(folder, found)
    if as_json:
        summary = {"folder": str(folder), "cases": len(made), "sha256": golden.sha256(found), "differences": lines}
        show.as_json(summary)
        return 1 if lines else 0
    for line in lines:
        show.line(line)
    done = f"{len(lines)} files differ" if lines else "the same" if check else "written"
    show.line(f"{len(made)} cases, {len(found)} files in {folder}: {done}; sha256 {golden.sha256(found)}")
    return 1 if lines else 0
