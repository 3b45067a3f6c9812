/* Backpropagation in three nested loops, to the bit.
 *
 * Reads one case of the golden vectors as JSON on standard input, and writes z, a, delta, dW, db, dx, the loss, and W
 * and b after three steps as JSON of hexadecimal floats on standard output. float64 only.
 *
 *     cc -O2 -ffp-contract=off -o mlp mlp.c -lm
 *     backprop-ref verify --command ./mlp
 *
 * Every product and every sum is rounded once, in the order of the loops: "reproducible arithmetic, version 1".
 * -ffp-contract=off keeps the compiler from fusing a product and a sum; sqrt is the only function of libm.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 16

static void fail(const char *message) {
    fprintf(stderr, "mlp: %s\n", message);
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *made = calloc(count ? count : 1, size);
    if (!made) fail("out of memory");
    return made;
}

/* ---- elementary functions, from + - * / and exact scaling; polynomials by Horner, from the last coefficient on */

static double horner(const double *c, int n, double x) {
    double y = c[n - 1];
    for (int i = n - 2; i >= 0; i--) y = y * x + c[i];
    return y;
}

/* x * 2^n for -1022 <= n <= 1023, the power made from its bits */
static double scale(double x, double n) {
    uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return x * power;
}

/* floor(log2(x)) for normal x > 0 */
static double exponent(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (double)((int64_t)(bits >> 52) - 1023);
}

static double nearest(double x) {
    const double magic = 0x1.8p+52;
    return (x + magic) - magic;
}

static const double LOG2_E = 0x1.71547652b82fep+0, LN2_HI = 0x1.62e42fefa3800p-1, LN2_LO = 0x1.ef35793c76730p-45;
static const double EXP_TOP = 0x1.62e42fefa39efp+9, EXP_BOTTOM = -0x1.75p+9, SQRT2 = 0x1.6a09e667f3bcdp+0;
static const double TINY = 0x1p-55, FLAT = 44.0, TANH_SEAM = 0x1.198p-1;

static const double EXP[] = {
    0x1.5555555555559p-3, 0x1.5555555555559p-5, 0x1.111111110f6e1p-7, 0x1.6c16c16c14aadp-10, 0x1.a01a01afd3851p-13,
    0x1.a01a01af571acp-16, 0x1.71ddf87c52ae7p-19, 0x1.27e4c7de24e90p-22, 0x1.af5e7c823d196p-26, 0x1.1f929a9445aa8p-29};
static const double LOG[] = {0x1.5555555555592p-1, 0x1.999999997fdbep-2, 0x1.24924941f0efbp-2, 0x1.c71c52097c580p-3,
                             0x1.74663ee26946fp-3, 0x1.39a1bb601af39p-3, 0x1.2f055bf196fcep-3};
static const double TANH[] = {
    -0x1.55555555554a4p-2, 0x1.1111111103077p-3, -0x1.ba1ba1adc1436p-5, 0x1.664f45d0cb1fep-6, -0x1.226ddea8d41a7p-7,
    0x1.d6c647d4f2db1p-9, -0x1.7cf54a4964553p-10, 0x1.2fab535e5aca9p-11, -0x1.b940d43e63509p-13, 0x1.ac939ec2d5337p-15};

/* x = n ln 2 + h - low */
static void reduce(double x, double *n, double *h, double *low) {
    *n = nearest(x * LOG2_E);
    *h = x - *n * LN2_HI;
    *low = *n * LN2_LO;
}

/* e^(h - low), near 1 */
static double near_one(double h, double low) {
    double r = h - low;
    return 1.0 + (h + ((r * r) * (0.5 + r * horner(EXP, 10, r)) - low));
}

/* y 2^n in two steps, the first exact */
static double grow(double y, double n) {
    int small = n < 0.0;
    return scale(y, n + (small ? 64.0 : -1.0)) * (small ? 0x1p-64 : 2.0);
}

static double exp_(double x) {
    double n, h, low;
    if (!(x <= EXP_TOP)) return x > EXP_TOP ? INFINITY : x;
    reduce(x > EXP_BOTTOM ? x : EXP_BOTTOM, &n, &h, &low);
    return grow(near_one(h, low), n);
}

