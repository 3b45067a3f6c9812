"""exp, log, log1p, expm1, tanh, erf and cos(pi t) from + - * / and exact scaling: the same bits wherever they run.

Part of "reproducible arithmetic, version 1": every operation below is rounded once, to nearest even, in the
order written; nothing is fused, reassociated or looked up. So each value is a function of its argument alone,
not of a library, a processor or a vector width, and one source serves arrays of any array-API namespace,
plain Python and NumPy scalars, and numbers and vectors of LLVM. What differs
between those is injected as five `Primitives`; `build` writes the functions over them.

| function | error below | largest seen (ulp): float64, float32 | method |
|---|---|---|---|
| exp | 1 ulp | 0.85, 0.87 | x = n ln 2 + r, polynomial in r, times 2^n |
| expm1 | 1 ulp | 0.80, 0.71 | the same, the leading terms kept as sums of two numbers |
| log | 1 ulp | 0.85, 0.84 | x = 2^k m, polynomial in (m - 1)/(m + 1) |
| log1p | 1 ulp | 0.81, 0.87 | the logarithm of 1 + x rounded, and what rounding lost |
| tanh | 2.5 ulp | 1.48, 1.50 | odd polynomial up to 0.55, beyond from the exponential of -2 abs(x) |
| sigmoid | 2.5 ulp | 2.26, 2.41 | (not here) 1/(1 + e) or e/(1 + e) with e = exp(-abs(z)) |
| erf | 1 ulp | 0.84, 0.96 | odd polynomial up to 0.75, one about 1.03 up to 1.3125, beyond 1 less erfc |
| cospi | 2 ulp | 1.62, 1.60 | for 0 <= t <= 1: cosine up to 1/4, sine up to 1/2, mirrored |

Errors of exp, expm1, log, log1p and tanh are proved by ci/gappa.py; those of the others are measured alone. Seen: of
10^6 arguments in float64, of all there are in float32. One ulp is the distance of neighbouring
numbers at the exact result, subnormal results included. NaN passes through all functions. Whatever the
argument, nothing overflows or is invalid inside, so NumPy warns of nothing by default; underflow is
gradual, and a caller who has set ``np.errstate(under="raise")`` has to lift it here.
"""

import math
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Compile: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

