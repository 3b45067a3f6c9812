// Training in reproducible arithmetic: the bits of Python's reproducible numerics, in float64.
//
// What stands before it is written by the table of formulas: exp, log and their like, ACTIVATIONS, TERMS, LOSSES and
// UPDATES. Sums are loops in the order that the arithmetic says, and nothing here knows of a page.

// ---- random numbers: NumPy's SeedSequence and PCG64, and what the project makes of their words

const PURPOSES = ["init", "shuffle", "split", "data", "check", "dropout"];
const PCG_FACTOR = [0xf645, 0x9fcc, 0xdf64, 0x4385, 0x5da4, 0x1fc6, 0xed05, 0x2360]; // in limbs of 16 bits, lowest first

// SeedSequence(seed, spawn_key=(key,)).generate_state(n), of 32 bits each
function seedWords(seed, key, n) {
  const entropy = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, 0, 0, key];
  let hash = 0x43b0d7e5;
  const mixedIn = (value) => {
    const start = value ^ hash;
    hash = Math.imul(hash, 0x931e8875);
    const product = Math.imul(start, hash);
    return product ^ (product >>> 16);
  };
  const mix = (x, y) => {
    const difference = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) | 0;
    return difference ^ (difference >>> 16);
  };
  const pool = entropy.slice(0, 4).map(mixedIn);
  for (let from = 0; from < 4; from += 1) {
    for (let to = 0; to < 4; to += 1) if (from !== to) pool[to] = mix(pool[to], mixedIn(pool[from]));
  }
  for (let to = 0; to < 4; to += 1) pool[to] = mix(pool[to], mixedIn(entropy[4]));
  hash = 0x8b51f9dd;
  return Array.from({ length: n }, (_, i) => {
    const start = pool[i % 4] ^ hash;
    hash = Math.imul(hash, 0x58f38ded);
    const product = Math.imul(start, hash);
    return (product ^ (product >>> 16)) >>> 0;
  });
}

// An endless sequence of random words of 64 bits, and the numbers made from them. 128 bits are eight limbs of 16.
class Stream {
  constructor(seed, purpose) {
    const words = seedWords(seed, PURPOSES.indexOf(purpose), 8);
    const limbs = words.flatMap((word) => [word & 0xffff, word >>> 16]);
    const of64 = (i) => limbs.slice(4 * i, 4 * i + 4);
    const [start, sequence] = [
      [...of64(1), ...of64(0)],
      [...of64(3), ...of64(2)],
    ];
    this.increment = sequence.map((limb, i) => ((limb << 1) & 0xffff) | (i ? sequence[i - 1] >>> 15 : 1));
    this.state = new Float64Array(8);
    let carry = 0;
    for (let i = 0; i < 8; i += 1) {
      const sum = this.increment[i] + start[i] + carry;
      this.state[i] = sum & 0xffff;
      carry = sum >>> 16;
    }
    this.next = new Float64Array(8);
    [this.high, this.low] = [0, 0]; // of the last word
    this.advance();
  }

  advance() {
    const { state, next, increment } = this;
    for (let i = 0; i < 8; i += 1) next[i] = increment[i];
    for (let i = 0; i < 8; i += 1) for (let j = 0; i + j < 8; j += 1) next[i + j] += state[i] * PCG_FACTOR[j];
    let carry = 0;
    for (let i = 0; i < 8; i += 1) {
      const sum = next[i] + carry;
      carry = Math.floor(sum / 65536);
      state[i] = sum - 65536 * carry;
    }
  }

  word() {
    this.advance();
    const s = this.state;
    let high = ((s[7] << 16) | s[6]) ^ ((s[3] << 16) | s[2]);
    let low = ((s[5] << 16) | s[4]) ^ ((s[1] << 16) | s[0]);
    const turn = s[7] >> 10;
    if (turn & 32) [high, low] = [low, high];
    const by = turn & 31;
    if (by) [high, low] = [(high >>> by) | (low << (32 - by)), (low >>> by) | (high << (32 - by))];
    this.high = high >>> 0;
    this.low = low >>> 0;
  }