/* e^x - 1, what each sum loses kept */
static double expm1_(double x) {
    double n, h, low;
    if (!(x <= EXP_TOP)) return x > EXP_TOP ? INFINITY : x;
    if (!(fabs(x) > TINY)) return x;
    reduce(x > -FLAT ? x : -FLAT, &n, &h, &low);
    double r = h - low, g = (r + 0x1.8p+26) - 0x1.8p+26, square = 0.5 * g * g;
    double s = ((0.5 * (r - g)) * (r + g) + (r * r) * (r * horner(EXP, 10, r))) - low;
    double t = scale(1.0, n < 64.0 ? -n : -64.0), a = 1.0 - t, b = a + h, d = b + square;
    double lost = (((1.0 - a) - t) + ((a - b) + h)) + ((b - d) + square);
    return grow(d + (lost + s), n);
}

/* k ln 2 + log(1 + f) + low */
static double assemble(double k, double f, double low) {
    double s = f / (2.0 + f), z = s * s, square = 0.5 * f * f;
    return k * LN2_HI - ((square - (s * (square + z * horner(LOG, 7, z)) + (k * LN2_LO + low))) - f);
}

/* x = 2^k m with sqrt(1/2) < m <= sqrt(2) */
static void mantissa(double x, double *k, double *m) {
    int small = x < 1.0;
    double lifted = x * (small ? 0x1p+64 : 0x1p-64);
    *k = exponent(lifted);
    *m = scale(lifted, -*k);
    int big = *m > SQRT2;
    *k = *k + (small ? -64.0 : 64.0) + (big ? 1.0 : 0.0);
    *m = *m * (big ? 0.5 : 1.0);
}

static double log_(double x) {
    double k, m;
    if (!(x > 0.0)) return x < 0.0 ? NAN : x == 0.0 ? -INFINITY : x;
    if (!(x < INFINITY)) return x;
    mantissa(x, &k, &m);
    return assemble(k, m - 1.0, 0.0);
}

static double log1p_(double x) {
    double k, m;
    if (!(x > -1.0)) return x < -1.0 ? NAN : x == -1.0 ? -INFINITY : x;
    if (!(x < INFINITY) || !(fabs(x) > TINY)) return x;
    double u = 1.0 + x, lost = x < 1.0 ? x - (u - 1.0) : 1.0 - (u - x);
    if (fabs(x - 0x1p-4) < 0x1.6p-2) return assemble(0.0, x, 0.0);
    mantissa(u, &k, &m);
    return assemble(k, m - 1.0, lost / u);
}

static double tanh_(double x) {
    double a = fabs(x), n, h, low, y;
    if (!(a > TINY)) return x;
    if (a < TANH_SEAM) {
        double z = a * a;
        y = a + (a * z) * horner(TANH, 10, z);
    } else {
        double d = a < FLAT ? a : FLAT;
        reduce(-(d + d), &n, &h, &low);
        double e = scale(near_one(h, low), n);
        y = 1.0 - (e + e) / (1.0 + e);
    }
    return x < 0.0 ? -y : y;
}

static const double ERF[] = {
    0x1.06eba8214db69p-3, -0x1.812746b0379e7p-2, 0x1.ce2f21a042be2p-4, -0x1.b82ce31288b50p-6, 0x1.565bcd0e6a4e9p-8,
    -0x1.c02db4003e54ap-11, 0x1.f9a326f908f91p-14, -0x1.f4d25c1bc7edcp-17, 0x1.b9e6c5320e43fp-20, -0x1.5f73bc00fe7d3p-23,
    0x1.fcb5ecf1a03adp-27, -0x1.511db5e52f5f6p-30, 0x1.92feff227b278p-34, -0x1.6bb61b65d33e3p-38};
static const double ERF_MIDDLE[] = {
    0x1.8eed36b886d92p-2, -0x1.9b64a06e4b103p-2, 0x1.2bb6e2c74dc0fp-3, 0x1.dee322c065003p-5, -0x1.169960d6231d9p-4,
    0x1.feab4a6f4dad9p-8, 0x1.c76eba3063521p-7, -0x1.5842efc033622p-8, -0x1.88e187490ae18p-10, 0x1.45d679dbdab02p-10,
    0x1.a0263bc078038p-17, -0x1.8f3206466b08cp-13, 0x1.bf0052328907fp-16, 0x1.55de139eca02dp-16};
