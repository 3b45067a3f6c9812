// The guided tour: what is said, what to try, and the settings of each step; in the words of the address.

const TOUR = [
  {
    title: "One neuron",
    text: "It weighs its two inputs and adds a bias: z = x₀·W₀ + x₁·W₁ + b. The sigmoid makes a number between 0 and 1 of it, a. Where a is ½ runs the boundary in the plane: a straight line, whatever the weights.",
    exercise: "choose the output neuron in the network, change one of its weights below the formulas, and watch the line turn.",
    state: "data=moons&hidden=&output=sigmoid&loss=binary_cross_entropy&optimizer=sgd&rate=0.5&batch=full",
  },
  {
    title: "One step",
    text: "The loss says how wrong the outputs are. Its derivative by z is delta; delta times the input is the derivative by the weight, dW. A step goes against it: W ← W − η·dW.",
    exercise: "read the formulas of the neuron from top to bottom, then press Step, and find the new weight.",
    state: "data=moons&hidden=&output=sigmoid&loss=binary_cross_entropy&optimizer=sgd&rate=0.5&batch=full",
  },
  {
    title: "The learning rate",
    text: "η is how far a step goes. With 0.5 the loss falls smoothly. Here it is 100: the very first step goes so far beyond the valley that the loss more than doubles, and then it jumps up and down.",
    exercise: "press Epoch some times with 100, then Reset, and find the largest rate whose loss still falls in each step.",
    state: "data=moons&hidden=&output=sigmoid&loss=binary_cross_entropy&optimizer=sgd&rate=100&batch=full",
  },
  {
    title: "What one neuron cannot do",
    text: "Exclusive or: the output is 1 where exactly one of the inputs is. No line parts these four points, so however long it trains, every output stays near ½.",
    exercise: "press Train, wait, press Pause. How small does the loss get?",
    state: "data=xor&hidden=&output=sigmoid&loss=sum_squared_error&optimizer=sgd&rate=0.5&batch=1",
  },
  {
    title: "A hidden layer",
    text: "Four neurons between, each with a line of its own; the last one puts their halves of the plane together. Every neuron shows what it gives over the whole plane.",
    exercise: "press Train. When the corners are right, find two hidden neurons whose maps explain the output's.",
    state: "data=xor&hidden=4.sigmoid&output=sigmoid&loss=sum_squared_error&optimizer=sgd&rate=0.5&batch=1",
  },
  {
    title: "Backwards",
    text: "How does a hidden neuron know what it did wrong? Delta of the output comes back to it along its weight, and is multiplied by the slope of its own activation. The walk shows it layer by layer.",
    exercise: "press “Walk through a step”, and then read the backwards formulas of a hidden neuron.",
    state: "data=xor&hidden=4.sigmoid&output=sigmoid&loss=sum_squared_error&optimizer=sgd&rate=0.5&batch=1",
  },
  {
    title: "Gradients that vanish",
    text: "Six layers of sigmoids. Their slope is ¼ at most, so delta gets smaller with every layer on its way back: “Gradients by layer” shows by how much. The first layers hardly learn.",
    exercise: "compare delta in layer 0 with that of the last layer, then make all hidden activations tanh.",
    state: "data=xor&hidden=4.sigmoid,4.sigmoid,4.sigmoid,4.sigmoid,4.sigmoid&output=sigmoid&loss=sum_squared_error&optimizer=sgd&rate=0.5&batch=full",
  },
  {
    title: "Optimizers",
    text: "Three spiral arms, two layers of tanh, and Adam, which scales each weight's step by the size of its recent gradients.",
    exercise: "train for 200 epochs; then Reset, choose sgd with the same rate, and compare the two losses.",
    state: "data=spirals&hidden=12.tanh,12.tanh&output=softmax&loss=cross_entropy&optimizer=adam&rate=0.01&batch=32",
  },
  {
    title: "A bug that learns",
    text: "Beside the network trains a twin with the same weights and a known bug: the derivative is taken at a instead of z. Its loss falls just as well, and for a time lies below the right one's: that a loss falls proves nothing. What the checker says of it stands with it.",
    exercise: "train for 100 epochs and compare the two lines; then try the other bugs. Which of them does the loss give away?",
    state: "data=moons&bug=derivative-at-activation",
  },
  {
    title: "An encoder finds a code",
    text: "Eight patterns through three neurons, and out again. The network has to find a code of three numbers for eight things: much like the binary digits of 0 to 7. Rumelhart, Hinton and Williams showed this in 1986.",
    exercise: "train for 2,000 epochs, then go through the samples: which digit is each hidden neuron?",
    state: "data=encoder&hidden=3.sigmoid&output=softmax&loss=cross_entropy&optimizer=sgd&rate=0.5&batch=1",
  },
];
