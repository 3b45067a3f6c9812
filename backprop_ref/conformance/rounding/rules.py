"""How rounding errors go through a pass: the *Error* lines of `backprop_ref.backends.base`, entry by entry.

A pass beside the computation carries a `Near` for each quantity q: a centre c, computed in float64, and an error e with

    |q' − q| ≤ e    for q exact and for q' as any implementation computes it that

- rounds + − × ÷ and √ to nearest, in whatever order it sums, with or without fused multiply-add, without overflow;
- has exp and cosh, log and log1p, tanh within `ULP` of its precision (NumPy's in float32 come near);
- uses a usual formula: of sigmoid 1/(1 + exp(−z)) for any sign, e/(1 + e) or ½(1 + tanh(z/2)); of tanh the library's,
  a quotient of exponentials or 2σ(2z) − 1; softmax with or without the maximum; slopes from a, multiplied out or not,
  or 1/cosh² and e/(1 + e)²; cross-entropies from z or from the logarithm of a, their gradients by cancellation, from
  the logarithm of softmax, or by −y/a (and (a − y)/(a(1 − a))) times the slope or the full Jacobian; the mean as one
  or two divisions, or as a product with a rounded 1/n, at any place in the backward pass.

**Proof.** The centre is one such implementation (its unit roundoff is no larger), so |c − q| ≤ e and |c − q'| ≤ 2e:
`Near.exact` = |c| + e bounds |q|, and `Near.computed` = |c| + 2e bounds |q'|. A product differs by
``p'q' − pq = (p' − p)·q' + p·(q' − q)``; n roundings in a row make a factor within 1 ± γ(n), γ(n) = n·u/(1 − n·u)
(Higham, Accuracy and Stability of Numerical Algorithms, ch. 3). Each rule below says how it follows; nothing is dropped
but terms of relative size u, such as λ·u beside λ. These, and the rounding of the bounds themselves (all terms are
≥ 0, so it is relative too), stay far below `INFLATION`, by which everything is multiplied in the end.

Centres and bounds are computed in reproducible arithmetic, so they too are the same on every machine.
"""

import numpy as np

from backprop_ref.backends.arithmetic import Reproducible
from backprop_ref.backends.array import divisor
from backprop_ref.backends.numpy import NumpyBackend
from backprop_ref.conformance.rounding.near import Near, Upstream
from backprop_ref.formulas import ACTIVATIONS, LOSSES, SELU_ALPHA, SELU_SCALE, together

_arithmetic = Reproducible(np)
_backend = NumpyBackend(np, _arithmetic)
_exp, _expm1, _log, _erf = _arithmetic.exp, _arithmetic.expm1, _arithmetic.log, _arithmetic.erf
_affine, _tn, _nt = _arithmetic.affine, _arithmetic.matmul_tn, _arithmetic.matmul_nt
_rows, _columns, _all = _arithmetic.sum_rows, _arithmetic.total, _arithmetic.sum_all


LOSSES_ALONE = ("mean_absolute_error", "huber", "log_cosh", "hinge", "multi_class_hinge")
"""The losses of a by itself, but for the squared errors."""