static const double ERFC[] = {
    0x1.3200af22d26a3p-17, 0x1.20a7a7bea6f5fp-1, 0x1.22f98961f2f96p+0, 0x1.e0da834dba74ep+0, 0x1.c449b6d350e78p+1,
    -0x1.4c0048e42d096p-1, 0x1.075ccdad6c561p+3, -0x1.04907e264ce63p+3, -0x1.6023932440720p+6, 0x1.ec49ece168241p+7,
    -0x1.046457d80fb7cp+8, 0x1.a202d6ef9ba94p+6};

static double erf_(double x) {
    double a = fabs(x), y;
    if (!(a > 0.0)) return x;
    if (a < 0.75) y = a + a * horner(ERF, 14, a * a);
    else if (a < 1.3125) y = 0x1.b5e62fce16095p-1 + (0x1.bc3da0f1d0e78p-56 + (a - 1.03125) * horner(ERF_MIDDLE, 14, a - 1.03125));
    else {
        double d = a < 6.0 ? a : 6.0;
        y = 1.0 - exp_(-(d * d)) * horner(ERFC, 12, 1.0 / (2.0 + d));
    }
    return x < 0.0 ? -y : y;
}

static double sigmoid(double z) {
    double e = exp_(-fabs(z));
    return z >= 0.0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
}

static double softplus(double z) {
    return (z > 0.0 ? z : 0.0) + log1p_(exp_(-fabs(z)));
}

/* ---- JSON: a tree of objects, lists, texts and numbers; hexadecimal floats come as texts */

typedef struct Node {
    char kind; /* '{' '[' '"' '0' (a number) 'n' (null) 't' 'f' */
    char *text, *key;
    double number;
    struct Node *first, *next;
    int count;
} Node;

static char *at;

static void skip(void) {
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') at++;
}

static char *quoted(void) {
    char *start = ++at;
    while (*at && *at != '"') at += *at == '\\' && at[1] ? 2 : 1;
    if (!*at) fail("a text without end");
    *at++ = 0;
    return start;
}

static Node *parse(void) {
    Node *node = allocate(1, sizeof *node), **tail = &node->first;
    skip();
    node->kind = *at;
    if (*at == '{' || *at == '[') {
        char end = *at++ == '{' ? '}' : ']';
        for (skip(); *at != end; skip()) {
            char *key = NULL;
            if (end == '}') {
                if (*at != '"') fail("a key is missing");
                key = quoted();
                skip();
                if (*at++ != ':') fail("a colon is missing");
            }
            *tail = parse();
            (*tail)->key = key;
            tail = &(*tail)->next;
            node->count++;
            skip();
            if (*at == ',') at++;
            else if (*at != end) fail("neither a comma nor an end");
        }
        at++;
    } else if (*at == '"') {
        node->text = quoted();
        node->number = strtod(node->text, NULL);
    } else if (*at == 'n' || *at == 't' || *at == 'f') {
        at += *at == 'f' ? 5 : 4;
    } else {
        char *end;
        node->kind = '0';
        node->number = strtod(at, &end);
        if (end == at) fail("not JSON");
        at = end;
    }
    return node;
}

static Node *get(Node *object, const char *key) {
    for (Node *entry = object->first; entry; entry = entry->next)
        if (entry->key && !strcmp(entry->key, key)) return entry;
    fprintf(stderr, "mlp: no %s\n", key);
    exit(1);
}

static double number(Node *object, const char *key) {
    return get(object, key)->number;
}

static double *fill(Node *node, double *to) {
    if (node->kind != '[') {
        *to = node->number;
        return to + 1;
    }
    for (Node *entry = node->first; entry; entry = entry->next) to = fill(entry, to);
    return to;
}

static int is(Node *node, const char *text) {
    return node->text && !strcmp(node->text, text);
}

static double normal(double z) {
    return 0.5 * (1.0 + erf_(z * 0x1.6a09e667f3bcdp-1));
}

/* sigma(2u), which is near the normal distribution, and the derivative of 2u */
static double near_normal(double z, double *slope) {
    double square = fabs(z) < 22.0 ? z * z : 484.0, c = 2.0 * sqrt(2.0 / 3.141592653589793);
    *slope = c * (1.0 + (3.0 * 0.044715) * square);
    return sigmoid(z * (c * (1.0 + 0.044715 * square)));
}

