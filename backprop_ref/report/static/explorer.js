// The network explorer: neurons as SVG above edges on a canvas, a slider over epochs, formulas on demand.

const MOST_EDGES = 600;
const MOST_IN_COLUMN = 16;
const [SMALLEST_LABEL, LARGEST_LABEL] = [8, 13]; // in pixels
const [ROOMY, TIGHT] = [4.8, 4]; // the pitch by a label's height: six signs, as in −0.012, well inside a circle, or just
const [LARGEST_PITCH, TALL] = [72, 470]; // of small networks, which fill the space
const QUANTITIES = {
  weight: { unit: "bias b", edge: "weight W" },
  activation: { unit: "activation a (of the input: x)", edge: "what is carried forwards, a·W" },
  delta: { unit: "delta = dLoss/dz", edge: "what is carried backwards, δ·W" },
  gradient: { unit: "gradient db", edge: "gradient dW" },
};

class Explorer {
  constructor(root, allRecords) {
    this.root = root;
    this.all = allRecords;
    this.find = (name) => root.querySelector(`[data-part="${name}"]`);
    [this.stage, this.canvas, this.svg, this.panel] = ["stage", "edges", "units", "formulas"].map(this.find);
    this.slider = this.find("epoch");
    this.drawn = 0;
    this.connect();
    this.open(0);
    new ResizeObserver(() => this.layOut()).observe(this.stage);
  }

  connect() {
    const run = this.find("run");
    this.all.forEach((records, i) => run.add(new Option(records.configuration, i)));
    run.closest("label").hidden = this.all.length < 2;
    run.onchange = () => this.open(Number(run.value));
    this.slider.oninput = () => {
      this.show(Number(this.slider.value));
      this.restart();
    };
    for (const part of ["quantity", "sample"]) this.find(part).onchange = () => this.show(this.frame);
    this.find("speed").onchange = () => this.restart();
    this.find("play").onclick = () => (this.playing ? this.stop() : this.play());
    this.svg.onclick = (event) => this.choose(event.target.closest("[data-unit]"));
    this.svg.onkeydown = (event) => this.key(event);
    this.find("close").onclick = () => this.close();
    this.root.onkeydown = (event) => {
      if (event.key === "Escape" && this.chosen) this.close();
    };
  }

  open(index) {
    this.stop();
    this.records = this.all[index];
    this.chosen = null;
    const { samples, frames, shown } = this.records;
    const sample = this.find("sample");
    sample.replaceChildren(...samples.map((row, i) => new Option(`${row}, ${this.target(i)}`, i)));
    this.slider.max = frames - 1;
    for (const part of [this.slider.parentElement, this.find("speed").closest("label")]) part.hidden = this.still;
    this.find("note").textContent = this.note();
    const first = this.records.x.findIndex((row) => row.some((value) => value !== 0));
    sample.value = Math.max(0, first); // where all inputs are 0 there is little to see
    this.units = shown.flatMap((indices, place) => indices.map((neuron) => ({ layer: place - 1, neuron })));
    this.makeUnits();
    this.frame = frames - 1;
    this.layOut();
    this.choose(this.units.find((unit) => unit.layer === 0).element, false);
  }

  // An input's name in the data, after a comma.
  named({ layer, neuron }) {
    const name = layer < 0 && this.records.features?.[neuron];
    return name ? `, ${name}` : "";
  }

  // Whether there is one state alone, and no time to go through.
  get still() {
    return this.records.total === 1;
  }

  target(i) {
    const y = this.records.y[i];
    return y.length === 1 ? `target ${number(y[0])}` : `class ${y.indexOf(Math.max(...y))}`;
  }

  note() {
    const { frames, total, every, shown, sizes, x, divisor } = this.records;
    const notes = [];
    const traced = every > 1 ? `traced epochs (one in ${every})` : "epochs";
    if (!this.still) notes.push(frames < total ? `${frames} of the ${total} ${traced} are in this page, evenly spaced` : `all ${total} ${traced} are in this page`);
    shown.forEach((indices, place) => {
      if (indices.length < sizes[place]) notes.push(`${indices.length} of ${sizes[place]} neurons of a layer are drawn`);
    });
    if (this.edgeCount > MOST_EDGES) notes.push(`the ${MOST_EDGES} strongest of ${this.edgeCount} edges are drawn, and those of the chosen neuron`);
    notes.push(`gradients are of ${counted(x.length, "sample")}${x.length > 1 ? " as one batch" : ""}, so n is ${number(divisor)}`);
    const text = `${notes.join("; ")}.`;
    return text[0].toUpperCase() + text.slice(1);
  }

  get edgeCount() {
    const { shown } = this.records;
    return shown.slice(1).reduce((total, indices, i) => total + indices.length * shown[i].length, 0);
  }

