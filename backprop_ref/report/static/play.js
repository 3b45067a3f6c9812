// The page that trains: settings, a session of training, and everything that shows it.

const PRESETS = {
  xor: { hidden: "4.sigmoid", output: "sigmoid", loss: "sum_squared_error", rate: 0.5, batch: 1 },
  encoder: { hidden: "3.sigmoid", output: "softmax", loss: "cross_entropy", rate: 0.5, batch: 1 },
  moons: { hidden: "6.tanh,4.tanh", output: "sigmoid", loss: "binary_cross_entropy", rate: 0.5, batch: 32 },
  circles: { hidden: "6.tanh", output: "sigmoid", loss: "binary_cross_entropy", optimizer: "adam", rate: 0.01, batch: 32 },
  spirals: { hidden: "12.tanh,12.tanh", output: "softmax", loss: "cross_entropy", optimizer: "adam", rate: 0.01, batch: 32 },
  iris: { hidden: "8.relu", output: "softmax", loss: "cross_entropy", init: "he", rate: 0.05, batch: 16 },
  digits: { hidden: "32.relu", output: "softmax", loss: "cross_entropy", init: "he", optimizer: "adam", rate: 0.004, batch: 64 },
  points: { hidden: "6.tanh", output: "sigmoid", loss: "binary_cross_entropy", rate: 0.5, batch: "full" },
};
const USUAL = { ...{ optimizer: "sgd", momentum: 0, nesterov: false, decay: 0, init: "xavier", seed: 1, noise: null }, ...{ bug: "", points: [] } };
const RATES = { sgd: 0.1, adam: 0.01, adamw: 0.01, rmsprop: 0.01, adagrad: 0.1 };
const OPTIMIZER_SETTINGS = { beta1: 0.9, beta2: 0.999, rho: 0.9, epsilon: 1e-8 };
const BATCHES = [1, 2, 4, 8, 16, 32, 64, "full"];
const [MOST_WIDE, MOST_DEEP, MOST_UNDO, MOST_SAMPLES] = [64, 7, 60, 200];
const [MOST_EDITED, MOST_IN_TABLE] = [24, 12];
const [SLOW, PATIENCE] = [250, 12]; // milliseconds from words to words while it trains, and times as long as they take
const NO_DATA = "Draw points of two classes, and it can begin.";

