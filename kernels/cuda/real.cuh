// The number type of all kernels, and how a kernel goes through its work.
//
// Before this text stand the constants that `cuda_source.py` writes: REAL (double or float), BITS (the unsigned integer
// of its size), ROUNDED(op) (the intrinsic for op, to nearest), TO_BITS, FROM_BITS and the table of `elementary.py`.
//
// Names of pointers end in their dimensions, as in the formulas: s sample, j neuron, k input; W_kj is W[k * n_out + j].

typedef long long integer;

// Every operation is rounded once, to nearest, whatever the compiler's options say about fusing.
struct rounded { REAL value; };

__device__ inline rounded operator+(rounded x, rounded y) { return {ROUNDED(add)(x.value, y.value)}; }
__device__ inline rounded operator-(rounded x, rounded y) { return {ROUNDED(sub)(x.value, y.value)}; }
__device__ inline rounded operator*(rounded x, rounded y) { return {ROUNDED(mul)(x.value, y.value)}; }
__device__ inline rounded operator/(rounded x, rounded y) { return {ROUNDED(div)(x.value, y.value)}; }
__device__ inline rounded sqrt(rounded x) { return {ROUNDED(sqrt)(x.value)}; }

#ifdef FAST

// Whatever is quickest: products and sums may be fused, exp and log are the library's.
typedef REAL real;

__device__ inline real abs_of(real x) { return x < real{0} ? -x : x; }

#else

typedef rounded real;

__device__ inline real operator-(real x) { return {-x.value}; }
__device__ inline bool operator<(real x, real y) { return x.value < y.value; }
__device__ inline bool operator>(real x, real y) { return x.value > y.value; }
__device__ inline bool operator<=(real x, real y) { return x.value <= y.value; }
__device__ inline bool operator>=(real x, real y) { return x.value >= y.value; }

__device__ inline BITS bits_of(real x) { return (BITS)TO_BITS(x.value); }
__device__ inline real from_bits(BITS bits) { return {FROM_BITS(bits)}; }
__device__ inline real abs_of(real x) { return from_bits(bits_of(x) & ((BITS)-1 >> 1)); }

#endif

// Indices first, first + stride, ... below n: every integer comes up once, in one thread, however small the grid is.
#define EACH(i, n) (integer i = (integer)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (integer)gridDim.x * blockDim.x)