/* tanh(log(1 + exp(z))) */
static double gate(double z) {
    double e = exp_(-fabs(z)), right = 1.0 + 2.0 * e, left = e * (e + 2.0);
    return z >= 0.0 ? right / (right + 2.0 * (e * e)) : left / (left + 2.0);
}

/* The number in name(number), or the usual one where the name stands alone; NaN where it is another name. */
static double given(Node *node, const char *name, double usual) {
    size_t length = strlen(name);
    if (!node->text || strncmp(node->text, name, length)) return NAN;
    if (!node->text[length]) return usual;
    return node->text[length] == '(' ? strtod(node->text + length + 1, NULL) : NAN;
}

static const double SELU = 1.0507009873554805, SELU_FLOOR = 1.0507009873554805 * 1.6732632423543772;

/* ---- the network */

typedef struct {
    int layers, batch, size[MAX_LAYERS + 1];
    Node *activation[MAX_LAYERS], *loss;
    double *W[MAX_LAYERS], *b[MAX_LAYERS];                    /* (n_in, n_out) and (n_out) */
    double *x, *y, *upstream;                                 /* upstream: dLoss/da, or NULL where there is a loss */
    double *z[MAX_LAYERS], *a[MAX_LAYERS], *delta[MAX_LAYERS]; /* (batch, n_out) */
    double *dW[MAX_LAYERS], *db[MAX_LAYERS], *dx, value;
} Mlp;

static void activate(Node *name, const double *z, double *a, int n) {
    if (is(name, "softmax")) {
        double max = z[0], sum = 0.0;
        for (int j = 1; j < n; j++) max = z[j] > max ? z[j] : max;
        for (int j = 0; j < n; j++) sum = sum + (a[j] = exp_(z[j] - max));
        for (int j = 0; j < n; j++) a[j] = a[j] / sum;
        return;
    }
    double slope = given(name, "leaky_relu", 0.01), alpha = given(name, "elu", 1.0);
    for (int j = 0; j < n; j++) {
        if (is(name, "sigmoid")) a[j] = sigmoid(z[j]);
        else if (is(name, "tanh")) a[j] = tanh_(z[j]);
        else if (is(name, "relu")) a[j] = z[j] <= 0.0 ? 0.0 : z[j];
        else if (!isnan(slope)) a[j] = z[j] > 0.0 ? z[j] : slope * z[j];
        else if (is(name, "linear")) a[j] = z[j];
        else if (is(name, "softsign")) a[j] = z[j] / (1.0 + fabs(z[j]));
        else if (is(name, "hard_sigmoid")) a[j] = z[j] <= -3.0 ? 0.0 : z[j] >= 3.0 ? 1.0 : (z[j] + 3.0) / 6.0;
        else if (is(name, "softplus")) a[j] = softplus(z[j]);
        else if (is(name, "silu")) a[j] = z[j] * sigmoid(z[j]);
        else if (!isnan(alpha)) a[j] = z[j] > 0.0 ? z[j] : alpha * expm1_(-fabs(z[j]));
        else if (is(name, "gelu")) a[j] = z[j] * normal(z[j]);
        else if (is(name, "gelu_tanh")) {
            double inner;
            a[j] = z[j] * near_normal(z[j], &inner);
        } else if (is(name, "mish")) a[j] = z[j] * gate(z[j]);
        else if (is(name, "selu")) a[j] = z[j] > 0.0 ? SELU * z[j] : SELU_FLOOR * expm1_(-fabs(z[j]));
        else fail("unknown activation");
    }
}