# Polynomials: minimax (Remez exchange in 160 bits), each coefficient then rounded to the precision. In
# brackets: the relative error they alone cause, rounding included, in units of u = 2^-53 (2^-24 in float32).
CONSTANTS: dict[str, dict[str, str]] = {
    "float64": {
        "log2_e": "0x1.71547652b82fep+0",
        "ln2_hi": "0x1.62e42fefa3800p-1",  # 42 bits, so that n * ln2_hi is exact for |n| < 2^11
        "ln2_lo": "0x1.ef35793c76730p-45",
        "sqrt2": "0x1.6a09e667f3bcdp+0",
        "pi_hi": "0x1.921fb54442d18p+1",
        "pi_lo": "0x1.1a62633145c07p-53",
        "exp_top": "0x1.62e42fefa39efp+9",  # the largest argument whose exponential is finite
        "exp_bottom": "-0x1.75p+9",  # -746: below, the exponential rounds to 0
        "below": "0x1p+64",  # 2^lift: carries subnormals into the normal range
        "above": "0x1p-64",
        "lift": "0x1p+6",
        "tiny": "0x1p-55",  # below, expm1(x), log1p(x) and tanh(x) are x
        "flat": "0x1.6p+5",  # 44: from there on tanh(x) = 1 and expm1(-x) = -1
        "tanh_seam": "0x1.198p-1",
        "log1p_middle": "0x1p-4",  # |x - 1/16| < 0.34375: 1 + x between sqrt(1/2) and sqrt(2)
        "log1p_reach": "0x1.6p-2",
        "digits": "0x1p+6",  # 64: beyond, 1 - 2^n and 2^n are the same to rounding
        "coarse": "0x1.8p+26",  # (x + coarse) - coarse: x to a multiple of 2^-26 (float32: 2^-12)
        "erf_seam": "0x1.8p-1",
        "erf_edge": "0x1.5p+0",
        "erf_m": "0x1.08p+0",
        "erf_hi": "0x1.b5e62fce16095p-1",  # with erf_lo, erf(erf_m)
        "erf_lo": "0x1.bc3da0f1d0e78p-56",
        "erf_top": "0x1.8p+2",  # 6: from there on erf(x) = 1
        "magic": "0x1.8p+52",  # (x + magic) - magic: x to an integer
        # (e^r - 1 - r - r^2/2) / r^3 for |r| <= ln(2)/2 (0.007 u of e^r - 1)
        "exp": "0x1.5555555555559p-3 0x1.5555555555559p-5 0x1.111111110f6e1p-7 0x1.6c16c16c14aadp-10 "
        "0x1.a01a01afd3851p-13 0x1.a01a01af571acp-16 0x1.71ddf87c52ae7p-19 0x1.27e4c7de24e90p-22 "
        "0x1.af5e7c823d196p-26 0x1.1f929a9445aa8p-29",
        # (log((1+s)/(1-s)) / s - 2) / s^2 in s^2, for |s| <= 3 - sqrt(8) (0.016 u of the logarithm)
        "log": "0x1.5555555555592p-1 0x1.999999997fdbep-2 0x1.24924941f0efbp-2 0x1.c71c52097c580p-3 "
        "0x1.74663ee26946fp-3 0x1.39a1bb601af39p-3 0x1.2f055bf196fcep-3",
        # (tanh(x) / x - 1) / x^2 in x^2, for |x| <= 0.55 (0.24 u of tanh)
        "tanh": "-0x1.55555555554a4p-2 0x1.1111111103077p-3 -0x1.ba1ba1adc1436p-5 0x1.664f45d0cb1fep-6 "
        "-0x1.226ddea8d41a7p-7 0x1.d6c647d4f2db1p-9 -0x1.7cf54a4964553p-10 0x1.2fab535e5aca9p-11 "
        "-0x1.b940d43e63509p-13 0x1.ac939ec2d5337p-15",
        # (cos(pi t) - 1) / t^2 in t^2, for |t| <= 1/4 (0.15 u of the cosine)
        "cos": "-0x1.3bd3cc9be45dep+2 0x1.03c1f081b5ab0p+2 -0x1.55d3c7e3c95bcp+0 0x1.e1f50683b4369p-3 "
        "-0x1.a6d1ecb7474ffp-6 0x1.f9cc6ad536724p-10 -0x1.b26fea018f689p-14",
        # (sin(pi t) / t - pi) / t^2 in t^2, for |t| <= 1/4 (0.08 u of the sine)
        "sin": "-0x1.4abbce625be47p+2 0x1.466bc67758d85p+1 -0x1.32d2cce3333b9p-1 0x1.5078301b71a81p-4 "
        "-0x1.e300a6690e83ep-8 0x1.e403d5c685429p-12",
        # erf(x) / x - 1 in x^2, for |x| <= 3/4; (erf(x) - erf(m)) / s in s = x - m, for |s| <= 0.28125; and
        # exp(x^2) (1 - erf(x)) in 1/(2 + x), for 1.3125 <= x <= 6 (0.0001 u, 0.02 u and 0.01 u of erf)
        "erf": "0x1.06eba8214db69p-3 -0x1.812746b0379e7p-2 0x1.ce2f21a042be2p-4 -0x1.b82ce31288b50p-6 "
        "0x1.565bcd0e6a4e9p-8 -0x1.c02db4003e54ap-11 0x1.f9a326f908f91p-14 -0x1.f4d25c1bc7edcp-17 "
        "0x1.b9e6c5320e43fp-20 -0x1.5f73bc00fe7d3p-23 0x1.fcb5ecf1a03adp-27 -0x1.511db5e52f5f6p-30 "
        "0x1.92feff227b278p-34 -0x1.6bb61b65d33e3p-38",
        "erf_middle": "0x1.8eed36b886d92p-2 -0x1.9b64a06e4b103p-2 0x1.2bb6e2c74dc0fp-3 0x1.dee322c065003p-5 "
        "-0x1.169960d6231d9p-4 0x1.feab4a6f4dad9p-8 0x1.c76eba3063521p-7 -0x1.5842efc033622p-8 "
        "-0x1.88e187490ae18p-10 0x1.45d679dbdab02p-10 0x1.a0263bc078038p-17 -0x1.8f3206466b08cp-13 "
        "0x1.bf0052328907fp-16 0x1.55de139eca02dp-16",
        "erfc": "0x1.3200af22d26a3p-17 0x1.20a7a7bea6f5fp-1 0x1.22f98961f2f96p+0 0x1.e0da834dba74ep+0 "
        "0x1.c449b6d350e78p+1 -0x1.4c0048e42d096p-1 0x1.075ccdad6c561p+3 -0x1.04907e264ce63p+3 "
        "-0x1.6023932440720p+6 0x1.ec49ece168241p+7 -0x1.046457d80fb7cp+8 0x1.a202d6ef9ba94p+6",
    },
    "float32": {
        "log2_e": "0x1.715476p+0",
        "ln2_hi": "0x1.62e4p-1",  # 15 bits, so that n * ln2_hi is exact for |n| < 2^9
        "ln2_lo": "0x1.7f7d1cp-20",
        "sqrt2": "0x1.6a09e6p+0",
        "pi_hi": "0x1.921fb6p+1",
        "pi_lo": "-0x1.777a5cp-24",
        "exp_top": "0x1.62e42ep+6",
        "exp_bottom": "-0x1.a4p+6",  # -105
        "below": "0x1p+32",
        "above": "0x1p-32",
        "lift": "0x1p+5",
        "tiny": "0x1p-26",
        "flat": "0x1.4p+4",  # 20
        "tanh_seam": "0x1.198p-1",
        "log1p_middle": "0x1p-4",
        "log1p_reach": "0x1.6p-2",
        "digits": "0x1p+5",  # 32
        "coarse": "0x1.8p+11",
        "erf_seam": "0x1.8p-1",
        "erf_edge": "0x1.5p+0",
        "erf_m": "0x1.08p+0",
        "erf_hi": "0x1.b5e63p-1",
        "erf_lo": "-0x1.8f4fb6p-28",
        "erf_top": "0x1p+2",
        "magic": "0x1.8p+23",
        "exp": "0x1.555556p-3 0x1.5554f2p-5 0x1.1110a4p-7 0x1.6d40d4p-10 0x1.a188acp-13",  # 0.015 u
        "log": "0x1.55557ap-1 0x1.995ebap-2 0x1.31e2dep-2",  # 0.015 u
        "tanh": "-0x1.55554cp-2 0x1.110d3cp-3 -0x1.b92bc0p-5 0x1.5956bap-6 -0x1.9bbb8ep-8",  # 0.08 u
        "cos": "-0x1.3bd3ccp+2 0x1.03c1dep+2 -0x1.55c664p+0 0x1.d9f7c2p-3",  # 0.11 u
        "sin": "-0x1.4abbcep+2 0x1.466bbcp+1 -0x1.32cb24p-1 0x1.4be692p-4",  # 0.03 u
        "erf": "0x1.06eba8p-3 -0x1.812746p-2 0x1.ce2efep-4 -0x1.b826e6p-6 0x1.55e18ap-8 -0x1.b60fdap-11 "
        "0x1.8cd584p-14",  # 0.0004 u
        "erf_middle": "0x1.8eed36p-2 -0x1.9b64cp-2 0x1.2bb6a6p-3 0x1.df2d1cp-5 -0x1.1685bep-4 0x1.cbbc6ap-8 "
        "0x1.bdf56cp-7",  # 0.03 u
        "erfc": "0x1.d76f5ep-10 0x1.0a3382p-1 0x1.9531dap+0 -0x1.fd5d62p-2 0x1.44cae6p+3 -0x1.d6c6fap+2",  # 0.0002 u
    },
}


