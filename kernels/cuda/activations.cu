// Activations: a from z, and beneath it delta from z, a and da; delta may take the place of da. All (batch, n_out), or
// n entries where rows do not matter. linear has no kernel: its a is z, its delta is da.

// 1/(1 + exp(-z)) without overflow
__device__ inline real logistic(real z)
{
    real e = exp(-abs_of(z));
    return z >= real{0} ? real{1} / (real{1} + e) : e / (real{1} + e);
}

// NumPy: a = 1 / (1 + exp(-z))
extern "C" __global__ void sigmoid_forward_v1(const real* z_i, real* a_i, integer n)
{
    for EACH (i, n)
        a_i[i] = logistic(z_i[i]);
}

// NumPy: delta = da * (a * (1 - a))
extern "C" __global__ void sigmoid_backward_v1(
    const real* z_i, const real* a_i, const real* da_i, real* delta_i, integer n)
{
    for EACH (i, n)
        delta_i[i] = da_i[i] * (a_i[i] * (real{1} - a_i[i]));
}

// NumPy: a = tanh(z)
extern "C" __global__ void tanh_forward_v1(const real* z_i, real* a_i, integer n)
{
    for EACH (i, n)
        a_i[i] = tanh(z_i[i]);
}

// NumPy: delta = da * (1 - a * a)
extern "C" __global__ void tanh_backward_v1(const real* z_i, const real* a_i, const real* da_i, real* delta_i, integer n)
{
    for EACH (i, n)
        delta_i[i] = da_i[i] * (real{1} - a_i[i] * a_i[i]);
}

// NumPy: a = where(z <= 0, 0, z)
extern "C" __global__ void relu_forward_v1(const real* z_i, real* a_i, integer n)
{
    for EACH (i, n)
        a_i[i] = z_i[i] <= real{0} ? real{0} : z_i[i];
}

// NumPy: delta = where(z <= 0, 0, da)
extern "C" __global__ void relu_backward_v1(const real* z_i, const real* a_i, const real* da_i, real* delta_i, integer n)
{
    for EACH (i, n)
        delta_i[i] = z_i[i] <= real{0} ? real{0} : da_i[i];
}

// NumPy: a = where(z > 0, z, slope * z)
extern "C" __global__ void leaky_relu_forward_v1(const real* z_i, real* a_i, integer n)
{
    for EACH (i, n)
        a_i[i] = z_i[i] > real{0} ? z_i[i] : LEAKY_SLOPE * z_i[i];
}

// NumPy: delta = where(z > 0, da, slope * da)
extern "C" __global__ void leaky_relu_backward_v1(
    const real* z_i, const real* a_i, const real* da_i, real* delta_i, integer n)
{
    for EACH (i, n)
        delta_i[i] = z_i[i] > real{0} ? da_i[i] : LEAKY_SLOPE * da_i[i];
}

// NumPy: z.max(axis=1)[s]
__device__ inline real largest(const real* z_j, integer n_out)
{
    real top = z_j[0];
    for (integer j = 1; j < n_out; ++j)
        top = z_j[j] > top ? z_j[j] : top;
    return top;
}

// NumPy: e = exp(z - z.max(axis=1, keepdims=True)); a = e / e.sum(axis=1, keepdims=True)
extern "C" __global__ void softmax_forward_v1(const real* z_sj, real* a_sj, integer batch, integer n_out)
{
    for EACH (s, batch) {
        const real* z_j = z_sj + s * n_out;
        real* a_j = a_sj + s * n_out;
        real top = largest(z_j, n_out), total = {0};
        for (integer j = 0; j < n_out; ++j) {
            a_j[j] = exp(z_j[j] - top);
            total = total + a_j[j];
        }
        for (integer j = 0; j < n_out; ++j)
            a_j[j] = a_j[j] / total;
    }
}

// NumPy: delta = a * (da - (da * a).sum(axis=1, keepdims=True))
extern "C" __global__ void softmax_backward_v1(
    const real* z_sj, const real* a_sj, const real* da_sj, real* delta_sj, integer batch, integer n_out)
{
    for EACH (s, batch) {
        const real *a_j = a_sj + s * n_out, *da_j = da_sj + s * n_out;
        real t = {0};
        for (integer j = 0; j < n_out; ++j)
            t = t + da_j[j] * a_j[j];
        for (integer j = 0; j < n_out; ++j)
            delta_sj[s * n_out + j] = a_j[j] * (da_j[j] - t);
    }
}
