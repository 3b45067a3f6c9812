// The records of a trace as the page holds them: for each field its entries, and of each entry all frames.

const DIGITS = 5;
const LEAST = 10 ** (DIGITS - 1);
const SPAN = 9 * LEAST;
const LOWEST = -324;
const INFINITE = (309 - LOWEST) * SPAN + 1;
const HALFWAY = 300;
const TENS = Array.from({ length: 309 }, (_, i) => Number(`1e${i}`));

function shifted(value, places) {
  const far = Math.abs(places);
  const near = TENS[Math.min(far, HALFWAY)];
  const rest = TENS[Math.max(far - HALFWAY, 0)];
  return places >= 0 ? value * near * rest : value / near / rest;
}

const decade = (exponent) => (exponent > 308 ? Infinity : Number(`1e${exponent}`));
const DECADES = new Float64Array(309 - LOWEST + 1).map((_, i) => decade(i + LOWEST));

// A number as a whole one that rises with it: `SPAN` of them for each decade. The same operations as in packing.py.
function codeOf(value) {
  if (Number.isNaN(value)) return INFINITE + 1;
  const size = Math.abs(value);
  if (size === Infinity) return INFINITE * Math.sign(value);
  if (size === 0) return 0;
  let exponent = Math.max(LOWEST, Math.floor(Math.log10(size)));
  while (DECADES[exponent - LOWEST] > size && exponent > LOWEST) exponent -= 1;
  while (DECADES[exponent + 1 - LOWEST] <= size) exponent += 1;
  const mantissa = Math.floor(shifted(size, DIGITS - 1 - exponent) + 0.5);
  return Math.sign(value) * ((exponent - LOWEST) * SPAN + mantissa - LEAST + 1);
}

function numberOf(code) {
  const place = Math.abs(code) - 1;
  if (place < 0) return 0;
  if (place >= INFINITE - 1) return place >= INFINITE ? NaN : Infinity * Math.sign(code);
  const exponent = Math.min(308, Math.floor(place / SPAN) + LOWEST);
  return Math.sign(code) * shifted((place % SPAN) + LEAST, exponent - DIGITS + 1);
}

// Whole numbers from the planes of their bytes, the sign in the lowest bit.
function unfolded(buffer) {
  const bytes = new Uint8Array(buffer);
  const total = bytes.length / 4;
  return Int32Array.from({ length: total }, (_, i) => {
    const folded = bytes[i] | (bytes[i + total] << 8) | (bytes[i + 2 * total] << 16) | (bytes[i + 3 * total] << 24);
    return (folded >>> 1) ^ -(folded & 1);
  });
}

class Records {
  constructor(about, buffer) {
    Object.assign(this, about);
    [this.x, this.y] = [about.x, about.y].map((rows) => rows.map((row) => row.map((value) => value ?? NaN)));
    this.frames = this.epochs.length;
    this.last = this.activations.length - 1;
    this.fields = {};
    const steps = unfolded(buffer);
    let start = 0;
    for (const { name, shape, columns, rows } of about.fields) {
      const size = shape.reduce((product, n) => product * n, 1) * this.frames;
      this.fields[name] = {
        values: new Float64Array(size),
        width: shape.at(-1) ?? 1,
        columns: columns && new Map(columns.map((neuron, place) => [neuron, place])),
        rows: rows && new Map(rows.map((neuron, place) => [neuron, place])),
      };
      const part = steps.subarray(start, start + size);
      if (name.startsWith("dW")) this.fillProducts(Number(name.slice(2)), shape, part);
      else this.fill(this.fields[name].values, part);
      start += size;
    }
  }

  fill(values, steps) {
    let code = 0;
    for (let i = 0; i < steps.length; i += 1) {
      code = i % this.frames ? code + steps[i] : steps[i];
      values[i] = numberOf(code);
    }
  }

  // dW is what a and delta give, summed over the samples in order, but for its last digits.
  fillProducts(layer, [n, width], steps) {
    const { values, columns } = this.fields[`dW${layer}`];
    const neurons = columns ? [...columns.keys()] : Array.from({ length: width }, (_, j) => j);
    const samples = this.samples.map((_, s) => s);
    let i = 0;
    for (let k = 0; k < n; k += 1) {
      for (const j of neurons) {
        for (let frame = 0; frame < this.frames; frame += 1, i += 1) {
          let sum = 0;
          for (const s of samples) {
            sum += this.unit("a", frame, layer - 1, s, k) * this.unit("delta", frame, layer, s, j);
          }
          values[i] = numberOf(codeOf(sum) + steps[i]);
        }
      }
    }
  }

  scalar(name, frame) {
    return this.fields[name].values[frame];
  }

  // z, a, da or delta: `neuron` of a layer (from 0; of the input it is x, layer −1) for a sample.
  unit(name, frame, layer, sample, neuron) {
    if (layer < 0) return this.x[sample][neuron];
    return this.entry(`${name}${layer}`, frame, sample, neuron);
  }

  bias(name, frame, layer, neuron) {
    return this.entry(`${name}${layer}`, frame, 0, neuron);
  }

  // W or dW from neuron k of the layer before to neuron j of this one.
  weight(name, frame, layer, k, j) {
    const narrow = this.fields[`${name}${layer}`];
    if (narrow.columns && !narrow.columns.has(j)) return this.entry(`${name}${layer}rows`, frame, k, j);
    return this.entry(`${name}${layer}`, frame, k, j);
  }

  entry(name, frame, row, column) {
    const { values, width, columns, rows } = this.fields[name];
    const i = rows ? rows.get(row) : row;
    const j = columns ? columns.get(column) : column;
    return values[(i * width + j) * this.frames + frame];
  }

  // The moment of a frame, if there are several.
  when(frame) {
    return this.total > 1 ? `epoch ${this.epochs[frame]}` : "";
  }
}

async function unpacked(letters) {
  const bytes = Uint8Array.from(atob(letters), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const embedded = (id) => document.getElementById(id).textContent;
const embeddedText = async (id) => new TextDecoder().decode(await unpacked(embedded(id)));

async function embeddedRecords() {
  const abouts = JSON.parse(await embeddedText("page-explorers"));
  const buffers = await Promise.all(embedded("page-records").split("\n").map(unpacked));
  return abouts.map((about, i) => new Records(about, buffers[i]));
}

function failed(error) {
  const place = document.getElementById("failure");
  place.hidden = false;
  place.textContent = `This page could not be drawn: ${error.message}. A browser of 2023 or newer is needed.`;
  console.error(error);
}
