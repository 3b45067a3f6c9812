"""Compiles every CUDA kernel for each generation of GPUs, without one: by nvcc if there is one, else by NVRTC's wheel.

Fails on warnings, on spills or other local memory, and where the PTX of reproducible kernels, or of a fast one that
computes with ``rounded`` numbers, holds an operation that fuses, that may be fused later, approximates or flushes to
zero. Prints the registers of each kernel.
"""

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

from backprop_ref.kernels import cuda_source

CAPABILITIES = ("75", "80", "86", "90", "100", "120")
DTYPES = ("float64", "float32")
AS_CUPY = "--device-as-default-execution-space"  # which CuPy hands to NVRTC for every kernel
# Sums and products without a rounding in their names are ptxas's to fuse.
FORBIDDEN = re.compile(
    r"^\s*(?:@!?%?\w+\s+)?((?:fma|mad)\.\S*f\d+|(?:add|sub|mul)\.f\d+|\S*\.(?:ftz|approx|full)\S*)", re.MULTILINE
)
ENTRY = re.compile(r"(\w+)\(")
COMPLAINT = re.compile(r"\b(?:warning|error)\b")
FUNCTION = re.compile(r"Compiling entry function '(\w+)'")
MEMORY = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


class Compiled(NamedTuple):
    """What one compilation gave."""

    ptx: str
    log: str
    failed: bool


class Compiler(NamedTuple):
    """What compiles here."""

    compiled: Callable[..., Compiled]
    """Of (text, options, capability)."""
    name: str
    capabilities: tuple[str, ...]
    """Those of `CAPABILITIES` that it knows."""


def main():
    compiler, name, capabilities = find_compiler()
    modes = list(product(DTYPES, (False, True), capabilities))
    texts = [cuda_source.source(dtype, fast) for dtype, fast, _ in modes]
    options = [cuda_source.OPTIONS[fast] for _, fast, _ in modes]
    with ThreadPoolExecutor(2) as pool:
        compilations = dict(zip(modes, pool.map(compiler, texts, options, (mode[2] for mode in modes)), strict=True))
    problems = []
    for (mode, compiled), text in zip(compilations.items(), texts, strict=True):
        where = f"{mode[0]}, {'fast' if mode[1] else 'reproducible'}, compute capability {mode[2]}"
        problems += [f"{where}: {problem}" for problem in wrong(compiled, *kernels(text, mode[1]))]
    print(table(compilations))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(
        f"{name}, compute capabilities {', '.join(capabilities)}: {len(compilations)} compilations without warnings, "
        "spills or local memory; no operation in the PTX of reproducible kernels and of updates is or may be fused, is "
        "approximated or flushed to zero"
    )


def kernels(text, fast):
    """The names of all kernels, and of those in which every operation has to be rounded."""
    names = set(cuda_source.kernels(text))
    return names, {name for name in names if not fast or re.search(rf"\b{name}\([^)]*\brounded\b", text)}


def wrong(compiled, wanted, exact):
    """What is wrong with a compilation, a line each, for names as `kernels` gives them."""
    yield from (line for line in compiled.log.splitlines() if COMPLAINT.search(line))
    if compiled.failed:
        yield "does not compile"
        return
    for memory in MEMORY.findall(compiled.log):
        if set(memory) != {"0"}:
            yield "{} bytes of stack, {} and {} of spills".format(*memory)
    missing = wanted - set(registers(compiled.log))
    if missing or not set(MEMORY.findall(compiled.log)):
        yield f"the compiler tells nothing of {', '.join(sorted(missing)) or 'the memory used'}"
    entries = {ENTRY.match(part)[1]: part for part in compiled.ptx.split(".entry ")[1:]}
    yield from (f"no PTX of {name}" for name in sorted(exact - set(entries)))
    for found in sorted({found for name in exact & set(entries) for found in FORBIDDEN.findall(entries[name])}):
        yield f"{found} in the PTX"


def registers(log):
    """Registers of each kernel, from what ptxas reports."""
    found, current = {}, None
    for line in log.splitlines():
        if match := FUNCTION.search(line):
            current = match[1]
        elif (match := REGISTERS.search(line)) and current:
            found[current] = int(match[1])
    return found


def table(compilations):
    """Registers of the reproducible kernels, a column for each dtype and capability."""
    columns = {mode: registers(compiled.log) for mode, compiled in compilations.items() if not mode[1]}
    names = sorted({name for column in columns.values() for name in column})
    lines = [f"{'registers of reproducible kernels':42}" + "".join(f"{d[0]}{d[5:]}/{c:5}" for d, _, c in columns)]
    lines += [f"{name:42}" + "".join(f"{column.get(name, '?')!s:8}" for column in columns.values()) for name in names]
    return "\n".join(lines)


def find_compiler():
    """A `Compiler`, nvcc or NVRTC; exits where there is none."""
    nvcc = shutil.which("nvcc")
    if nvcc:
        version = re.search(r"release ([\d.]+)", told_by(nvcc, "--version"))
        known = known_of(re.findall(r"compute_(\d+)", told_by(nvcc, "--list-gpu-arch")))
        return Compiler(partial(by_nvcc, nvcc), f"nvcc {version[1] if version else '?'}", known)
    library = nvrtc()
    if library is None and sys.platform == "darwin":
        print("make cuda: skipped: there is no CUDA compiler for macOS")
        sys.exit()
    if library is None:
        sys.exit("make cuda: neither nvcc nor NVRTC: pip install nvidia-cuda-nvrtc-cu12")
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    count = ctypes.c_int()
    library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    listed = (ctypes.c_int * count.value)()
    library.nvrtcGetSupportedArchs(listed)
    return Compiler(partial(by_nvrtc, library), f"NVRTC {major.value}.{minor.value}", known_of(map(str, listed)))


def known_of(listed):
    """Those of `CAPABILITIES` that a compiler lists."""
    listed = set(listed)
    return tuple(capability for capability in CAPABILITIES if capability in listed)


def told_by(*command):
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def by_nvcc(nvcc, text, options, capability):
    """nvcc's PTX, and what it and ptxas have to say."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernels.cu").write_text(text, encoding="utf-8")
        command = [nvcc, f"-arch=sm_{capability}", *options, "-Xptxas", "-v", "--keep"]
        done = subprocess.run(
            [*command, "-cubin", "kernels.cu"], cwd=folder, capture_output=True, text=True, check=False
        )
        ptx = next(Path(folder).glob("*.ptx"), None)
        return Compiled(ptx.read_text() if ptx else "", done.stdout + done.stderr, done.returncode != 0)


def nvrtc():
    """NVRTC's library from its wheel, or None."""
    found = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in found.submodule_search_locations] if found else []
    for folder in folders:
        for path in sorted(folder.glob("c*/lib/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


def by_nvrtc(library, text, options, capability):
    """NVRTC's PTX, and its log."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    options = [*options, f"-arch=sm_{capability}", AS_CUPY, "--ptxas-options=-v"]
    given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = library.nvrtcCompileProgram(program, len(options), given) != 0
    texts = []
    for part in ("ProgramLog",) if failed else ("ProgramLog", "PTX"):
        getattr(library, f"nvrtcGet{part}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(library, f"nvrtcGet{part}")(program, buffer)
        texts.append(buffer.value.decode())
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return Compiled("" if failed else texts[1], texts[0], failed)


if __name__ == "__main__":
    main()
