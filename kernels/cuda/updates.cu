// Updates of all weights and biases at once, in place: W_i and g_i are the flat vectors of `optimizers.py`. Under FAST too
// every operation is rounded, which costs nothing where memory is waited for: the same gradient gives the same W.
//
// settings holds what changes from step to step, a row each: the learning rate, and for Adam c1 and c2. The row is that
// of the step at position[1], so that a recorded sequence of launches can be played again for the next step.

// NumPy: g += weight_decay * W, for the W of one layer
extern "C" __global__ void weight_decay_v1(const rounded* W_i, rounded* g_i, rounded weight_decay, integer n)
{
    for EACH (i, n)
        g_i[i] = g_i[i] + weight_decay * W_i[i];
}

// NumPy: W -= rate * g
extern "C" __global__ void sgd_v1(
    rounded* W_i, const rounded* g_i, const rounded* settings, const integer* position, integer n)
{
    rounded rate = settings[3 * position[1]];
    for EACH (i, n)
        W_i[i] = W_i[i] - rate * g_i[i];
}

// NumPy: v = momentum * v + g; W -= rate * v
extern "C" __global__ void momentum_v1(
    rounded* W_i, const rounded* g_i, rounded* v_i, const rounded* settings, const integer* position,
    rounded momentum, integer n)
{
    rounded rate = settings[3 * position[1]];
    for EACH (i, n) {
        v_i[i] = v_i[i] * momentum + g_i[i];
        W_i[i] = W_i[i] - rate * v_i[i];
    }
}

// NumPy: v = momentum * v + g; W -= rate * (g + momentum * v)
extern "C" __global__ void nesterov_v1(
    rounded* W_i, const rounded* g_i, rounded* v_i, const rounded* settings, const integer* position,
    rounded momentum, integer n)
{
    rounded rate = settings[3 * position[1]];
    for EACH (i, n) {
        v_i[i] = v_i[i] * momentum + g_i[i];
        W_i[i] = W_i[i] - rate * (g_i[i] + momentum * v_i[i]);
    }
}

// NumPy: m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * (g * g)
//        W -= (rate * (m / c1)) / (sqrt(v / c2) + epsilon)
extern "C" __global__ void adam_v1(
    rounded* W_i, const rounded* g_i, rounded* m_i, rounded* v_i, const rounded* settings, const integer* position,
    rounded beta1, rounded one_minus_beta1, rounded beta2, rounded one_minus_beta2, rounded epsilon, integer n)
{
    const rounded* row = settings + 3 * position[1];
    rounded rate = row[0], c1 = row[1], c2 = row[2];
    for EACH (i, n) {
        rounded g = g_i[i];
        m_i[i] = m_i[i] * beta1 + one_minus_beta1 * g;
        v_i[i] = v_i[i] * beta2 + one_minus_beta2 * (g * g);
        W_i[i] = W_i[i] - rate * (m_i[i] / c1) / (sqrt(v_i[i] / c2) + epsilon);
    }
}