class Primitives(NamedTuple):
    """The five operations in which namespaces and compilers differ.

    All take and give values of one floating-point dtype. Integers (n below) are held in that dtype too, so
    that nothing has to be converted. None may warn or raise for arguments as described.

    Attributes
    ----------
    select : callable
        ``select(condition, a, b)``: a where the condition holds, else b. Either or both may be constants; the
        result has the dtype all the same.
    rint : callable
        ``rint(x)``: nearest integer, ties to even, for ``|x| <= 2^51`` (float32: 2^22), not NaN. The sign of
        a zero result is free.
    scale : callable
        ``scale(x, n) = x * 2^n``, rounded once, for integral n from -1022 to 1023 (float32: -126 to 127);
        n = -0 is 0. x is finite and may be a constant.
    exponent : callable
        ``exponent(x) = floor(log2(x))`` for x positive, finite and normal.
    sqrt : callable
        ``sqrt(x)``, correctly rounded; NaN below 0. The functions here do without it; optimizers and random
        numbers need it.
    """

    select: Callable[..., Any]
    rint: Callable[..., Any]
    scale: Callable[..., Any]
    exponent: Callable[..., Any]
    sqrt: Callable[..., Any]


class Elementary(NamedTuple):
    """The functions for one namespace and dtype; each takes x and gives its value at x."""

    exp: Callable[..., Any]
    log: Callable[..., Any]
    log1p: Callable[..., Any]
    expm1: Callable[..., Any]
    tanh: Callable[..., Any]
    erf: Callable[..., Any]
    cospi: Callable[..., Any]