class Rules:
    """How errors go through each pair; λ is the error of a library function, u the unit roundoff."""

    def __init__(self, rounding):
        self.rounding = rounding
        self.u, self.tiny = rounding.entrywise, rounding.tiny
        self.exponent = rounding.exponentials / (1.0 - rounding.exponentials)  # error of an exponential's logarithm

    def affine(self, a, W, b):
        """``Σ a·W + b``: n_in products and as many additions, and the errors of a, W and b."""
        error = self.rounding.in_sums(len(W.value) + 1) * _affine(a.computed, W.computed, b.computed)
        error += (
            _affine(a.error, W.computed, b.error) + _tn(a.exact.T, W.error) + self.tiny * _pairs(a.computed, W.computed)
        )
        return Near(_backend.affine_forward(a.value, W.value, b.value), error)

    def affine_delta(self, a, W, delta):
        """dW and db are sums over the batch, da over the outputs."""
        r, (batch, n_out) = self.rounding, delta.value.shape
        dW = r.in_sums(batch) * _tn(a.computed, delta.computed) + _tn(a.error, delta.computed)
        dW += _tn(a.exact, delta.error) + self.tiny * _pairs(a.computed.T, delta.computed)
        db = r.in_sums(batch - 1) * _rows(delta.computed) + _rows(delta.error)
        local = r.in_sums(n_out) * _nt(delta.computed, W.computed) + _nt(delta.computed, W.error)
        local += self.tiny * _pairs(delta.computed, W.computed.T)
        values = *_backend.affine_backward(delta.value, a.value), _backend.affine_backward_input(delta.value, W.value)
        da = Upstream(values[2], local + _nt(delta.error, W.exact), local, delta.error, W)
        return Near(values[0], dW), Near(values[1], db), da

    def dropped(self, values, mask):
        """``a·mask`` or ``da·mask``: a product with what is given, and nothing where that is 0."""
        size = np.abs(mask)
        error = size * (values.error + self.rounding.in_entries(1) * values.computed) + self.tiny * (size > 0.0)
        return Near(values.value * mask, error)

    def activation(self, name, z):
        """a from z."""
        value = _backend.activation_forward(name, z.value)
        plain, number = _parts(name)
        return Near(value, getattr(self, plain)(z, value, *number))

    def linear(self, z, a):
        return z.error

    def relu(self, z, a):
        """At most 1 times the error of z, and 0 where no z is positive."""
        return np.where(z.value + 2.0 * z.error > 0.0, z.error, 0.0)

    def leaky_relu(self, z, a, slope):
        """As relu, beside a slope that is rounded and a product."""
        rounded = np.where(z.value - 2.0 * z.error > 0.0, 0.0, slope * self.rounding.in_entries(2) * z.computed)
        steepest = np.where(z.value - 2.0 * z.error > 0.0, 1.0, max(slope, 1.0))
        return np.where(z.value + 2.0 * z.error > 0.0, steepest * z.error, slope * z.error) + rounded + self.tiny

    def sigmoid(self, z, a):
        """a(1 ± ρ), with ρ from `sigmoid_ratio`, and a at most σ(centre)·exp(e), as (log σ)' ≤ 1.

        Or ½(1 + t) with t = tanh(z/2): half of λ·|t|, a rounding of a, and of z the largest slope near times its error.
        """
        size, slope = a * _exp(z.error), self.sigmoid_slope_at(z)
        by_tanh = slope * z.error + self.rounding.tangents * np.minimum(np.abs(a - 0.5) + slope * z.error, 0.5)
        error = np.maximum(size * self.sigmoid_ratio(z), by_tanh + self.rounding.in_entries(1) * (size + by_tanh))
        return np.minimum(error, 1.0 + 4.0 * self.u) + 4.0 * self.tiny

    def sigmoid_slope_at(self, z):
        """The largest a(1 − a) near, as |(log σ')'| ≤ 1: both ends are within 2e."""
        return _logistic(z.value) * _logistic(-z.value) * _exp(2.0 * z.error)

    def sigmoid_ratio(self, z):
        """Relative error of σ(z): the exponential's argument and value make e^±R of it, and three roundings follow.

        1/(a + (1 − a)e^±R) is within 1 ± q/(1 − q), q = (1 − a)(e^R − 1), and e/(1 + e) is the same function of e.
        """
        other = _logistic(-z.value) * _exp(z.error)
        return _with(_ratio(other * _expm1(z.error + self.exponent)), self.rounding.in_entries(3))

    def tanh(self, z, a):
        """The largest slope near, times the error of z, and the most that one of the formulas adds.

        A library: λ·|a|. (E − 1/E)/(E + 1/E): (1 − a²)/2 times the relative errors of E and of 1/E, and three
        roundings. 2σ(2z) − 1: half of that, three roundings of 2σ = 1 + a, and one of a.
        """
        slope = _sech2(z.value) * _exp(4.0 * z.error)  # |(log sech²)'| <= 2, and both ends are within 2e
        propagated, gamma = slope * z.error, self.rounding.in_entries
        size = np.abs(a) + 2.0 * propagated
        quotient = slope * self.exponent + gamma(3) * size
        by_sigmoid = 0.5 * slope * self.exponent + gamma(3) * (1.0 + size) + gamma(1) * size
        added = np.maximum(self.rounding.tangents * size, np.maximum(quotient, by_sigmoid))
        return np.minimum(propagated + added, 2.0 + 4.0 * self.u) + 4.0 * self.tiny

    def bent(self, z, slope, bend):
        """What the error of z brings to a function with this slope at the centre, whose second derivative is nowhere
        larger than `bend`: between exact and computed z, at most 2e from the centre, no slope is larger by 2e·bend.
        """
        return (np.abs(slope) + 2.0 * bend * z.error) * z.error

    def of_bent(self, z, slope, bend):
        """Such a slope as a `Near`, its largest exact value and what the error of z makes of it."""
        return Near(np.abs(slope) + bend * z.error, bend * z.error)

    def softsign(self, z, a):
        """z/(1 + |z|): two roundings; the second derivative is at most 2."""
        propagated = self.bent(z, _softsign_slope(z.value), 2.0)
        return propagated + self.rounding.in_entries(2) * (np.abs(a) + propagated) + self.tiny

    def softsign_slope(self, z, a):
        """1/(1 + |z|)², or (1 − |a|)²: four roundings, or three and the error of 1 − |a|."""
        near, gamma = self.of_bent(z, _softsign_slope(z.value), 2.0), self.rounding.in_entries
        from_a = a.error * (2.0 * (1.0 - np.abs(a.value)) + 3.0 * a.error)
        error = np.maximum(near.error + gamma(4) * near.value, from_a + gamma(3) * (near.value + from_a))
        return Near(near.value, error)

    def hard_sigmoid(self, z, a):
        """(z + 3)/6, or z/6 + 1/2 with 1/6 rounded or not, between 0 and 1; from |z| = 3 on exact but for rounding."""
        beyond = np.abs(z.value) - 2.0 * z.error > 3.0 * (1.0 + 8.0 * self.u)
        rounded = self.rounding.in_entries(2) * (z.computed / 6.0 + 1.0)
        return np.where(beyond, 0.0, z.error / 6.0 + rounded)

    def hard_sigmoid_slope(self, z, a):
        """1/6 or 0; both where rounding may decide. Two roundings."""
        far = np.abs(z.value) - 3.0
        doubtful = np.abs(far) <= 2.0 * z.error + 24.0 * self.u
        value = np.where((far < 0.0) | doubtful, 1.0 / 6.0, 0.0)
        return Near(value, np.where(doubtful, value, self.rounding.in_entries(2) * value))

    def formula_of_sigmoid(self, z):
        """What the usual formulas of σ(z) err by where z has no error."""
        exact = Near(z.value, np.zeros(z.value.shape))
        return self.sigmoid(exact, _logistic(z.value)) * _exp(2.0 * z.error)

    def softplus(self, z, a):
        """log(1 + exp(z)), or max(z, 0) + log1p(exp(−|z|)); the slope is σ, the second derivative at most 1/4.

        The exponential's error enters by σ, the rounding of 1 + exp(z) as it is; then the logarithm, and two roundings.
        """
        slope = _logistic(z.value)
        propagated = self.bent(z, slope, 0.25)
        added = self.exponent * slope * _exp(2.0 * z.error) + self.u
        return (
            propagated + added + _with(self.rounding.logarithms, self.rounding.in_entries(2)) * (a + propagated + added)
        )

    def softplus_slope(self, z, a):
        """σ(z), or 1 − exp(−a), whose exponential is 1 − σ."""
        slope, grown = _logistic(z.value), _exp(z.error)
        from_a = (a.error + self.exponent) * _logistic(-z.value) * grown * _exp(2.0 * a.error) + self.u
        from_a += self.rounding.in_entries(1) * (slope * grown + from_a)
        return Near(slope * grown, np.maximum(self.sigmoid(z, slope), from_a))

    def silu(self, z, a):
        """z·σ(z), or z/(1 + exp(−z)): the error of σ, and a rounding; the second derivative is at most 1/2."""
        propagated, s = self.bent(z, _silu_slope(z.value), 0.5), _logistic(z.value)
        local = z.computed * self.formula_of_sigmoid(z)
        return (
            propagated
            + local
            + self.rounding.in_entries(2) * (np.abs(a) + propagated + local + s * self.tiny)
            + self.tiny
        )

    def silu_slope(self, z, a):
        """σ(1 + z(1 − σ)), σ + a(1 − σ), or a + σ(1 − a): no derivative by σ is larger than 1 + |z|, none by a than 1,
        and five roundings are of no more than σ + 2|a|. What a has from z is in the first term.
        """
        slope, s = _silu_slope(z.value), _logistic(z.value)
        near, of_s = self.of_bent(z, slope, 0.5), self.formula_of_sigmoid(z)
        local = of_s * (1.0 + z.computed) + self.rounding.in_entries(5) * (s + of_s + 2.0 * a.computed)
        return Near(near.value, near.error + local + (a.error - self.bent(z, slope, 0.5)))

    def elu(self, z, a, alpha, scale=1.0):
        """α·expm1(z) or α·(exp(z) − 1) where z is negative, times a scale: α and it are rounded, and three roundings.

        The largest slope near times the error of z, and what the exponential errs by.
        """
        positive, below = z.value + 2.0 * z.error > 0.0, z.value - 2.0 * z.error <= 0.0
        e = _exp(np.minimum(z.value + 2.0 * z.error, 0.0))
        slope = scale * np.maximum(positive * 1.0, below * alpha * e)
        propagated = slope * z.error
        rounded = self.rounding.in_entries(5 * below + 2 * (scale != 1.0)) * (np.abs(a) + propagated)
        return propagated + rounded + below * scale * alpha * self.exponent * e + self.tiny

    def elu_slope(self, z, a, alpha, scale=1.0):
        """1, or a + α, or α·exp(z), times a scale; both where rounding may decide the sign of z."""
        positive, below = z.value + 2.0 * z.error > 0.0, z.value - 2.0 * z.error <= 0.0
        e, gamma = _exp(np.minimum(z.value + 2.0 * z.error, 0.0)), self.rounding.in_entries
        value = scale * np.maximum(positive * 1.0, below * alpha * e)
        from_a = a.error + gamma(2) * scale * alpha + gamma(1) * value
        from_z = scale * alpha * e * _with(_expm1(z.error + self.exponent), gamma(4))
        error = below * np.maximum(from_a, from_z) + gamma(2) * value * (scale != 1.0)
        return Near(value, error + scale * abs(1.0 - alpha) * (positive & below & (z.error > 0.0)))

    def selu(self, z, a):
        return self.elu(z, a, SELU_ALPHA, SELU_SCALE)

    def selu_slope(self, z, a):
        return self.elu_slope(z, a, SELU_ALPHA, SELU_SCALE)

    def gelu(self, z, a):
        """z·½(1 + erf(z/√2)): the argument is rounded twice, the sum once; the second derivative is at most 0.8."""
        propagated, local = self.bent(z, _gelu_slope(z.value), 0.8), z.computed * self.formula_of_normal(z)
        return propagated + local + self.rounding.in_entries(3) * (np.abs(a) + propagated + local) + self.tiny

    def formula_of_normal(self, z):
        """What ½(1 + erf(z/√2)) errs by where z has no error; x·erf′(x) is at most a half."""
        erf = np.minimum(z.computed, 1.0)
        return 0.5 * (self.rounding.tangents * erf + self.rounding.in_entries(2) * erf) + self.u * _normal(z.value)

    def gelu_slope(self, z, a):
        """Φ + z·φ, whose exponential errs by two roundings of its argument, and four of the product."""
        near, of_normal = self.of_bent(z, _gelu_slope(z.value), 0.8), self.formula_of_normal(z)
        density, gamma = z.computed * _density(z.value) * _exp(2.0 * z.computed * z.error), self.rounding.in_entries
        local = density * (self.exponent + gamma(2) * z.computed**2 / 2.0 + gamma(5))
        return Near(near.value, near.error + of_normal + local + gamma(1) * (_normal(z.value) + of_normal + local))

    def gelu_tanh(self, z, a):
        """z·½(1 + tanh(u)) or z·σ(2u); the second derivative is at most 0.8."""
        propagated, local = self.bent(z, _gelu_tanh_slope(z.value), 0.8), z.computed * self.formula_of_near_normal(z)
        return propagated + local + self.rounding.in_entries(3) * (np.abs(a) + propagated + local) + self.tiny

    def formula_of_near_normal(self, z):
        """What σ(2u) errs by where z has no error: u is rounded four times, its cubic part as often before, and then
        as σ or tanh.
        """
        s, u, slope = _near_normal(z.value)
        grown = s * (1.0 - s) * _exp(2.0 * slope * z.error)
        cubic = np.abs(u - np.sqrt(2.0 / np.pi) * z.value)
        through = grown * (self.exponent + 2.0 * self.rounding.in_entries(4) * (np.abs(u) + cubic))
        return through + 0.5 * self.rounding.tangents * np.minimum(np.abs(u), 1.0) + self.rounding.in_entries(4) * s

    def gelu_tanh_slope(self, z, a):
        """s + z·s(1 − s)·(2u)′ or with tanh, whose square is rounded: no derivative by s is larger than 1 + |z|·(2u)′,
        and eight roundings.
        """
        near, of_s = self.of_bent(z, _gelu_tanh_slope(z.value), 0.8), self.formula_of_near_normal(z)
        s, _, slope = _near_normal(z.value)
        steep = z.computed * slope * _exp(2.0 * z.error)
        local = of_s * (1.0 + steep * np.abs(1.0 - 2.0 * s) + 2.0 * steep * of_s)
        local += self.rounding.in_entries(8) * (s + steep * s * (1.0 - s) + local) + self.u * steep / 4.0
        return Near(near.value, near.error + local)

    def mish(self, z, a):
        """z·tanh(log(1 + exp(z))), or as a quotient; the second derivative is at most 0.65."""
        propagated, local = self.bent(z, _mish_slope(z.value), 0.65), z.computed * self.formula_of_gate(z)
        return propagated + local + self.rounding.in_entries(2) * (np.abs(a) + propagated + local) + self.tiny

    def formula_of_gate(self, z):
        """What tanh(log(1 + exp(z))) errs by where z has no error: the softplus, at a slope of 1 − t², and tanh; or
        ((1 + e)² − 1)/((1 + e)² + 1) in six roundings, of which the square and the 1 that is subtracted are absolute.
        """
        t, gamma = _gate(z.value), self.rounding.in_entries
        softplus = _minus_log_sigmoid(-z.value)
        of_softplus = self.exponent * _logistic(z.value) + self.u + _with(self.rounding.logarithms, gamma(2)) * softplus
        through = (1.0 - t * t) * _exp(2.0 * z.error) * of_softplus
        return np.maximum(through + self.rounding.tangents * t, through + gamma(3) * (1.0 - t * t)) + gamma(3) * t

    def mish_slope(self, z, a):
        """t + z·(1 − t²)·σ: no derivative by t is larger than 1 + 2|z|·σ·t, and five roundings."""
        near, of_gate, of_s = (
            self.of_bent(z, _mish_slope(z.value), 0.65),
            self.formula_of_gate(z),
            self.formula_of_sigmoid(z),
        )
        t, s, size, gamma = _gate(z.value), _logistic(z.value), z.computed, self.rounding.in_entries
        rest = (1.0 - t * t) * _exp(2.0 * z.error)
        local = of_gate * (1.0 + 2.0 * size * s * (t + of_gate)) + size * (rest * of_s + self.u * s)
        return Near(near.value, near.error + local + gamma(5) * (t + size * rest * s + local))

    def softmax(self, z, a):
        """a(1 ± ρ), with ρ from `softmax_ratio`; then a sum and a division."""
        size = a * _exp(z.error + z.error.max(axis=1, keepdims=True))
        ratio = _with(_ratio(self.softmax_ratio(z, a)), self.rounding.in_sums(a.shape[1]))
        return np.minimum(size * ratio, 1.0 + ratio) * (size > 0.0) + 4.0 * self.tiny

    def softmax_ratio(self, z, a):
        """q with a_j·e^(±R_j)/Σ a_k·e^(±R_k) within a_j(1 ± q/(1 − q)): q = Σ_{k≠j} a_k(e^(R_k + R_j) − 1).

        R is `softmax_logarithms`.
        """
        most = z.error.max(axis=1, keepdims=True)
        a = np.minimum(a * _exp(z.error + most), 1.0)
        grown = _expm1(self.softmax_logarithms(z))
        return _others(a, a * grown) + grown * (_others(a, a) + _others(a, a * grown))

    def softmax_logarithms(self, z):
        """Errors of the logarithms of softmax's exponentials: of z, of z − max, and of the exponential."""
        most = z.error.max(axis=1, keepdims=True)
        shift = z.value.max(axis=1, keepdims=True) - z.value + 2.0 * (z.error + most)
        return z.error + self.exponent + self.u * shift

    def activation_delta(self, name, z, a, da):
        """delta from da."""
        value = _backend.activation_backward(name, z.value, a.value, da.value)
        if name == "softmax":
            return Near(value, self.softmax_delta(a, da))
        if name == "linear":
            return Near(value, da.error)
        plain, number = _parts(name)
        if plain in {"relu", "leaky_relu"}:
            return Near(value, self.kinked_delta(number[0] if number else 0.0, z, da))
        slope = getattr(self, f"{plain}_slope")(z, a, *number)
        error = da.computed * slope.error + da.error * slope.value
        error += self.rounding.in_entries(1) * da.computed * (slope.value + slope.error) + 4.0 * self.tiny
        return Near(value, error)

    def kinked_delta(self, slope, z, da):
        """Where rounding may decide the sign of z, the height of the jump; a slope that is rounded, and a product."""
        positive, doubtful = z.value > 0.0, (np.abs(z.value) <= 2.0 * z.error) & (z.error > 0.0)
        below = slope * (da.error + self.rounding.in_entries(2) * da.computed) + self.tiny * (slope > 0.0)
        return np.where(doubtful, max(1.0, slope) * da.computed + below, np.where(positive, da.error, below))

    def sigmoid_slope(self, z, a):
        """a(1 − a), its largest exact value, and error: |1 − a − a'|·|a' − a|, a² rounded, and three roundings.

        Or e/(1 + e)², whose logarithm changes by at most the error of z and of e's; four roundings.
        """
        value = _logistic(z.value) * _logistic(-z.value) * _exp(z.error)
        propagated = a.error * (np.abs(1.0 - 2.0 * a.value) + 3.0 * a.error)
        from_z = _expm1(np.abs(1.0 - 2.0 * a.value) * z.error + 2.0 * z.error**2 + self.exponent)
        return Near(value, self.slope_error(a, value, propagated, from_z))

    def tanh_slope(self, z, a):
        """1 − a², or (1 − a)(1 + a): |a + a'|·|a' − a|, a² rounded, and three roundings.

        Or 1/cosh², cosh the library's or a sum of exponentials: twice its error, and four roundings.
        """
        value = _sech2(z.value) * _exp(2.0 * z.error)
        propagated = a.error * (2.0 * np.abs(a.value) + 3.0 * a.error)
        from_z = _expm1(2.0 * ((np.abs(a.value) + 2.0 * z.error) * z.error + self.exponent))
        return Near(value, self.slope_error(a, value, propagated, from_z))

    def slope_error(self, a, value, propagated, from_z):
        """The larger error of a slope from a, and of one from z with relative error `from_z` and four roundings."""
        gamma = self.rounding.in_entries
        from_a = propagated + self.u * a.computed**2 + gamma(3) * (value + propagated)
        return np.maximum(from_a, value * _with(from_z, gamma(4)))

    def softmax_delta(self, a, da):
        """``a_j(da_j − t)``, t = Σ da·a, or the product with the Jacobian.

        With a' = a + α and da' = da + β the exact formula differs by
        ``α_j((1 − a_j)(da'_j − t) − (t' − t)) + a_j(β_j − Σ a_k·β_k − Σ_{k≠j} α_k(da'_k − t) − η·t)``,
        where η = Σα is what rounding does to Σa = 1. The part of β that comes from the next layer's delta through W is
        ``Σ_m error_m·W_jm``, so only how far W_jm is from Σ a_k·W_km counts. Roundings: n in t, then two; or one in
        the Jacobian's diagonal, and in each term of its sum n + 1.
        """
        r, n_out = self.rounding, a.value.shape[1]
        rest = np.minimum(np.maximum(1.0 - a.value, 0.0) + a.error, 1.0)
        t = Near(_columns(da.value * a.value), _columns(da.computed * a.error + da.error * a.exact))
        far = np.abs(da.value - t.value) + 2.0 * da.error + t.error
        apart, uneven = a.error * far, t.exact * r.in_sums(n_out)
        error = a.error * (rest * far + _columns(a.exact * da.error + apart) + uneven)
        error += a.exact * (rest * da.local + _others(a.value, a.exact * da.local + apart) + uneven)
        for delta, *of_column in zip(da.delta.T[:, :, None], da.W.value.T, da.W.error.T, strict=True):
            W = Near(*of_column)
            apart = np.abs(W.value - _columns(a.value * W.value)) + _columns(a.error * W.exact + a.exact * W.error)
            error += a.exact * delta * (apart + W.error)
        return error + self.softmax_roundings(a, da, far + t.error)

    def softmax_roundings(self, a, da, far):
        """Those of ``a_j(da_j − t)`` and of the product with the Jacobian; `far` bounds |da_j − t|."""
        r, n_out = self.rounding, a.value.shape[1]
        terms, rest = a.computed * da.computed, np.minimum(np.maximum(1.0 - a.value, 0.0) + a.error, 1.0)
        simple = r.in_sums(n_out) * _columns(terms) + r.in_entries(2) * far
        jacobian = self.u * da.computed + r.in_sums(n_out + 1) * (rest * da.computed + _others(a.value, terms))
        return a.computed * np.maximum(simple, jacobian) + 4.0 * n_out * self.tiny

    def softmax_squared_error_delta(self, z, a, e, rounded, n):
        """``δ_j = a_j(e_j − t)``, t = Σ e·a, e = 2(a − y)/n beside what is `rounded` in it, by its slopes in all of z.

        a' = softmax(z + ρ)·(1 + θ) with ρ up to `softmax_logarithms`, and θ from a sum and a division. With
        f = e + (2/n)a, v = f − t and w = v − (2/n)Σa², the mean value theorem takes
        ``∂δ_j/∂z_m = a_j(1_jm·v_j − a_m(v_j + w_m))`` and ``∂δ_j/∂a_k = 1_jk·v_j − a_j·f_k``
        somewhere between exact and computed, where a is at most 2 errors from its centre.
        """
        near, computed = 2.0 * a.error, a.computed
        f, t = e.value + (2.0 / n) * a.value, _columns(e.value * a.value)
        v, w = f - t, f - t - (2.0 / n) * _columns(a.value * a.value)
        f_near = (4.0 / n) * near
        v_near = f_near + _columns((np.abs(e.value) + (2.0 / n) * computed) * near)
        w_near = v_near + (4.0 / n) * _columns(computed * near)
        error = np.zeros(z.value.shape)
        for k, logarithm in enumerate(self.softmax_logarithms(z).T[:, :, None]):
            same, m = np.arange(z.value.shape[1]) == k, slice(k, k + 1)
            sum_m = v + w[:, m]
            slope = np.abs(same * v - a.value[:, m] * sum_m) + same * v_near
            slope += computed[:, m] * (v_near + w_near[:, m]) + near[:, m] * np.abs(sum_m)
            error += computed * slope * logarithm
        theta = self.rounding.in_sums(z.value.shape[1])
        diagonal = np.abs(v - a.value * f) + v_near + computed * f_near + near * np.abs(f)
        error += theta * computed * (diagonal + _others(a.value, computed * (np.abs(f) + f_near)))
        rest = np.minimum(np.maximum(1.0 - a.value, 0.0) + near, 1.0)
        error += computed * (rest * rounded + _others(a.value, computed * rounded))
        return error + self.softmax_roundings(a, e, np.abs(e.value - t) + f_near + v_near)

    def counted(self, y, weights):
        """What each row counts, of shape (batch, 1), their sum, and the roundings of sum, its product with the outputs
        and the product of a term; of rows without weights 1, their number, and none.
        """
        if weights is None:
            return np.ones((len(y), 1)), float(len(y)), 0
        return np.asarray(weights, np.float64)[:, None], float(np.sum(weights, dtype=np.float64)), len(y) + 1

    def loss(self, network, z, a, y, from_z, weights=None):
        """The loss: the errors of the terms, and the roundings of their sum and of the mean."""
        w, batch, more = self.counted(y, weights)
        n, output = divisor(network.loss, y, batch), network.activations[-1]
        value = _backend.loss_forward(network.loss, output, z.value, a.value, y, batch, w[:, 0])
        plain, number = _parts(network.loss, LOSSES)
        if network.loss.endswith("squared_error"):
            far = np.abs(a.value - y)
            error, size = a.error * (2.0 * far + 3.0 * a.error), (far + 2.0 * a.error) ** 2
        elif plain in LOSSES_ALONE:
            error, size = getattr(self, f"{plain}_terms")(a, y, *number)
        elif network.loss == "poisson":
            error, size = self.poisson_terms(z, a, y, output)
        elif output == "softmax":
            labels = self.labels(network, y)
            error, size = self.softmax_cross_entropy(z, a, labels.value)
            error += self.softmax_cross_entropy(z, a, labels.error)[1]
        else:
            error, size = self.sigmoid_cross_entropy(z, a, y, network.loss == "binary_cross_entropy", from_z)
        error, size = w * error, w * size
        total = _all(error) + self.rounding.in_sums(np.count_nonzero(size) + 5 + more) * _all(size)
        return Near(value, total / n + self.tiny * y.size * (1.0 + (more > 0) / n))

    def labels(self, network, y):
        """y − ε·(y − 1/K) where labels are smoothed: ε, the quotient, the product and two differences are rounded."""
        _, (epsilon,) = _parts(network.loss, LOSSES)
        if epsilon == 0.0:
            return Near(y, np.zeros(y.shape))
        share = 1.0 / y.shape[1]
        rounded = self.rounding.in_entries(5) * (np.abs(y) + epsilon * (np.abs(y) + share)) + self.tiny
        return Near(y - epsilon * (y - share), rounded)

    def softmax_cross_entropy(self, z, a, y):
        """−y·log a, or y·(log S − (z − max)), or by samples log Σ exp(z) − Σ y·z: error and size of each term.

        The logarithm errs by λ of its value, and its argument by the exponentials, their sum, and a division.
        """
        top, n_out = z.value.max(axis=1, keepdims=True), y.shape[1]
        log_s = _log(_columns(_exp(z.value - top)))
        size = (top - z.value) + log_s + 4.0 * z.error.max(axis=1, keepdims=True)  # of -log a
        logarithm = np.maximum(np.maximum(np.abs(top + log_s), log_s), size)
        labels = _columns((y != 0.0).astype(float))
        relative = self.rounding.in_sums(n_out) + self.exponent * a.value + self.rounding.logarithms * logarithm
        relative += self.rounding.in_entries(labels + 1.0) * (np.abs(top + log_s) + z.computed)
        return np.abs(y) * (_ratio(self.softmax_ratio(z, a.value)) + relative), np.abs(y) * size

    def sigmoid_cross_entropy(self, z, a, y, binary, from_z):
        """−y·log a and −(1 − y)·log(1 − a), or both from z: error and size of each term."""
        relative = self.rounding.logarithms + self.rounding.in_entries(2)
        first, ratio = _minus_log_sigmoid(z.value) + z.error, self.sigmoid_ratio(z)
        if not from_z:
            ratio = np.maximum(ratio, a.error / (_logistic(z.value) * _exp(-z.error)))
        error, size = np.abs(y) * (_ratio(ratio) + relative * first), np.abs(y) * first
        if not binary:
            return error, size
        opposite = Near(-z.value, z.error)
        second = _minus_log_sigmoid(opposite.value) + z.error
        if from_z:
            ratio = self.sigmoid_ratio(opposite)
        else:  # 1 − a has the error of a, and one rounding
            ratio = a.error / (_logistic(opposite.value) * _exp(-z.error)) + self.u
        error += np.abs(1.0 - y) * (_ratio(ratio) + relative * second)
        size = size + np.abs(1.0 - y) * second
        return error + self.rounding.in_entries(3) * z.computed * (1.0 + np.abs(y)), size

    def loss_delta(self, network, z, a, y, weights=None):
        """The last layer's delta; two of its roundings are the mean's. A row with a weight has its own n."""
        w, batch, more = self.counted(y, weights)
        n, output, gamma = divisor(network.loss, y, batch) / w, network.activations[-1], self.rounding.in_entries
        tiny = self.tiny * (1.0 + (more > 0) * w)
        plain, number = _parts(network.loss, LOSSES)
        if plain in LOSSES_ALONE:
            error = getattr(self, f"{plain}_error")(a, y, *number)
            pair = LOSSES[network.loss].with_output(output)
            value = pair.error(_arithmetic, z.value, a.value, y) / n
            error = error / n + gamma(3 + more) * (np.abs(value) + error / n) + tiny
            return self.activation_delta(output, z, a, Upstream.alone(Near(value, error)))
        if not together(network.loss, output):
            far = 2.0 * (np.abs(a.value - y) + 2.0 * a.error)
            rounded = gamma(3 + more) * far / n + tiny
            da = Near((2.0 * (a.value - y)) / n, 2.0 * a.error / n + rounded)
            if output == "softmax":
                value = _backend.activation_backward(output, z.value, a.value, da.value)
                return Near(value, self.softmax_squared_error_delta(z, a, da, rounded, n))
            return self.activation_delta(output, z, a, Upstream.alone(da))
        value = _backend.loss_backward(network.loss, output, z.value, a.value, y, batch, w[:, 0])
        if network.loss == "poisson":
            error = self.poisson_delta(z, a, y, output)
        elif output == "softmax":
            labels = self.labels(network, y)
            error = self.softmax_cross_entropy_delta(z, a, labels.value)
            error += a.computed * _columns(labels.error) + labels.error
        elif network.loss == "binary_cross_entropy":
            error = a.error + gamma(8) * (np.abs(y) * self.complement(z, a) + np.abs(1.0 - y) * a.computed)
        else:
            error = np.abs(y) * (a.error + gamma(7) * self.complement(z, a))
        return Near(value, error / n + gamma(more) * (np.abs(value) + error / n) + 4.0 * tiny)

    def mean_absolute_error_terms(self, a, y):
        """|a − y|: a rounding."""
        return a.error, np.abs(a.value - y) + 2.0 * a.error

    def mean_absolute_error_error(self, a, y):
        """1 or −1; both where rounding may decide."""
        return np.where((np.abs(a.value - y) <= 2.0 * a.error) & (a.error > 0.0), 2.0, 0.0)

    def huber_terms(self, a, y, delta):
        """Its derivative is at most δ, and |a − y|; four roundings of δ, of a quadratic term or of a linear one."""
        far = np.abs(a.value - y) + 2.0 * a.error
        return a.error * np.minimum(far, delta), np.where(far <= delta, far**2 / 2.0, 2.0 * delta * far)

    def huber_error(self, a, y, delta):
        """a − y as far as δ, whose derivative is at most 1: a rounding of either."""
        far = np.abs(a.value - y)
        inside = far - 2.0 * a.error <= delta * (1.0 + 4.0 * self.u)
        return a.error * inside + self.rounding.in_entries(1) * np.minimum(far + 2.0 * a.error, delta)

    def log_cosh_terms(self, a, y):
        """|r| + log1p(exp(−2|r|)) − log 2, or the logarithm of cosh, for r = a − y, which is rounded: the derivative is
        at most 1, and the exponential, the logarithm and three roundings err by parts of |r| and of 1.
        """
        far = np.abs(a.value - y) + 2.0 * a.error
        local = self.exponent + self.rounding.logarithms * (far + 1.0) + self.rounding.in_entries(4) * (2.0 * far + 1.0)
        return a.error * np.minimum(far, 1.0) + local, np.minimum(far, far**2 / 2.0) + local

    def log_cosh_error(self, a, y):
        """tanh(a − y), whose argument is rounded."""
        r = Near(a.value - y, a.error + self.rounding.in_entries(1) * (np.abs(a.value - y) + 2.0 * a.error))
        return self.tanh(r, _arithmetic.tanh(r.value))

    def hinge_terms(self, a, y):
        """1 − t·a where it is positive: a rounding, and none where it surely is not."""
        margin = 1.0 - np.where(y > 0.0, a.value, -a.value)
        near = margin + 2.0 * a.error + 4.0 * self.u > 0.0
        return np.where(near, a.error + self.u, 0.0), np.where(near, np.abs(margin) + 2.0 * a.error, 0.0)

    def hinge_error(self, a, y):
        """−t or 0; both where rounding may decide."""
        margin = 1.0 - np.where(y > 0.0, a.value, -a.value)
        return np.where((np.abs(margin) <= 2.0 * a.error + 2.0 * self.u) & (a.error > 0.0), 1.0, 0.0)

    def margins(self, a, y):
        """1 + a − a of the row's class, which is a sum with zeros: two roundings."""
        of_class = Near(_columns(np.where(y > 0.0, a.value, 0.0)), _columns(np.where(y > 0.0, a.error, 0.0)))
        far = np.abs(a.value - of_class.value) + a.error + of_class.error
        return Near(
            1.0 + (a.value - of_class.value), a.error + of_class.error + self.rounding.in_entries(2) * (1.0 + far)
        )

    def multi_class_hinge_terms(self, a, y):
        """The margin where it is positive, of the other classes."""
        margin = self.margins(a, y)
        near = (margin.value + 2.0 * margin.error > 0.0) & (y <= 0.0)
        return np.where(near, margin.error, 0.0), np.where(near, np.abs(margin.value) + 2.0 * margin.error, 0.0)

    def multi_class_hinge_error(self, a, y):
        """1 or 0, both where rounding may decide, and of the row's class how many are 1."""
        margin = self.margins(a, y)
        doubtful = ((np.abs(margin.value) <= 2.0 * margin.error) & (y <= 0.0)).astype(float)
        return np.where(y > 0.0, _columns(doubtful), doubtful)

    def poisson_terms(self, z, a, y, output):
        """exp(z) − y·z, or a − y·log a with a the softplus of z: a product and a sum."""
        if output == "linear":
            size = _exp(z.value + 2.0 * z.error)
            return size * _expm1(z.error + self.exponent) + np.abs(y) * z.error, size + np.abs(y) * z.computed
        log = np.abs(np.where(z.value < -40.0, z.value, _log(a.value))) + 2.0 * _ratio(a.error / a.value)
        relative = _ratio(a.error / a.value) + self.rounding.logarithms * log
        return a.error + np.abs(y) * relative, a.computed + np.abs(y) * log

    def poisson_delta(self, z, a, y, output):
        """exp(z) − y, or σ − y·σ/a; five roundings with the mean's."""
        gamma = self.rounding.in_entries
        if output == "linear":
            size = _exp(z.value + 2.0 * z.error)
            return size * _expm1(z.error + self.exponent) + gamma(4) * (size + np.abs(y))
        slope = self.softplus_slope(z, a)
        quotient = slope.value / a.value
        relative = _with(_ratio(slope.error / slope.value), _ratio(a.error / a.value))
        size = slope.value + slope.error + np.abs(y) * quotient * (1.0 + relative)
        return slope.error + np.abs(y) * quotient * relative + gamma(6) * size

    def complement(self, z, a):
        """The largest computed 1 − a."""
        return _logistic(-z.value) + 2.0 * a.error

    def softmax_cross_entropy_delta(self, z, a, y):
        """``a·Σy − y``, or a_j·(da_j − Σ da·a) with da = −y/a, in which no term passes more than nonzero y + 5
        roundings. As exp(log a) − y, a errs by the last exponential, the logarithm of the sum, and two roundings more.
        """
        top = z.value.max(axis=1, keepdims=True)
        log_s = _log(_columns(_exp(z.value - top)))
        through_log = (
            2.0 * self.exponent * a.exact + self.rounding.logarithms * log_s + self.u * (top - z.value + log_s)
        )
        labels = _columns(np.abs(y))
        roundings = self.rounding.in_entries(_columns((y != 0.0).astype(float)) + 5.0)
        return (a.error + a.exact * through_log) * labels + roundings * (np.abs(y) + a.computed * labels)