  uniform() {
    this.word();
    return (this.high * 2097152 + (this.low >>> 11)) * 2 ** -53;
  }

  // n standard normal numbers, by Marsaglia's polar method
  normal(n) {
    const found = [];
    let needed = (n + 1) >> 1;
    while (needed > 0) {
      for (let left = needed; left > 0; left -= 1) {
        const u = 2 * this.uniform() - 1;
        const v = 2 * this.uniform() - 1;
        const s = u * u + v * v;
        if (!(s > 0 && s < 1)) continue;
        const factor = Math.sqrt((-2 * log(s)) / s);
        found.push(u * factor, v * factor);
        needed -= 1;
      }
    }
    return found.slice(0, n);
  }

  // The last word modulo a bound below 2^21; −1 where the word is beyond the last multiple.
  below(bound) {
    const power = 4294967296 % bound;
    const rest = (power * power) % bound;
    if (this.high === 0xffffffff && this.low >= 4294967296 - rest) return -1;
    return ((this.high % bound) * 4294967296 + this.low) % bound;
  }

  // 0 … n−1 in random order, by Fisher and Yates; words that are drawn again are drawn after all others
  permutation(n) {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    const partners = new Int32Array(n);
    const again = [];
    for (let i = n - 1; i > 0; i -= 1) {
      this.word();
      partners[i] = this.below(i + 1);
      if (partners[i] < 0) again.push(i);
    }
    for (const i of again) {
      while (partners[i] < 0) {
        this.word();
        partners[i] = this.below(i + 1);
      }
    }
    for (let i = n - 1; i > 0; i -= 1) [order[i], order[partners[i]]] = [order[partners[i]], order[i]];
    return order;
  }
}

// ---- networks

// A name of a table, such as elu(0.5), as its rule and the number in it.
function ruleOf(table, name) {
  const [, plain, given] = /^(\w+)(?:\((.+)\))?$/.exec(name) ?? [];
  const rule = Object.hasOwn(table, plain ?? "") ? table[plain] : undefined;
  if (!rule) throw new RangeError(`${name}: no such rule`);
  return { ...rule, name: plain, number: given === undefined ? rule.number : Number(given) };
}

class Network {
  constructor(sizes, activations, loss) {
    Object.assign(this, { sizes, activations, loss });
    this.rules = activations.map((name) => ruleOf(ACTIVATIONS, name));
    this.layers = activations.length;
    const [plain, given] = loss.replace(")", "").split("(");
    const { over_outputs: overOutputs, alone, together } = ruleOf(LOSSES, plain);
    const output = this.rules.at(-1).name;
    const smooth = plain === "cross_entropy" && Number(given);
    this.together = output in together;
    const terms = smooth ? "smoothed_cross_entropy" : (together[output] ?? alone);
    if (!terms) throw new RangeError(`${loss} does not go with ${output}`);
    this.terms = ruleOf(TERMS, given && terms ? `${terms}(${given})` : terms);
    this.overOutputs = overOutputs;
  }

  get count() {
    return this.sizes.slice(1).reduce((total, n, l) => total + (this.sizes[l] + 1) * n, 0);
  }

  divisor(batch) {
    return batch * (this.overOutputs ? this.sizes.at(-1) : 1);
  }
}

// W and b of every layer as parts of one row: W0, b0, W1, b1, …
class Parameters {
  constructor(sizes, flat) {
    Object.assign(this, { sizes, flat, W: [], b: [] });
    let place = 0;
    for (let l = 0; l + 1 < sizes.length; l += 1) {
      this.W.push(flat.subarray(place, (place += sizes[l] * sizes[l + 1])));
      this.b.push(flat.subarray(place, (place += sizes[l + 1])));
    }
  }

  copy() {
    return new Parameters(this.sizes, this.flat.slice());
  }
}

const SCHEMES = {
  xavier: ["normal", (n_in, n_out) => Math.sqrt(2 / (n_in + n_out))],
  xavier_uniform: ["uniform", (n_in, n_out) => Math.sqrt(2 / (n_in + n_out))],
  he: ["normal", (n_in) => Math.sqrt(2 / n_in)],
  he_uniform: ["uniform", (n_in) => Math.sqrt(2 / n_in)],
  random_normal: ["normal", () => 0.05],
  random_uniform: ["uniform", () => 0.05],
  zeros: ["zeros", () => 0],
};