def build(
    primitives: Primitives,
    dtype: Any,
    compile: Compile = lambda function: function,
    constant: Callable[[float], Any] = float,
    passes: bool = False,
) -> Elementary:
    """Write the elementary functions over five primitives, for arguments of the dtype, as nothing is converted.

    `compile` is applied to every function, inner ones first: ``numba.njit(fastmath=False, error_model="numpy")``, or
    nothing. `constant` makes the constants: ``float`` for arrays, which it does not widen, and for float64
    scalars; ``numpy.float32`` for float32 scalars.

    Where each operation `passes` over an array, a selection is no cheaper than a product: both polynomials are
    evaluated between which a condition decides. Else it selects their coefficients. The bits are the same.

    Error: exp, log, log1p, expm1, erf < 1 ulp; tanh < 2.5 ulp; cospi < 2 ulp.
    """
    c = _constants(dtype, compile, constant)
    either = _either_of_values if passes else _either_of_coefficients
    c.tanh_or_exp = either(c.tanh, c.exp, primitives.select, compile)
    c.erf_or_middle = either(c.erf, c.erf_middle, primitives.select, compile)
    for name in ("exp", "log", "cos", "sin", "erfc"):
        setattr(c, name, _horner(getattr(c, name), compile))
    reduce, near_one, exp, expm1 = _exponentials(primitives, c, compile)
    log, log1p = _logarithms(primitives, c, compile)
    tanh = _hyperbolic_tangent(primitives, c, compile, reduce, near_one)
    erf = _error_function(primitives, c, compile, exp)
    return Elementary(exp, log, log1p, expm1, tanh, erf, _cosine(primitives, c, compile))


def _constants(dtype: Any, compile: Compile, constant: Callable[[float], Any]) -> SimpleNamespace:
    """The constants of the dtype by name; of a polynomial, all its coefficients."""
    simple = {"zero": 0, "one": 1, "two": 2, "half": 0.5, "quarter": 0.25, "inf": math.inf, "nan": math.nan}
    c = SimpleNamespace(**{name: constant(value) for name, value in simple.items()})
    for name, text in CONSTANTS[np.dtype(dtype).name].items():
        numbers = tuple(constant(float.fromhex(number)) for number in text.split())
        setattr(c, name, numbers if len(numbers) > 1 else numbers[0])
    return c


def _horner(coefficients: Any, compile: Compile) -> Any:
    """The polynomial c[0] + c[1] x + c[2] x^2 + ..., evaluated as ((... c[2]) x + c[1]) x + c[0]."""
    last, *inner, first = coefficients[::-1]
    inner = tuple(inner)

    def polynomial(x: Any) -> Any:
        y = last * x
        for c in inner:
            y += c
            y *= x
        y += first
        return y

    return compile(polynomial)


def _either_of_values(these: Any, those: Any, select: Any, compile: Compile) -> Any:
    """Of two polynomials the one with coefficients `these` where a condition holds, else that with `those`."""
    first, second = _horner(these, compile), _horner(those, compile)

    def polynomial(condition: Any, x: Any) -> Any:
        return select(condition, first(x), second(x))

    return compile(polynomial)