static void activate_backward(Node *name, const double *z, const double *a, const double *da, double *delta, int n) {
    double t = 0.0, slope = given(name, "leaky_relu", 0.01), alpha = given(name, "elu", 1.0);
    if (is(name, "softmax"))
        for (int j = 0; j < n; j++) t = t + da[j] * a[j];
    for (int j = 0; j < n; j++) {
        if (is(name, "softmax")) delta[j] = a[j] * (da[j] - t);
        else if (is(name, "sigmoid")) delta[j] = da[j] * (a[j] * (1.0 - a[j]));
        else if (is(name, "tanh")) delta[j] = da[j] * (1.0 - a[j] * a[j]);
        else if (is(name, "relu")) delta[j] = z[j] <= 0.0 ? 0.0 : da[j];
        else if (!isnan(slope)) delta[j] = z[j] > 0.0 ? da[j] : slope * da[j];
        else if (is(name, "softsign")) {
            double r = 1.0 / (1.0 + fabs(z[j]));
            delta[j] = da[j] * (r * r);
        } else if (is(name, "hard_sigmoid")) delta[j] = z[j] <= -3.0 || z[j] >= 3.0 ? 0.0 : da[j] / 6.0;
        else if (is(name, "softplus")) delta[j] = da[j] * sigmoid(z[j]);
        else if (is(name, "silu")) {
            double s = sigmoid(z[j]);
            delta[j] = da[j] * (s * (1.0 + z[j] * (1.0 - s)));
        } else if (!isnan(alpha)) delta[j] = z[j] > 0.0 ? da[j] : da[j] * (a[j] + alpha);
        else if (is(name, "gelu")) {
            double density = (1.0 / sqrt(2.0 * 3.141592653589793)) * exp_(-0.5 * (z[j] * z[j]));
            delta[j] = da[j] * (normal(z[j]) + z[j] * density);
        } else if (is(name, "gelu_tanh")) {
            double inner, s = near_normal(z[j], &inner);
            delta[j] = da[j] * (s + z[j] * ((s * (1.0 - s)) * inner));
        } else if (is(name, "mish")) {
            double t = gate(z[j]);
            delta[j] = da[j] * (t + z[j] * ((1.0 - t * t) * sigmoid(z[j])));
        } else if (is(name, "selu")) delta[j] = z[j] > 0.0 ? SELU * da[j] : da[j] * (a[j] + SELU_FLOOR);
        else delta[j] = da[j];
    }
}

static void forward(Mlp *net) {
    for (int l = 0; l < net->layers; l++) {
        int n_in = net->size[l], n_out = net->size[l + 1];
        const double *a = l ? net->a[l - 1] : net->x;
        for (int s = 0; s < net->batch; s++) {
            for (int j = 0; j < n_out; j++) {
                double z = net->b[l][j];
                for (int k = 0; k < n_in; k++) z = z + a[s * n_in + k] * net->W[l][k * n_out + j];
                net->z[l][s * n_out + j] = z;
            }
            activate(net->activation[l], net->z[l] + s * n_out, net->a[l] + s * n_out, n_out);
        }
    }
}

static double sign(double x) {
    return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x;
}

/* A loss of the output alone: one term, and its derivative by a; 0 where it is another loss. */
static int alone(Node *loss, double a, double y, double *term, double *da) {
    double r = a - y, far = fabs(r), d = given(loss, "huber", 1.0), t = y > 0.0 ? 1.0 : -1.0;
    if (is(loss, "mean_squared_error") || is(loss, "sum_squared_error")) *term = r * r, *da = 2.0 * r;
    else if (is(loss, "mean_absolute_error")) *term = far, *da = sign(r);
    else if (!isnan(d)) *term = far <= d ? 0.5 * (r * r) : d * (far - 0.5 * d), *da = far <= d ? r : d * sign(r);
    else if (is(loss, "log_cosh")) *term = far + (log1p_(exp_(-2.0 * far)) - 0x1.62e42fefa39efp-1), *da = tanh_(r);
    else if (is(loss, "hinge")) *term = t * a < 1.0 ? 1.0 - t * a : 0.0, *da = t * a < 1.0 ? -t : 0.0;
    else return 0;
    return 1;
}