function initialise(network, seed, scheme) {
  const params = new Parameters(network.sizes, new Float64Array(network.count));
  const [distribution, deviation] = SCHEMES[scheme];
  const stream = new Stream(seed, "init");
  params.W.forEach((W, l) => {
    const size = deviation(network.sizes[l], network.sizes[l + 1]);
    if (distribution === "normal") stream.normal(W.length).forEach((value, i) => (W[i] = size * value));
    const limit = size * Math.sqrt(3);
    if (distribution === "uniform") for (let i = 0; i < W.length; i += 1) W[i] = limit * (2 * stream.uniform() - 1);
  });
  return params;
}

const rowsOf = (rows, n) => Array.from({ length: rows }, () => new Float64Array(n));

// Forward and backward pass for up to so many rows. Of each layer z, a, delta and da are a list of rows.
class Pass {
  constructor(network, rows) {
    const { sizes } = network;
    const layers = () => sizes.slice(1).map((n) => rowsOf(rows, n));
    Object.assign(this, { network, z: layers(), a: layers(), delta: layers(), da: layers(), dx: rowsOf(rows, sizes[0]) });
    [this.x, this.y] = [rowsOf(rows, sizes[0]), rowsOf(rows, sizes.at(-1))];
    this.grads = new Parameters(sizes, new Float64Array(network.count));
    this.loss = 0;
  }

  forward(params, batch) {
    const { network } = this;
    for (let l = 0; l < network.layers; l += 1) {
      const { forward, number } = network.rules[l];
      const [W, b, n_out] = [params.W[l], params.b[l], network.sizes[l + 1]];
      for (let s = 0; s < batch; s += 1) {
        const z = this.z[l][s];
        affine(l ? this.a[l - 1][s] : this.x[s], W, b, z);
        forward(z, this.a[l][s], n_out, number);
      }
    }
  }

  // `upstream` is dLoss/da of the output in the place of the loss. A `bug` replaces one of the steps, see BUGS.
  backward(params, batch, { upstream = null, withDx = false, bug = null } = {}) {
    const { network } = this;
    const [last, n_out] = [network.layers - 1, network.sizes.at(-1)];
    const { terms, error, number } = network.terms;
    const n = bug?.divisor ? bug.divisor(network, batch) : network.divisor(batch);
    const start = network.together ? this.delta[last] : this.da[last];
    let total = 0;
    for (let s = 0; s < batch; s += 1) {
      const [z, a, y] = [this.z[last][s], this.a[last][s], this.y[s]];
      if (upstream) this.da[last][s].set(upstream[s]);
      else {
        total = terms(z, a, y, n_out, total, number);
        error(z, a, y, n, start[s], n_out, number);
      }
    }
    this.loss = total / network.divisor(batch);
    this.grads.flat.fill(0);
    const ofOutput = network.together && !upstream;
    for (let l = last; l >= 0; l -= 1) {
      if (l < last || !ofOutput) this.activationBackward(l, batch, l < last ? bug : null);
      else if (bug?.output) bug.output(this, l, batch);
      this.affineBackward(l, batch, bug);
      if (l || withDx) this.carryBack(params.W[l], l, batch, bug);
    }
    return this.loss;
  }

  activationBackward(l, batch, bug) {
    const { backward, number } = this.network.rules[l];
    const n_out = this.network.sizes[l + 1];
    for (let s = 0; s < batch; s += 1) {
      const [z, a, da, delta] = [this.z[l][s], this.a[l][s], this.da[l][s], this.delta[l][s]];
      if (bug?.slope) bug.slope(this.network.rules[l], z, a, da, delta);
      else backward(z, a, da, delta, n_out, number);
    }
  }

  affineBackward(l, batch, bug) {
    const [dW, db] = [this.grads.W[l], this.grads.b[l]];
    for (let s = 0; s < batch; s += 1) outerAdded(l ? this.a[l - 1][s] : this.x[s], this.delta[l][s], dW, db);
    bug?.gradients?.(this, l, batch);
  }