def _either_of_coefficients(these: Any, those: Any, select: Any, compile: Compile) -> Any:
    """The same of one degree, for little more than the price of one of them."""
    (first, *middle, last) = zip(these, those, strict=True)
    inner = tuple(middle[::-1])

    def polynomial(condition: Any, x: Any) -> Any:
        y = select(condition, last[0], last[1]) * x
        for c in inner:
            y += select(condition, c[0], c[1])
            y *= x
        y += select(condition, first[0], first[1])
        return y

    return compile(polynomial)


def _exponentials(primitives: Primitives, c: SimpleNamespace, compile: Compile) -> Any:
    """exp, expm1, and the reduction they share with tanh."""
    select, rint, scale, _, _ = primitives
    zero, one, two, half, inf, tiny = c.zero, c.one, c.two, c.half, c.inf, c.tiny
    log2_e, ln2_hi, ln2_lo, series = c.log2_e, c.ln2_hi, c.ln2_lo, c.exp
    top, bottom, shift, unshift = c.exp_top, c.exp_bottom, c.lift, c.above
    many, floor, coarse = c.digits, -c.flat, c.coarse

    @compile
    def reduce(x: Any) -> Any:
        """n, h, low with x = n ln 2 + h - low: h exact, |h| <= 0.35, low below 2^-33 (float32: 2^-12).

        n ln2_hi is exact (Cody & Waite, Software Manual for the Elementary Functions, 1980, ch. 6).
        """
        n = rint(x * log2_e)
        return n, x - n * ln2_hi, n * ln2_lo

    @compile
    def near_one(h: Any, low: Any, r: Any, p: Any) -> Any:
        """e^r for r = h - low and p = P(r): 1 + (h + (r^2 (1/2 + r p) - low))."""
        return one + (h + ((r * r) * (half + r * p) - low))

    @compile
    def grow(y: Any, n: Any) -> Any:
        """y 2^n for y near 1, n from -1086 to 1024 (float32: -158 to 128): exact, then rounded once."""
        small = n < zero
        return scale(y, n + select(small, shift, -one)) * select(small, unshift, two)

    @compile
    def exp(x: Any) -> Any:
        """e^x. Error: < 1 ulp."""
        clamped = select(x < top, x, top)
        clamped = select(clamped > bottom, clamped, bottom)
        n, h, low = reduce(clamped)
        r = h - low
        y = grow(near_one(h, low, r, series(r)), n)
        return select(x <= top, y, select(x > top, inf, x))

    @compile
    def expm1(x: Any) -> Any:
        """e^x - 1 = 2^n ((1 - 2^-n) + h + g^2/2 + s), with g the leading bits of r, so that g^2 is exact.

        What a sum loses is kept: (a - (a + b)) + b, if |a| >= |b| or a = 0 (Dekker, Numer. Math. 18, 1971).
        Error: < 1 ulp.
        """
        clamped = select(x < top, x, top)
        clamped = select(clamped > floor, clamped, floor)
        n, h, low = reduce(clamped)
        r = h - low
        g = (r + coarse) - coarse
        square = half * g * g
        s = ((half * (r - g)) * (r + g) + (r * r) * (r * series(r))) - low
        t = scale(one, select(n < many, -n, -many))
        a = one - t
        b = a + h
        d = b + square
        lost = (((one - a) - t) + ((a - b) + h)) + ((b - d) + square)
        y = grow(d + (lost + s), n)
        y = select(x > top, inf, y)
        return select(abs(x) > tiny, y, x)

    return reduce, near_one, exp, expm1


