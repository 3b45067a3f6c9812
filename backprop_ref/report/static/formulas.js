// What a neuron computes, forwards and backwards: each formula, then with the numbers of one sample and epoch in it.

const MOST_TERMS = 12;

function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const rounded = Number(value.toPrecision(DIGITS));
  const small = rounded !== 0 && Math.abs(rounded) < 1e-4;
  return (small ? rounded.toExponential() : String(rounded)).replaceAll("-", "−");
}

const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
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
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...parts.map((part) => (typeof part === "string" ? typeset(part) : part)));
  return node;
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

// A formula is a number, a name, or a list: an operation and what it works on. `at(name, j)` gives the number behind a
// name, for neuron j of a layer of n.

const OF_TWO = {
  "+": { holds: 1, sign: " + ", of: (x, y) => x + y },
  "-": { holds: 1, sign: " − ", of: (x, y) => x - y },
  "*": { holds: 2, sign: "·", of: (x, y) => x * y },
  "/": { holds: 2, sign: " / ", of: (x, y) => x / y },
};
// 2/√π·exp(−x²)·(x + 2x³/3 + 4x⁵/15 + …)
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let [term, total] = [x, x];
  for (let k = 1; Math.abs(term) > 1e-17 * Math.abs(total); k++) total += term *= (x * x) / (k + 0.5);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
}

const OF_ONE = {
  ...{ negative: (x) => -x, abs: Math.abs, sqrt: Math.sqrt },
  ...{ exp: Math.exp, expm1: Math.expm1, log: Math.log, log1p: Math.log1p, tanh: Math.tanh, erf },
};
const COMPARED = { ">": (x, y) => x > y, "≥": (x, y) => x >= y, "<": (x, y) => x < y, "≤": (x, y) => x <= y };
const OPPOSITE = { ">": "≤", "≥": "<", "<": "≥", "≤": ">" };

class Formula {
  constructor(tree, n, at) {
    Object.assign(this, { tree, n, at });
  }

  value(j, tree = this.tree) {
    if (typeof tree === "number") return tree;
    if (typeof tree === "string") return this.at(tree, j);
    const [operation, first, second, third] = tree;
    if (operation === "where") return this.value(j, this.holds(j, first) ? second : third);
    if (operation === "total") return range(this.n).reduce((total, i) => total + this.value(i, first), 0);
    if (operation === "largest") return Math.max(...range(this.n).map((i) => this.value(i, first)));
    const one = this.value(j, first);
    return operation in OF_ONE ? OF_ONE[operation](one) : OF_TWO[operation].of(one, this.value(j, second));
  }

  holds(j, [sign, left, limit]) {
    return COMPARED[sign](this.value(j, left), limit);
  }

  // With names: what the formula says of any neuron; `letter` where it stands inside a sum over the row.
  symbols(tree = this.tree, least = 0, letter = "") {
    const parts = (part, level = 0) => this.symbols(part, level, letter);
    if (typeof tree === "number") return number(tree);
    if (typeof tree === "string") return letter && !["n", "w"].includes(tree) ? sub(tree, letter) : tree;
    const [operation, first, second, third] = tree;
    if (operation === "where") {
      const [sign, left, limit] = first;
      return held(0, least, `${parts(second)} if ${parts(left)} ${sign} ${number(limit)}, else ${parts(third)}`);
    }
    if (operation === "total") return held(1, least, `Σ_{j} ${this.symbols(first, 2, "j")}`);
    if (operation === "largest") return `max ${first}`;
    if (operation in OF_TWO) {
      const { holds, sign } = OF_TWO[operation];
      return held(holds, least, `${parts(first, holds)}${sign}${parts(second, holds + 1)}`);
    }
    return called(operation, (level) => parts(first, level), least);
  }

  // With the numbers of neuron j, as strings and nodes; of a choice the side that counts, and why.
  numbers(j, tree = this.tree, least = 0) {
    if (typeof tree === "number") return [number(tree)];
    if (typeof tree === "string") return [(least ? factor : number)(this.at(tree, j))];
    const [operation, first, second, third] = tree;
    if (operation === "where") return held(0, least, this.choice(j, first, second, third));
    if (operation === "total") {
      const rows = range(this.n).map((i) => ({ value: this.value(i, first), i }));
      return held(1, least, sum(rows, ({ i }) => this.numbers(i, first, 2).join("")));
    }
    if (operation === "largest") return [factor(this.value(j, tree))];
    if (operation in OF_TWO) {
      const { holds, sign } = OF_TWO[operation];
      return held(holds, least, [...this.numbers(j, first, holds), sign, ...this.numbers(j, second, holds + 1)]);
    }
    return [called(operation, (level) => this.numbers(j, first, level).join(""), least)];
  }

  choice(j, condition, yes, no) {
    const [sign, left, limit] = condition;
    const holds = this.holds(j, condition);
    const why = `${this.symbols(left)} ${holds ? sign : OPPOSITE[sign]} ${number(limit)}`;
    return [...this.numbers(j, holds ? yes : no), `, as ${why}`];
  }
}

// What is shown, in parentheses if it holds together less tightly than it has to.
function held(holds, least, shown) {
  if (holds >= least) return shown;
  return typeof shown === "string" ? `(${shown})` : ["(", ...shown, ")"];
}

function called(name, argument, least) {
  if (name === "negative") return held(1, least, `−${argument(2)}`);
  if (name === "abs") return `|${argument(0)}|`;
  if (name === "exp") return `e^{${argument(0)}}`;
  return `${name}(${argument(0)})`;
}

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
      const name = this.records.features?.[this.neuron];
      return [element("h3", {}, document.createTextNode(`Input ${this.neuron}${name ? `, ${name}` : ""}`)), said];
    }
    const activation = this.records.activations[this.layer];
    return [
      element("h3", {}, `Neuron ${this.neuron} of layer ${this.layer}, ${activation}`),
      element("p", { class: "where" }, [this.records.when(this.frame), `sample ${row}`].filter(Boolean).join(", ")),
      element("h4", {}, "Forwards"),
      this.z(),
      this.a(),
      element("h4", {}, "Backwards"),
      ...this.delta(),
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

  // A line: a formula with names, with numbers, and what comes out.
  line(name, called, tree) {
    const formula = new Formula(tree, this.records.sizes[this.layer + 1], (of, j) => this.number(of, j));
    const shown = `${called} = ${formula.symbols()}`;
    return step(shown, formula.numbers(this.neuron), name, this.unit(name));
  }

  number(name, j) {
    if (name === "n") return this.records.divisor;
    if (name === "w") return this.records.weights[this.sample];
    return name === "y" ? this.records.y[this.sample][j] : this.unit(name, this.layer, j);
  }

  a() {
    return this.line("a", "a", this.records.formulas.layers[this.layer].a);
  }

  delta() {
    const { records, layer } = this;
    const { layers, loss, together } = records.formulas;
    if (layer === records.last && together) return [this.line("delta", "δ", loss)];
    const symbols = `da = Σ_{j} ${sub("δ", "j")}·${sub("W", this.neuron, "j")} of the next layer`;
    const da =
      layer === records.last
        ? this.line("da", "da", loss)
        : step(symbols, sum(this.carriedBack(this.neuron), product), "da", this.unit("da"));
    return [da, this.line("delta", "δ", layers[layer].delta)];
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

  db() {
    const { records, frame, layer, neuron } = this;
    const parts = range(records.x.length).map((s) => ({ value: records.unit("delta", frame, layer, s, neuron) }));
    const symbols = `db = Σ_{s} ${sub("δ", "s")} over ${counted(records.x.length, "sample")}`;
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
