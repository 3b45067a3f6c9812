// What is drawn of a network that trains: neurons as maps over the plane, edges, the plane itself, and the loss.

const DIGITS = 5;
const MOST_IN_COLUMN = 12;
const MOST_DRAWN = 64; // neurons of a layer
const MOST_EDGES = 900;
const EDGES_A_FRAME = 100; // of more, a network that trains is drawn in fewer frames
const CELLS = { map: 28, plane: 72 }; // of a neuron's map and of the plane, each way
const MOVING = { map: 16, plane: 40 }; // while training runs
const MARGIN = 0.12; // of the plane beyond the points

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// "#0b67b2" as three numbers
const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

// The colours of the page, read again when they are asked for anew.
let LOOK = null;

function colours(anew = false) {
  if (LOOK && !anew) return LOOK;
  const [positive, negative, surface, text, quiet, line] = ["positive", "negative", "surface", "text", "quiet", "line"].map(
    (name) => style(`--${name}`),
  );
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  const others = dark ? ["#4ec9a0", "#e7a1cf", "#f0e05a"] : ["#00805c", "#b0508c", "#7a6a00"];
  const classes = [negative, positive, ...others, quiet, text, line, "#777777", "#999999"];
  const full = (colour) => (colour.length === 4 ? `#${[...colour.slice(1)].map((letter) => letter + letter).join("")}` : colour);
  const ramps = [negative, positive, ...classes].map((colour) => rampOf(channels(full(surface)), channels(full(colour))));
  LOOK = { ...{ positive, negative, surface, text, quiet, line, classes, font: style("--font") }, signs: ramps.slice(0, 2), ramps: ramps.slice(2) };
  return LOOK;
}

const STEPS = 255;

// Colours from one to another, as the words of 32 bits that an image holds.
function rampOf(from, to) {
  const ramp = new Uint8ClampedArray(4 * (STEPS + 1));
  for (let i = 0; i <= STEPS; i += 1) ramp.set([...from.map((start, c) => start + ((to[c] - start) * i) / STEPS), 255], 4 * i);
  return new Uint32Array(ramp.buffer);
}