def _logarithms(primitives: Primitives, c: SimpleNamespace, compile: Compile) -> Any:
    """log and log1p."""
    select, _, scale, exponent, _ = primitives
    zero, one, two, half, inf, nan, tiny = c.zero, c.one, c.two, c.half, c.inf, c.nan, c.tiny
    ln2_hi, ln2_lo, sqrt2, series = c.ln2_hi, c.ln2_lo, c.sqrt2, c.log
    below, above, lift, middle, reach = c.below, c.above, c.lift, c.log1p_middle, c.log1p_reach

    @compile
    def mantissa(x: Any) -> Any:
        """k, m with x = 2^k m and sqrt(1/2) < m <= sqrt(2), for x positive and finite, subnormal or not."""
        small = x < one
        k = exponent(x * select(small, below, above))
        m = scale(x * select(small, below, above), -k)
        big = m > sqrt2
        return k + select(small, -lift, lift) + select(big, one, zero), m * select(big, half, one)

    @compile
    def assemble(k: Any, f: Any, low: Any) -> Any:
        """k ln 2 + log(1 + f) + low for low tiny and |s| <= 0.1716, s = f/(2 + f).

        log(1 + f) = 2s + s^3 L(s^2) = f - (f^2/2 - s (f^2/2 + s^2 L)), whose first term is exact
        (Muller, Elementary Functions, 3rd ed., ch. 11; the arrangement published with fdlibm).
        """
        s = f / (two + f)
        z = s * s
        square = half * f * f
        return k * ln2_hi - ((square - (s * (square + z * series(z)) + (k * ln2_lo + low))) - f)

    @compile
    def log(x: Any) -> Any:
        """The natural logarithm. Error: < 1 ulp."""
        inside = select(x > zero, x, one)
        inside = select(inside < inf, inside, one)
        k, m = mantissa(inside)
        y = assemble(k, m - one, zero)
        y = select(x > zero, y, select(x < zero, nan, -inf))
        return select(x < inf, y, x)

    @compile
    def log1p(x: Any) -> Any:
        """log(u) + (1 + x - u)/u with u = 1 + x rounded; near 0, log(1 + f) with f = x. Error: < 1 ulp."""
        inside = select(x > -one, x, zero)
        inside = select(inside < inf, inside, zero)
        u = one + inside
        lost = select(inside < one, inside - (u - one), one - (u - inside))
        k, m = mantissa(u)
        near = abs(inside - middle) < reach
        y = assemble(select(near, zero, k), select(near, inside, m - one), select(near, zero, lost / u))
        y = select(x > -one, y, select(x < -one, nan, -inf))
        y = select(x < inf, y, x)
        return select(abs(x) > tiny, y, x)

    return log, log1p


def _hyperbolic_tangent(
    primitives: Primitives, c: SimpleNamespace, compile: Compile, reduce: Any, near_one: Any
) -> Any:
    """tanh, over the reduction of the exponential."""
    select, _, scale, _, _ = primitives
    zero, one, tiny, flat, seam, series = c.zero, c.one, c.tiny, c.flat, c.tanh_seam, c.tanh_or_exp

    @compile
    def tanh(x: Any) -> Any:
        """x + x^3 T(x^2) up to 0.55; 1 - 2e/(1 + e), e = exp(-2|x|), above. Error: < 2.5 ulp."""
        a = abs(x)
        small = a < seam
        b = select(small, a, seam)
        z = b * b
        d = select(a < flat, a, flat)
        n, h, low = reduce(-(d + d))
        r = h - low
        p = series(small, select(small, z, r))
        near = b + (b * z) * p
        e = scale(near_one(h, low, r, p), n)
        far = one - (e + e) / (one + e)
        y = select(small, near, far)
        return select(a > tiny, select(x < zero, -y, y), x)

    return tanh


def _error_function(primitives: Primitives, c: SimpleNamespace, compile: Compile, exp: Any) -> Any:
    """erf, over exp."""
    select, zero, one, two = primitives.select, c.zero, c.one, c.two
    seam, edge, top, middle, hi, lo = c.erf_seam, c.erf_edge, c.erf_top, c.erf_m, c.erf_hi, c.erf_lo
    series, erfc = c.erf_or_middle, c.erfc

    @compile
    def erf(x: Any) -> Any:
        """x + x E(x^2) up to 3/4; from there erf(m) + s M(s), s = x - m exact, up to 1.3125; then 1 - exp(-x^2) G(t),
        t = 1/(2 + x). Error: < 1 ulp.
        """
        a = abs(x)
        small, large = a < seam, a >= edge
        b = select(large, edge, a)
        s = b - middle
        p = series(small, select(small, b * b, s))
        near = b + b * p
        between = hi + (lo + s * p)
        d = select(a < top, a, top)
        far = one - exp(-(d * d)) * erfc(one / (two + d))
        y = select(small, near, select(large, far, between))
        return select(a > zero, select(x < zero, -y, y), x)

    return erf


