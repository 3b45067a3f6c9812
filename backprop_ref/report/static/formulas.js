// What a neuron computes, forwards and backwards: each formula, then with the numbers of one sample and epoch in it.

const MOST_TERMS = 12;

function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const rounded = Number(value.toPrecision(DIGITS));
  const small = rounded !== 0 && Math.abs(rounded) < 1e-4;
  return (small ? rounded.toExponential() : String(rounded)).replaceAll("-", "−");
}

const factor = (value) => (value < 0 ? `(${number(value)})` : number(value));
const sub = (name, ...indices) => `${name}_{${indices.join(",")}}`;
const range = (n) => Array.from({ length: n }, (_, i) => i);

const RAISED = { "_{": "sub", "^{": "sup" };

// A text as nodes: e^{x} and a_{k} in it stand for superscripts and subscripts.
function typeset(text) {
  const open = [document.createDocumentFragment()];
  for (const piece of text.split(/([_^]\{|\})/)) {
    if (Object.hasOwn(RAISED, piece)) open.push(open.at(-1).appendChild(document.createElement(RAISED[piece])));
    else if (piece === "}") open.pop();
    else open.at(-1).append(piece);
  }
  return open[0];
}

// An element with some attributes, and in it texts that are typeset, and nodes.
function element(name, attributes, ...parts) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...parts.map((part) => (typeof part === "string" ? typeset(part) : part)));
  return made;
}

const result = (name, value) => element("b", { class: "result", "data-of": name }, number(value));

function step(symbols, numbers, name, value) {
  const lines = [[symbols], ["= ", ...numbers], ["= ", result(name, value)]];
  return element("p", { class: "step" }, ...lines.map((line) => element("span", {}, ...line)));
}

// The terms of largest size in their own order, and the sum of the others in one term.
function sum(terms, show) {
  const kept = new Set(
    terms.length <= MOST_TERMS
      ? range(terms.length)
      : range(terms.length).sort((i, j) => Math.abs(terms[j].value) - Math.abs(terms[i].value)).slice(0, MOST_TERMS),
  );
  const shown = terms.filter((_, i) => kept.has(i)).map(show).join(" + ");
  if (kept.size === terms.length) return [shown || "0"];
  const rest = terms.reduce((total, term, i) => (kept.has(i) ? total : total + term.value), 0);
  const about = Number(rest.toPrecision(3));
  const words = `${terms.length - kept.size} smaller terms, about ${factor(about)}`;
  return [`${shown} + `, element("span", { class: "rest" }, words)];
}

const product = (term) => `${factor(term.left)}·${factor(term.right)}`;
const terms = (n, left, right) =>
  range(n).map((i) => ({ left: left(i), right: right(i), value: left(i) * right(i) }));

const ACTIVATION = {
  sigmoid: { symbols: "σ(z) = 1 / (1 + e^{−z})", numbers: (z) => `1 / (1 + e^{${number(-z)}})` },
  tanh: { symbols: "tanh z", numbers: (z) => `tanh ${factor(z)}` },
  relu: { symbols: "z if z > 0, else 0", numbers: (z) => (z > 0 ? "z" : "0, as z ≤ 0") },
  leaky_relu: { symbols: "z if z > 0, else 0.01·z", numbers: (z) => (z > 0 ? "z" : `0.01·${factor(z)}`) },
  linear: { symbols: "z", numbers: () => "z" },
};

