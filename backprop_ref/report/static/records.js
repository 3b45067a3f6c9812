// The records of a trace as the page holds them: float64, one array for each field, frame by frame.

class Records {
  constructor(about, buffer) {
    Object.assign(this, about);
    this.last = this.activations.length - 1;
    this.fields = {};
    let offset = 0;
    for (const { name, shape, columns, rows } of about.fields) {
      const size = shape.reduce((product, n) => product * n, 1);
      this.fields[name] = {
        values: new Float64Array(buffer, offset, size * this.frames),
        size,
        width: shape.at(-1) ?? 1,
        columns: columns && new Map(columns.map((neuron, place) => [neuron, place])),
        rows: rows && new Map(rows.map((neuron, place) => [neuron, place])),
      };
      offset += 8 * size * this.frames;
    }
  }

  scalar(name, frame) {
    return this.fields[name].values[frame];
  }

  // z, a or delta: `neuron` of a layer (from 0; of the input it is x, layer −1) for a sample.
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
    const { values, size, width, columns, rows } = this.fields[name];
    const i = rows ? rows.get(row) : row;
    const j = columns ? columns.get(column) : column;
    return values[frame * size + i * width + j];
  }

  // n of the loss: what the sum over the traced samples, one batch, is divided by.
  get divisor() {
    const perOutput = this.loss === "mean_squared_error" || this.loss === "binary_cross_entropy";
    return this.x.length * (perOutput ? this.sizes.at(-1) : 1);
  }
}