def _cosine(primitives: Primitives, c: SimpleNamespace, compile: Compile) -> Any:
    """cospi."""
    select = primitives.select
    one, half, quarter = c.one, c.half, c.quarter
    pi_hi, pi_lo, cos_series, sin_series = c.pi_hi, c.pi_lo, c.cos, c.sin

    @compile
    def cospi(t: Any) -> Any:
        """cos(pi t) for 0 <= t <= 1: folded to [0, 1/2], there from the cosine up to 1/4, the sine above.

        Error: < 2 ulp; exact at 0, 1/2 and 1.
        """
        mirrored = t > half
        a = select(mirrored, one - t, t)
        z = a * a
        cosine = one + z * cos_series(z)
        b = half - a
        z = b * b
        sine = b * pi_hi + b * (pi_lo + z * sin_series(z))
        y = select(a < quarter, cosine, sine)
        return select(mirrored, -y, y)

    return cospi


_INTEGER = {np.dtype(np.float64): np.int64, np.dtype(np.float32): np.int32}
_FEW = 2000
"""Up to so many entries the processor guesses well, and calls cost more."""


def where(xp: Any, condition: Any, a: Any, b: Any) -> Any:
    """``xp.where`` for numbers of a working precision, of which one may be a Python float.

    NumPy's branches at each entry, which takes some ten times as long as arithmetic where conditions are of no order.
    So there bits are chosen: b differs from a in a ^ b.
    """
    if xp is np and condition.size > _FEW:
        if isinstance(a, float):
            a = np.asarray(a, b.dtype)
        elif isinstance(b, float):
            b = np.asarray(b, a.dtype)
        integer, whole = _INTEGER.get(a.dtype), condition.shape
        if integer and a.dtype == b.dtype and (not a.ndim or a.shape == whole) and (not b.ndim or b.shape == whole):
            bits = np.subtract(condition, 1, dtype=integer)  # none where it holds, else all
            bits &= a.view(integer) ^ b.view(integer)
            bits ^= a.view(integer)
            return bits.view(a.dtype)
    return xp.where(condition, a, b)


def array_primitives(xp: Any, dtype: Any) -> Primitives:
    """The primitives for arrays of the namespace xp, PyTorch and CuPy through ``array_api_compat``, on whatever device.

    Scaling and exponents come from the bits where arrays have a ``view`` (NumPy, PyTorch, CuPy), else from ladders of
    exact multiplications by 2^512, 2^256, ... (float32: 2^64, ...). Both are exact: the same bits. ``sqrt`` is the
    namespace's own, except for PyTorch, whose is off by 1 ulp at times and is mended.
    """
    name = np.dtype(dtype).name
    real = getattr(xp, name)
    scale, exponent = (_bits if hasattr(xp.zeros(1), "view") else _ladders)(xp, name)
    sqrt = _mended_sqrt(xp, name, scale, exponent) if xp.__name__.endswith("torch") else xp.sqrt

    def select(condition: Any, a: Any, b: Any) -> Any:
        if isinstance(a, float) and isinstance(b, float):
            a = xp.asarray(a, dtype=real, device=condition.device)
        return where(xp, condition, a, b)

    return Primitives(select, getattr(xp, "rint", xp.round), scale, exponent, sqrt)


# Bits of the fraction, bias of the exponent, integer of the same size.
FORMAT = {"float64": (52, 1023, "int64"), "float32": (23, 127, "int32")}
_SCALAR = {"float64": float, "float32": np.float32}


def _bits(xp: Any, name: str) -> Any:
    """scale and exponent of arrays, from the exponent field of their bits."""
    field, bias, integer = FORMAT[name]
    real, integer = getattr(xp, name), getattr(xp, integer)
    magic = float.fromhex(CONSTANTS[name]["magic"])  # the last bits of n + magic are n
    implicit = 2.0**field  # the last bits of 2^52 + k are k, for k >= 0
    implicit_bits = (bias + field) << field

    def scale(x: Any, n: Any) -> Any:
        return x * (((n + magic).view(integer) + bias) << field).view(real)

    def exponent(x: Any) -> Any:
        return ((x.view(integer) >> field) | implicit_bits).view(real) - (implicit + bias)

    return scale, exponent