/* One sample's terms of the loss are added to *sum; delta of the last layer is written. */
static void output(Mlp *net, int s, double n, double *sum) {
    int last = net->layers - 1, n_out = net->size[last + 1];
    const double *z = net->z[last] + s * n_out, *a = net->a[last] + s * n_out, *y = net->y + s * n_out;
    double *delta = net->delta[last] + s * n_out, da[n_out], term;
    if (net->upstream) {
        activate_backward(net->activation[last], z, a, net->upstream + s * n_out, delta, n_out);
    } else if (alone(net->loss, a[0], y[0], &term, da)) {
        for (int j = 0; j < n_out; j++) {
            alone(net->loss, a[j], y[j], &term, da + j);
            *sum = *sum + term;
            da[j] = da[j] / n;
        }
        activate_backward(net->activation[last], z, a, da, delta, n_out);
    } else if (is(net->loss, "multi_class_hinge")) {
        double of_class = 0.0, hits = 0.0;
        for (int j = 0; j < n_out; j++) of_class = of_class + (y[j] > 0.0 ? a[j] : 0.0);
        for (int j = 0; j < n_out; j++) {
            double margin = 1.0 + (a[j] - of_class);
            int hit = y[j] <= 0.0 && margin > 0.0;
            *sum = *sum + (hit ? margin : 0.0);
            hits = hits + (double)hit;
            da[j] = (double)hit;
        }
        for (int j = 0; j < n_out; j++) da[j] = (y[j] > 0.0 ? -hits : da[j]) / n;
        activate_backward(net->activation[last], z, a, da, delta, n_out);
    } else if (is(net->loss, "poisson")) {
        for (int j = 0; j < n_out; j++) {
            int rate = is(net->activation[last], "softplus"), far = z[j] < -40.0;
            double log = rate && !far ? log_(a[j]) : z[j], slope = far ? 1.0 : sigmoid(z[j]) / a[j];
            *sum = *sum + ((rate ? a[j] : exp_(z[j])) - y[j] * log);
            delta[j] = (rate ? sigmoid(z[j]) - y[j] * slope : exp_(z[j]) - y[j]) / n;
        }
    } else if (is(net->activation[last], "softmax")) {
        double max = z[0], total = 0.0, labels = 0.0, epsilon = given(net->loss, "cross_entropy", 0.0), soft[n_out];
        for (int j = 1; j < n_out; j++) max = z[j] > max ? z[j] : max;
        for (int j = 0; j < n_out; j++) {
            total = total + exp_(z[j] - max);
            soft[j] = epsilon > 0.0 ? y[j] - epsilon * (y[j] - 1.0 / n_out) : y[j];
            labels = labels + soft[j];
        }
        for (int j = 0; j < n_out; j++) {
            *sum = *sum + soft[j] * (log_(total) - (z[j] - max));
            delta[j] = (a[j] * labels - soft[j]) / n;
        }
    } else {
        int binary = is(net->loss, "binary_cross_entropy");
        for (int j = 0; j < n_out; j++) {
            double soft = log1p_(exp_(-fabs(z[j])));
            if (binary) *sum = *sum + (((z[j] > 0.0 ? z[j] : 0.0) - z[j] * y[j]) + soft);
            else *sum = *sum + y[j] * ((z[j] < 0.0 ? -z[j] : 0.0) + soft);
            delta[j] = binary ? (a[j] - y[j]) / n : -(y[j] * sigmoid(-z[j])) / n;
        }
    }
}

static void backward(Mlp *net) {
    int last = net->layers - 1, n_out = net->size[net->layers];
    int over_outputs = !is(net->loss, "sum_squared_error") && isnan(given(net->loss, "cross_entropy", 0.0));
    double sum = 0.0, n = (double)net->batch * (over_outputs ? n_out : 1);
    for (int s = 0; s < net->batch; s++) output(net, s, n, &sum);
    net->value = sum / n;
    for (int l = last; l >= 0; l--) {
        int inputs = net->size[l], outputs = net->size[l + 1];
        const double *a = l ? net->a[l - 1] : net->x, *delta = net->delta[l];
        for (int k = 0; k < inputs; k++)
            for (int j = 0; j < outputs; j++) {
                double g = 0.0;
                for (int s = 0; s < net->batch; s++) g = g + a[s * inputs + k] * delta[s * outputs + j];
                net->dW[l][k * outputs + j] = g;
            }
        for (int j = 0; j < outputs; j++) {
            double g = 0.0;
            for (int s = 0; s < net->batch; s++) g = g + delta[s * outputs + j];
            net->db[l][j] = g;
        }
        for (int s = 0; s < net->batch; s++) {
            double da[inputs];
            for (int k = 0; k < inputs; k++) {
                da[k] = 0.0;
                for (int j = 0; j < outputs; j++) da[k] = da[k] + delta[s * outputs + j] * net->W[l][k * outputs + j];
            }
            if (l) {
                int row = s * inputs;
                activate_backward(net->activation[l - 1], net->z[l - 1] + row, net->a[l - 1] + row, da,
                                  net->delta[l - 1] + row, inputs);
            } else memcpy(net->dx + s * inputs, da, sizeof da);
        }
    }
}