  carryBack(W, l, batch, bug) {
    for (let s = 0; s < batch; s += 1) {
      const back = l ? this.da[l - 1][s] : this.dx[s];
      (bug?.carry ?? carried)(this.delta[l][s], W, back);
    }
  }
}

// z = b + a @ W: from b on, over the inputs in order
function affine(a, W, b, z) {
  const n_out = z.length;
  for (let j = 0; j < n_out; j += 1) z[j] = b[j];
  for (let k = 0, i = 0; k < a.length; k += 1) {
    const value = a[k];
    for (let j = 0; j < n_out; j += 1, i += 1) z[j] = z[j] + value * W[i];
  }
}

function outerAdded(a, delta, dW, db) {
  const n_out = delta.length;
  for (let k = 0, i = 0; k < a.length; k += 1) {
    const value = a[k];
    for (let j = 0; j < n_out; j += 1, i += 1) dW[i] = dW[i] + value * delta[j];
  }
  for (let j = 0; j < n_out; j += 1) db[j] = db[j] + delta[j];
}

// da = delta @ W.T
function carried(delta, W, da) {
  const n_out = delta.length;
  for (let k = 0, i = 0; k < da.length; k += 1) {
    let total = 0;
    for (let j = 0; j < n_out; j += 1, i += 1) total = total + delta[j] * W[i];
    da[k] = total;
  }
}

// ---- known bugs, each in the one step that it is in; the names are those of the catalogue

const extraDerivative = (output) => (pass, l, batch) => {
  if (pass.network.rules[l].name !== output) return;
  for (let s = 0; s < batch; s += 1) {
    const [a, delta] = [pass.a[l][s], pass.delta[l][s]];
    for (let j = 0; j < a.length; j += 1) delta[j] = delta[j] * (a[j] * (1 - a[j]));
  }
};
const BUGS = {
  "missing-mean": { divisor: (network, batch) => network.divisor(batch) / batch },
  "derivative-at-activation": {
    slope: ({ forward, backward, number }, z, a, da, delta) => {
      const next = new Float64Array(a.length);
      forward(a, next, a.length, number);
      backward(a, next, da, delta, a.length, number);
    },
  },
  "derivative-missing": { slope: (rule, z, a, da, delta) => delta.set(da) },
  "softmax-extra-derivative": { output: extraDerivative("softmax") },
  "sigmoid-extra-derivative": { output: extraDerivative("sigmoid") },
  "bias-in-weight-loop": {
    gradients: ({ grads, network }, l) => {
      for (let j = 0; j < grads.b[l].length; j += 1) grads.b[l][j] = network.sizes[l] * grads.b[l][j];
    },
  },
  "weights-missing-back": { carry: (delta, W, da) => da.fill(delta.reduce((total, each) => total + each, 0)) },
};

// ---- optimizers

// { name: sgd, adam, adamw, rmsprop or adagrad, learning_rate, … }, as the configuration has them
class Optimizer {
  constructor(settings, params) {
    const { name, momentum, nesterov } = settings;
    const rule = { sgd: nesterov ? "nesterov" : momentum ? "momentum" : "sgd", adamw: "adam" }[name] ?? name;
    if (!Object.hasOwn(UPDATES, rule)) throw new RangeError(`${name}: no such optimizer`);
    Object.assign(this, { settings, update: UPDATES[rule] });
    this.slots = this.update.state.map(() => new Float64Array(params.flat.length));
    this.powers = [1, 1];
  }

  // One update of the parameters in place; the gradients, of a batch of so many rows, are used up.
  step(params, grads, rows = 1) {
    const { name, learning_rate: rate, momentum, beta1, beta2, rho, epsilon, epsilon_hat: hat } = this.settings;
    this.powers = [this.powers[0] * beta1, this.powers[1] * beta2];
    this.clip(grads.flat);
    this.regularise(params, grads, rows);
    const [c1, c2] = this.powers.map((power) => 1 - power);
    const second = name === "rmsprop" ? rho : beta2;
    const numbers = { rate, momentum, beta1, rest1: 1 - beta1, beta2: second, rest2: 1 - second, c1, c2 };
    this.update.step(params.flat, grads.flat, this.slots, { ...numbers, epsilon: hat ? epsilon / Math.sqrt(c2) : epsilon });
    this.constrain(params);
  }