def _ladders(xp: Any, name: str) -> Any:
    """scale and exponent of arrays, by selections and exact multiplications with 2^512, 2^256, ..., 2."""
    _, bias, _ = FORMAT[name]
    rungs = [2**i for i in range(bias.bit_length() - 1, -1, -1)]

    def scale(x: Any, n: Any) -> Any:
        up, down = xp.ones_like(n), xp.ones_like(n)
        left = abs(n)
        for rung in rungs:
            take = left >= rung
            left = xp.where(take, left - rung, left)
            up = xp.where(take, up * 2.0**rung, up)
            down = xp.where(take, down * 2.0**-rung, down)
        return x * xp.where(n < 0.0, down, up)

    def exponent(x: Any) -> Any:
        small = x < 1.0
        k = xp.where(small, xp.full_like(x, 1.0 - bias), 0.0)
        x = x * xp.where(small, xp.full_like(x, 2.0 ** (bias - 1)), 1.0)
        for rung in rungs:
            take = x >= 2.0**rung
            x = xp.where(take, x * 2.0**-rung, x)
            k = xp.where(take, k + rung, k)
        return k

    return scale, exponent


def _mended_sqrt(xp: Any, name: str, scale: Any, exponent: Any) -> Any:
    """A correctly rounded square root from one within 1 ulp.

    x = 4^j m with 1 <= m < 4, s the square root of m to 1 ulp = d. The residual m - s^2 is computed exactly
    (s^2 as a sum of two numbers: Dekker, Numer. Math. 18, 1971). It is a multiple of d^2, so sqrt(m) is above
    s + d/2 just when the residual is above s d, and below s - d/2 just when it is not above -s d.
    """
    field, _, _ = FORMAT[name]
    d, cut = 2.0**-field, 2.0 ** ((field + 2) // 2) + 1.0
    lift = float.fromhex(CONSTANTS[name]["lift"])

    def sqrt(x: Any) -> Any:
        regular = (x > 0.0) & (x < math.inf)
        small = x < 1.0
        c = xp.where(regular, x, 1.0)
        c = c * xp.where(small, xp.full_like(c, 2.0**lift), 2.0**-lift)
        j = xp.floor(exponent(c) * 0.5)
        m = scale(scale(c, -j), -j)
        s = xp.sqrt(m)
        high = s * cut
        high = high - (high - s)
        low = s - high
        square = s * s
        residual = (m - square) - (((high * high - square) + 2.0 * (high * low)) + low * low)
        step = xp.where(residual > s * d, xp.full_like(s, d), 0.0)
        s = s + xp.where(residual <= -(s * d), -d, step)
        y = scale(s, xp.where(small, j - 0.5 * lift, j + 0.5 * lift))
        return xp.where(regular, y, xp.where(x < 0.0, math.nan, x))

    return sqrt


def scalar_primitives(dtype: Any) -> Primitives:
    """The primitives for Python floats and NumPy scalars, with ``math.ldexp`` and ``math.frexp``."""
    real: Any = _SCALAR[np.dtype(dtype).name]
    magic = real(3 * 2 ** (FORMAT[np.dtype(dtype).name][0] - 1))

    def select(condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    def rint(x: Any) -> Any:
        return (x + magic) - magic

    def scale(x: Any, n: Any) -> Any:
        return x * real(math.ldexp(1.0, int(n)))

    def exponent(x: Any) -> Any:
        return real(math.frexp(x)[1] - 1)

    def sqrt(x: Any) -> Any:
        return np.sqrt(x)

    return Primitives(select, rint, scale, exponent, sqrt)


@cache
def for_numpy(dtype: Any) -> Elementary:
    """The functions for NumPy arrays of the dtype, "float64" or "float32"."""

    def constant(value: float) -> Any:
        """An array, which NumPy need not make of it at each call."""
        return np.array(value, dtype)

    return build(array_primitives(np, dtype), dtype, constant=constant, passes=True)


@cache
def for_scalars(dtype: Any) -> Elementary:
    """The functions for Python floats (float64) and NumPy scalars of the dtype, "float64" or "float32"."""
    return build(scalar_primitives(dtype), dtype, constant=_SCALAR[np.dtype(dtype).name])
