// What a neuron computes, forwards and backwards: each formula, then with the numbers of one sample and epoch in it.

const MOST_TERMS = 12;

function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const rounded = Number(value.toPrecision(DIGITS));
  const small = rounded !== 0 && Math.abs(rounded) < 1e-4;
  return (small ? rounded.toExponential() : String(rounded)).replaceAll("-", "−");
}

const factor = (value) => (value < 0 ? `(${number(value)})` : number(value));
const result = (name, value) => `<b class="result" data-of="${name}">${number(value)}</b>`;
const sub = (name, ...indices) => `<var>${name}</var><sub>${indices.join(",")}</sub>`;
const range = (n) => Array.from({ length: n }, (_, i) => i);

function step(symbols, numbers, name, value) {
  return `<p class="step"><span>${symbols}</span><span>= ${numbers}</span><span>= ${result(name, value)}</span></p>`;
}

// The terms of largest size in their own order, and the sum of the others in one term.
function sum(terms, show) {
  const kept = new Set(
    terms.length <= MOST_TERMS
      ? range(terms.length)
      : range(terms.length).sort((i, j) => Math.abs(terms[j].value) - Math.abs(terms[i].value)).slice(0, MOST_TERMS),
  );
  const shown = terms.filter((_, i) => kept.has(i)).map(show).join(" + ");
  if (kept.size === terms.length) return shown || "0";
  const rest = terms.reduce((total, term, i) => (kept.has(i) ? total : total + term.value), 0);
  const about = Number(rest.toPrecision(3));
  return `${shown} + <span class="rest">${terms.length - kept.size} smaller terms, about ${factor(about)}</span>`;
}

const product = (term) => `${factor(term.left)}·${factor(term.right)}`;
const terms = (n, left, right) =>
  range(n).map((i) => ({ left: left(i), right: right(i), value: left(i) * right(i) }));

const ACTIVATION = {
  sigmoid: { symbols: "σ(z) = 1 / (1 + e<sup>−z</sup>)", numbers: (z) => `1 / (1 + e<sup>${number(-z)}</sup>)` },
  tanh: { symbols: "tanh z", numbers: (z) => `tanh ${factor(z)}` },
  relu: { symbols: "z if z &gt; 0, else 0", numbers: (z) => (z > 0 ? "z" : "0, as z ≤ 0") },
  leaky_relu: { symbols: "z if z &gt; 0, else 0.01·z", numbers: (z) => (z > 0 ? "z" : `0.01·${factor(z)}`) },
  linear: { symbols: "z", numbers: () => "z" },
};

const SLOPE = {
  sigmoid: { symbols: "da · a·(1 − a)", numbers: (da, z, a) => `${factor(da)} · ${factor(a)}·(1 − ${factor(a)})` },
  tanh: { symbols: "da · (1 − a·a)", numbers: (da, z, a) => `${factor(da)} · (1 − ${factor(a)}·${factor(a)})` },
  relu: { symbols: "da if z &gt; 0, else 0", numbers: (da, z) => (z > 0 ? "da" : "0, as z ≤ 0") },
  leaky_relu: {
    symbols: "da if z &gt; 0, else 0.01·da",
    numbers: (da, z) => (z > 0 ? "da" : `0.01·${factor(da)}`),
  },
  linear: { symbols: "da", numbers: () => "da" },
};

const TOGETHER = {
  "cross_entropy softmax": {
    symbols: "(a·Y − y) / n, Y the sum of this sample's targets",
    numbers: (a, y, z, n, Y) => `(${factor(a)}·${factor(Y)} − ${factor(y)}) / ${n}`,
  },
  "cross_entropy sigmoid": {
    symbols: "−(y·σ(−z)) / n",
    numbers: (a, y, z, n) => `−(${factor(y)}·σ(${number(-z)})) / ${n}`,
  },
  "binary_cross_entropy sigmoid": {
    symbols: "(a − y) / n",
    numbers: (a, y, z, n) => `(${factor(a)} − ${factor(y)}) / ${n}`,
  },
};

// The formulas of one neuron as HTML.
class Worked {
  constructor(records, frame, layer, neuron, sample) {
    Object.assign(this, { records, frame, layer, neuron, sample });
  }

  unit(name, layer = this.layer, neuron = this.neuron) {
    return this.records.unit(name, this.frame, layer, this.sample, neuron);
  }

  html() {
    const row = this.records.samples[this.sample];
    if (this.layer < 0) {
      const value = result("x", this.unit("a"));
      return `<h3>Input ${this.neuron}</h3><p class="step">${sub("x", this.neuron)} of sample ${row} = ${value}</p>`;
    }
    const activation = this.records.activations[this.layer];
    return `
      <h3>Neuron ${this.neuron} of layer ${this.layer}, ${activation}</h3>
      <p class="where">epoch ${this.records.epochs[this.frame]}, sample ${row}</p>
      <h4>Forwards</h4>${this.z()}${this.a(activation)}
      <h4>Backwards</h4>${this.delta(activation)}${this.db()}${this.weights()}`;
  }

  z() {
    const { records, frame, layer, neuron } = this;
    const parts = terms(
      records.sizes[layer],
      (k) => this.unit("a", layer - 1, k),
      (k) => records.weight("W", frame, layer, k, neuron),
    );
    const b = records.bias("b", frame, layer, neuron);
    const symbols = `z = Σ<sub>k</sub> ${layer ? sub("a", "k") : sub("x", "k")}·${sub("W", "k", neuron)} + ${sub("b", neuron)}`;
    return step(symbols, `${sum(parts, product)} + ${factor(b)}`, "z", this.unit("z"));
  }

