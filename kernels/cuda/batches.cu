// What goes in and out of a step, on the device: position[0] is the first row of the batch in the epoch's order_n,
// position[1] the number of the step in the epoch.

// NumPy: x = X[order[start:start + batch]]
extern "C" __global__ void gather_v1(
    const real* X_nk, const integer* order_n, const integer* position, real* x_sk, integer batch, integer width)
{
    for EACH (i, batch * width)
        x_sk[i] = X_nk[order_n[position[0] + i / width] * width + i % width];
}

// NumPy: A[start:start + batch] = a
extern "C" __global__ void keep_rows_v1(
    const real* a_sj, const integer* position, real* A_nj, integer batch, integer width)
{
    for EACH (i, batch * width)
        A_nj[position[0] * width + i] = a_sj[i];
}

// NumPy: losses[step] = loss
extern "C" __global__ void keep_loss_v1(const real* loss, const integer* position, real* losses_t)
{
    for EACH (only, 1)
        losses_t[position[1]] = loss[only];
}

// NumPy: position += (batch, 1); the last launch of a step
extern "C" __global__ void advance_v1(integer* position, integer batch)
{
    for EACH (i, 2)
        position[i] = position[i] + (i == 0 ? batch : 1);
}
