// z = a @ W + b and its gradients. a_sk (batch, n_in), W_kj (n_in, n_out), b_j (n_out,), z_sj, delta_sj (batch, n_out).
//
// v1: one thread computes one entry, as the textbook has it. v2: one block computes a tile, and its threads share what
// they read. In both, an entry is one running sum in index order, so both have the bits of the plain loops.

// NumPy: z = a @ W + b
extern "C" __global__ void affine_forward_v1(
    const real* a_sk, const real* W_kj, const real* b_j, real* z_sj, integer batch, integer n_in, integer n_out)
{
    for EACH (i, batch * n_out) {
        integer s = i / n_out, j = i % n_out;
        real z = b_j[j];
        for (integer k = 0; k < n_in; ++k)
            z = z + a_sk[s * n_in + k] * W_kj[k * n_out + j];
        z_sj[s * n_out + j] = z;
    }
}

// NumPy: dW = a.T @ delta
extern "C" __global__ void affine_backward_v1(
    const real* delta_sj, const real* a_sk, real* dW_kj, integer batch, integer n_in, integer n_out)
{
    for EACH (i, n_in * n_out) {
        integer k = i / n_out, j = i % n_out;
        real dW = {0};
        for (integer s = 0; s < batch; ++s)
            dW = dW + a_sk[s * n_in + k] * delta_sj[s * n_out + j];
        dW_kj[k * n_out + j] = dW;
    }
}

// NumPy: db = delta.sum(axis=0)
extern "C" __global__ void affine_backward_bias_v1(const real* delta_sj, real* db_j, integer batch, integer n_out)
{
    for EACH (j, n_out) {
        real db = {0};
        for (integer s = 0; s < batch; ++s)
            db = db + delta_sj[s * n_out + j];
        db_j[j] = db;
    }
}

// NumPy: da = delta @ W.T
extern "C" __global__ void affine_backward_input_v1(
    const real* delta_sj, const real* W_kj, real* da_sk, integer batch, integer n_in, integer n_out)
{
    for EACH (i, batch * n_in) {
        integer s = i / n_in, k = i % n_in;
        real da = {0};
        for (integer j = 0; j < n_out; ++j)
            da = da + delta_sj[s * n_out + j] * W_kj[k * n_out + j];
        da_sk[s * n_in + k] = da;
    }
}

// A matrix as it lies in memory, or its transpose: entry (row, column) is at[row * down + column * right].
struct View {
    const real* at;
    integer rows, columns, down, right;
};

__device__ inline View matrix(const real* at, integer rows, integer columns) { return {at, rows, columns, columns, 1}; }
__device__ inline View transposed(const real* at, integer rows, integer columns) { return {at, columns, rows, 1, columns}; }

// Copies the TILE x TILE entries from (row0, column0) on; neighbouring threads read neighbouring numbers.
__device__ inline void load(real (&tile)[TILE][TILE + 1], View x, integer row0, integer column0)
{
    int slow = threadIdx.x / TILE, quick = threadIdx.x % TILE;
    int r = x.right == 1 ? slow : quick, c = x.right == 1 ? quick : slow;
    if (row0 + r < x.rows && column0 + c < x.columns)
        tile[r][c] = x.at[(row0 + r) * x.down + (column0 + c) * x.right];
}

// NumPy: out = start + left @ right, start one number per column, or nothing for +0; t = 0, 1, ... in order
__device__ inline void tiled_product(View left_it, View right_tj, const real* start_j, real* out_ij)
{
    __shared__ real left[TILE][TILE + 1], right[TILE][TILE + 1];
    integer n_i = left_it.rows, n_t = left_it.columns, n_j = right_tj.columns;
    integer tiles_j = (n_j + TILE - 1) / TILE, tiles = (n_i + TILE - 1) / TILE * tiles_j;
    int row = threadIdx.x / TILE, column = threadIdx.x % TILE;
    for (integer tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        integer i0 = tile / tiles_j * TILE, j0 = tile % tiles_j * TILE, i = i0 + row, j = j0 + column;
        real sum = {0};
        if (start_j && j < n_j)
            sum = start_j[j];
        for (integer t0 = 0; t0 < n_t; t0 += TILE) {
            load(left, left_it, i0, t0);
            load(right, right_tj, t0, j0);
            __syncthreads();
            int count = n_t - t0 < TILE ? (int)(n_t - t0) : TILE;
            for (int t = 0; t < count; ++t)
                sum = sum + left[row][t] * right[t][column];
            __syncthreads();
        }
        if (i < n_i && j < n_j)
            out_ij[i * n_j + j] = sum;
    }
}

// NumPy: z = a @ W + b
extern "C" __global__ void affine_forward_v2(
    const real* a_sk, const real* W_kj, const real* b_j, real* z_sj, integer batch, integer n_in, integer n_out)
{
    tiled_product(matrix(a_sk, batch, n_in), matrix(W_kj, n_in, n_out), b_j, z_sj);
}

// NumPy: dW = a.T @ delta
extern "C" __global__ void affine_backward_v2(
    const real* delta_sj, const real* a_sk, real* dW_kj, integer batch, integer n_in, integer n_out)
{
    tiled_product(transposed(a_sk, batch, n_in), matrix(delta_sj, batch, n_out), nullptr, dW_kj);
}

// NumPy: da = delta @ W.T
extern "C" __global__ void affine_backward_input_v2(
    const real* delta_sj, const real* W_kj, real* da_sk, integer batch, integer n_in, integer n_out)
{
    tiled_product(matrix(delta_sj, batch, n_out), transposed(W_kj, n_in, n_out), nullptr, da_sk);
}