const SLOPE = {
  sigmoid: { symbols: "da · a·(1 − a)", numbers: (da, z, a) => `${factor(da)} · ${factor(a)}·(1 − ${factor(a)})` },
  tanh: { symbols: "da · (1 − a·a)", numbers: (da, z, a) => `${factor(da)} · (1 − ${factor(a)}·${factor(a)})` },
  relu: { symbols: "da if z > 0, else 0", numbers: (da, z) => (z > 0 ? "da" : "0, as z ≤ 0") },
  leaky_relu: {
    symbols: "da if z > 0, else 0.01·da",
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

// The formulas of one neuron, as nodes.
class Worked {
  constructor(records, frame, layer, neuron, sample) {
    Object.assign(this, { records, frame, layer, neuron, sample });
  }

  unit(name, layer = this.layer, neuron = this.neuron) {
    return this.records.unit(name, this.frame, layer, this.sample, neuron);
  }

  nodes() {
    const row = this.records.samples[this.sample];
    if (this.layer < 0) {
      const value = result("x", this.unit("a"));
      const said = element("p", { class: "step" }, `${sub("x", this.neuron)} of sample ${row} = `, value);
      return [element("h3", {}, `Input ${this.neuron}`), said];
    }
    const activation = this.records.activations[this.layer];
    return [
      element("h3", {}, `Neuron ${this.neuron} of layer ${this.layer}, ${activation}`),
      element("p", { class: "where" }, `epoch ${this.records.epochs[this.frame]}, sample ${row}`),
      element("h4", {}, "Forwards"),
      this.z(),
      this.a(activation),
      element("h4", {}, "Backwards"),
      ...this.delta(activation),
      this.db(),
      ...this.weights(),
    ];
  }

  z() {
    const { records, frame, layer, neuron } = this;
    const parts = terms(
      records.sizes[layer],
      (k) => this.unit("a", layer - 1, k),
      (k) => records.weight("W", frame, layer, k, neuron),
    );
    const b = records.bias("b", frame, layer, neuron);
    const symbols = `z = Σ_{k} ${layer ? sub("a", "k") : sub("x", "k")}·${sub("W", "k", neuron)} + ${sub("b", neuron)}`;
    return step(symbols, [...sum(parts, product), ` + ${factor(b)}`], "z", this.unit("z"));
  }

  a(activation) {
    const z = this.unit("z");
    if (activation !== "softmax") {
      const { symbols, numbers } = ACTIVATION[activation];
      return step(`a = ${symbols}`, [numbers(z)], "a", this.unit("a"));
    }
    const all = range(this.records.sizes[this.layer + 1]).map((j) => this.unit("z", this.layer, j));
    const top = Math.max(...all);
    const parts = all.map((value) => ({ z: value, value: Math.exp(value - top) }));
    const show = (part) => `e^{${number(part.z)} − ${factor(top)}}`;
    const numbers = [`${show({ z })} / (`, ...sum(parts, show), ")"];
    return step("a = e^{z − max z} / Σ_{j} e^{z_{j} − max z}", numbers, "a", this.unit("a"));
  }

  delta(activation) {
    const { records, layer, neuron, sample } = this;
    const [z, a, delta] = ["z", "a", "delta"].map((name) => this.unit(name));
    const together = layer === records.last && TOGETHER[`${records.loss} ${activation}`];
    if (together) {
      const y = records.y[sample];
      const Y = y.reduce((total, value) => total + value, 0);
      const numbers = together.numbers(a, y[neuron], z, records.divisor, Y);
      return [step(`δ = ${together.symbols}`, [numbers], "delta", delta)];
    }
    const da = this.unit("da");
    const before = this.daStep(da);
    if (activation !== "softmax") {
      const { symbols, numbers } = SLOPE[activation];
      return [before, step(`δ = ${symbols}`, [numbers(da, z, a)], "delta", delta)];
    }
    const parts = terms(records.sizes[layer + 1], (j) => this.unit("da", layer, j), (j) => this.unit("a", layer, j));
    const numbers = [`${factor(a)}·(${factor(da)} − (`, ...sum(parts, product), "))"];
    return [before, step("δ = a·(da − Σ_{j} da_{j}·a_{j})", numbers, "delta", delta)];
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
      return step("da = 2·(a − y) / n", [numbers], "da", da);
    }
    const symbols = `da = Σ_{j} ${sub("δ", "j")}·${sub("W", neuron, "j")} of the next layer`;
    return step(symbols, sum(this.carriedBack(neuron), product), "da", da);
  }

  db() {
    const { records, frame, layer, neuron } = this;
    const parts = range(records.x.length).map((s) => ({ value: records.unit("delta", frame, layer, s, neuron) }));
    const symbols = `db = Σ_{s} ${sub("δ", "s")} over the ${records.x.length} traced samples`;
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
    const symbols = `${sub("dW", "k", neuron)} = Σ_{s} ${sub(input, "s", "k")}·${sub("δ", "s", neuron)}, the largest for k = ${top}`;
    const worked = step(symbols, sum(parts, product), "dW", records.weight("dW", frame, layer, top, neuron));
    const names = ["k", sub(input, "k"), sub("W", "k", neuron), sub("dW", "k", neuron)];
    const cell = (name, value, k) => element("td", { "data-of": name, "data-k": k }, number(value));
    const body = rows.map((k) => {
      const a = cell("input", this.unit("a", layer - 1, k), k);
      const [W, dW] = ["W", "dW"].map((name) => cell(name, records.weight(name, frame, layer, k, neuron), k));
      return element("tr", {}, element("th", { scope: "row" }, String(k)), a, W, dW);
    });
    const cut = rows.length < all ? `The ${rows.length} strongest of ${all} weights are shown.` : "";
    const head = element("thead", {}, element("tr", {}, ...names.map((name) => element("th", {}, name))));
    const table = element("table", {}, head, element("tbody", {}, ...body));
    return [worked, element("p", { class: "quiet" }, cut), element("div", { class: "scroll" }, table)];
  }
}
