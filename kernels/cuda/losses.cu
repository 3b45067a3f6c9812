// Losses: the terms whose sum over n is the loss, and beneath them dLoss/da, or delta where the loss and the activation
// before it are differentiated as one. Then the sum itself. z, a, y (batch, n_out); n is a real number.

// NumPy: terms = (a - y) * (a - y)
extern "C" __global__ void squared_error_terms_v1(
    const real* z_i, const real* a_i, const real* y_i, real* terms_i, integer n_terms)
{
    for EACH (i, n_terms)
        terms_i[i] = (a_i[i] - y_i[i]) * (a_i[i] - y_i[i]);
}

// NumPy: da = (2 * (a - y)) / n; the activation's own backward follows
extern "C" __global__ void squared_error_backward_v1(
    const real* z_i, const real* a_i, const real* y_i, real n, real* da_i, integer n_terms)
{
    for EACH (i, n_terms)
        da_i[i] = (real{2} * (a_i[i] - y_i[i])) / n;
}

// NumPy: terms = y * (log(exp(z - top).sum(axis=1, keepdims=True)) - (z - top)), top = z.max(axis=1, keepdims=True)
extern "C" __global__ void softmax_cross_entropy_terms_v1(
    const real* z_sj, const real* a_sj, const real* y_sj, real* terms_sj, integer batch, integer n_out)
{
    for EACH (s, batch) {
        const real *z_j = z_sj + s * n_out, *y_j = y_sj + s * n_out;
        real top = largest(z_j, n_out), total = {0};
        for (integer j = 0; j < n_out; ++j)
            total = total + exp(z_j[j] - top);
        real log_total = log(total);
        for (integer j = 0; j < n_out; ++j)
            terms_sj[s * n_out + j] = y_j[j] * (log_total - (z_j[j] - top));
    }
}

// NumPy: delta = (a * y.sum(axis=1, keepdims=True) - y) / n
extern "C" __global__ void softmax_cross_entropy_backward_v1(
    const real* z_sj, const real* a_sj, const real* y_sj, real n, real* delta_sj, integer batch, integer n_out)
{
    for EACH (s, batch) {
        const real *a_j = a_sj + s * n_out, *y_j = y_sj + s * n_out;
        real total = {0};
        for (integer j = 0; j < n_out; ++j)
            total = total + y_j[j];
        for (integer j = 0; j < n_out; ++j)
            delta_sj[s * n_out + j] = (a_j[j] * total - y_j[j]) / n;
    }
}

// NumPy: terms = y * (where(z < 0, -z, 0) + log1p(exp(-abs(z))))
extern "C" __global__ void sigmoid_cross_entropy_terms_v1(
    const real* z_i, const real* a_i, const real* y_i, real* terms_i, integer n_terms)
{
    for EACH (i, n_terms) {
        real below = z_i[i] < real{0} ? -z_i[i] : real{0};
        terms_i[i] = y_i[i] * (below + log1p(exp(-abs_of(z_i[i]))));
    }
}

// NumPy: delta = -(y * sigmoid(-z)) / n
extern "C" __global__ void sigmoid_cross_entropy_backward_v1(
    const real* z_i, const real* a_i, const real* y_i, real n, real* delta_i, integer n_terms)
{
    for EACH (i, n_terms)
        delta_i[i] = -(y_i[i] * logistic(-z_i[i])) / n;
}

// NumPy: terms = (where(z > 0, z, 0) - z * y) + log1p(exp(-abs(z)))
extern "C" __global__ void sigmoid_binary_cross_entropy_terms_v1(
    const real* z_i, const real* a_i, const real* y_i, real* terms_i, integer n_terms)
{
    for EACH (i, n_terms) {
        real above = z_i[i] > real{0} ? z_i[i] : real{0};
        terms_i[i] = (above - z_i[i] * y_i[i]) + log1p(exp(-abs_of(z_i[i])));
    }
}

// NumPy: delta = (a - y) / n
extern "C" __global__ void sigmoid_binary_cross_entropy_backward_v1(
    const real* z_i, const real* a_i, const real* y_i, real n, real* delta_i, integer n_terms)
{
    for EACH (i, n_terms)
        delta_i[i] = (a_i[i] - y_i[i]) / n;
}

// NumPy: loss = terms.sum() / n, one running sum over all terms: one thread
extern "C" __global__ void ordered_mean_v1(const real* terms_i, real n, real* loss, integer n_terms)
{
    for EACH (only, 1) {
        real sum = {0};
        for (integer i = 0; i < n_terms; ++i)
            sum = sum + terms_i[i];
        loss[only] = sum / n;
    }
}

// NumPy: loss = terms.sum() / n, the same sum by the first thread of one block, which the others bring the terms
extern "C" __global__ void ordered_mean_v2(const real* terms_i, real n, real* loss, integer n_terms)
{
    __shared__ real block[THREADS];
    real sum = {0};
    for (integer i0 = 0; i0 < n_terms; i0 += THREADS) {
        if (i0 + threadIdx.x < n_terms)
            block[threadIdx.x] = terms_i[i0 + threadIdx.x];
        __syncthreads();
        if (threadIdx.x == 0)
            for (integer i = i0; i < n_terms && i < i0 + THREADS; ++i)
                sum = sum + block[i - i0];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        loss[0] = sum / n;
}

// NumPy: total = x + y, for parts of a batch
extern "C" __global__ void add_v1(const real* x_i, const real* y_i, real* total_i, integer n)
{
    for EACH (i, n)
        total_i[i] = x_i[i] + y_i[i];
}