/* rate*W is added to dW, or to W itself */
static void decay(Mlp *net, double rate, double **to) {
    if (rate != 0.0)
        for (int l = 0; l < net->layers; l++)
            for (int i = 0; i < net->size[l] * net->size[l + 1]; i++) to[l][i] = to[l][i] + rate * net->W[l][i];
}

/* ---- three steps of an optimizer */

typedef struct {
    Node *name;
    int adam, decoupled;
    double rate, momentum, nesterov, weight_decay, beta1, beta2, epsilon, power1, power2;
} Optimizer;

static Optimizer optimizer_of(Node *node) {
    Optimizer o = {.name = get(node, "name"), .rate = number(node, "learning_rate"), .power1 = 1.0, .power2 = 1.0};
    o.weight_decay = number(node, "weight_decay");
    o.decoupled = is(o.name, "adamw");
    o.adam = o.decoupled || is(o.name, "adam");
    if (!is(o.name, "sgd")) o.epsilon = number(node, "epsilon");
    if (is(o.name, "rmsprop")) o.beta2 = number(node, "rho");
    if (o.adam) {
        o.beta1 = number(node, "beta1");
        o.beta2 = number(node, "beta2");
    } else if (is(o.name, "sgd")) {
        o.momentum = number(node, "momentum");
        o.nesterov = get(node, "nesterov")->kind == 't';
    }
    return o;
}

static void update(const Optimizer *o, double *p, const double *gradient, double *m, double *v, int n) {
    for (int i = 0; i < n; i++) {
        double g = gradient[i];
        if (o->adam) {
            m[i] = o->beta1 * m[i] + (1.0 - o->beta1) * g;
            v[i] = o->beta2 * v[i] + (1.0 - o->beta2) * (g * g);
            double c1 = 1.0 - o->power1, c2 = 1.0 - o->power2;
            p[i] = p[i] - (o->rate * (m[i] / c1)) / (sqrt(v[i] / c2) + o->epsilon);
        } else if (!is(o->name, "sgd")) {
            v[i] = is(o->name, "adagrad") ? v[i] + g * g : o->beta2 * v[i] + (1.0 - o->beta2) * (g * g);
            p[i] = p[i] - (o->rate * g) / (sqrt(v[i]) + o->epsilon);
        } else {
            v[i] = o->momentum * v[i] + g;
            p[i] = p[i] - o->rate * (o->nesterov ? g + o->momentum * v[i] : v[i]);
        }
    }
}

static void steps(Mlp *net, Optimizer o, int rows, int count) {
    double *x = net->x, *y = net->y, *m[2 * MAX_LAYERS], *v[2 * MAX_LAYERS];
    int total = net->batch, start = 0;
    for (int l = 0; l < net->layers; l++)
        for (int i = 0; i < 2; i++) {
            m[2 * l + i] = allocate(net->size[l] * net->size[l + 1], sizeof(double));
            v[2 * l + i] = allocate(net->size[l] * net->size[l + 1], sizeof(double));
        }
    for (int step = 0; step < count; step++) {
        net->batch = total - start < rows ? total - start : rows;
        net->x = x + start * net->size[0];
        net->y = y + start * net->size[net->layers];
        forward(net);
        backward(net);
        if (o.decoupled) decay(net, -(o.rate * o.weight_decay), net->W);
        else decay(net, o.weight_decay, net->dW);
        o.power1 = o.power1 * o.beta1;
        o.power2 = o.power2 * o.beta2;
        for (int l = 0; l < net->layers; l++) {
            update(&o, net->W[l], net->dW[l], m[2 * l], v[2 * l], net->size[l] * net->size[l + 1]);
            update(&o, net->b[l], net->db[l], m[2 * l + 1], v[2 * l + 1], net->size[l + 1]);
        }
        start = start + rows < total ? start + rows : 0;
    }
}

