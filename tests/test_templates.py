"""The templates of verify: each runs as it is, and with the right formulas in its one place it is judged right."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_ref.cli import run
from backprop_ref.cli.conformance.templates import FOLDER, TEMPLATES

PYTHON = """
    a = [x]
    for W, b in zip(weights, biases):
        a.append(1 / (1 + np.exp(-(a[-1] @ W + b))))
    loss = ((a[-1] - y) ** 2).sum() / len(x)
    delta = 2 * (a[-1] - y) / len(x) * a[-1] * (1 - a[-1])
    for l in reversed(range(len(weights))):
        dW[l] = a[l].T @ delta
        db[l] = delta.sum(axis=0)
        delta = delta @ weights[l].T * a[l] * (1 - a[l])
"""
CLASS = PYTHON.replace("\n    ", "\n        ").replace("weights", "self.weights").replace("biases", "self.biases")
CLASS = re.sub(r"dW\[l\] = (.*)\n", r"dW = \1\n", CLASS)
CLASS = (
    re.sub(r"db\[l\] = (.*)\n", r"db = \1\n", CLASS)
    + """
            self.weights[l] = self.weights[l] - self.learning_rate * dW
            self.biases[l] = self.biases[l] - self.learning_rate * db
"""
)
JAVASCRIPT = """
  let loss = 0;
  const dW = weights.map((W) => W.map((row) => row.map(() => 0)));
  const db = biases.map((b) => b.map(() => 0));
  for (let s = 0; s < x.length; s++) {
    const a = [x[s]];
    weights.forEach((W, l) => {
      a.push(biases[l].map((b, j) => 1 / (1 + Math.exp(-W.reduce((z, row, k) => z + a[l][k] * row[j], b)))));
    });
    const p = a[weights.length];
    let da = p.map((v, j) => (2 * (v - y[s][j])) / x.length);
    loss += p.reduce((sum, v, j) => sum + (v - y[s][j]) ** 2, 0) / x.length;
    for (let l = weights.length - 1; l >= 0; l--) {
      const delta = da.map((d, j) => d * a[l + 1][j] * (1 - a[l + 1][j]));
      delta.forEach((d, j) => (db[l][j] += d));
      a[l].forEach((v, k) => delta.forEach((d, j) => (dW[l][k][j] += v * d)));
      da = weights[l].map((row) => row.reduce((sum, w, j) => sum + w * delta[j], 0));
    }
  }
  return { loss, dW, db };
"""
LOOPS = """
    @loss = 0.0;
    for (int s = 0; s < @batch; s++) {
        @first
        for (int l = 0; l < @layers; l++) {
            for (int j = 0; j < @size(l + 1); j++) {
                double z = @b(l, j);
                for (int k = 0; k < @size(l); k++) z += a[l][k] * @W(l, k, j);
                a[l + 1][j] = 1.0 / (1.0 + @exp(-z));
            }
        }
        for (int j = 0; j < @size(@layers); j++) {
            double e = a[@layers][j] - @y(s, j);
            @loss += e * e / @batch;
            delta[@layers][j] = 2.0 * e / @batch * a[@layers][j] * (1.0 - a[@layers][j]);
        }
        for (int l = @layers - 1; l >= 0; l--) {
            for (int k = 0; k < @size(l); k++) {
                double da = 0.0;
                for (int j = 0; j < @size(l + 1); j++) {
                    da += delta[l + 1][j] * @W(l, k, j);
                    @dW(l, k, j) += a[l][k] * delta[l + 1][j];
                }
                delta[l][k] = da * a[l][k] * (1.0 - a[l][k]);
            }
            for (int j = 0; j < @size(l + 1); j++) @db(l, j) += delta[l + 1][j];
        }
    }
"""


def in_words_of(words):
    """The loops with each ``@word`` as a language has it."""
    text = LOOPS
    for word, there in words.items():
        if "{" in there:
            arguments = there.count("{}")
            pattern = rf"@{word}\(" + ", ".join([r"([^,()]+)"] * arguments) + r"\)"
            text = re.sub(pattern, lambda found, there=there: there.format(*found.groups()), text)
        else:
            text = text.replace(f"@{word}", there)
    return text


C = in_words_of(
    {
        "layers": "net->layers",
        "size": "net->size[{}]",
        "loss": "net->value",
        "batch": "net->batch",
        "first": "for (int k = 0; k < net->size[0]; k++) a[0][k] = net->x[s * net->size[0] + k];",
        "b": "net->b[{}][{}]",
        "W": "net->W[{}][({}) * N + {}]",
        "dW": "net->dW[{}][({}) * N + {}]",
        "db": "net->db[{}][{}]",
        "y": "net->y[({}) * net->size[net->layers] + {}]",
        "exp": "exp",
    }
).replace("N + ", "net->size[l + 1] + ")
C = f"    double a[MOST + 1][64], delta[MOST + 1][64];{C}    return 1;\n"
JAVA = in_words_of(
    {
        "layers": "weights.length",
        "size": "sizes[{}]",
        "loss": "value",
        "batch": "x.length",
        "first": "a[0] = x[s];",
        "b": "biases[{}][{}]",
        "W": "weights[{}][{}][{}]",
        "dW": "dW[{}][{}][{}]",
        "db": "db[{}][{}]",
        "y": "y[{}][{}]",
        "exp": "Math.exp",
    }
).replace("value = 0.0;", "double value = 0.0;", 1)
JAVA = f"""
        double[][] a = new double[sizes.length][], delta = new double[sizes.length][];
        double[][][] dW = new double[weights.length][][];
        double[][] db = new double[weights.length][];
        for (int l = 0; l < sizes.length; l++) {{
            a[l] = new double[sizes[l]];
            delta[l] = new double[sizes[l]];
        }}
        for (int l = 0; l < weights.length; l++) {{
            dW[l] = new double[sizes[l]][sizes[l + 1]];
            db[l] = new double[sizes[l + 1]];
        }}
{JAVA}
        return new Gradients(value, dW, db);
