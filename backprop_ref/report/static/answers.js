// Answers the cases of `backprop-ref verify --command`, one in a line of JSON, as long as there are lines.

const TENSORS = ["z", "a", "delta"];
const read = (value) => (Array.isArray(value) ? value.map(read) : typeof value === "string" ? hexadecimal(value) : value);

function hexadecimal(text) {
  const [, sign, whole, digits = "", exponent] = /^(-?)0x([01])\.?([0-9a-f]*)p([+-]\d+)$/.exec(text) ?? [];
  if (whole === undefined) return { inf: Infinity, "-inf": -Infinity }[text] ?? Number(text);
  const mantissa = Number(`0x${whole}${digits}`);
  const power = Number(exponent) - 4 * digits.length;
  const size = mantissa * 2 ** Math.max(power, -1000) * 2 ** Math.min(0, power + 1000);
  return sign ? -size : size;
}

const rows = (values) => values.map((row) => Float64Array.from(read(row)));
const matrix = (flat, n_out) => Array.from({ length: flat.length / n_out }, (_, k) => [...flat.subarray(k * n_out, (k + 1) * n_out)]);
const layers = ({ sizes, W, b }, names) => ({
  [names[0]]: W.map((flat, l) => matrix(flat, sizes[l + 1])),
  [names[1]]: b.map((row) => [...row]),
});

// JSON in which −0 and what is not finite keep their names, as Python's json reads them.
function written(value) {
  if (Array.isArray(value)) return `[${value.map(written).join(",")}]`;
  if (value instanceof Float64Array) return written([...value]);
  if (typeof value === "number") return Object.is(value, -0) ? "-0.0" : String(value);
  if (typeof value === "string") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, part]) => `"${key}":${written(part)}`).join(",")}}`;
}

function parametersOf(network, asked) {
  const params = new Parameters(network.sizes, new Float64Array(network.count));
  asked.weights.forEach((W, l) => params.W[l].set(read(W).flat()));
  asked.biases.forEach((b, l) => params.b[l].set(read(b)));
  return params;
}

function answer(asked) {
  if (asked.dtype !== "float64") return { not_judged: `the engine computes in float64, not ${asked.dtype}` };
  const { sizes, activations, loss } = asked.network;
  const network = new Network(sizes, activations, loss);
  const params = parametersOf(network, asked);
  const [x, y] = [rows(asked.x), rows(asked.y)];
  const pass = new Pass(network, x.length);
  [pass.x, pass.y] = [x, y];
  pass.forward(params, x.length);
  const upstream = asked.da && rows(asked.da);
  const bug = BUGS[process.argv[2]] ?? null; // for a look at what the checker says of it
  const found = { loss: pass.backward(params, x.length, { upstream, withDx: true, bug }) };
  const lambda = read(asked.weight_decay ?? 0);
  if (lambda) new Optimizer({ name: "sgd", weight_decay: lambda }, params).regularise(params, pass.grads, 1);
  if (upstream) delete found.loss;
  for (const name of TENSORS) found[name] = pass[name];
  Object.assign(found, layers(pass.grads, ["dW", "db"]), { dx: pass.dx });
  return upstream || !asked.optimizer ? found : { ...found, ...layers(stepped(network, params, x, y, asked), ["W", "b"]) };
}

// The parameters after some steps, of batches of so many rows in order; after the last batch the first comes again.
function stepped(network, params, x, y, asked) {
  const numbers = Object.entries(asked.optimizer).map(([key, value]) => [key, key === "name" ? value : read(value)]);
  const settings = { optimizer: Object.fromEntries(numbers), batchSize: asked.batch_size, shuffle: false, bug: BUGS[process.argv[2]] };
  const training = new Training(network, params.copy(), x, y, settings);
  for (let i = 0; i < asked.steps; i += 1) training.step();
  return training.params;
}

import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  if (line.trim()) process.stdout.write(`${written(answer(JSON.parse(line)))}\n`);
}
