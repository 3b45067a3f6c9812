"""backprop-ref export and import: networks to and from other libraries and languages."""

from pathlib import Path

from backprop_ref.cli import show
from backprop_ref.conformance.measuring.networks import name_of, parse
from backprop_ref.errors import InvalidInput
from backprop_ref.exchange import formats
from backprop_ref.exchange.keras import FLOAT64
from backprop_ref.files import check_output, write_output
from backprop_ref.network.model_file import load, model_bytes


def export(run, to, out):
    """Writes a trained network for another library or language."""
    if to is None and out is None:
        raise InvalidInput(f"--to FORMAT or --out FILE is needed; formats are {', '.join(formats.FORMATS)}")
    name = formats.format_of(out or "", to)
    out = out or f"{Path(run).resolve().name.partition('.')[0]}{formats.FORMATS[name].suffixes[0]}"
    endings = formats.FORMATS[name].suffixes
    if Path(out).suffix.lower() not in endings:
        raise InvalidInput(f"--out {out}: {name} is written to a file that ends in {endings[0]}")
    there = Path(out).resolve()
    if there == Path(run).resolve() or (there.parent == Path(run).resolve() and there.exists()):
        raise InvalidInput(f"--out {out}: that is the model itself, or a file of its run; name another file")
    check_output("--out", out)
    model = load(run)
    write_output("--out", out, formats.exported(model, out, name))
    if name == "keras" and model.params.dtype == "float64":
        show.line(f"note: {FLOAT64}", err=True)
    show.line(f"{name}: {out}, {name_of(model.network)}, parameters {model.params.sha256()[:12]}…")


def import_(file, network, out):
    """Writes a model file of what another library wrote."""
    out = out or f"{Path(file).stem}.safetensors"
    if Path(out).resolve() == Path(file).resolve():
        raise InvalidInput(f"--out {out}: that is the file itself; name another")
    check_output("--out", out)
    model = formats.load(file, None if network is None else parse(network))
    write_output("--out", out, model_bytes(*model))
    show.line(f"model: {out}, {name_of(model.network)}, parameters {model.params.sha256()[:12]}…")