/* ---- from JSON to JSON */

static Mlp network_of(Node *document) {
    Mlp net = {0};
    Node *description = get(document, "network"), *sizes = get(description, "sizes");
    Node *name = get(description, "activations")->first, *W = get(document, "weights")->first;
    Node *b = get(document, "biases")->first, *upstream = get(document, "da");
    if (sizes->count - 1 > MAX_LAYERS) fail("too many layers");
    for (Node *size = sizes->first; size; size = size->next) net.size[net.layers++] = (int)size->number;
    net.layers--;
    net.batch = get(document, "x")->count;
    net.loss = get(description, "loss");
    for (int l = 0; l < net.layers; l++, name = name->next, W = W->next, b = b->next) {
        size_t n_in = net.size[l], n_out = net.size[l + 1], rows = net.batch;
        net.activation[l] = name;
        fill(W, net.W[l] = allocate(n_in * n_out, sizeof(double)));
        fill(b, net.b[l] = allocate(n_out, sizeof(double)));
        net.z[l] = allocate(rows * n_out, sizeof(double));
        net.a[l] = allocate(rows * n_out, sizeof(double));
        net.delta[l] = allocate(rows * n_out, sizeof(double));
        net.dW[l] = allocate(n_in * n_out, sizeof(double));
        net.db[l] = allocate(n_out, sizeof(double));
    }
    fill(get(document, "x"), net.x = allocate(net.batch * net.size[0], sizeof(double)));
    fill(get(document, "y"), net.y = allocate(net.batch * net.size[net.layers], sizeof(double)));
    net.dx = allocate(net.batch * net.size[0], sizeof(double));
    if (upstream->kind == '[') fill(upstream, net.upstream = allocate(net.batch * net.size[net.layers], sizeof(double)));
    return net;
}

static void write_vector(const double *v, int n) {
    for (int i = 0; i < n; i++) printf("%s\"%a\"", i ? ", " : "[", v[i]);
    printf("]");
}

static void write_matrix(const double *v, int rows, int columns) {
    for (int i = 0; i < rows; i++) {
        printf(i ? ", " : "[");
        write_vector(v + i * columns, columns);
    }
    printf("]");
}

/* rows 0: one vector per layer; -1: a matrix of n_in rows; else a matrix of so many rows */
static void write_list(const Mlp *net, const char *name, double *const *arrays, int rows) {
    printf(", \"%s\": [", name);
    for (int l = 0; l < net->layers; l++) {
        if (l) printf(", ");
        if (rows == 0) write_vector(arrays[l], net->size[l + 1]);
        else write_matrix(arrays[l], rows < 0 ? net->size[l] : rows, net->size[l + 1]);
    }
    printf("]");
}

static char *standard_input(void) {
    size_t used = 0, size = 1 << 16;
    char *text = allocate(size, 1);
    for (size_t got; (got = fread(text + used, 1, size - used - 1, stdin)) > 0;) {
        used += got;
        if (size - used < 2 && !(text = realloc(text, size *= 2))) fail("out of memory");
    }
    text[used] = 0;
    return text;
}

int main(void) {
    at = standard_input();
    Node *document = parse();
    if (!is(get(document, "dtype"), "float64")) {
        printf("{\"not_judged\": \"float64 only\"}\n");
        return 0;
    }
    Mlp net = network_of(document);
    forward(&net);
    backward(&net);
    decay(&net, number(document, "weight_decay"), net.dW);
    printf("{\"name\": \"%s\"", get(document, "name")->text);
    write_list(&net, "z", net.z, net.batch);
    write_list(&net, "a", net.a, net.batch);
    write_list(&net, "delta", net.delta, net.batch);
    write_list(&net, "dW", net.dW, -1);
    write_list(&net, "db", net.db, 0);
    printf(", \"dx\": ");
    write_matrix(net.dx, net.batch, net.size[0]);
    if (!net.upstream) {
        printf(", \"loss\": \"%a\"", net.value);
        steps(&net, optimizer_of(get(document, "optimizer")), (int)number(document, "batch_size"),
              (int)number(document, "steps"));
        write_list(&net, "W", net.W, -1);
        write_list(&net, "b", net.b, 0);
    }
    printf("}\n");
    return 0;
}