  makeUnits() {
    this.svg.replaceChildren();
    for (const [index, unit] of this.units.entries()) {
      const group = document.createElementNS(SVG, "g");
      group.dataset.unit = index;
      group.setAttribute("role", "button");
      group.setAttribute("tabindex", "-1");
      unit.called = unit.layer < 0 ? `input ${unit.neuron}${this.named(unit)}` : `neuron ${unit.neuron} of layer ${unit.layer}`;
      unit.circle = document.createElementNS(SVG, "circle");
      [unit.text, unit.name] = ["text", "text"].map((text) => document.createElementNS(SVG, text));
      unit.name.setAttribute("class", "name");
      group.append(unit.circle);
      unit.labels = document.createElementNS(SVG, "g"); // beside the button, whose name says the number in full
      unit.labels.setAttribute("aria-hidden", "true");
      unit.labels.append(unit.text, unit.name);
      unit.element = group;
      this.svg.append(group, unit.labels);
    }
  }

  // Each layer is a block of columns, so that wide layers stay on the screen.
  layOut() {
    const width = this.stage.clientWidth;
    if (!width) return;
    const blocks = this.records.shown.map((indices) => {
      const columns = indices.length > MOST_IN_COLUMN ? Math.min(8, Math.ceil(indices.length / MOST_IN_COLUMN) * 2) : 1;
      return { columns, rows: Math.ceil(indices.length / columns) };
    });
    const columns = blocks.reduce((total, block) => total + block.columns, 0);
    const rows = Math.max(...blocks.map((block) => block.rows));
    const pitch = Math.max(13, Math.min(Math.max(44, Math.min(LARGEST_PITCH, TALL / rows / 1.3)), (0.72 * width) / columns));
    const gap = blocks.length > 1 ? (width - 16 - columns * pitch) / (blocks.length - 1) : 0;
    const down = columns > blocks.length ? pitch : Math.max(pitch, Math.min(1.6 * pitch, TALL / rows));
    const height = Math.max(160, rows * down + 16);
    this.radius = 0.42 * pitch;
    let left = 8;
    let next = 0;
    for (const [place, { columns: across, rows: here }] of blocks.entries()) {
      for (const i of this.records.shown[place].keys()) {
        const unit = this.units[next++];
        unit.x = left + (Math.floor(i % across) + 0.5) * pitch;
        unit.y = height / 2 + (Math.floor(i / across) - (here - 1) / 2) * down;
        const most = Math.floor(pitch / 6);
        const called = this.named(unit).slice(2);
        const short = called.length > most + 1 ? `${called.slice(0, most)}…` : called;
        unit.name.textContent = down - 2 * this.radius > 14 && across === 1 ? short : "";
        unit.name.setAttribute("y", -this.radius - 7);
        unit.circle.setAttribute("r", this.radius);
        for (const part of [unit.element, unit.labels]) part.setAttribute("transform", `translate(${unit.x} ${unit.y})`);
      }
      left += across * pitch + gap;
    }
    const label = Math.min(LARGEST_LABEL, Math.max(pitch / ROOMY, Math.min(SMALLEST_LABEL, pitch / TIGHT)));
    this.labelled = label >= SMALLEST_LABEL;
    this.svg.style.setProperty("--label", `${label}px`);
    this.stage.style.setProperty("--aspect", width / height); // edges and neurons keep together at any width, as on paper
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.size = [width, height];
    const scale = window.devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [width * scale, height * scale];
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.show(this.frame);
  }

  show(frame) {
    this.frame = frame;
    if (!this.pen) return; // not laid out, as what holds this is not to be seen yet
    this.slider.value = frame;
    const text = this.said(frame);
    this.find("now").textContent = text;
    this.slider.setAttribute("aria-valuetext", text);
    this.colours = colours(this.root);
    this.drawEdges();
    this.drawUnits();
    this.explain();
    this.drawn += 1;
  }

  // The moment, and how good the network is then.
  said(frame) {
    const { records } = this;
    const running = records.epochs[frame] ? "running " : "";
    const [loss, score] = ["loss", records.metric].map((name) => number(records.scalar(name, frame)));
    const parts = [records.when(frame), `${running}loss ${loss}`, `${running}${this.measure} ${score}`];
    return parts.filter(Boolean).join(" · ");
  }

  get measure() {
    return this.records.metric === "r2" ? "R²" : "accuracy";
  }

  get quantity() {
    return this.find("quantity").value;
  }

  get sample() {
    return Number(this.find("sample").value);
  }

  unitValue({ layer, neuron }) {
    const { records, frame, sample } = this;
    if (this.quantity === "activation") return records.unit("a", frame, layer, sample, neuron);
    if (layer < 0) return 0;
    if (this.quantity === "delta") return records.unit("delta", frame, layer, sample, neuron);
    return records.bias(this.quantity === "weight" ? "b" : "db", frame, layer, neuron);
  }

  edgeValue(from, to) {
    const { records, frame, sample } = this;
    if (this.quantity === "gradient") return records.weight("dW", frame, to.layer, from.neuron, to.neuron);
    const W = records.weight("W", frame, to.layer, from.neuron, to.neuron);
    if (this.quantity === "activation") return W * records.unit("a", frame, from.layer, sample, from.neuron);
    return this.quantity === "delta" ? W * records.unit("delta", frame, to.layer, sample, to.neuron) : W;
  }

