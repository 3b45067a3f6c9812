/* One training step of a small network as a C programmer writes it, for comparison with the compiled trainers.

   sigmoid in both layers, squared error summed over outputs and averaged over the batch, plain gradient descent;
   libm's exp. gcc -O3 -march=native -shared -fPIC; no -ffast-math. Sizes are constants: -DN_IN=8 -DN_HIDDEN=3 and so on.

   W0 (n_in, n_hidden), b0, W1 (n_hidden, n_out), b1 stand in `flat` one after another, as in backprop_ref.Parameters. */

#include <math.h>
#include <stdint.h>

#ifndef BATCH
enum { N_IN = 2, N_HIDDEN = 4, N_OUT = 1, BATCH = 4 };
#endif

static double sigmoid(double z)
{
    double e = exp(-fabs(z));
    return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}

/* The loss of one batch; rows are those of its samples. Updates flat in place. */
static double step(const double *x, const double *y, const int64_t *rows, double *flat, double rate)
{
    double *W0 = flat, *b0 = W0 + N_IN * N_HIDDEN, *W1 = b0 + N_HIDDEN, *b1 = W1 + N_HIDDEN * N_OUT;
    double a0[BATCH][N_HIDDEN], a1[BATCH][N_OUT], delta0[BATCH][N_HIDDEN], delta1[BATCH][N_OUT];
    double dW0[N_IN][N_HIDDEN] = {{0}}, db0[N_HIDDEN] = {0}, dW1[N_HIDDEN][N_OUT] = {{0}}, db1[N_OUT] = {0};
    double loss = 0;

    for (int s = 0; s < BATCH; s++) {
        const double *x_s = x + rows[s] * N_IN;
        for (int j = 0; j < N_HIDDEN; j++) {
            double z = b0[j];
            for (int k = 0; k < N_IN; k++) z += x_s[k] * W0[k * N_HIDDEN + j];
            a0[s][j] = sigmoid(z);
        }
        for (int j = 0; j < N_OUT; j++) {
            double z = b1[j];
            for (int k = 0; k < N_HIDDEN; k++) z += a0[s][k] * W1[k * N_OUT + j];
            a1[s][j] = sigmoid(z);
        }
    }
    for (int s = 0; s < BATCH; s++) {
        for (int j = 0; j < N_OUT; j++) {
            double error = a1[s][j] - y[rows[s] * N_OUT + j];
            loss += error * error;
            delta1[s][j] = 2 * error / BATCH * (a1[s][j] * (1 - a1[s][j]));
        }
        for (int k = 0; k < N_HIDDEN; k++) {
            double da = 0;
            for (int j = 0; j < N_OUT; j++) da += delta1[s][j] * W1[k * N_OUT + j];
            delta0[s][k] = da * (a0[s][k] * (1 - a0[s][k]));
        }
        for (int j = 0; j < N_OUT; j++) {
            for (int k = 0; k < N_HIDDEN; k++) dW1[k][j] += a0[s][k] * delta1[s][j];
            db1[j] += delta1[s][j];
        }
        for (int j = 0; j < N_HIDDEN; j++) {
            for (int k = 0; k < N_IN; k++) dW0[k][j] += x[rows[s] * N_IN + k] * delta0[s][j];
            db0[j] += delta0[s][j];
        }
    }
    for (int k = 0; k < N_IN; k++)
        for (int j = 0; j < N_HIDDEN; j++) W0[k * N_HIDDEN + j] -= rate * dW0[k][j];
    for (int j = 0; j < N_HIDDEN; j++) b0[j] -= rate * db0[j];
    for (int k = 0; k < N_HIDDEN; k++)
        for (int j = 0; j < N_OUT; j++) W1[k * N_OUT + j] -= rate * dW1[k][j];
    for (int j = 0; j < N_OUT; j++) b1[j] -= rate * db1[j];
    return loss / BATCH;
}

/* x (samples, n_in), y (samples, n_out), orders (epochs, samples), samples a multiple of the batch; losses (epochs), means. */
void train(const double *x, const double *y, const int64_t *orders, int64_t epochs, int64_t samples, double *flat,
           double rate, double *losses)
{
    for (int64_t epoch = 0; epoch < epochs; epoch++) {
        const int64_t *order = orders + epoch * samples;
        double total = 0;
        for (int64_t start = 0; start < samples; start += BATCH)
            total += step(x, y, order + start, flat, rate) * BATCH;
        losses[epoch] = total / samples;
    }
}
