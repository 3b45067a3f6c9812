"""Proves the bounds of exp, expm1, log, log1p and tanh from the constants of kernels/elementary.py; needs gappa.

``python ci/gappa.py [NAME …]``: a minute or two for each function and precision. Open, and held against mpmath alone in
tests/test_elementary.py: erf, cospi and sigmoid.

For each piece of a function's argument Gappa bounds δ, the distance of what is rounded last from the same formula in
real numbers; Taylor series with remainders, recentred on each piece, bound what the polynomial is off. With both
together below half an ulp of the exact result T, the error is at most 1/2 + δ/ulp(T) ulp: where rounding meets a power
of two on the other side of T, it ends at that power, which is nearer.

What is proved by hand: x = n ln 2 + h - low with n ln2_hi and h exact and |h| <= 0.347 (Cody and Waite); k ln2_hi and
m - 1 exact; scaling exact, and one more rounding for subnormals of exp; of expm1 and log1p the rests of sums, which are
exact (Dekker), and arguments of at most 2^-(digits + 2), which are returned.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import comb
from pathlib import Path
from shutil import which

from mpmath import bernoulli, exp, factorial, floor, log, mp, mpf, tanh

sys.path.insert(0, str(Path(__file__).parent.parent))
from backprop_ref.kernels.elementary import CONSTANTS

mp.prec = 250
TERMS, FORMATS = 40, {"float64": ("ieee_64", 53, 1075), "float32": ("ieee_32", 24, 158)}
CLAIMED = {"exp": 1.0, "expm1": 1.0, "log": 1.0, "log1p": 1.0, "tanh": 2.5}


def number(dtype, name):
    return mpf(float.fromhex(CONSTANTS[dtype][name]))


def literal(value):
    """A number of the source as Gappa has it, exactly."""
    exact = Fraction(float(value))
    return f"({exact.numerator}b-{exact.denominator.bit_length() - 1})"


def series(dtype, name):
    return [mpf(float.fromhex(text)) for text in CONSTANTS[dtype][name].split()]


def horner(coefficients, x, stem, rounding):
    """Lines that evaluate a polynomial, and its name."""
    lines, value = [], literal(coefficients[-1])
    for i, coefficient in reversed([*enumerate(coefficients[:-1])]):
        lines.append(f"{stem}m{i} {rounding}= {value} * {x};")
        lines.append(f"{stem}{i} {rounding}= {stem}m{i} + {literal(coefficient)};")
        value = f"{stem}{i}"
    return lines, value


def proved(dtype, lines, hypotheses, goal, split="", empty=False):
    """What Gappa bounds the absolute value of a goal by; 0 of a case that may be `empty`, and is by its proof."""
    text = "\n".join([f"@D = float<{FORMATS[dtype][0]},ne>;", *lines, f"{{ {hypotheses} -> |{goal}| in ? }}", split])
    done = subprocess.run(["gappa"], input=text, capture_output=True, text=True, check=False)
    found = re.search(r"\| in \[.*?, (\d+)(?:b(-?\d+))?", done.stderr + done.stdout)
    if found:
        return mpf(found[1]) * mpf(2) ** int(found[2] or 0)
    if empty and "anything can be proved" in done.stdout + done.stderr:
        return mpf(0)
    raise SystemExit(f"gappa proves nothing:\n{text}\n{done.stdout}{done.stderr}")


def ulp(dtype, value):
    """The distance of neighbouring numbers at a value."""
    return mpf(2) ** (floor(log(abs(value), 2)) - FORMATS[dtype][1] + 1)


def approximation(exact, used, low, high, tail):
    """The largest distance of a series from a polynomial between two arguments, the rest of the series added."""
    difference = [a - (used[i] if i < len(used) else 0) for i, a in enumerate(exact)]
    middle, radius = (low + high) / 2, (high - low) / 2
    moved = [
        sum(difference[j] * comb(j, i) * middle ** (j - i) for j in range(i, len(difference)))
        for i in range(len(difference))
    ]
    return sum(abs(value) * radius**i for i, value in enumerate(moved)) + tail


def pieces(edges):
    return [*zip(edges, edges[1:], strict=False)]


def near_one(dtype):
    """Lines of e^r before the last addition, t = 1 + T1, and the same in real numbers."""
    lines = ["h = D(h_);", "n = fixed<0,ne>(n_);", f"low D= n * {literal(number(dtype, 'ln2_lo'))};", "r D= h - low;"]
    more, p = horner(series(dtype, "exp"), "r", "p", "D")
    lines += [*more, f"t D= h + (r * r * (0.5 + r * {p}) - low);", "L = n * LL;", "R = h - L;"]
    more, p = horner(series(dtype, "exp"), "R", "q", "")
    return [*lines, *more, f"T = h + (R * R * (0.5 + R * {p}) - L);"]


def about_ln2(dtype, n):
    off = abs(log(2) - number(dtype, "ln2_hi") - number(dtype, "ln2_lo"))
    low = literal(number(dtype, "ln2_lo"))
    return f"n in [{n[0]},{n[1]}] /\\ LL - {low} in [-{float(off) * 1.001:.9e},{float(off) * 1.001:.9e}]"


def exp_pieces(dtype, n):
    """Of e^r, for each piece of h: the least of e^r, and what it is off, without the last rounding."""
    exact = [1 / factorial(i + 3) for i in range(TERMS)]
    reach = mpf("0.347")

    def piece(edges):
        low, high = edges
        found = proved(
            dtype, near_one(dtype), f"h in [{float(low)!r},{float(high)!r}] /\\ {about_ln2(dtype, n)}", "t - T"
        )
        widened = low - mpf(2) ** -14, high + mpf(2) ** -14
        off = approximation(exact, series(dtype, "exp"), *widened, 2 * reach**TERMS / factorial(TERMS + 3))
        return exp(widened[0]), found + off * max(map(abs, widened)) ** 3

    return in_parallel(piece, pieces([-reach + 2 * reach * i / 40 for i in range(41)]))


def prove_exp(dtype):
    limit = FORMATS[dtype][2]
    return max(mpf("0.5") + off / ulp(dtype, least) for least, off in exp_pieces(dtype, (-limit, limit)))


def prove_log(dtype, rest=False):
    """Of log; of log1p, whose argument less the rounded 1 + x is a `rest` of at most half an ulp of it."""
    exact = [mpf(2) / (2 * i + 3) for i in range(TERMS)]
    low, digits, limit = literal(number(dtype, "ln2_lo")), FORMATS[dtype][1], FORMATS[dtype][2]
    lines = ["f = D(f_);", "k = fixed<0,ne>(k_);", "s D= f / (2 + f);", "z D= s * s;", "square D= 0.5 * f * f;"]
    more, p = horner(series(dtype, "log"), "z", "p", "D")
    lines += [*more, "c = D(c_);", f"kl D= k * {low};", "kc D= kl + c;"]
    lines += [f"v D= square - (s * (square + z * {p}) + kc);", "w D= v - f;"]
    lines += ["S = f / (2 + f);", "Z = S * S;", "Square = 0.5 * f * f;"]
    more, p = horner(series(dtype, "log"), "Z", "q", "")
    lines += [*more, f"W = (Square - (S * (Square + Z * {p}) + (k * LL + c))) - f;"]
    bottom, top, quarter = mpf("-0.2929"), mpf("0.41422"), mpf("0.25")
    reach, half_ulp = mpf(2) ** -digits, quarter / 2**digits

    def piece(given):
        (first, last), (low_f, high_f), corrected = given
        about = about_ln2(dtype, (first, last)).replace("n in", "k in")
        about += f" /\\ f in [{float(low_f)!r},{float(high_f)!r}]"
        about += f" /\\ c in [{-float(reach)!r},{float(reach)!r}]" if corrected else " /\\ c in [0,0]"
        ends = [k * log(2) + log(1 + f) for k in (first, last) for f in (low_f, high_f)]
        least = min(map(abs, ends))
        s = [f / (2 + f) for f in (low_f, high_f)]
        z = sorted(each * each for each in s)
        off = approximation(exact, series(dtype, "log"), *z, mpf("0.1716") ** (2 * TERMS)) * max(map(abs, s)) ** 3
        off += 2 * reach**2 if corrected else 0  # c, a quotient that is rounded, and log(1 + c) - c
        shares, logs = [], sorted(abs(log(1 + f)) for f in (low_f, high_f))
        between = first and first == last and abs(first) == 1 and max(map(abs, ends)) < 0.5
        if not between or logs[0] < quarter + off + 4 * half_ulp:
            below = f" /\\ |w| in [0,{float(quarter - half_ulp)!r}]" if between else ""
            goal = "w - W" if first else "v - f - W"  # k = 0: the rest is a change of sign
            shares.append(
                mpf("0.5") + (proved(dtype, lines, about + below, goal, empty=bool(below)) + off) / ulp(dtype, least)
            )
        if between and logs[1] > quarter - off - 4 * half_ulp:
            # k ln2_hi - w is exact where w is a multiple of ulp(1/4), and it is below 1/2
            above = f" /\\ |w| in [{float(quarter)!r},0.5]"
            shares.append((proved(dtype, lines, about + above, "w - W", empty=True) + off) / ulp(dtype, least))
        return max(shares)

    def parts(edges, cuts=()):
        return pieces(sorted({*edges, *(cut for cut in cuts if edges[0] < cut < edges[-1])}))

    some, many = ([bottom + (top - bottom) * i / count for i in range(count + 1)] for count in (20, 60))
    cuts = [exp(sign * size) - 1 for sign in (1, -1) for size in (quarter, log(2) - mpf("0.5"))]
    ranges = ((2, 3), (-3, -2), (4, limit), (-limit, -4))
    given = [(k, part, rest) for k in ranges for part in parts(some)]
    given += [(k, part, rest) for k in ((1, 1), (-1, -1)) for part in parts(many, cuts)]
    near = [*(mpf(2) ** (-i / mpf(16)) for i in range(20, 80)), *(mpf(2) ** -i for i in range(5, digits + 2))]
    for sign, end in ((1, top), (-1, -bottom)):
        edges = sorted({end, *(each for each in near if each < end)})
        given += [((0, 0), tuple(sorted((sign * low, sign * high))), False) for low, high in pieces(edges)]
    if rest:
        middle, reach_of_near = number(dtype, "log1p_middle"), number(dtype, "log1p_reach")
        given += [((0, 0), part, True) for part in ((bottom, middle - reach_of_near), (middle + reach_of_near, top))]
    return max(in_parallel(piece, given))


def prove_log1p(dtype):
    return prove_log(dtype, rest=True)


def prove_expm1(dtype):
    """The sums' rests are exact (Dekker), so that only they, their sum and s are rounded beside the last addition.

    For n < -digits, y = -1 by hand: -2^-n swallows the rest, and e^x is at most sqrt(1/2) ulp.
    """
    digits, limit = FORMATS[dtype][1], FORMATS[dtype][2]
    grid, many = {"float64": 26, "float32": 12}[dtype], int(number(dtype, "digits"))
    exact = [1 / factorial(i + 3) for i in range(TERMS)]
    lines = ["h = D(h_);", "n = fixed<0,ne>(n_);", "A = D(A_);", "E = D(E_);"]
    lines += [f"low D= n * {literal(number(dtype, 'ln2_lo'))};", "r D= h - low;", "L = n * LL;", "R = h - L;"]
    lines += [f"g = fixed<{-grid},ne>(r);", "square = 0.5 * g * g;"]
    more, p = horner(series(dtype, "exp"), "r", "p", "D")
    lines += [*more, "one D= 0.5 * (r - g);", "two D= r + g;", "three D= one * two;"]
    lines += [f"rp D= r * {p};", "rr D= r * r;", "four D= rr * rp;", "five D= three + four;", "s D= five - low;"]
    more, p = horner(series(dtype, "exp"), "r", "q", "")
    lines += [*more, f"S = (0.5 * (r - g)) * (r + g) + (r * r) * (r * {p}) - low;"]
    lines += ["b D= A + h;", "d D= b + square;", "first = -(b - (A + h));", "second = -(d - (b + square));"]
    lines += ["some D= E + first;", "lost D= some + second;", "v D= lost + s;"]
    lines += ["y = d + v;", "Y = A + E + h + square + S;"]
    split = "y - Y -> (v - (lost + s)) + (lost - (some + second)) + (some - (E + first)) + (s - S);"

    def piece(given):
        n, a, e, (low, high) = given
        about = f"h in [{float(low)!r},{float(high)!r}] /\\ {about_ln2(dtype, n)}"
        about += "".join(f" /\\ {name} in [{float(x)!r},{float(y)!r}]" for name, (x, y) in (("A", a), ("E", e)))
        found = proved(dtype, lines, about, "y - Y", split)
        if n != (0, 0):  # h - low is rounded, about which e^r - 1 - r changes by the factor e^r - 1
            turned = max(abs(exp(low) - 1), abs(exp(high) - 1)) * mpf("1.01")
            found += proved(dtype, lines, about, "r - R") * turned + proved(dtype, lines, about, "low - L")
        widened = (low - mpf(2) ** -14, high + mpf(2) ** -14) if n != (0, 0) else (low, high)
        off = approximation(exact, series(dtype, "exp"), *widened, 2 * mpf("0.347") ** TERMS / factorial(TERMS + 3))
        off = off * max(map(abs, widened)) ** 3 + (mpf(2) ** -many if n[1] > many else 0)
        ends = [exp(x) - 1 + each for x in widened for each in (y + z for y in a for z in e)]
        return mpf("0.5") + (found + off) / ulp(dtype, min(map(abs, ends)))

    h = mpf("0.347")
    some, parts = (pieces([-h + 2 * h * i / count for i in range(count + 1)]) for count in (10, 40))
    nothing = (0, 0)
    given = [((n, n), (1 - mpf(2) ** -n,) * 2, nothing, part) for n in (1, 2, -1, -2) for part in parts]
    given += [((3, digits), (1 - mpf(2) ** -3, 1), nothing, part) for part in some]
    given += [((digits + 1, limit), (1, 1), (-(mpf(2) ** (-digits - 1)), 0), part) for part in some]
    given += [((-digits, -3), (1 - mpf(2) ** digits, -7), nothing, part) for part in some]
    near = [*(mpf(2) ** (-i / mpf(4)) for i in range(6, 20)), *(mpf(2) ** -i for i in range(5, digits + 3)), h]
    for low, high in pieces(sorted(near)):
        given += [((0, 0), nothing, nothing, part) for part in ((low, high), (-high, -low))]
    return max(in_parallel(piece, given))


def prove_tanh(dtype):
    seam, flat = number(dtype, "tanh_seam"), number(dtype, "flat")
    exact = [mpf(4) ** n * (mpf(4) ** n - 1) * bernoulli(2 * n) / factorial(2 * n) for n in range(2, TERMS + 2)]
    more, p = horner(series(dtype, "tanh"), "z", "p", "D")
    lines = ["b = D(b_);", "z D= b * b;", *more, f"q D= (b * z) * {p};", "Z = b * b;"]
    more, p = horner(series(dtype, "tanh"), "Z", "q", "")
    lines += [*more, f"Q = (b * Z) * {p};"]

    def near(edges):
        low, high = edges
        found = proved(dtype, lines, f"b in [{float(low)!r},{float(high)!r}]", "q - Q")
        off = approximation(exact, series(dtype, "tanh"), low * low, high * high, 10 * mpf("0.31") ** TERMS)
        return mpf("0.5") + (found + off * high**3) / ulp(dtype, tanh(low))

    def far(given):
        """2e/(1 + e) as it is rounded, and what e is off: 2e - 2E over (1 + e)(1 + E), E the exact one."""
        (low, high), relative = given
        lines = ["e = D(e_);", "t D= (e + e) / (1 + e);", "T = (e + e) / (1 + e);"]
        found = proved(dtype, lines, f"e in [{float(low)!r},{float(high)!r}]", "t - T")
        off = 2 * high * relative * mpf("1.001") / (1 + low * mpf("0.999")) ** 2
        return mpf("0.5") + (found + off) / ulp(dtype, mpf("0.5"))

    small = [seam * mpf(2) ** -i for i in range(FORMATS[dtype][1] + 2, 3, -1)]
    small += [seam * mpf(2) ** (i / mpf(32)) for i in range(-96, 1)]
    limit = int(2 * flat * number(dtype, "log2_e")) + 1
    spacing = mpf(2) ** (1 - FORMATS[dtype][1])
    relative = max(
        (off + (spacing / 4 if least < 0.98 else spacing / 2)) / least for least, off in exp_pieces(dtype, (-limit, 0))
    )
    edges = [mpf("0.34") * mpf(2) ** -i for i in range(130, 3, -16)]
    edges += [mpf("0.34") * mpf(2) ** (i / mpf(16)) for i in range(-48, 1)]
    return max(in_parallel(near, pieces(small)) + in_parallel(far, [(part, relative) for part in pieces(edges)]))


def in_parallel(function, given):
    """Gappa is a process of its own."""
    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(function, given)]


PROVES = {"exp": prove_exp, "expm1": prove_expm1, "log": prove_log, "log1p": prove_log1p, "tanh": prove_tanh}
OPEN = "erf, cospi, sigmoid: measured alone (tests/test_elementary.py)"


def main():
    if which("gappa") is None:
        print(f"SKIPPED: bounds of {', '.join(PROVES)}: gappa is not installed (Debian: apt-get install gappa)")
        return 0
    fine = True
    for name in sys.argv[1:] or PROVES:
        for dtype in FORMATS:
            bound = PROVES[name](dtype)
            fine &= bool(bound < CLAIMED[name])
            print(f"{name} {dtype}: error <= {float(bound):.3f} ulp, claimed < {CLAIMED[name]:g}", flush=True)
    print(f"open: {OPEN}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