  // Edges of each layer by its own largest; the weaker ones are left out where there are too many.
  drawEdges() {
    const { pen } = this;
    pen.clearRect(0, 0, ...this.size);
    pen.lineCap = "round";
    const edges = [];
    for (const layer of this.records.activations.keys()) {
      const [before, after] = [layer - 1, layer].map((place) => this.units.filter((unit) => unit.layer === place));
      const between = after.flatMap((to) => before.map((from) => ({ from, to, value: this.edgeValue(from, to) })));
      const largest = between.reduce((top, edge) => Math.max(top, Math.abs(edge.value)), 0) || 1;
      for (const edge of between) edge.share = edge.value / largest;
      edges.push(...this.strongest(between, MOST_EDGES * (between.length / this.edgeCount)));
    }
    const others = this.edgeCount > MOST_EDGES ? 0.35 : 1;
    edges.sort((one, other) => Math.abs(one.share) - Math.abs(other.share));
    for (const { from, to, share } of edges) {
      const near = this.chosen && (from === this.chosen || to === this.chosen);
      const strength = Math.abs(share);
      pen.globalAlpha = near ? 1 : others * (0.12 + 0.6 * strength);
      pen.strokeStyle = share < 0 ? this.colours.negative : this.colours.positive;
      pen.lineWidth = Math.max(0.4, strength * Math.min(7, 0.5 * this.radius)) + (near ? 0.8 : 0);
      pen.beginPath();
      pen.moveTo(from.x + this.radius, from.y);
      pen.lineTo(to.x - this.radius, to.y);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  strongest(edges, most) {
    if (this.edgeCount <= MOST_EDGES) return edges;
    const sizes = Float64Array.from(edges, (edge) => Math.abs(edge.share)).sort();
    const least = sizes[Math.max(0, sizes.length - Math.floor(most))];
    const chosen = ({ from, to }) => from === this.chosen || to === this.chosen;
    return edges.filter((edge) => chosen(edge) || (Math.abs(edge.share) >= least && edge.share !== 0));
  }

  drawUnits() {
    const largest = new Map();
    for (const unit of this.units) {
      unit.value = this.unitValue(unit);
      largest.set(unit.layer, Math.max(largest.get(unit.layer) ?? 0, Math.abs(unit.value)));
    }
    for (const unit of this.units) {
      const share = unit.value / (largest.get(unit.layer) || 1);
      const { circle, text, element } = unit;
      const strength = Math.round(92 * Math.abs(share));
      const hue = share < 0 ? this.colours.negative : this.colours.positive;
      circle.style.fill = `color-mix(in srgb, ${hue} ${strength}%, ${this.colours.surface})`;
      element.classList.toggle("strong", strength > 55);
      element.classList.toggle("chosen", unit === this.chosen);
      element.setAttribute("aria-label", `${unit.called}: ${number(unit.value)}`);
      text.textContent = this.labelled && !(unit.layer < 0 && this.quantity !== "activation") ? short(unit.value) : "";
    }
    const { unit, edge } = QUANTITIES[this.quantity];
    this.find("legend").textContent = `Neurons: ${unit}. Edges: ${edge}. Strength in each layer by its own largest.`;
  }

  explain() {
    this.find("close").hidden = !this.chosen;
    if (!this.chosen) {
      this.panel.replaceChildren(element("p", { class: "quiet prompt" }, "Choose a neuron to see its formulas."));
      return;
    }
    const { layer, neuron } = this.chosen;
    this.panel.replaceChildren(...new Worked(this.records, this.frame, layer, neuron, this.sample).nodes());
  }

  // The chosen one is explained, one that is reached is not yet.
  reach(element, focus = true) {
    tabTo(this.svg, element, focus);
  }

  choose(element, focus = true) {
    if (!element) return;
    this.chosen = this.units[Number(element.dataset.unit)];
    this.reach(element, focus);
    this.show(this.frame);
  }

  close() {
    const { element } = this.chosen;
    this.chosen = null;
    this.reach(element);
    this.show(this.frame);
  }

  key(event) {
    const reach = (element) => (this.chosen ? this.choose(element) : this.reach(element));
    atKey(event, this.units, { choose: (element) => (this.choose(element), this.panel.focus()), reach });
  }

  play() {
    this.playing = true;
    this.find("play").textContent = "❚❚ Pause";
    if (this.frame >= this.records.frames - 1) this.show(0);
    this.restart();
    const next = (time) => {
      if (!this.playing) return;
      const frame = this.started.frame + Math.floor(((time - this.started.time) / 1000) * this.started.rate);
      if (frame > this.frame) this.show(Math.min(frame, this.records.frames - 1));
      if (this.frame >= this.records.frames - 1) this.stop();
      else requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  // From here and this moment on, by the speed that is chosen.
  restart() {
    this.started = { time: performance.now(), frame: this.frame, rate: Number(this.find("speed").value) };
  }

  stop() {
    this.playing = false;
    this.find("play").textContent = "▶ Play";
  }
}

function colours(root) {
  const style = getComputedStyle(root);
  return Object.fromEntries(["positive", "negative", "surface"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
