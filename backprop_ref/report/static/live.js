// The explorer on a network that is being trained: the kernel computes, this asks for steps and shows every number.

const [MOST_KEPT, MOST_BYTES] = [2000, 5e7]; // of the states that the slider goes back to
const FASTEST = 60; // steps a second

// States as they come: each has the rows of its own batch, and so its own shapes.
class LiveRecords extends Records {
  constructor(about) {
    super({ ...about, total: Infinity, samples: [], epochs: [], x: [], y: [], fields: [] }, new ArrayBuffer(0));
    this.layout = about.fields;
    this.states = [];
  }

  get frames() {
    return this.states?.length ?? 0;
  }

  set frames(_) {}

  add(state) {
    const { buffer, byteOffset, byteLength } = state.values;
    const values = new Float64Array(buffer.slice(byteOffset, byteOffset + byteLength));
    const places = {};
    let start = 0;
    for (const { name, rows, width } of this.layout) {
      places[name] = { start, width };
      start += (rows ?? state.samples.length) * width;
    }
    this.states.push({ ...state, values, places });
    while (this.frames > MOST_KEPT || this.frames * values.byteLength > MOST_BYTES) this.states.shift();
  }

  clear() {
    this.states = [];
  }

  go(frame) {
    const { samples, x, y, divisor } = this.states[frame];
    Object.assign(this, { samples, x, y, divisor });
  }

  entry(name, frame, row, column) {
    const { values, places } = this.states[frame];
    const { start, width } = places[name];
    return values[start + row * width + column];
  }

  scalar(name, frame) {
    return this.entry(name, frame, 0, 0);
  }

  weight(name, frame, layer, k, j) {
    return this.entry(`${name}${layer}`, frame, k, j);
  }

  when(frame) {
    const { epoch, step, steps } = this.states[frame];
    return steps > 1 ? `epoch ${epoch + 1}, before step ${step + 1} of ${steps}` : `before step ${epoch + 1}`;
  }
}

class LiveExplorer extends Explorer {
  constructor(root, records, model) {
    super(root, [records]);
    this.model = model;
    this.last = performance.now();
    const rate = this.find("rate");
    rate.value = model.get("learning_rate");
    rate.onchange = () => {
      const value = Number(rate.value);
      if (value > 0 && value < Infinity) model.set("learning_rate", value);
      else rate.value = model.get("learning_rate");
      model.save_changes();
    };
    for (const what of ["step", "epoch", "reset"]) this.find(`do-${what}`).onclick = () => this.order(what);
  }

  order(what) {
    this.stop();
    this.ask(what);
  }

  // One question at a time: the kernel is never asked for more than it has answered.
  ask(what) {
    if (this.waiting) return;
    this.waiting = true;
    this.last = performance.now();
    this.model.send({ do: what });
  }

  arrived(state) {
    this.waiting = false;
    this.find("trouble").textContent = state.trouble;
    if (state.trouble) this.stop();
    if (state.anew) this.records.clear();
    this.records.add(state);
    this.slider.max = this.records.frames - 1;
    this.show(this.records.frames - 1);
    if (this.playing) this.later();
  }

  show(frame) {
    const before = this.shown_rows;
    this.records.go(frame);
    this.shown_rows = this.records.samples.join();
    if (before !== this.shown_rows) this.offerSamples();
    super.show(frame);
  }

  offerSamples() {
    const sample = this.find("sample");
    const at = Math.min(Math.max(sample.selectedIndex, 0), this.records.samples.length - 1);
    sample.replaceChildren(...this.records.samples.map((row, i) => new Option(`${row}, ${this.target(i)}`, i)));
    sample.selectedIndex = at;
  }

  said(frame) {
    const [batch, whole, score] = ["loss", "whole", this.records.metric].map((name) => number(this.records.scalar(name, frame)));
    return `${this.records.when(frame)} · loss of its rows ${batch} · of all rows ${whole} · ${this.measure} ${score}`;
  }

  note() {
    return `Shown is what the next step is made from: the rows of its batch, and W, b before it. The slider goes back to earlier steps.`;
  }

  play() {
    this.playing = true;
    this.find("play").textContent = "❚❚ Pause";
    this.later();
  }

  // On through the states that are there, then on with training.
  later() {
    const pace = 1000 / Math.min(FASTEST, Number(this.find("speed").value));
    setTimeout(() => {
      if (!this.playing || !this.root.isConnected) return;
      if (this.frame >= this.records.frames - 1) return void this.ask("step");
      this.show(this.frame + 1);
      this.later();
    }, Math.max(0, pace - (performance.now() - this.last)));
    this.last = performance.now();
  }
}

const CONTROLS = `<div class="controls">
<button type="button" data-part="do-step">Step</button> <button type="button" data-part="do-epoch">Epoch</button>
<button type="button" data-part="do-reset">Reset</button>
<label>Learning rate <input data-part="rate" type="number" min="0" step="any"></label></div>
<p data-part="trouble" role="alert"></p>`;

// Elements of a text that is ours.
const parsed = (text) => new DOMParser().parseFromString(text, "text/html").body.children;

// Whether letters around are light, and so their ground dark.
function dark(place) {
  const [red, green, blue] = getComputedStyle(place).color.match(/[\d.]+/g).map(Number);
  return 0.3 * red + 0.6 * green + 0.1 * blue > 128;
}

function render({ model, el }) {
  const host = el.appendChild(document.createElement("div"));
  host.dataset.lmSuppressShortcuts = "true"; // a 0 that is typed here is none of JupyterLab's keys
  const shadow = host.attachShadow({ mode: "open" });
  const style = document.createElement("style");
  style.textContent = `${STYLE.replaceAll(":root", ".page")}
    .page { color: var(--text); font: 14px/1.5 var(--font); }
    [data-part="rate"] { width: 8em; min-height: 40px; background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 6px 12px; }
    [data-part="trouble"] { color: var(--negative); font-weight: 600; }`;
  const page = element("div", { class: "page" });
  page.append(...parsed(LAYOUT));
  const root = page.querySelector("#explorer");
  root.querySelector(".time").before(...parsed(CONTROLS));
  shadow.append(style, page);
  const theme = () => (page.dataset.theme = dark(el.isConnected ? el : document.body) ? "dark" : "light");
  theme();
  const records = new LiveRecords(model.get("about"));
  records.add(model.get("state"));
  records.go(0);
  const explorer = new LiveExplorer(root, records, model);
  const arrived = () => explorer.arrived(model.get("state"));
  const rated = () => (explorer.find("rate").value = model.get("learning_rate"));
  model.on("change:state", arrived);
  model.on("change:learning_rate", rated);
  const recolour = () => {
    theme();
    explorer.show(explorer.frame);
  };
  const placed = new ResizeObserver(recolour); // once it is in the notebook, too
  placed.observe(el);
  const watched = new MutationObserver(recolour);
  for (const place of [document.body, document.documentElement]) {
    watched.observe(place, { attributes: true, attributeFilter: ["class", "data-theme", "data-jp-theme-light", "data-jp-theme-name"] });
  }
  return () => {
    explorer.stop();
    watched.disconnect();
    placed.disconnect();
    model.off("change:state", arrived);
    model.off("change:learning_rate", rated);
  };
}

export default { render };