const PARTS = new Map([...document.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
const find = (name) => PARTS.get(name);
const fill = (select, values, chosen) => {
  select.replaceChildren(...values.map(([value, text]) => new Option(text ?? value, value)));
  select.value = chosen;
};
const spelled = (name) => name.replaceAll("_", " ");

async function unpacked(letters) {
  const bytes = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// ---- settings, and the address that holds them

const layersOf = (text) => text.split(",").filter(Boolean).map((layer) => [Number(layer.split(".")[0]), layer.slice(layer.indexOf(".") + 1)]);

// Settings from the words of an address, over those that suit the data set; what it cannot be is left out.
function settingsOf(words, sets) {
  const data = Object.hasOwn(PRESETS, words.get("data") ?? "") ? words.get("data") : "xor";
  const settings = { data, ...USUAL, ...PRESETS[data] };
  const numbers = { rate: 1e6, momentum: 0.999, decay: 1e3, seed: 2 ** 53 - 1, noise: 5 };
  for (const [name, most] of Object.entries(numbers)) {
    const value = Number(words.get(name) ?? "none");
    if (value >= 0 && value <= most) settings[name] = name === "seed" ? Math.floor(value) : value;
  }
  const chosen = { output: ACTIVATIONS, loss: LOSSES, init: SCHEMES, optimizer: RATES, bug: BUGS };
  for (const [name, table] of Object.entries(chosen)) if (Object.hasOwn(table, words.get(name) ?? "")) settings[name] = words.get(name);
  if (words.has("optimizer") && !words.has("rate")) settings.rate = RATES[settings.optimizer];
  settings.nesterov = words.get("nesterov") === "true" && settings.momentum > 0;
  const batch = words.get("batch");
  if (batch) settings.batch = batch === "full" ? "full" : Math.max(1, Math.floor(Number(batch)) || 1);
  const hidden = words.get("hidden");
  const good = ([n, name]) => n >= 1 && n <= MOST_WIDE && Number.isInteger(n) && Object.hasOwn(ACTIVATIONS, name);
  if (hidden !== null && layersOf(hidden).length < MOST_DEEP && layersOf(hidden).every(good)) settings.hidden = hidden;
  const points = (words.get("points") ?? "").split("_").filter(Boolean).map((point) => point.split(",").map(Number));
  settings.points = points.filter((point) => point.length === 3 && point.every(Number.isFinite));
  if (!LOSSES[settings.loss].outputs.includes(settings.output)) settings.loss = lossesFor(settings.output)[0];
  if (!(sets[data]?.noise > 0)) settings.noise = null;
  return settings;
}

const lossesFor = (output) => Object.keys(LOSSES).filter((name) => LOSSES[name].outputs.includes(output));

function wordsOf(settings) {
  const words = new URLSearchParams();
  const usual = { ...USUAL, ...PRESETS[settings.data] };
  for (const [name, value] of Object.entries(settings)) {
    if (name === "points") {
      if (value.length) words.set(name, value.map((point) => point.join(",")).join("_"));
    } else if (name === "data" || value !== usual[name]) if (value !== null) words.set(name, value);
  }
  return words;
}

const readable = (words) => words.toString().replaceAll("%2C", ",");

// ---- data

// x and y of a data set as the command line has them for these settings.
function dataOf(settings, sets) {
  if (settings.data === "points") return drawnData(settings);
  const set = sets[settings.data];
  const x = settings.noise === null || settings.noise === set.noise ? set.x : noisy(set, settings.noise);
  return { ...set, name: settings.data, x: x.map((row) => Float64Array.from(row)), y: targets(set.labels, set.classes, settings) };
}

function targets(labels, classes, { output, loss }) {
  const oneColumn = output === "sigmoid" && loss !== "cross_entropy" && classes.length === 2;
  return labels.map((label) => (oneColumn ? Float64Array.of(label) : Float64Array.from(classes, (_, j) => Number(j === label))));
}

// Clean points with another noise, drawn and then standardised as Python does it.
function noisy({ clean, rows }, noise) {
  const stream = new Stream(1, "data");
  stream.permutation(clean.length);
  for (let i = 0; i < clean.length; i += 1) stream.uniform();
  const normal = stream.normal(2 * clean.length);
  const raw = clean.map((row, i) => row.map((value, k) => value + noise * normal[2 * i + k]));
  const columns = [0, 1].map((k) => {
    const column = rows.map((row) => raw[row][k]);
    const sum = (values) => values.reduce((total, value) => total + value, 0);
    const shift = sum(column) / column.length;
    const scale = Math.sqrt(sum(column.map((value) => (value - shift) * (value - shift))) / column.length);
    return column.map((value) => (value - shift) / scale);
  });
  return rows.map((_, i) => [columns[0][i], columns[1][i]]);
}

function drawnData(settings) {
  const classes = [...new Set(settings.points.map(([, , label]) => label))].sort((one, other) => one - other);
  const labels = settings.points.map(([, , label]) => classes.indexOf(label));
  const names = classes.length > 1 ? classes.map(String) : ["0", "1"];
  const x = settings.points.map(([one, two]) => Float64Array.of(one, two));
  return { name: "points", x, labels, classes: names, features: ["x0", "x1"], y: targets(labels, names, settings) };
}

// ---- a session: one training from its initial weights on, and with a bug its twin

class Session {
  constructor(settings, data, run) {
    Object.assign(this, { settings, data, run, edited: "", undone: [] });
    const hidden = layersOf(settings.hidden);
    const n_out = data.y[0]?.length ?? 1;
    const sizes = run?.network.sizes ?? [data.features.length, ...hidden.map(([n]) => n), n_out];
    const activations = run?.network.activations ?? [...hidden.map(([, name]) => name), settings.output];
    this.network = new Network(sizes, activations, run?.network.loss ?? settings.loss);
    this.params = initialise(this.network, settings.seed, settings.init);
    this.training = this.trainingOf(this.params, null);
    if (run) this.training.state = run.state;
    this.bug = bugsFor(this.network).includes(settings.bug) ? settings.bug : "";
    this.twin = this.bug ? this.trainingOf(this.params.copy(), BUGS[this.bug]) : null;
  }

  get asked() {
    const { settings, run } = this;
    const { optimizer: name, rate, momentum, nesterov, decay, batch, seed } = settings;
    const optimizer = run?.optimizer ?? { name, learning_rate: rate, momentum, nesterov, weight_decay: decay, ...OPTIMIZER_SETTINGS };
    return { optimizer, batchSize: batch === "full" ? null : batch, seed, shuffle: run?.shuffle ?? true };
  }

  trainingOf(params, bug) {
    return new Training(this.network, params, this.data.x, this.data.y, { ...this.asked, bug });
  }

  get ready() {
    return this.data.x.length > 0 && this.data.classes?.length !== 1 && new Set(this.data.labels ?? [0, 1]).size > 1;
  }

  remember(cells = []) {
    this.undone.push({ state: this.training.state, twin: this.twin?.state, edited: this.edited, cells });
    if (this.undone.length > MOST_UNDO) this.undone.shift();
  }

  undo() {
    const { state, twin, edited, cells } = this.undone.pop();
    this.training.state = state;
    if (this.twin) this.twin.state = twin;
    this.edited = edited;
    for (const [row, k, value] of cells) row[k] = value;
  }

  // One number by another, in weights, inputs or targets.
  edit(row, k, value, what) {
    this.remember([[row, k, row[k]]]);
    row[k] = value;
    this.edited = what;
  }
}

function bugsFor(network) {
  const output = network.rules.at(-1).name;
  return Object.keys(BUGS).filter((name) => {
    if (name === "softmax-extra-derivative") return network.together && output === "softmax";
    if (name === "sigmoid-extra-derivative") return network.together && output === "sigmoid";
    return network.layers > 1 || name === "missing-mean" || name.startsWith("bias");
  });
}

// The next batch with its passes, as the records that formulas are made of; and the parameters after its step.
class Live {
  constructor({ network, params, training, data, bug }, trees) {
    this.rows = [...training.next()];
    Object.assign(this, { network, params, sizes: network.sizes, activations: network.activations, samples: this.rows });
    this.last = network.layers - 1;
    this.pass = this.passed(data, null);
    [this.x, this.y] = [this.pass.x, this.pass.y];
    this.epochs = [training.epoch];
    this.divisor = network.divisor(this.rows.length);
    const loss = trees.losses[`${network.loss}/${network.activations.at(-1)}`];
    const layers = network.activations.map((name) => trees.activations[name]);
    this.formulas = { layers, loss: loss.error, together: loss.together };
    this.wrong = bug ? this.passed(data, BUGS[bug]).grads : null;
    this.after = params.copy();
    const optimizer = new Optimizer(training.optimizer.settings, params);
    optimizer.slots = training.optimizer.slots.map((slot) => slot.slice());
    optimizer.powers = training.optimizer.powers;
    optimizer.step(this.after, new Parameters(network.sizes, this.pass.grads.flat.slice()), this.rows.length);
  }

  passed({ x, y }, bug) {
    const pass = new Pass(this.network, this.rows.length);
    this.rows.forEach((row, s) => {
      pass.x[s].set(x[row]);
      pass.y[s].set(y[row]);
    });
    pass.forward(this.params, this.rows.length);
    pass.backward(this.params, this.rows.length, { bug });
    return pass;
  }

  when() {
    return `epoch ${this.epochs[0]}`;
  }

  unit(name, frame, layer, sample, neuron) {
    return layer < 0 ? this.x[sample][neuron] : this.pass[name][layer][sample][neuron];
  }

  bias(name, frame, layer, neuron) {
    return (name === "b" ? this.params : this.pass.grads).b[layer][neuron];
  }

  weight(name, frame, layer, k, j) {
    return (name === "W" ? this.params : this.pass.grads).W[layer][k * this.sizes[layer + 1] + j];
  }

  change(layer, k, j) {
    const i = k * this.sizes[layer + 1] + j;
    return this.after.W[layer][i] - this.params.W[layer][i];
  }
}

// The formulas of a neuron, and after them the step.
class Stepped extends Worked {
  nodes() {
    const nodes = super.nodes();
    if (this.layer < 0) return nodes;
    const { records, layer, neuron } = this;
    const [old, now] = [records.params, records.after].map((params) => params.b[layer][neuron]);
    const line = (symbols, before, after, name) =>
      element("p", { class: "step" }, element("span", {}, symbols), element("span", {}, `${number(before)} → `, result(name, after)));
    const k = range(records.sizes[layer]).reduce((best, i) => (Math.abs(records.weight("dW", 0, layer, i, neuron)) > Math.abs(records.weight("dW", 0, layer, best, neuron)) ? i : best), 0);
    const i = k * records.sizes[layer + 1] + neuron;
    const first = line(`${sub("W", k, neuron)} before and after the step`, records.params.W[layer][i], records.after.W[layer][i], "W after");
    return [...nodes, element("h4", {}, "The step"), first, line(`${sub("b", neuron)} before and after the step`, old, now, "b after")];
  }
}

// ---- the worker: it trains as fast as it can, and says where it is about sixty times a second

function workerMain() {
  const channel = new MessageChannel();
  let [training, twin, until, running] = [null, null, Infinity, false];
  const made = ({ network, x, y, asked, state, bug }) => {
    const built = new Network(network.sizes, network.activations, network.loss);
    const params = new Parameters(network.sizes, new Float64Array(built.count));
    const found = new Training(built, params, x, y, { ...asked, bug: bug ? BUGS[bug] : null });
    found.state = state;
    return found;
  };
  const epochOf = (one) => {
    let loss = null;
    while (loss === null) loss = one.step();
    return loss;
  };
  const run = () => {
    const started = performance.now();
    const before = training.epoch;
    let [loss, other] = [null, null];
    while ((running || training.order !== null) && training.epoch < until) {
      loss = epochOf(training);
      if (twin) other = epochOf(twin);
      if (!Number.isFinite(loss)) running = false;
      if (performance.now() - started > 14) break;
    }
    const over = !running || training.epoch >= until;
    const work = { epochs: training.epoch - before, ms: performance.now() - started };
    postMessage({ state: training.state, twin: twin?.state, loss, other, over, work });
    if (!over) channel.port2.postMessage(0);
  };
  channel.port1.onmessage = run;
  onmessage = ({ data }) => {
    if (data.stop) {
      running = false;
      return;
    }
    training = made(data);
    twin = data.twin ? made({ ...data, ...data.twin }) : null;
    [until, running] = [data.until ?? Infinity, true];
    run();
  };
}

// ---- the page

const PHASES = {
  forward: { unit: "activation a (of an input: x)", edge: "weight W", called: "a" },
  loss: { unit: "of outputs, a − y", edge: "nothing", called: "a − y" },
  delta: { unit: "delta = dLoss/dz of the sample", edge: "what goes back, δ·W", called: "delta" },
  gradient: { unit: "db of the batch", edge: "dW of the batch", called: "db" },
  update: { unit: "what the step adds to b", edge: "what it adds to W", called: "change of b" },
};

class Play {
  constructor(content) {
    Object.assign(this, { content, phase: "forward", active: null, sample: 0, curve: new Curve(find("curve")) });
    this.diagram = new Diagram(find("stage"), find("edges"), find("units"), () => this.show());
    this.plane = new Plane(find("plane"));
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
    const { run } = content;
    const names = [...(run ? [["run", `${run.name}, ${run.folder}`]] : []), ...Object.keys(content.sets).map((name) => [name]), ["points", "own points"]];
    fill(find("data"), names, "xor");
    fill(find("class"), [["0", "circle (0)"], ["1", "square (1)"], ["2", "triangle (2)"]], "0");
    fill(find("init"), Object.keys(SCHEMES).map((name) => [name, spelled(name)]), "xavier");
    fill(find("optimizer"), Object.keys(RATES).map((name) => [name]), "sgd");
    fill(find("output"), Object.keys(ACTIVATIONS).map((name) => [name, spelled(name)]), "sigmoid");
    this.connect();
    this.fromAddress();
  }

  get running() {
    return Boolean(this.worker || this.timer);
  }

  connect() {
    const on = (name, event, act) => find(name).addEventListener(event, act);
    const settled = { output: String, loss: String, init: String, optimizer: String, rate: Number, momentum: Number, decay: Number, seed: Number, noise: Number, bug: String };
    on("train", "click", () => (this.running ? this.pause() : this.train()));
    on("step", "click", () => this.by(() => this.stepped()));
    on("epoch", "click", () => this.by(() => this.epoch()));
    on("undo", "click", () => this.undo());
    on("reset", "click", () => this.open(this.settings));
    on("walk", "click", () => this.walk());
    on("sample", "change", () => ((this.sample = Number(find("sample").value)), this.show()));
    on("data", "change", () => this.choose(find("data").value));
    for (const [name, read] of Object.entries(settled)) on(name, "change", () => this.set(name, read(find(name).value), find(name)));
    on("batch", "change", () => this.set("batch", find("batch").value === "full" ? "full" : Number(find("batch").value)));
    on("nesterov", "change", () => this.set("nesterov", find("nesterov").checked));
    on("deeper", "click", () => this.setLayers([...layersOf(this.settings.hidden), layersOf(this.settings.hidden).at(-1) ?? [4, "tanh"]]));
    on("shallower", "click", () => this.setLayers(layersOf(this.settings.hidden).slice(0, -1)));
    on("plane", "click", (event) => this.drawn(event));
    on("clear", "click", () => this.set("points", []));
    on("save", "click", () => this.savePoints());
    on("copy", "click", () => this.copy(find("command").textContent, "The command is copied."));
    on("link", "click", () => this.copy(window.location.href, "The link is copied: it holds the settings, and the epoch."));
    document.querySelectorAll("[data-phase]").forEach((button) => (button.onclick = () => this.look(button.dataset.phase)));
    on("open-tour", "click", () => this.tour(0));
    on("tour-back", "click", () => this.tour(this.tourStep - 1));
    on("tour-next", "click", () => this.tour(this.tourStep + 1));
    on("tour-close", "click", () => this.tour(null));
    window.addEventListener("hashchange", () => this.fromAddress());
    let width = 0;
    new ResizeObserver(([{ contentRect }]) => {
      if (this.session && contentRect.width !== width) this.show();
      ({ width } = contentRect);
    }).observe(find("plane-box").parentElement);
  }

  // ---- settings

  fromAddress() {
    const words = new URLSearchParams(window.location.hash.slice(1));
    const hidden = new Set((words.get("hide") ?? "").split(","));
    document.querySelectorAll("[data-hide]").forEach((part) => part.classList.toggle("left-out", hidden.has(part.dataset.hide)));
    find("open-tour").hidden = hidden.has("tour");
    find("hide-words").hidden = words.has("hide");
    this.kept = words.get("hide");
    const { run, start } = this.content;
    const step = Number(words.get("tour") ?? "none");
    if (TOUR[step - 1] && !words.has("data")) for (const [name, value] of new URLSearchParams(TOUR[step - 1].state)) words.set(name, value);
    const asked = words.get("data");
    if (run && (asked === "run" || asked === null)) this.choose("run");
    else {
      if (asked === null && start) words.set("data", start);
      const until = Math.floor(Number(words.get("epoch") ?? 0));
      this.open(settingsOf(words, this.content.sets));
      if (until > 0 && until < 1e9) this.train(until);
    }
    if (TOUR[step - 1]) this.showTour(step - 1);
  }

  choose(data) {
    if (data !== "run") return this.open({ data, ...USUAL, ...PRESETS[data], seed: this.settings?.seed ?? 1 });
    const { run } = this.content;
    const { activations, sizes, loss } = run.network;
    const hidden = activations.slice(0, -1).map((name, l) => `${sizes[l + 1]}.${name}`).join(",");
    const { name: optimizer, learning_rate: rate, momentum, nesterov, weight_decay: decay } = run.optimizer;
    const { seed, init } = run;
    const batch = run.batch_size ?? "full";
    return this.open({ ...USUAL, data, hidden, output: activations.at(-1), loss, optimizer, rate, momentum, nesterov, decay, seed, init, batch });
  }

  set(name, value, field = null) {
    if (field?.validity && !field.validity.valid) return field.reportValidity();
    if (typeof value === "number" && !Number.isFinite(value)) return this.controls();
    const settings = { ...this.settings, [name]: value };
    if (name === "output" && !LOSSES[settings.loss]?.outputs.includes(value)) [settings.loss] = lossesFor(value);
    if (name === "optimizer") Object.assign(settings, { rate: RATES[value], momentum: 0, nesterov: false });
    if (!settings.momentum) settings.nesterov = false;
    return this.open(settings);
  }

  setLayers(layers) {
    this.set("hidden", layers.map((layer) => layer.join(".")).join(","));
  }

  // A new session with these settings, at epoch 0.
  open(settings) {
    this.pause(false);
    this.stopWalk();
    this.settings = settings;
    const run = settings.data === "run" ? this.content.run : null;
    const rows = (values) => values.map((row) => Float64Array.from(row));
    const data = run ? { ...run, x: rows(run.x), y: rows(run.y) } : dataOf(settings, this.content.sets);
    this.session = new Session(settings, data, run);
    this.curve.clear();
    this.said = "";
    this.diagram.open(this.session.network, data.features);
    this.bounds = settings.data === "points" ? [[-1, 1], [-1, 1]] : boundsOf(data.x);
    this.sample = null;
    this.controls();
    if (this.session.ready && !run) {
      const { loss } = evaluate(this.session.network, this.session.params, data.x, data.y);
      this.curve.add(0, loss, this.session.twin ? loss : undefined);
    }
    this.show();
  }

  controls() {
    const { settings, session } = this;
    const fixed = settings.data === "run";
    for (const name of ["output", "init", "optimizer", "rate", "momentum", "decay", "seed", "data"]) find(name).value = settings[name];
    find("nesterov").checked = settings.nesterov;
    const losses = fixed ? [settings.loss] : lossesFor(settings.output);
    fill(find("loss"), losses.map((name) => [name, spelled(name)]), settings.loss);
    const batches = [...new Set([...BATCHES, settings.batch])];
    fill(find("batch"), batches.map((each) => [each, each === "full" ? "all rows" : `${each} row${each === 1 ? "" : "s"}`]), settings.batch);
    const ofSgd = settings.optimizer === "sgd";
    for (const name of ["momentum-label", "nesterov-label"]) find(name).hidden = !ofSgd;
    find("nesterov").disabled = !settings.momentum;
    const { noise } = this.content.sets[settings.data] ?? {};
    find("noise-label").hidden = noise === undefined;
    find("noise").value = settings.noise ?? noise ?? 0;
    find("drawing").hidden = settings.data !== "points";
    find("plane").classList.toggle("draws", settings.data === "points");
    const layers = layersOf(settings.hidden);
    find("layers").replaceChildren(...layers.map((layer, l) => this.layerControl(layers, layer, l)));
    find("shallower").disabled = fixed || layers.length === 0;
    find("deeper").disabled = fixed || layers.length >= MOST_DEEP - 1;
    document.querySelectorAll(".settings :is(select, input)").forEach((field) => {
      if (!["data", "class", "nesterov"].includes(field.dataset.part)) field.disabled = fixed;
    });
    const bugs = bugsFor(session.network).map((name) => [name, `${name}: ${this.content.bugs[name].text}`]);
    fill(find("bug"), [["", "no bug"], ...bugs], session.bug);
    find("bug").disabled = fixed;
  }

  layerControl(layers, [n, name], l) {
    const box = element("div", { class: "layer" });
    const width = element("input", { type: "number", min: 1, max: MOST_WIDE, step: 1, value: n, "aria-label": `Neurons of layer ${l}` });
    const activation = element("select", { "aria-label": `Activation of layer ${l}` });
    fill(activation, [...new Set([...Object.keys(ACTIVATIONS), name])].map((each) => [each, spelled(each)]), name);
    const change = () => {
      if (width.validity.valid && width.value) this.setLayers(layers.map((layer, i) => (i === l ? [Number(width.value), activation.value] : layer)));
      else width.reportValidity();
    };
    [width.onchange, activation.onchange] = [change, change];
    box.append(width, activation);
    return box;
  }

  // ---- training

  by(act) {
    if (!this.session.ready) return;
    this.pause(false);
    this.stopWalk();
    this.session.remember();
    act();
    this.show();
  }

  stepped() {
    const { training, twin } = this.session;
    const loss = training.step();
    const other = twin?.step();
    if (loss !== null) this.curve.add(training.epoch, loss, other ?? undefined);
    return loss;
  }

  epoch() {
    let loss = null;
    while (loss === null) loss = this.stepped();
    if (!Number.isFinite(loss)) this.diverged();
  }

  train(until) {
    if (!this.session.ready) return;
    this.stopWalk();
    this.session.remember();
    find("train").textContent = "❚❚ Pause";
    const speed = until ? "full" : find("speed").value;
    if (speed === "full") this.startWorker(until);
    else if (speed === "step") this.timer = setInterval(() => (this.stepped(), this.show()), SLOW);
    else {
      const frame = () => {
        this.epoch();
        this.moved();
        if (this.timer) this.timer = requestAnimationFrame(frame);
      };
      this.timer = requestAnimationFrame(frame);
    }
    this.buttons();
  }

  startWorker(until) {
    const { session } = this;
    const source = `${document.getElementById("engine").textContent}\n(${workerMain.toString()})();`;
    this.address ??= URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(this.address);
    this.work = { epochs: 0, ms: 0 };
    const { x, y } = session.data;
    const { sizes, activations, loss } = session.network;
    this.worker.onmessage = ({ data }) => this.arrived(data);
    this.worker.onerror = (event) => this.failed(event.message);
    const twin = session.twin && { state: session.twin.state, bug: session.bug };
    this.worker.postMessage({ network: { sizes, activations, loss }, x, y, asked: session.asked, state: session.training.state, twin, until });
  }

  arrived({ state, twin, loss, other, over, work }) {
    const { session } = this;
    session.training.state = state;
    if (twin) session.twin.state = twin;
    if (loss !== null) this.curve.add(state.epoch, loss, other ?? undefined);
    this.work = { epochs: this.work.epochs + work.epochs, ms: this.work.ms + work.ms };
    if (loss !== null && !Number.isFinite(loss)) this.diverged();
    if (over) this.ended();
    else this.frame ??= requestAnimationFrame(() => ((this.frame = null), this.moved()));
  }

  // Training is over at the end of an epoch, which the worker finishes.
  pause(finish = true) {
    if (this.timer) {
      clearInterval(this.timer);
      cancelAnimationFrame(this.timer);
      this.timer = null;
    }
    if (this.worker && finish) this.worker.postMessage({ stop: true });
    else this.ended(finish);
  }

  ended(show = true) {
    this.worker?.terminate();
    this.worker = null;
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = null;
    find("train").textContent = "▶ Train";
    if (show && this.session) this.show();
  }

  diverged() {
    this.pause(false);
    this.said = "Training diverged: the loss is no longer finite. Undo, and try a smaller learning rate.";
    this.show();
  }

  undo() {
    this.pause(false);
    this.stopWalk();
    if (!this.session.undone.length) return;
    this.session.undo();
    this.said = "";
    this.curve.back(this.session.training.epoch);
    this.show();
  }

  // ---- what is seen

  look(phase, active = null) {
    this.stopWalk();
    Object.assign(this, { phase, active });
    this.show();
  }

  // Layer by layer through the step that comes next, and then the step; without motion, a part at each press.
  walk() {
    if (!this.session.ready) return;
    if (this.steps && !this.still.matches) return this.look("forward");
    if (!this.steps) {
      this.pause(false);
      const layers = range(this.session.network.layers);
      const back = [...layers].reverse();
      const each = (phase, order) => order.map((l) => ({ phase, active: phase === "delta" ? [l, l - 1] : [l] }));
      const first = { phase: "forward", active: [-1] };
      this.steps = [first, ...each("forward", layers), { phase: "loss", active: [layers.at(-1)] }, ...each("delta", back), ...each("gradient", back), { phase: "update", active: null }];
    }
    const next = this.steps.shift();
    if (next) {
      Object.assign(this, next);
      this.show();
      find("walk").textContent = this.still.matches ? "Next part" : "Stop the walk";
      if (!this.still.matches) this.walking = setTimeout(() => ((this.walking = null), this.walkOn()), 1100);
      return undefined;
    }
    this.stopWalk();
    return this.by(() => (this.stepped(), Object.assign(this, { phase: "forward", active: null })));
  }

  walkOn() {
    const { steps } = this;
    this.steps = null;
    if (!steps) return;
    this.steps = steps;
    const still = this.still;
    this.still = { matches: true };
    this.walk();
    this.still = still;
    if (this.steps) {
      find("walk").textContent = "Stop the walk";
      this.walking = setTimeout(() => ((this.walking = null), this.walkOn()), 1100);
    }
  }

  stopWalk() {
    clearTimeout(this.walking);
    [this.walking, this.steps, this.active] = [null, null, null];
    find("walk").textContent = "Walk through a step";
  }

  caption() {
    const { network } = this.session;
    const layer = this.active?.[0];
    const name = layer >= 0 ? spelled(network.activations[layer]) : "";
    if (this.phase === "forward" && layer === undefined) return "Forward: each neuron weighs what comes in, adds its bias, and is activated.";
    if (this.phase === "forward") return layer < 0 ? "Forward: the inputs of the sample." : `Forward, layer ${layer}: z = b + a·W of the layer before, then a = ${name}(z).`;
    if (this.phase === "loss") return `Loss: ${spelled(network.loss)} of what came out, a, and what was wanted, y.`;
    if (this.phase === "delta") {
      if (layer === undefined || layer === network.layers - 1) return "Delta: how the loss changes with z; the output's comes first, from the loss.";
      return `Delta, layer ${layer}: what comes back along the weights, times the slope of ${name}.`;
    }
    if (this.phase === "gradient") return `dW${layer === undefined ? "" : `, layer ${layer}`}: what came in times delta, summed over the batch.`;
    return `Update: ${this.session.asked.optimizer.name} makes a step of these gradients.`;
  }

  shown(maps) {
    const { live, phase, sample, session } = this;
    const { params } = session;
    const n = (layer) => session.network.sizes[layer + 1];
    const half = { sigmoid: 0.5, hard_sigmoid: 0.5, softmax: 1 / session.network.sizes.at(-1) };
    const middle = (l) => (l < 0 ? 0 : (half[session.network.rules[l].name] ?? 0));
    if (!live) return { unit: () => NaN, edge: (l, k, j) => params.W[l][k * n(l) + j], active: null, called: "a", maps, middle };
    const { after, pass } = live;
    const outputs = session.network.layers - 1;
    const units = {
      forward: (l, j) => live.unit("a", 0, l, sample, j),
      loss: (l, j) => (l === outputs ? pass.a[l][sample][j] - pass.y[sample][j] : NaN),
      delta: (l, j) => (l < 0 ? NaN : pass.delta[l][sample][j]),
      gradient: (l, j) => (l < 0 ? NaN : pass.grads.b[l][j]),
      update: (l, j) => (l < 0 ? NaN : after.b[l][j] - params.b[l][j]),
    };
    const edges = {
      forward: (l, k, j) => params.W[l][k * n(l) + j],
      loss: () => 0,
      delta: (l, k, j) => params.W[l][k * n(l) + j] * pass.delta[l][sample][j],
      gradient: (l, k, j) => pass.grads.W[l][k * n(l) + j],
      update: (l, k, j) => live.change(l, k, j),
    };
    return { unit: units[phase], edge: edges[phase], active: this.active, called: PHASES[phase].called, maps: phase === "forward" ? maps : null, middle };
  }

  // Everything.
  show() {
    this.draw();
    this.words();
  }

  // A frame of training that runs: the network and the plane; all that is written, some times a second.
  moved() {
    const now = performance.now();
    const due = now - (this.wordsAt ?? 0) >= SLOW + PATIENCE * (this.wordsFor ?? 0);
    this.draw(due);
    if (!due) return;
    this.words();
    this.wordsFor = performance.now() - now;
  }

  // The canvases; with `numbers` what stands in the page as well, and what else no frame needs.
  draw(numbers = true) {
    const { session } = this;
    const { network, params, data } = session;
    const flat = network.sizes[0] === 2;
    const cells = this.running ? MOVING : CELLS;
    const maps = flat && this.phase === "forward" ? mapsOf(network, params, this.bounds, cells.map) : null;
    if (numbers) {
      colours(true);
      for (const name of ["train", "step", "epoch", "walk"]) find(name).disabled = !session.ready;
      [find("plane-box").hidden, find("table-box").hidden] = [!flat, flat];
    }
    if (numbers || !maps) this.live = session.ready ? new Live(session, this.content.trees) : null;
    if (this.live) {
      const some = this.live.x.findIndex((row) => row.some((value) => value !== 0));
      if (this.sample === null || this.sample >= this.live.rows.length) this.sample = Math.max(0, some);
    }
    this.diagram.draw(this.shown(maps), numbers);
    if (flat) {
      const chosen = this.live?.rows[this.sample];
      const { x, y, labels } = data;
      this.plane.draw({ network, params, bounds: this.bounds, x, y, labels, chosen, cells: cells.plane }, numbers);
    }
    if (!numbers) return;
    this.curve.draw();
    this.now();
  }

  now() {
    const { session } = this;
    const { training, data, network, params } = session;
    if (!session.ready) {
      find("now").textContent = NO_DATA;
      return;
    }
    const { loss, accuracy } = data.x.length * network.count < 3e5 || !this.running ? evaluate(network, params, data.x, data.y) : this.scores;
    this.scores = { loss, accuracy };
    const within = training.order !== null && training.place ? ` and ${training.place} of ${data.x.length} rows` : "";
    const right = data.labels ? ` · ${(100 * accuracy).toFixed(1)} % right` : "";
    const speed = this.worker && this.work.ms > 200 ? ` · ${Math.round((this.work.epochs / this.work.ms) * 1000).toLocaleString("en")} epochs/s` : "";
    find("now").textContent = `epoch ${training.epoch.toLocaleString("en")}${within} · loss ${number(loss)}${right}${speed}`;
    if (this.said) find("now").textContent += ` · ${this.said}`;
  }

  words() {
    this.wordsAt = performance.now();
    const { session, live } = this;
    this.buttons();
    document.querySelectorAll("[data-phase]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.phase === this.phase));
    find("caption").textContent = this.caption();
    const { unit, edge } = PHASES[this.phase];
    const maps = this.diagram.maps && this.phase === "forward" ? " Maps: what each neuron gives over the plane; sigmoids about ½." : "";
    find("legend").textContent = `Neurons: ${unit}. Edges: ${edge}. Strength by the largest of the layer.${maps}`;
    const { epoch } = session.training;
    const { name } = session.data;
    const sizes = session.network.sizes.join("-");
    document.title = `${name}, ${sizes}, epoch ${epoch.toLocaleString("en")} · backprop-ref play`;
    find("title").textContent = `${name}, ${session.data.x.length.toLocaleString("en")} rows; ${sizes}, ${session.network.activations.map(spelled).join(", ")}; ${spelled(session.network.loss)}${session.run?.besides ?? ""}.`;
    this.writeAddress();
    this.sayHash();
    if (!live) {
      for (const part of ["edit", "by-layer", "bug-words", "table"]) find(part).replaceChildren();
      find("formulas").replaceChildren(element("p", { class: "quiet" }, "The formulas of the chosen neuron stand here, once there are points of two classes."));
      fill(find("sample"), [["", "none"]], "");
      this.offered = "";
      find("flow").textContent = "Here too, once there are points of two classes.";
      find("classes").textContent = "Click into the plane: first some points of one class, then of another.";
      return;
    }
    const samples = live.rows.slice(0, MOST_SAMPLES).map((row, s) => [s, `row ${row}: ${this.target(s)}`]);
    const offered = samples.join();
    if (offered !== this.offered) fill(find("sample"), samples, this.sample);
    this.offered = offered;
    find("sample").value = this.sample;
    const { layer, neuron } = this.diagram.chosen;
    find("formulas").replaceChildren(...new Stepped(live, 0, layer, neuron, this.sample).nodes());
    this.fields(layer, neuron);
    this.byLayer();
    this.bugWords();
    this.outputs();
    const classes = session.data.classes ?? [];
    const shapes = ["circles", "squares", "triangles"];
    find("classes").textContent = classes.length ? `${classes.slice(0, 3).map((each, i) => `${shapes[i]}: class ${each}`).join("; ")}. At the line it changes from one class to another. The largest point is the sample.` : "";
    const twin = this.curve.twin.at(-1);
    const words = this.curve.points.length > 1 ? `Mean over the batches of an epoch, each before its step; now ${number(this.curve.points.at(-1)[1])}.` : "";
    find("curve-words").textContent = twin ? `${words} Dashed: the twin with the bug, ${number(twin[1])}.` : words;
  }

  buttons() {
    find("undo").disabled = !this.session.undone.length;
  }

  target(s) {
    const { data } = this.session;
    const label = data.labels?.[this.live.rows[s]];
    return label === undefined ? `target ${number(this.live.y[s][0])}` : `class ${data.classes[label]}`;
  }

  // Fields for what may be changed by hand: the chosen neuron's weights, an input, a target.
  fields(layer, neuron) {
    if (find("edit").contains(document.activeElement) && document.activeElement.matches("input")) return;
    const { session, live, sample } = this;
    const { params, data } = session;
    const [x, y] = [data.x[live.rows[sample]], data.y[live.rows[sample]]];
    const n_out = live.sizes[layer + 1];
    const fields = [];
    const add = (called, row, k, what) => {
      const input = element("input", { type: "number", step: "any", "data-edit": called });
      input.value = row[k];
      input.onchange = () => {
        const value = Number(input.value);
        if (input.value === "" || !Number.isFinite(value)) return;
        this.pause(false);
        session.edit(row, k, value, what);
        input.blur();
        this.show();
      };
      fields.push(element("label", {}, element("span", {}, called), input));
    };
    if (layer < 0) add(sub("x", neuron), x, neuron, "an input was changed by hand");
    else {
      for (const k of range(Math.min(MOST_EDITED, live.sizes[layer]))) add(sub("W", k, neuron), params.W[layer], k * n_out + neuron, "a weight was changed by hand");
      add(sub("b", neuron), params.b[layer], neuron, "a weight was changed by hand");
      if (layer === live.last) add(sub("y", neuron), y, neuron, "a target was changed by hand");
    }
    find("edit").replaceChildren(element("h4", {}, "Change it"), element("div", { class: "edits" }, ...fields));
  }

  byLayer() {
    const { live, session } = this;
    const { pass } = live;
    const norm = (values) => Math.sqrt(values.reduce((total, value) => total + value * value, 0));
    const mean = (rows) => rows.reduce((total, row) => total + row.reduce((sum, value) => sum + Math.abs(value), 0), 0) / (rows.length * rows[0].length);
    const sizes = range(session.network.layers).map((l) => ({
      a: mean(pass.a[l]),
      delta: mean(pass.delta[l]),
      dW: norm(pass.grads.W[l]),
    }));
    const tops = Math.max(...sizes.map(({ delta }) => delta)) || 1;
    const decades = 6;
    const rows = sizes.map(({ a, delta, dW }, l) => {
      const meter = element("span", { class: "meter" });
      meter.style.width = `${Math.max(1, 100 * (1 + Math.log10(delta / tops || 1e-99) / decades))}%`;
      const cells = [a, delta, dW].map((value, i) => element("td", { "data-of": ["a", "delta", "dW"][i] }, number(Number(value.toPrecision(3)))));
      return element("tr", {}, element("th", { scope: "row" }, String(l)), ...cells, element("td", { "aria-hidden": "true" }, meter));
    });
    const heads = ["layer", "|a|", "|δ|", "‖dW‖"].map((name) => element("th", { scope: "col" }, name));
    heads.push(element("td", { "aria-hidden": "true" }));
    find("by-layer").replaceChildren(element("table", { class: "bars" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
    const share = sizes[0].delta / sizes.at(-1).delta;
    let said = "Means over the batch.";
    if (sizes.length > 1 && Number.isFinite(share)) {
      if (share < 0.01) said = `Delta of layer 0 is ${number(Number((1 / share).toPrecision(2)))} times smaller than that of the output: the gradient vanishes.`;
      else if (share > 100) said = `Delta of layer 0 is ${number(Number(share.toPrecision(2)))} times larger than that of the output: the gradient explodes.`;
      else said = "Delta keeps its size on the way back.";
      said = `Means over the batch; bars are |δ| by powers of ten. ${said}`;
    }
    find("flow").textContent = said;
  }

  bugWords() {
    const { session, live } = this;
    const box = find("bug-words");
    if (!session.bug) {
      box.replaceChildren(element("p", { class: "quiet" }, "The twin trains with one formula replaced, beside the right network: its loss is the dashed line."));
      return;
    }
    const { text, right, wrong, hint } = this.content.bugs[session.bug];
    const [g, w] = [live.pass.grads.flat, live.wrong.flat];
    const dot = (one, other) => one.reduce((total, value, i) => total + value * other[i], 0);
    const [long, other] = [Math.sqrt(dot(g, g)), Math.sqrt(dot(w, w))];
    const cosine = dot(g, w) / (long * other);
    const { loss } = evaluate(session.network, session.twin.params, session.data.x, session.data.y);
    const same = g.every((value, i) => value === w[i]);
    const compared = same
      ? "Of this network and batch its gradient is the right one: the bug changes nothing here."
      : `At the same weights its gradient has ${number(Number((other / long).toPrecision(3)))} times the length of the right one, and points ${number(Number(((Math.acos(Math.max(-1, Math.min(1, cosine))) * 180) / Math.PI).toPrecision(3)))}° away.`;
    const line = (name, said) => element("p", {}, element("b", {}, `${name}: `), document.createTextNode(said));
    const said = element("div", { class: "said" }, element("p", { class: "quiet" }, "What verify says of it"), line(session.bug, text), line("right", right), line("yours", wrong), line("hint", hint));
    box.replaceChildren(said, element("p", {}, `The twin's loss is ${number(loss)}. ${compared}`));
  }

  // Outputs of the first rows, where there is no plane; of an encoder the code too.
  outputs() {
    const { live, session } = this;
    if (session.network.sizes[0] === 2) return;
    const code = session.network.layers > 1 && live.sizes.at(-2) <= 4 ? live.last - 1 : null;
    const all = this.allOf();
    const names = [...(code === null ? [] : range(live.sizes.at(-2)).map((j) => sub("a", j))), "says", "is"];
    const lines = all.rows.map((row, s) => {
      const hidden = code === null ? [] : [...all.a[code][s]].map((value) => element("td", {}, number(Number(value.toPrecision(2)))));
      const label = session.data.labels?.[row];
      const a = all.a[live.last][s];
      const says = a.length === 1 ? Number(a[0] > session.network.terms.threshold) : largest(a);
      const named = (j) => document.createTextNode(session.data.classes?.[j] ?? number(a[0]));
      return element("tr", {}, element("th", { scope: "row" }, String(row)), ...hidden, element("td", {}, named(says)), element("td", {}, label == null ? number(session.data.y[row][0]) : named(label)));
    });
    const heads = ["row", ...names].map((name) => element("th", { scope: "col" }, name));
    find("table").replaceChildren(element("table", { class: "wide-table" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...lines)));
  }

  // The first rows of the data with what the network gives.
  allOf() {
    const { network, params, data } = this.session;
    const rows = range(Math.min(MOST_IN_TABLE, data.x.length));
    const pass = new Pass(network, rows.length);
    pass.x = rows.map((row) => data.x[row]);
    pass.forward(params, rows.length);
    return { rows, a: pass.a };
  }

  // ---- the same elsewhere

  writeAddress() {
    const { settings, session } = this;
    const words = settings.data === "run" ? new URLSearchParams({ data: "run" }) : wordsOf(settings);
    const { epoch } = session.training;
    if (epoch && !session.edited && settings.data !== "run") words.set("epoch", epoch);
    if (this.kept !== null) words.set("hide", this.kept);
    if (this.tourStep !== undefined && this.tourStep !== null) words.set("tour", this.tourStep + 1);
    const address = `#${readable(words)}`;
    if (address !== window.location.hash && !this.running) window.history.replaceState(null, "", address);
  }

  sayHash() {
    const { session, settings } = this;
    const { training, edited } = session;
    find("sha256").textContent = sha256(session.params.flat);
    const { run } = this.content;
    const ofRun = settings.data === "run";
    let why = "";
    if (edited) why = `There is no command for this: ${edited}. Undo or Reset leads back.`;
    else if (!session.ready) why = NO_DATA;
    else if (training.order !== null && training.place) why = "In the midst of an epoch; commands train whole ones. Press Epoch to end it.";
    else if (ofRun && run.scheduled) why = `The run's learning rate changes by its schedule; here it stays ${number(settings.rate)}, so the run goes on otherwise.`;
    else if (ofRun && !run.reproducible) why = "The run is in fast numerics, so it goes on with other last digits; train it with --numerics reproducible for the same bits.";
    else if (ofRun && training.epoch <= run.state.epoch) why = `These are the weights of ${run.folder} after epoch ${run.state.epoch}.`;
    find("command").textContent = why ? "" : this.command();
    find("command").closest("pre").hidden = find("copy").hidden = Boolean(why);
    const points = settings.data === "points" ? " Save points.csv first." : "";
    find("command-words").textContent = why || `This prints the same sha256, on any machine.${points}`;
  }

  command() {
    const { settings, session, content } = this;
    const { epoch } = session.training;
    if (settings.data === "run") return `backprop-ref train --resume ${content.run.folder} --epochs ${epoch} --json`;
    const layers = layersOf(settings.hidden);
    const of = settings.data === "points" ? "points.csv --target class --task classification --test-size 0 --normalize none" : settings.data;
    const parts = [`backprop-ref train ${of}`];
    const add = (flag, value) => parts.push(`--${flag} ${value}`);
    add("hidden", layers.map(([n]) => n).join(",") || "none");
    if (layers.length) add("activation", layers.map(([, name]) => name).join(","));
    add("output-activation", settings.output);
    add("loss", settings.loss);
    add("init", settings.init);
    add("optimizer", settings.optimizer);
    add("learning-rate", settings.rate);
    if (settings.momentum) add("momentum", settings.momentum);
    if (settings.nesterov) parts.push("--nesterov");
    if (settings.decay || settings.optimizer === "adamw") add("weight-decay", settings.decay);
    if (settings.noise !== null) add("noise", settings.noise);
    add("batch-size", settings.batch);
    add("epochs", epoch);
    add("schedule", "constant");
    add("seed", settings.seed);
    add("data-seed", 1);
    add("numerics", "reproducible");
    return [...parts, "--json"].join(" ");
  }

  async copy(text, said) {
    try {
      await navigator.clipboard.writeText(text);
      find("copied").textContent = said;
    } catch {
      find("copied").textContent = "This browser lets no page copy; mark the text, and copy it by hand.";
    }
  }

  // ---- own points

  drawn(event) {
    if (this.settings.data !== "points") return;
    const box = find("plane").getBoundingClientRect();
    const [x, y] = this.plane.inputs(event.clientX - box.left, event.clientY - box.top).map((value) => Number(value.toFixed(2)) + 0);
    const near = ([one, two]) => Math.hypot(one - x, two - y) < 0.05;
    const { points } = this.settings;
    this.set("points", points.some(near) ? points.filter((point) => !near(point)) : [...points, [x, y, Number(find("class").value)]]);
  }

  savePoints() {
    const lines = ["x0,x1,class", ...this.settings.points.map((point) => point.join(","))];
    const link = element("a", { download: "points.csv" });
    link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  }

  // ---- the tour

  tour(step) {
    if (step === null || step < 0 || step >= TOUR.length) {
      this.tourStep = null;
      find("tour").hidden = true;
      find("open-tour").focus();
      this.writeAddress();
      return;
    }
    this.open(settingsOf(new URLSearchParams(TOUR[step].state), this.content.sets));
    this.showTour(step);
    this.diagram.pick(this.diagram.units.findLast((unit) => unit.layer === Math.max(0, this.session.network.layers - 1)).element, false);
    find("tour").querySelector("h2").focus();
  }

  showTour(step) {
    this.tourStep = step;
    const { title, text, exercise } = TOUR[step];
    find("tour").hidden = false;
    find("tour").querySelector("h2").textContent = `${step + 1} of ${TOUR.length}: ${title}`;
    find("tour-text").textContent = text;
    find("tour-exercise").textContent = exercise;
    find("tour-back").disabled = step === 0;
    find("tour-next").disabled = step === TOUR.length - 1;
    this.writeAddress();
  }

  failed(message) {
    const place = document.getElementById("failure");
    place.hidden = false;
    place.textContent = `Training stopped: ${message}`;
    this.pause(false);
  }
}

async function main() {
  const content = await unpacked(document.getElementById("page-content").textContent);
  const play = new Play(content);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  document.getElementById("theme").onclick = () => {
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    play.show();
  };
  dark.addEventListener("change", () => play.show());
  let theme;
  window.addEventListener("beforeprint", () => {
    ({ theme } = root.dataset);
    root.dataset.theme = "light";
    play.show();
  });
  window.addEventListener("afterprint", () => {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    play.show();
  });
  window.backpropRef = { play };
  root.dataset.ready = "yes";
}

main().catch((error) => {
  const place = document.getElementById("failure");
  place.hidden = false;
  place.textContent = `This page could not be drawn: ${error.message}. A browser of 2023 or newer is needed.`;
  console.error(error);
});
