// Backpropagation by hand. To check it:
//   backprop-ref verify --command 'node mine.js' --many
"use strict";

// The loss of a batch, and its gradients, as {loss, dW, db}; null for a network that it is not made for.
// network.sizes such as [2, 3, 1]; network.activations, a name for each layer of weights; network.loss, a name.
// weights[l][k][j] is from input k to neuron j; biases[l][j]; x[s][k] and y[s][j] of sample s.
// dW has the shape of weights, db that of biases.
function gradients(network, weights, biases, x, y) {
  // Fill in the forward and the backward pass here.
  return null;
}

// A case a line on standard input, an answer a line on standard output.
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { network, weights, biases, x, y, da, weight_decay } = JSON.parse(line);
  const answer = da || weight_decay ? null : gradients(network, weights, biases, x, y);
  console.log(JSON.stringify(answer || { not_judged: "not written for this case" }));
});
