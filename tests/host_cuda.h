// Stands in for CUDA's built-ins, so that a C++ compiler makes of the kernels something that runs on the host.
//
// Blocks run one after another; so do the threads of a block, each until it ends or comes to a barrier. Whoever comes
// to one is set aside (on a stack of its own) until all have come. From barrier to barrier the threads go up in one
// round and down in the next, so that a missing barrier shows; shared memory holds NaN when a block begins.

#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <cmath>

#define __global__
#define __device__ static
#define __constant__ static const
#define __shared__ static __attribute__((section(SHARED_SECTION)))

// Where the linker puts everything that is __shared__.
#ifdef __APPLE__
#define SHARED_SECTION "__DATA,shared"
extern char shared_begin[] __asm("section$start$__DATA$shared"), shared_end[] __asm("section$end$__DATA$shared");
#else
#define SHARED_SECTION "shared"
#define IN_THIS_LIBRARY __attribute__((visibility("hidden")))
extern char shared_begin[] __asm("__start_shared") IN_THIS_LIBRARY, shared_end[] __asm("__stop_shared") IN_THIS_LIBRARY;
#endif

struct Place { unsigned x, y, z; };
static Place threadIdx, blockIdx, blockDim, gridDim;

// Kept from being fused with what comes next, where the compiler may fuse: under FAST, as CUDA's compiler does.
#ifdef FAST
#define ALONE volatile
#else
#define ALONE
#endif

#define HOST_ROUNDED(letter, type, bits, to, from)                                                \
    static inline type __##letter##add_rn(type x, type y) { ALONE type z = x + y; return z; }     \
    static inline type __##letter##sub_rn(type x, type y) { ALONE type z = x - y; return z; }     \
    static inline type __##letter##mul_rn(type x, type y) { ALONE type z = x * y; return z; }     \
    static inline type __##letter##div_rn(type x, type y) { ALONE type z = x / y; return z; }     \
    static inline type __##letter##sqrt_rn(type x) { ALONE type z = std::sqrt(x); return z; }     \
    static inline bits to(type x) { bits y; std::memcpy(&y, &x, sizeof y); return y; } \
    static inline type from(bits x) { type y; std::memcpy(&y, &x, sizeof y); return y; }
HOST_ROUNDED(d, double, long long, __double_as_longlong, __longlong_as_double)
HOST_ROUNDED(f, float, int, __float_as_int, __int_as_float)

// CUDA overloads these for float; C's take double alone.
#ifdef FAST
using std::exp; using std::log; using std::log1p; using std::tanh; using std::sqrt;
#endif

namespace host {

const unsigned MOST_THREADS = 1024;
const size_t STACK = 1 << 16;
enum State { FRESH, WAITING, DONE };

struct Fibre { char* stack; ucontext_t first; jmp_buf here; State state; bool alive; };
static Fibre fibres[MOST_THREADS];
static jmp_buf scheduler;
static unsigned running;
static bool aside;
static void (*kernel)(void**);
static void** arguments;

// An argument of a kernel, from its address; of the type that the kernel takes.
struct Argument {
    void* at;
    template <class T> operator T() const { return *(T*)at; }
};

static void leave(State state)
{
    fibres[running].state = state;
    if (!_setjmp(fibres[running].here))
        _longjmp(scheduler, 1);
}

static void body()
{
    for (;;) {
        kernel(arguments);
        leave(DONE);
    }
}

// Lets a thread go on to its next barrier or its end.
static void go_on(unsigned thread)
{
    Fibre& fibre = fibres[thread];
    running = thread;
    threadIdx = {thread, 0, 0};
    if (_setjmp(scheduler))
        return;
    if (fibre.alive)
        _longjmp(fibre.here, 1);
    fibre.alive = true;
    if (!fibre.stack)
        fibre.stack = (char*)std::malloc(STACK);
    getcontext(&fibre.first);
    fibre.first.uc_stack.ss_sp = fibre.stack;
    fibre.first.uc_stack.ss_size = STACK;
    fibre.first.uc_link = nullptr;
    makecontext(&fibre.first, body, 0);
    setcontext(&fibre.first);
}

// What is wrong with a barrier, or nothing.
static const char* run_block(unsigned threads)
{
    aside = true;
    go_on(0);
    if (fibres[0].state == DONE) {  // no barrier: the others need no stacks of their own
        aside = false;
        for (unsigned thread = 1; thread < threads; ++thread) {
            threadIdx = {thread, 0, 0};
            kernel(arguments);
            if (aside)
                return "a barrier that not all threads come to";
        }
        return nullptr;
    }
    for (unsigned thread = 1; thread < threads; ++thread)
        go_on(thread);
    for (unsigned round = 1;; ++round) {
        unsigned waiting = 0;
        for (unsigned thread = 0; thread < threads; ++thread)
            waiting += fibres[thread].state == WAITING;
        if (!waiting)
            return nullptr;
        if (waiting < threads)
            return "a barrier that not all threads come to";
        for (unsigned i = 0; i < threads; ++i)
            go_on(round % 2 ? threads - 1 - i : i);
    }
}

static const char* run(void (*chosen)(void**), void** given, unsigned blocks, unsigned threads)
{
    kernel = chosen;
    arguments = given;
    blockDim = {threads, 1, 1};
    gridDim = {blocks, 1, 1};
    for (unsigned block = 0; block < blocks; ++block) {
        blockIdx = {block, 0, 0};
        std::memset(shared_begin, 0xFF, shared_end - shared_begin);
        if (const char* fault = run_block(threads)) {
            for (Fibre& fibre : fibres)
                fibre.alive = false;
            return fault;
        }
    }
    return nullptr;
}

}

static void __syncthreads()
{
    if (host::aside)
        host::leave(host::WAITING);
    else
        host::aside = true;  // `run_block` sees it, and that it must not be
}
