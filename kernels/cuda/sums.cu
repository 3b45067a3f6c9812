// Sums of a loss's terms, in order, what a sample counts in them, and sums of the gradients of a batch's parts; products
// with a mask.

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

// NumPy: x *= w[:, None], in place
extern "C" __global__ void weigh_v1(const real* w_s, real* x_sj, integer batch, integer n_out)
{
    for EACH (i, batch * n_out)
        x_sj[i] = w_s[i / n_out] * x_sj[i];
}

// NumPy: total = x + y, for parts of a batch
extern "C" __global__ void add_v1(const real* x_i, const real* y_i, real* total_i, integer n)
{
    for EACH (i, n)
        total_i[i] = x_i[i] + y_i[i];
}

// NumPy: product = x * y, under dropout
extern "C" __global__ void multiply_v1(const real* x_i, const real* y_i, real* product_i, integer n)
{
    for EACH (i, n)
        product_i[i] = x_i[i] * y_i[i];
}