  clip(g) {
    const { clip_value: limit, clip_norm: most } = this.settings;
    if (limit) for (let i = 0; i < g.length; i += 1) g[i] = clipped(g[i], limit);
    const size = most ? norms(g, 1)[0] : 0;
    if (size > most) for (let i = 0; i < g.length; i += 1) g[i] = g[i] * (most / size);
  }

  regularise(params, grads, rows) {
    const { name, learning_rate: rate, weight_decay: decayed = 0, l1 = 0, l2 = 0 } = this.settings;
    const strength = decayed + l2 / rows;
    params.W.forEach((W, l) => {
      const g = grads.W[l];
      if (l1) for (let i = 0; i < W.length; i += 1) g[i] = lasso(W[i], g[i], l1);
      if (strength && name === "adamw") for (let i = 0; i < W.length; i += 1) W[i] = decoupled_decay(W[i], rate * strength);
      else if (strength) for (let i = 0; i < W.length; i += 1) g[i] = decay(W[i], g[i], strength);
    });
  }

  // The weights into a neuron have at most this norm.
  constrain({ W: layers, b }) {
    const { max_norm: most } = this.settings;
    if (!most) return;
    layers.forEach((W, l) => {
      const n_out = b[l].length;
      const sizes = norms(W, n_out);
      for (let i = 0; i < W.length; i += 1) if (sizes[i % n_out] > most) W[i] = W[i] * (most / sizes[i % n_out]);
    });
  }

  // What `l2` adds to n times a batch's loss: λ₂/2·ΣW², the sums in order, layer by layer.
  penalty({ W: layers }) {
    const { l2 = 0 } = this.settings;
    return l2 ? 0.5 * l2 * layers.reduce((total, W) => total + W.reduce((sum, w) => sum + w * w, 0), 0) : 0;
  }
}

// The norm of each column: the root of the sum of squares, in order, scaled so that no square leaves the range.
function norms(x, columns) {
  let most = 0;
  for (const value of x) if (Math.abs(value) < Infinity) most = Math.max(most, Math.abs(value));
  const power = most === 0 ? 0 : 1 + (most < 2 ** -1022 ? exponent(most * 2 ** 52) - 52 : exponent(most));
  const scaled = (value, by) => scale(scale(value, by >> 1), by - (by >> 1));
  const squares = new Float64Array(columns);
  x.forEach((value, i) => {
    const part = scaled(value, -power);
    squares[i % columns] = squares[i % columns] + part * part;
  });
  return squares.map((square) => scaled(Math.sqrt(square), power));
}

// ---- training

// Goes through epochs of batches. x and y are lists of rows; `batchSize` null is the full batch, which is not shuffled.
class Training {
  constructor(network, params, x, y, { optimizer, batchSize = null, seed = 1, shuffle = true, bug = null }) {
    Object.assign(this, { network, params, x, y, bug });
    this.size = Math.min(batchSize ?? x.length, x.length);
    this.shuffle = shuffle && batchSize !== null;
    this.optimizer = new Optimizer(optimizer, params);
    this.stream = new Stream(seed, "shuffle");
    this.pass = new Pass(network, this.size);
    [this.epoch, this.order, this.place, this.total] = [0, null, 0, 0];
  }

  // Where no epoch is begun, its order is drawn.
  begin() {
    if (this.order !== null) return;
    this.order = this.shuffle ? this.stream.permutation(this.x.length) : (this.inOrder ??= this.x.map((_, i) => i));
    [this.place, this.total] = [0, 0];
  }

  // The rows of the next batch, which stay the next.
  next() {
    this.begin();
    return this.order.slice(this.place, this.place + this.size);
  }