"""
RUST = """
    let layers = weights.len();
    let n = x.len() as f64;
    let mut total = 0.0;
    let mut dw: Vec<Matrix> = weights.iter().map(|w| w.iter().map(|row| vec![0.0; row.len()]).collect()).collect();
    let mut db: Vec<Vector> = biases.iter().map(|b| vec![0.0; b.len()]).collect();
    for s in 0..x.len() {
        let mut a = vec![x[s].clone()];
        for l in 0..layers {
            let z = |j: usize| biases[l][j] + (0..sizes[l]).map(|k| a[l][k] * weights[l][k][j]).sum::<f64>();
            let next = (0..sizes[l + 1]).map(|j| 1.0 / (1.0 + (-z(j)).exp())).collect();
            a.push(next);
        }
        let mut da: Vector = (0..sizes[layers]).map(|j| 2.0 * (a[layers][j] - y[s][j]) / n).collect();
        total += (0..sizes[layers]).map(|j| (a[layers][j] - y[s][j]).powi(2)).sum::<f64>() / n;
        for l in (0..layers).rev() {
            let delta: Vector = (0..sizes[l + 1]).map(|j| da[j] * a[l + 1][j] * (1.0 - a[l + 1][j])).collect();
            for j in 0..sizes[l + 1] {
                db[l][j] += delta[j];
                for k in 0..sizes[l] {
                    dw[l][k][j] += a[l][k] * delta[j];
                }
            }
            da = (0..sizes[l]).map(|k| (0..sizes[l + 1]).map(|j| weights[l][k][j] * delta[j]).sum()).collect();
        }
    }
    Some((total, dw, db))
"""
# what is filled in, and the lines of the template that it takes the place of
FILLED = {
    "python": (PYTHON, r"    # Fill in .*\n    raise .*\n"),
    "class": (CLASS, r"        # Fill in .*\n        raise .*\n"),
    "c": (C, r"    /\* Fill in .*\n    \(void\)net;\n    return 0;\n"),
    "javascript": (JAVASCRIPT, r"  // Fill in .*\n  return null;\n"),
    "java": (JAVA, r"        // Fill in .*\n        return null;\n"),
    "rust": (RUST, r"    // Fill in .*\n    None\n"),
}
NEEDS = {"c": "cc", "javascript": "node", "java": "java", "rust": "rustc"}


def command_of(text):
    """The lines of commands at the top of a template."""
    return re.findall(r"^(?:[ */]*)((?:cc|rustc|backprop-ref) .*)$", text, re.MULTILINE)


def verified(file, capsys, folder):
    """Runs the commands at the top of a file; the exit status and report of the last, which is verify."""
    *builds, check = command_of(file.read_text(encoding="utf-8"))
    for build in builds:
        strict = ["-Wall", "-Wextra", "-Werror"] if build.startswith("cc") else ["-Dwarnings"]
        done = subprocess.run([*build.split(), *strict], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    words = shlex.split(check)
    assert words[0] == "backprop-ref"
    capsys.readouterr()
    status = run([*words[1:], "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("language", TEMPLATES)
@pytest.mark.more
def test_a_template_is_judged_right_once_it_is_filled_in(language, tmp_path, monkeypatch, capsys):
    tool = NEEDS.get(language)
    if tool and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = Path(f"net{Path(TEMPLATES[language]).suffix}")
    assert run(["verify", "--template", language, "--out", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"\bmine\b", text, re.IGNORECASE)
    status, report = verified(file, capsys, tmp_path)
    assert (status, report["verdict"]) == (2, "NOT JUDGED")
    filled, place = FILLED[language]
    assert len(re.findall(place, text)) == 1
    file.write_text(re.sub(place, lambda _: filled, text), encoding="utf-8")
    status, report = verified(file, capsys, tmp_path)
    assert (status, report["verdict"]) == (0, "RIGHT"), report
    assert {network.partition(":")[2] for network in report["networks"]} == {"sigmoid,sigmoid:sse"}
    assert set(report["vectors"]) == {"WITHIN BOUND"}


def test_the_program_is_told_what_it_is_called(tmp_path, capsys):
    assert run(["verify", "--template", "rust", "--out", str(tmp_path / "net.py")]) == 2
    assert "ends in .rs" in capsys.readouterr().err
    assert run(["verify", "--template", "rust", "--out", str(tmp_path / "my-net.rs")]) == 2
    assert run(["verify", "--template", "rusty"]) == 2
    assert "did you mean 'rust'" in capsys.readouterr().err
    assert run(["verify", "--out", "x"]) == 2
    assert "--out goes with --template" in capsys.readouterr().err


def test_without_a_file_it_is_printed(capsys):
    for language, name in TEMPLATES.items():
        assert run(["verify", "--template", language]) == 0
        assert capsys.readouterr().out == (FOLDER / name).read_text(encoding="utf-8")