def _parts(name, table=ACTIVATIONS):
    """The plain name of a rule, and the number of its family."""
    plain, number = table.parts(name)
    return plain, [] if number is None else [number]


def _softsign_slope(z):
    r = 1.0 / (1.0 + np.abs(z))
    return r * r


def _normal(z):
    return 0.5 * (1.0 + _erf(z * np.sqrt(0.5)))


def _density(z):
    return _exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)


def _gelu_slope(z):
    return _normal(z) + z * _density(z)


def _near_normal(z):
    """σ(2u), u, and the derivative of 2u: GELU's tanh form."""
    c, square = np.sqrt(2.0 / np.pi), np.minimum(z * z, 484.0)
    u = c * z * (1.0 + 0.044715 * square)
    return _logistic(2.0 * u), u, 2.0 * c * (1.0 + 3.0 * 0.044715 * square)


def _gelu_tanh_slope(z):
    s, _, slope = _near_normal(z)
    return s + z * (s * (1.0 - s) * slope)


def _gate(z):
    return _arithmetic.tanh(_minus_log_sigmoid(-z))


def _mish_slope(z):
    t = _gate(z)
    return t + z * (1.0 - t * t) * _logistic(z)


def _silu_slope(z):
    return _logistic(z) * (1.0 + z * _logistic(-z))


def _pairs(p, q):
    """How many products in each sum of ``p @ q`` are not 0, and so may underflow."""
    return _tn((p > 0.0).astype(float).T, (q > 0.0).astype(float))


def _ratio(q):
    """q/(1 − q); infinite from 1 on."""
    return np.where(q < 1.0, q / np.where(q < 1.0, 1.0 - q, 1.0), np.inf)


def _with(first, second):
    """Relative error of a product of factors with relative errors `first` and `second`."""
    return first + second + first * second


def _others(a, terms):
    """For each column the sum of the other columns' terms ≥ 0, and what rounding may have taken from it."""
    total = _columns(terms)
    return np.maximum(total - terms, 0.0) + 2.0**-50 * total * (a.shape[1] > 1)


def _logistic(z):
    return _backend.activation_forward("sigmoid", z)


def _sech2(z):
    """1 − tanh(z)², without cancellation."""
    e = _exp(-2.0 * np.abs(z))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


def _minus_log_sigmoid(z):
    return np.maximum(-z, 0.0) + _arithmetic.log1p(_exp(-np.abs(z)))