  // The next batch's update; at the end of an epoch its loss, which is the mean over its rows, else null.
  step() {
    const { pass, params, x, y } = this;
    this.begin();
    const batch = Math.min(this.size, x.length - this.place);
    for (let s = 0; s < batch; s += 1) {
      const row = this.order[this.place + s];
      pass.x[s].set(x[row]);
      pass.y[s].set(y[row]);
    }
    pass.forward(params, batch);
    const loss = pass.backward(params, batch, this);
    this.total = this.total + this.optimizer.penalty(params) + loss * batch;
    this.optimizer.step(params, pass.grads, batch);
    this.place += batch;
    if (this.place < x.length) return null;
    this.order = null;
    this.epoch += 1;
    return this.total / x.length;
  }

  runEpoch() {
    let loss = null;
    while (loss === null) loss = this.step();
    return loss;
  }

  // Everything that training goes on from, as a copy; and back to it.
  get state() {
    const { epoch, place, total, optimizer, stream } = this;
    return {
      ...{ epoch, place, total },
      flat: this.params.flat.slice(),
      slots: optimizer.slots.map((slot) => slot.slice()),
      powers: optimizer.powers,
      order: this.order === null ? null : [...this.order],
      random: [...stream.state],
      increment: stream.increment,
    };
  }

  set state({ epoch, place, total, flat, slots, powers, order, random, increment }) {
    Object.assign(this, { epoch, place, total, order });
    this.params.flat.set(flat);
    this.optimizer.slots.forEach((slot, i) => slot.set(slots[i]));
    this.optimizer.powers = powers;
    this.stream.state.set(random);
    this.stream.increment = increment;
  }
}

// Loss of all rows, and the share that is right: the largest output, or of one output whether it is above the threshold.
function evaluate(network, params, x, y) {
  const pass = new Pass(network, 1);
  const { terms, number, threshold } = network.terms;
  const n_out = network.sizes.at(-1);
  let [total, right] = [0, 0];
  for (let i = 0; i < x.length; i += 1) {
    pass.x[0] = x[i];
    pass.forward(params, 1);
    const [z, a] = [pass.z.at(-1)[0], pass.a.at(-1)[0]];
    total = terms(z, a, y[i], n_out, total, number);
    right += n_out === 1 ? a[0] > threshold === y[i][0] > threshold : largest(a) === largest(y[i]);
  }
  return { loss: total / network.divisor(x.length), accuracy: right / x.length };
}

const largest = (row) => row.reduce((best, value, j) => (value > row[best] ? j : best), 0);

// ---- SHA-256 of numbers, as their little-endian bytes

const FRACTIONS = (() => {
  const primes = [];
  for (let n = 2; primes.length < 64; n += 1) if (primes.every((prime) => n % prime)) primes.push(n);
  const fraction = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
  return { start: primes.slice(0, 8).map((n) => fraction(Math.sqrt(n))), each: primes.map((n) => fraction(Math.cbrt(n))) };
})();

function sha256(numbers) {
  const { buffer, byteOffset, byteLength } = numbers;
  const bytes = new Uint8Array(64 * Math.ceil((byteLength + 9) / 64));
  bytes.set(new Uint8Array(buffer, byteOffset, byteLength));
  bytes[byteLength] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setUint32(bytes.length - 8, Math.floor(byteLength / 2 ** 29));
  view.setUint32(bytes.length - 4, byteLength << 3);
  const turned = (word, by) => (word >>> by) | (word << (32 - by));
  const hash = Int32Array.from(FRACTIONS.start);
  const w = new Int32Array(64);
  for (let at = 0; at < bytes.length; at += 64) {
    for (let i = 0; i < 16; i += 1) w[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i += 1) {
      const [one, two] = [w[i - 15], w[i - 2]];
      const low = turned(one, 7) ^ turned(one, 18) ^ (one >>> 3);
      const high = turned(two, 17) ^ turned(two, 19) ^ (two >>> 10);
      w[i] = w[i - 16] + low + w[i - 7] + high;
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < 64; i += 1) {
      const chosen = (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g));
      const first = (h + chosen + FRACTIONS.each[i] + w[i]) | 0;
      const second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [a, b, c, d, e, f, g, h] = [(first + second) | 0, a, b, c, (d + first) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (hash[i] += word));
  }
  return [...hash].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}
