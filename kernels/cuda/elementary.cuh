// exp, expm1, log, log1p, tanh and erf from + - * / and exact scaling: `elementary.py` operation for operation, where the reasons
// and the errors stand; all polynomials of tanh and erf are evaluated. Under FAST the library's functions of the same names
// take their place.

#ifndef FAST

// c[0] + c[1] x + c[2] x^2 + ..., evaluated as ((... c[2]) x + c[1]) x + c[0].
template <int n> __device__ inline real horner(const real (&c)[n], real x)
{
    real y = c[n - 1] * x;
#pragma unroll
    for (int i = n - 2; i > 0; --i)
        y = (y + c[i]) * x;
    return y + c[0];
}

__device__ inline real rint_of(real x) { return (x + MAGIC) - MAGIC; }

// x 2^n for whole n, from the exponent field: the last bits of n + MAGIC are n.
__device__ inline real scale(real x, real n) { return x * from_bits((bits_of(n + MAGIC) + BIAS) << FIELD); }

// floor(log2 x) for x positive, finite and normal.
__device__ inline real exponent(real x)
{
    return from_bits((bits_of(x) >> FIELD) | ((BITS)(BIAS + FIELD) << FIELD)) - IMPLICIT;
}

// x = n ln 2 + h - low
struct Reduced { real n, h, low; };

__device__ inline Reduced reduce(real x)
{
    real n = rint_of(x * LOG2_E);
    return {n, x - n * LN2_HI, n * LN2_LO};
}

// e^r for r = h - low
__device__ inline real near_one(real h, real low)
{
    real r = h - low;
    return real{1} + (h + ((r * r) * (real{0.5} + r * horner(EXP, r)) - low));
}

// y 2^n for y near 1, rounded once
__device__ inline real grow(real y, real n)
{
    bool small = n < real{0};
    return scale(y, n + (small ? LIFT : -real{1})) * (small ? ABOVE : real{2});
}

__device__ inline real exp(real x)
{
    real clamped = x < EXP_TOP ? x : EXP_TOP;
    clamped = clamped > EXP_BOTTOM ? clamped : EXP_BOTTOM;
    Reduced r = reduce(clamped);
    real y = grow(near_one(r.h, r.low), r.n);
    return x <= EXP_TOP ? y : x > EXP_TOP ? from_bits(INFINITE) : x;
}

// 2^n ((1 - 2^-n) + h + g^2/2 + s), what each sum loses kept
__device__ inline real expm1(real x)
{
    real clamped = x < EXP_TOP ? x : EXP_TOP;
    clamped = clamped > -FLAT ? clamped : -FLAT;
    Reduced c = reduce(clamped);
    real r = c.h - c.low;
    real g = (r + COARSE) - COARSE;
    real square = real{0.5} * g * g;
    real s = ((real{0.5} * (r - g)) * (r + g) + (r * r) * (r * horner(EXP, r))) - c.low;
    real t = scale(real{1}, c.n < DIGITS ? -c.n : -DIGITS);
    real a = real{1} - t;
    real b = a + c.h;
    real d = b + square;
    real lost = (((real{1} - a) - t) + ((a - b) + c.h)) + ((b - d) + square);
    real y = grow(d + (lost + s), c.n);
    y = x > EXP_TOP ? from_bits(INFINITE) : y;
    return abs_of(x) > TINY ? y : x;
}

// x = 2^k m, sqrt(1/2) < m <= sqrt(2)
struct Split { real k, m; };

__device__ inline Split mantissa(real x)
{
    bool small = x < real{1};
    real k = exponent(x * (small ? BELOW : ABOVE));
    real m = scale(x * (small ? BELOW : ABOVE), -k);
    bool big = m > SQRT2;
    return {k + (small ? -LIFT : LIFT) + (big ? real{1} : real{0}), m * (big ? real{0.5} : real{1})};
}

// k ln 2 + log(1 + f) + low
__device__ inline real assemble(real k, real f, real low)
{
    real s = f / (real{2} + f);
    real z = s * s;
    real square = real{0.5} * f * f;
    return k * LN2_HI - ((square - (s * (square + z * horner(LOG, z)) + (k * LN2_LO + low))) - f);
}

__device__ inline real log(real x)
{
    real infinite = from_bits(INFINITE);
    real inside = x > real{0} ? x : real{1};
    inside = inside < infinite ? inside : real{1};
    Split x_ = mantissa(inside);
    real y = assemble(x_.k, x_.m - real{1}, real{0});
    y = x > real{0} ? y : x < real{0} ? from_bits(NOT_A_NUMBER) : -infinite;
    return x < infinite ? y : x;
}

__device__ inline real log1p(real x)
{
    real infinite = from_bits(INFINITE);
    real inside = x > -real{1} ? x : real{0};
    inside = inside < infinite ? inside : real{0};
    real u = real{1} + inside;
    real lost = inside < real{1} ? inside - (u - real{1}) : real{1} - (u - inside);
    Split u_ = mantissa(u);
    bool near = abs_of(inside - LOG1P_MIDDLE) < LOG1P_REACH;
    real y = assemble(near ? real{0} : u_.k, near ? inside : u_.m - real{1}, near ? real{0} : lost / u);
    y = x > -real{1} ? y : x < -real{1} ? from_bits(NOT_A_NUMBER) : -infinite;
    y = x < infinite ? y : x;
    return abs_of(x) > TINY ? y : x;
}

__device__ inline real tanh(real x)
{
    real a = abs_of(x);
    bool small = a < TANH_SEAM;
    real b = small ? a : TANH_SEAM;
    real z = b * b;
    real near = b + (b * z) * horner(TANH, z);
    real d = a < FLAT ? a : FLAT;
    Reduced r = reduce(-(d + d));
    real e = scale(near_one(r.h, r.low), r.n);
    real far = real{1} - (e + e) / (real{1} + e);
    real y = small ? near : far;
    return a > TINY ? (x < real{0} ? -y : y) : x;
}

__device__ inline real erf(real x)
{
    real a = abs_of(x);
    real b = a >= ERF_EDGE ? ERF_EDGE : a;
    real s = b - ERF_M;
    real near = b + b * horner(ERF, b * b);
    real between = ERF_HI + (ERF_LO + s * horner(ERF_MIDDLE, s));
    real d = a < ERF_TOP ? a : ERF_TOP;
    real far = real{1} - exp(-(d * d)) * horner(ERFC, real{1} / (real{2} + d));
    real y = a < ERF_SEAM ? near : a >= ERF_EDGE ? far : between;
    return a > real{0} ? (x < real{0} ? -y : y) : x;
}

#endif