// As many device pixels as the canvas is large, and a pen in CSS pixels.
function penOf(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

// The bounds of some points, the same scale both ways.
function boundsOf(x) {
  const middle = [0, 1].map((k) => {
    const values = x.map((row) => row[k]).filter(Number.isFinite);
    return values.length ? [Math.min(...values), Math.max(...values)] : [-1, 1];
  });
  const half = Math.max(0.5, ...middle.map(([least, most]) => (most - least) / 2)) * (1 + 2 * MARGIN);
  return middle.map(([least, most]) => [(least + most) / 2 - half, (least + most) / 2 + half]);
}

// What every neuron gives at the points of a grid: for each layer, the input being the first, a list of rows. The passes
// of a network are kept, by the number of cells.
const GRIDS = new WeakMap();

function mapsOf(network, params, bounds, cells) {
  if (!GRIDS.has(network)) GRIDS.set(network, new Map());
  const grids = GRIDS.get(network);
  if (grids.get(cells)?.bounds !== bounds) grids.set(cells, { bounds, pass: gridOf(network, bounds, cells) });
  const { pass } = grids.get(cells);
  pass.forward(params, cells * cells);
  return [pass.x, ...pass.a];
}

function gridOf(network, [[left, right], [bottom, top]], cells) {
  const pass = new Pass(network, cells * cells);
  pass.x.forEach((point, i) => {
    point[0] = left + (((i % cells) + 0.5) / cells) * (right - left);
    point[1] = top - ((Math.floor(i / cells) + 0.5) / cells) * (top - bottom);
  });
  return pass;
}

// A canvas for `count` images of so many cells, one below the other, and the words of its pixels; kept for the next time.
const IMAGES = new Map();

function imagesOf(cells, count) {
  const key = `${cells} ${count}`;
  if (!IMAGES.has(key)) {
    const canvas = new OffscreenCanvas(cells, cells * count);
    const image = new ImageData(cells, cells * count);
    const pen = canvas.getContext("2d");
    IMAGES.set(key, { canvas, words: new Uint32Array(image.data.buffer), put: () => pen.putImageData(image, 0, 0) });
  }
  return IMAGES.get(key);
}

// Colours of column j of some rows, about a middle: positive and negative by colour, strength by size.
function coloured(rows, j, middle, words, start, look) {
  let most = 0;
  for (const row of rows) most = Math.max(most, Math.abs(row[j] - middle) || 0);
  const [negative, positive] = look.signs;
  for (let i = 0; i < rows.length; i += 1) {
    const share = (rows[i][j] - middle) / (most || 1) || 0;
    const step = (Math.min(1, Math.abs(share)) * 0.92 * STEPS) | 0;
    words[start + i] = (share < 0 ? negative : positive)[step];
  }
}

// The network: a canvas with edges and maps beneath an SVG with neurons.
class Diagram {
  constructor(stage, canvas, svg, choose) {
    Object.assign(this, { stage, canvas, svg, choose, units: [], chosen: null, skipped: 0 });
    svg.onclick = (event) => this.pick(event.target.closest("[data-unit]"));
    svg.onkeydown = (event) => this.key(event);
    new ResizeObserver(() => this.shown && this.draw(this.shown)).observe(stage);
  }

  // Neurons of a network; those that are drawn of a wide layer are evenly spaced.
  open(network, features) {
    this.network = network;
    this.maps = network.sizes[0] === 2;
    this.places = network.sizes.map((n) => (n <= MOST_DRAWN ? range(n) : range(MOST_DRAWN).map((i) => Math.floor((i * n) / MOST_DRAWN))));
    this.units = this.places.flatMap((neurons, place) => neurons.map((neuron) => ({ layer: place - 1, neuron })));
    this.svg.replaceChildren();
    this.units.forEach((unit, index) => {
      const group = document.createElementNS(SVG, "g");
      group.dataset.unit = index;
      group.setAttribute("role", "button");
      group.setAttribute("tabindex", index ? "-1" : "0");
      [unit.box, unit.text, unit.name] = ["rect", "text", "text"].map((name) => document.createElementNS(SVG, name));
      unit.name.setAttribute("class", "name");
      unit.called = unit.layer < 0 ? `input ${features[unit.neuron] ?? unit.neuron}` : `neuron ${unit.neuron} of layer ${unit.layer}`;
      if (unit.layer < 0) unit.name.textContent = features[unit.neuron] ?? `x${unit.neuron}`;
      group.append(unit.box);
      unit.labels = document.createElementNS(SVG, "g"); // beside the button, whose name says the number in full
      unit.labels.setAttribute("aria-hidden", "true");
      unit.labels.append(unit.text, unit.name);
      unit.element = group;
      this.svg.append(group, unit.labels);
    });
    const first = this.units.find((unit) => unit.layer === 0);
    this.chosen = first;
    first.element.setAttribute("tabindex", "0");
    if (first !== this.units[0]) this.units[0].element.setAttribute("tabindex", "-1");
    this.size = null;
  }

  layOut() {
    const blocks = this.places.map((neurons) => {
      const columns = neurons.length > MOST_IN_COLUMN ? Math.min(8, Math.ceil(Math.sqrt(neurons.length))) : 1;
      return { columns, rows: Math.ceil(neurons.length / columns) };
    });
    const rows = Math.max(...blocks.map((block) => block.rows));
    const columns = blocks.reduce((total, block) => total + block.columns, 0);
    this.stage.style.minHeight = `${rows > 9 ? rows * 34 : 320}px`;
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    if (this.size?.[0] === width && this.size[1] === height) return;
    const across = width / (columns + blocks.length - 1);
    this.side = Math.max(9, Math.min(76, across * 0.62, (height / rows) * 0.56));
    const pitch = this.side * (this.side > 24 ? 1.3 : 1.2);
    const gap = (width - 24 - columns * pitch) / Math.max(1, blocks.length - 1);
    const named = Math.min(44, gap);
    let [left, next] = [12, 0];
    blocks.forEach((block, place) => {
      const down = Math.min((height - 20) / block.rows, block.columns > 1 ? pitch : this.side * 2.1);
      for (const i of this.places[place].keys()) {
        const unit = this.units[next];
        next += 1;
        unit.x = left + ((i % block.columns) + 0.5) * pitch;
        unit.y = height / 2 + (Math.floor(i / block.columns) - (block.rows - 1) / 2) * down - (block.columns > 1 ? 0 : 5);
        const half = this.side / 2;
        for (const [key, value] of Object.entries({ x: -half, y: -half, width: this.side, height: this.side })) unit.box.setAttribute(key, value);
        unit.box.setAttribute("rx", this.maps ? 2 : half);
        unit.text.setAttribute("y", half + 12);
        unit.name.setAttribute("y", -half - 4);
        for (const part of [unit.element, unit.labels]) part.setAttribute("transform", `translate(${unit.x} ${unit.y})`);
        unit.labelled = block.columns === 1 && down > this.side + 11;
        unit.name.toggleAttribute("hidden", !unit.labelled || named < 20);
        const most = Math.max(4, Math.floor(pitch / 5.5));
        const { textContent } = unit.name;
        if (textContent.length > most + 2) unit.name.textContent = `${textContent.slice(0, most)}…`;
      }
      left += block.columns * pitch + gap;
    });
    this.stage.style.setProperty("--aspect", width / height); // on paper
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.size = [width, height];
  }

  // `shown`: { unit(layer, neuron), edge(layer, k, j), active(layer) or null, maps } as numbers of what is to be seen;
  // with `numbers`, what is written in the page as well, and its size is measured.
  draw(shown, numbers = true) {
    this.shown = shown;
    if (numbers || !this.size) this.layOut();
    else if ((this.skipped += 1) < this.edgeCount / EDGES_A_FRAME) return;
    this.skipped = 0;
    const look = colours();
    this.pen = penOf(this.canvas, ...this.size);
    this.drawEdges(shown, look);
    this.drawUnits(shown, look);
    if (numbers) this.write(shown);
  }

  get edgeCount() {
    return this.places.slice(1).reduce((sum, neurons, i) => sum + neurons.length * this.places[i].length, 0);
  }

  drawEdges(shown, look) {
    const { pen } = this;
    const total = this.edgeCount;
    pen.lineCap = "round";
    for (let layer = 0; layer < this.network.layers; layer += 1) {
      const [before, after] = [layer - 1, layer].map((place) => this.units.filter((unit) => unit.layer === place));
      let edges = after.flatMap((to) => before.map((from) => ({ from, to, value: shown.edge(layer, from.neuron, to.neuron) })));
      const most = edges.reduce((top, edge) => Math.max(top, Math.abs(edge.value) || 0), 0) || 1;
      edges.sort((one, other) => Math.abs(one.value) - Math.abs(other.value));
      const near = ({ from, to }) => from === this.chosen || to === this.chosen;
      if (total > MOST_EDGES) {
        const least = edges.length - Math.floor((MOST_EDGES * edges.length) / total);
        edges = edges.filter((edge, i) => i >= least || near(edge));
      }
      const faint = shown.active && !shown.active.includes(layer) ? 0.12 : 1;
      for (const edge of edges) {
        const share = edge.value / most || 0;
        pen.globalAlpha = faint * (near(edge) ? 0.95 : 0.14 + 0.55 * Math.abs(share));
        pen.strokeStyle = share < 0 ? look.negative : look.positive;
        pen.lineWidth = 0.6 + Math.abs(share) * Math.min(6, this.side / 5);
        const [x0, x1] = [edge.from.x + this.side / 2, edge.to.x - this.side / 2];
        const bend = (x1 - x0) * 0.4;
        pen.beginPath();
        pen.moveTo(x0, edge.from.y);
        pen.bezierCurveTo(x0 + bend, edge.from.y, x1 - bend, edge.to.y, x1, edge.to.y);
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
  }

  drawUnits(shown, look) {
    const { pen, side } = this;
    if (this.maps && shown.maps) return this.drawMaps(shown, look);
    const most = new Map();
    for (const unit of this.units) {
      unit.value = shown.unit(unit.layer, unit.neuron);
      most.set(unit.layer, Math.max(most.get(unit.layer) ?? 0, Math.abs(unit.value) || 0));
    }
    for (const unit of this.units) {
      const share = unit.value / (most.get(unit.layer) || 1) || 0;
      const shape = () => {
        pen.beginPath();
        pen.roundRect(unit.x - side / 2, unit.y - side / 2, side, side, this.maps ? 2 : side / 2);
        pen.fill();
      };
      pen.fillStyle = look.surface;
      shape();
      pen.globalAlpha = Math.abs(share) * 0.9 * this.strength(shown, unit);
      pen.fillStyle = share < 0 ? look.negative : look.positive;
      shape();
      pen.globalAlpha = 1;
    }
  }

  // Every neuron as what it gives over the plane: one image, of which each is a part.
  drawMaps({ maps, middle, ...shown }, look) {
    const { pen, side, units } = this;
    const size = maps[0].length;
    const cells = Math.sqrt(size);
    const { canvas, words, put } = imagesOf(cells, units.length);
    units.forEach((unit, i) => coloured(maps[unit.layer + 1], unit.neuron, middle(unit.layer), words, i * size, look));
    put();
    units.forEach((unit, i) => {
      const place = [unit.x - side / 2, unit.y - side / 2, side, side];
      const strength = this.strength(shown, unit);
      if (strength < 1) {
        pen.fillStyle = look.surface;
        pen.fillRect(...place);
        pen.globalAlpha = strength;
      }
      pen.drawImage(canvas, 0, i * cells, cells, cells, ...place);
      pen.globalAlpha = 1;
    });
  }

  strength({ active }, { layer }) {
    return active && !active.includes(layer) ? 0.35 : 1;
  }

  // What is text: numbers below neurons, and their names for a screen reader.
  write(shown) {
    for (const unit of this.units) {
      unit.value = shown.unit(unit.layer, unit.neuron);
      unit.element.classList.toggle("chosen", unit === this.chosen);
      const faint = this.strength(shown, unit) < 1;
      for (const part of [unit.element, unit.labels]) part.classList.toggle("faint", faint);
      unit.text.textContent = unit.labelled && Number.isFinite(unit.value) ? short(unit.value) : "";
      const value = Number.isFinite(unit.value) ? `: ${shown.called} ${number(unit.value)}` : "";
      unit.element.setAttribute("aria-label", unit.called + value);
    }
  }

  pick(element, focus = true) {
    if (!element) return;
    tabTo(this.svg, element, focus);
    this.chosen = this.units[Number(element.dataset.unit)];
    this.choose(this.chosen);
  }

  key(event) {
    atKey(event, this.units, { choose: (element) => this.pick(element), reach: (element) => this.pick(element) });
  }
}

// How far a cell is on the side of a class: the output less the threshold, or less the largest of the others.
function marginsOf(outputs, threshold) {
  if (outputs[0].length === 1) return [outputs.map((row) => row[0] - threshold)];
  return range(outputs[0].length).map((j) =>
    outputs.map((row) => row[j] - row.reduce((best, value, i) => (i === j ? best : Math.max(best, value)), -Infinity)),
  );
}

// The plane of two inputs: the class by colour, how sure by its strength, the boundary, and the points.
class Plane {
  constructor(canvas) {
    this.canvas = canvas;
  }

  // Without labels the first output is shown as a number, and there is no boundary. With `measure` its size is read anew.
  draw({ network, params, bounds, x, y, labels, chosen, cells }, measure = true) {
    if (measure || !this.size) this.size = this.canvas.clientWidth || 300;
    const { size } = this;
    const pen = penOf(this.canvas, size, size);
    const look = colours();
    Object.assign(this, { bounds, cells });
    const { threshold } = network.terms;
    const outputs = mapsOf(network, params, bounds, cells).at(-1);
    const { canvas, words, put } = imagesOf(cells, 1);
    if (labels) this.classes(outputs, threshold, words, look);
    else coloured(outputs, 0, 0, words, 0, look);
    put();
    pen.drawImage(canvas, 0, 0, size, size);
    pen.strokeStyle = look.text;
    pen.lineWidth = 1.4;
    if (labels) for (const margins of marginsOf(outputs, threshold)) this.boundary(pen, margins);
    if (measure || !this.points) this.drawPoints({ x, y, labels, chosen }, look);
    pen.drawImage(this.points, 0, 0, size, size);
  }

  // The points, which stay while the plane below them changes.
  drawPoints({ x, y, labels, chosen }, look) {
    this.points ??= new OffscreenCanvas(1, 1);
    const pen = penOf(this.points, this.size, this.size);
    const dot = Math.max(2.6, Math.min(6, 60 / Math.sqrt(x.length)));
    x.forEach((row, i) => {
      const colour = labels ? look.classes[labels[i] % look.classes.length] : y[i][0] < 0 ? look.negative : look.positive;
      this.point(pen, this.at(row), labels?.[i] ?? 0, i === chosen ? dot + 3 : dot, colour, look.surface);
    });
  }

  at(row) {
    const [[left, right], [bottom, top]] = this.bounds;
    return [((row[0] - left) / (right - left)) * this.size, ((top - row[1]) / (top - bottom)) * this.size];
  }

  // The other way round: a point of the canvas as inputs.
  inputs(px, py) {
    const [[left, right], [bottom, top]] = this.bounds;
    return [left + (px / this.size) * (right - left), top - (py / this.size) * (top - bottom)];
  }

  classes(outputs, threshold, words, { ramps }) {
    const single = outputs[0].length === 1;
    outputs.forEach((row, i) => {
      const best = single ? Number(row[0] > threshold) : largest(row);
      let rest = single ? 0 : -Infinity;
      if (!single) for (let j = 0; j < row.length; j += 1) if (j !== best && row[j] > rest) rest = row[j];
      const sure = single ? Math.min(1, 2 * Math.abs(row[0] - threshold)) : Math.min(1, Math.max(0, row[best] - rest));
      words[i] = ramps[best % ramps.length][((0.08 + 0.5 * (sure || 0)) * STEPS) | 0];
    });
  }

  // Where margins are 0: a piece of line in each square of four cells that it passes through.
  boundary(pen, margins) {
    const { cells } = this;
    const cell = this.size / cells;
    pen.beginPath();
    for (let row = 0; row + 1 < cells; row += 1) {
      for (let column = 0; column + 1 < cells; column += 1) {
        const at = row * cells + column;
        const signs = (margins[at] > 0) + (margins[at + 1] > 0) + (margins[at + cells] > 0) + (margins[at + cells + 1] > 0);
        if (signs % 4 === 0) continue;
        const corners = [[row, column], [row, column + 1], [row + 1, column + 1], [row + 1, column]];
        const values = corners.map(([i, j]) => margins[i * cells + j]);
        const ends = [];
        for (let i = 0; i < 4; i += 1) {
          const [one, two] = [values[i], values[(i + 1) % 4]];
          if (one > 0 === two > 0) continue;
          const t = one / (one - two);
          const [[r0, c0], [r1, c1]] = [corners[i], corners[(i + 1) % 4]];
          ends.push([(c0 + (c1 - c0) * t + 0.5) * cell, (r0 + (r1 - r0) * t + 0.5) * cell]);
        }
        for (let i = 0; i + 1 < ends.length; i += 2) {
          pen.moveTo(...ends[i]);
          pen.lineTo(...ends[i + 1]);
        }
      }
    }
    pen.stroke();
  }

  // Classes differ in shape as well as in colour.
  point(pen, [x, y], label, r, colour, edge) {
    pen.fillStyle = colour;
    pen.strokeStyle = edge;
    pen.lineWidth = 1.2;
    pen.beginPath();
    if (label === 0) pen.arc(x, y, r, 0, 2 * Math.PI);
    else if (label === 1) pen.rect(x - r * 0.85, y - r * 0.85, 1.7 * r, 1.7 * r);
    else {
      pen.moveTo(x, y - 1.2 * r);
      pen.lineTo(x + 1.1 * r, y + 0.8 * r);
      pen.lineTo(x - 1.1 * r, y + 0.8 * r);
      pen.closePath();
    }
    pen.fill();
    pen.stroke();
  }
}

// Losses over epochs, thinned as they grow in number; the twin's beside them.
class Curve {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear();
  }

  clear() {
    [this.points, this.twin, this.every] = [[], [], 1];
  }

  add(epoch, loss, twin) {
    this.points.push([epoch, loss]);
    if (twin !== undefined) this.twin.push([epoch, twin]);
    if (this.points.length > 800) [this.points, this.twin] = [this.points, this.twin].map((all) => all.filter((_, i) => i % 2 === 0));
  }

  back(epoch) {
    [this.points, this.twin] = [this.points, this.twin].map((all) => all.filter(([at]) => at <= epoch));
  }

  draw() {
    const [width, height] = [this.canvas.clientWidth || 300, 150];
    const pen = penOf(this.canvas, width, height);
    const look = colours();
    const all = [...this.points, ...this.twin].filter(([, loss]) => Number.isFinite(loss) && loss > 0);
    pen.font = `11px ${look.font}`;
    pen.fillStyle = look.quiet;
    if (all.length < 2) {
      pen.font = `14px ${look.font}`;
      pen.fillText("Its curve comes as the network trains.", 4, 20);
      return;
    }
    const [first, last] = [Math.min(...all.map(([epoch]) => epoch)), Math.max(...all.map(([epoch]) => epoch))];
    const logs = all.map(([, loss]) => Math.log10(loss));
    const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs) + 1e-9)];
    const [left, bottom] = [44, height - 18];
    const x = (epoch) => left + ((epoch - first) / (last - first || 1)) * (width - left - 6);
    const y = (loss) => 8 + ((high - Math.log10(loss)) / (high - low || 1)) * (bottom - 8);
    pen.strokeStyle = look.line;
    pen.lineWidth = 1;
    const steps = Math.max(1, Math.ceil((high - low) / 4));
    for (let power = low; power <= high; power += steps) {
      pen.beginPath();
      pen.moveTo(left, y(10 ** power));
      pen.lineTo(width - 6, y(10 ** power));
      pen.stroke();
      pen.textAlign = "right";
      pen.fillText(short(10 ** power), left - 5, y(10 ** power) + 4);
    }
    pen.fillText(`epoch ${last.toLocaleString("en")}`, width - 6, height - 4);
    pen.textAlign = "left";
    pen.fillText(first.toLocaleString("en"), left, height - 4);
    this.line(pen, this.twin, x, y, look.negative, [5, 3]);
    this.line(pen, this.points, x, y, look.positive, []);
  }

  line(pen, points, x, y, colour, dash) {
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.setLineDash(dash);
    pen.beginPath();
    for (const [epoch, loss] of points) if (loss > 0 && Number.isFinite(loss)) pen.lineTo(x(epoch), y(loss));
    pen.stroke();
    pen.setLineDash([]);
  }
}