  a(activation) {
    const z = this.unit("z");
    if (activation !== "softmax") {
      const { symbols, numbers } = ACTIVATION[activation];
      return step(`a = ${symbols}`, numbers(z), "a", this.unit("a"));
    }
    const all = range(this.records.sizes[this.layer + 1]).map((j) => this.unit("z", this.layer, j));
    const top = Math.max(...all);
    const parts = all.map((value) => ({ z: value, value: Math.exp(value - top) }));
    const show = (part) => `e<sup>${number(part.z)} − ${factor(top)}</sup>`;
    const numbers = `e<sup>${number(z)} − ${factor(top)}</sup> / (${sum(parts, show)})`;
    return step("a = e<sup>z − max z</sup> / Σ<sub>j</sub> e<sup>z<sub>j</sub> − max z</sup>", numbers, "a", this.unit("a"));
  }

  delta(activation) {
    const { records, layer, neuron, sample } = this;
    const [z, a, delta] = ["z", "a", "delta"].map((name) => this.unit(name));
    const together = layer === records.last && TOGETHER[`${records.loss} ${activation}`];
    if (together) {
      const y = records.y[sample];
      const Y = y.reduce((total, value) => total + value, 0);
      return step(`δ = ${together.symbols}`, together.numbers(a, y[neuron], z, records.divisor, Y), "delta", delta);
    }
    const da = this.unit("da");
    const before = this.daStep(da);
    if (activation !== "softmax") {
      const { symbols, numbers } = SLOPE[activation];
      return before + step(`δ = ${symbols}`, numbers(da, z, a), "delta", delta);
    }
    const parts = terms(records.sizes[layer + 1], (j) => this.unit("da", layer, j), (j) => this.unit("a", layer, j));
    const numbers = `${factor(a)}·(${factor(da)} − (${sum(parts, product)}))`;
    return before + step("δ = a·(da − Σ<sub>j</sub> da<sub>j</sub>·a<sub>j</sub>)", numbers, "delta", delta);
  }

  carriedBack(neuron) {
    const { records, frame, layer } = this;
    const next = layer + 1;
    return terms(
      records.sizes[next + 1],
      (j) => this.unit("delta", next, j),
      (j) => records.weight("W", frame, next, neuron, j),
    );
  }

  daStep(da) {
    const { records, layer, neuron, sample } = this;
    if (layer === records.last) {
      const numbers = `2·(${factor(this.unit("a"))} − ${factor(records.y[sample][neuron])}) / ${records.divisor}`;
      return step("da = 2·(a − y) / n", numbers, "da", da);
    }
    const symbols = `da = Σ<sub>j</sub> ${sub("δ", "j")}·${sub("W", neuron, "j")} of the next layer`;
    return step(symbols, sum(this.carriedBack(neuron), product), "da", da);
  }

  db() {
    const { records, frame, layer, neuron } = this;
    const parts = range(records.x.length).map((s) => ({ value: records.unit("delta", frame, layer, s, neuron) }));
    const symbols = `db = Σ<sub>s</sub> ${sub("δ", "s")} over the ${records.x.length} traced samples`;
    return step(symbols, sum(parts, (part) => factor(part.value)), "db", records.bias("db", frame, layer, neuron));
  }

  weights() {
    const { records, frame, layer, neuron } = this;
    const size = (k) => Math.abs(records.weight("W", frame, layer, k, neuron));
    let rows = range(records.sizes[layer]);
    const all = rows.length;
    if (all > 4 * MOST_TERMS) {
      rows = rows.sort((i, k) => size(k) - size(i)).slice(0, 4 * MOST_TERMS).sort((i, k) => i - k);
    }
    const top = rows.reduce((best, k) => {
      const dW = Math.abs(records.weight("dW", frame, layer, k, neuron));
      return dW > best.dW ? { k, dW } : best;
    }, { k: rows[0], dW: -1 }).k;
    const parts = terms(
      records.x.length,
      (s) => records.unit("a", frame, layer - 1, s, top),
      (s) => records.unit("delta", frame, layer, s, neuron),
    );
    const input = layer ? "a" : "x";
    const symbols = `${sub("dW", "k", neuron)} = Σ<sub>s</sub> ${sub(input, "s", "k")}·${sub("δ", "s", neuron)}, the largest for k = ${top}`;
    const worked = step(symbols, sum(parts, product), "dW", records.weight("dW", frame, layer, top, neuron));
    const cell = (name, value, k) => `<td data-of="${name}" data-k="${k}">${number(value)}</td>`;
    const body = rows.map((k) => {
      const a = cell("input", this.unit("a", layer - 1, k), k);
      const [W, dW] = ["W", "dW"].map((name) => cell(name, records.weight(name, frame, layer, k, neuron), k));
      return `<tr><th scope="row">${k}</th>${a}${W}${dW}</tr>`;
    });
    const cut = rows.length < all ? `The ${rows.length} strongest of ${all} weights are shown.` : "";
    return `
      ${worked}<p class="quiet">${cut}</p>
      <div class="scroll"><table><thead><tr><th>k</th><th>${input}<sub>k</sub></th>
      <th>W<sub>k,${neuron}</sub></th><th>dW<sub>k,${neuron}</sub></th></tr></thead>
      <tbody>${body.join("")}</tbody></table></div>`;
  }
}
