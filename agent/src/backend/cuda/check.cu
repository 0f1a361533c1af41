// What verification does on the device: comparing outputs and summing up buffers.
//
// A launch answers "is all well?" only. When it is not, the host copies the buffer and says what is wrong, so
// both must apply the rule of `compare.rs`: equal, or both left alone, or both finite and
// |got - expected| <= absolute + relative * |expected|.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Bit patterns of each element type: its value, and the distance of two.
struct F16 {
    typedef u16 bits;
    static __device__ double value(u16 x) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x)); return f; }
};
struct Bf16 {
    typedef u16 bits;
    static __device__ double value(u16 x) { return __uint_as_float(u32(x) << 16); }
};
struct F32 {
    typedef u32 bits;
    static __device__ double value(u32 x) { return __uint_as_float(x); }
};
struct F64 {
    typedef u64 bits;
    static __device__ double value(u64 x) { return __longlong_as_double(x); }
};
template <class Type, class Bits> struct Integer {
    typedef Bits bits;
    static __device__ double value(Bits x) { return double(Type(x)); }
};

template <class Element>
__device__ double distance(Element, typename Element::bits got, typename Element::bits expected)
{
    return fabs(Element::value(got) - Element::value(expected));
}
// Two large integers may be one double: their difference is taken first.
template <class Type, class Bits>
__device__ double distance(Integer<Type, Bits>, Bits got, Bits expected)
{
    return double(Type(got) > Type(expected) ? u64(Type(got)) - u64(Type(expected))
                                             : u64(Type(expected)) - u64(Type(got)));
}
// 0 and -0 are equal, NaN is not.
template <class Element>
__device__ bool equal(Element, typename Element::bits got, typename Element::bits expected)
{
    return Element::value(got) == Element::value(expected);
}
template <class Type, class Bits> __device__ bool equal(Integer<Type, Bits>, Bits got, Bits expected)
{
    return got == expected;
}

template <class Element>
__device__ void differ(const typename Element::bits *got, const typename Element::bits *expected, u64 length,
                       double absolute, double relative, u64 poison, u32 poisoned, u64 *differing)
{
    typedef typename Element::bits Bits;
    const u64 stride = u64(gridDim.x) * blockDim.x;
    u64 count = 0;
    for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < length; i += stride) {
        const Bits g = got[i], e = expected[i];
        const bool left = poisoned && g == Bits(poison), leaves = poisoned && e == Bits(poison);
        if ((left && leaves) || equal(Element(), g, e)) continue;
        const double value = Element::value(e);
        const bool comparable = !left && !leaves && isfinite(Element::value(g)) && isfinite(value);
        if (!(comparable && distance(Element(), g, e) <= absolute + relative * fabs(value))) count++;
    }
    if (count) atomicAdd(differing, count);
}

#define DIFFER(name, Element)                                                                                 \
    extern "C" __global__ void differ_##name(const Element::bits *got, const Element::bits *expected,         \
                                             u64 length, double absolute, double relative, u64 poison,        \
                                             u32 poisoned, u64 *differing)                                    \
    {                                                                                                         \
        differ<Element>(got, expected, length, absolute, relative, poison, poisoned, differing);              \
    }
typedef Integer<signed char, u8> I8;
typedef Integer<u8, u8> U8;
typedef Integer<short, u16> I16;
typedef Integer<u16, u16> U16;
typedef Integer<int, u32> I32;
typedef Integer<u32, u32> U32;
typedef Integer<long long, u64> I64;
typedef Integer<u64, u64> U64;
DIFFER(f16, F16)
DIFFER(bf16, Bf16)
DIFFER(f32, F32)
DIFFER(f64, F64)
DIFFER(i8, I8)
DIFFER(u8, U8)
DIFFER(i16, I16)
DIFFER(u16, U16)
DIFFER(i32, I32)
DIFFER(u32, U32)
DIFFER(i64, I64)
DIFFER(u64, U64)

// The sum of all words, each mixed with its place (the finaliser of MurmurHash3): a change is seen.
extern "C" __global__ void checksum(const u32 *words, u64 length, u64 *sum)
{
    const u64 stride = u64(gridDim.x) * blockDim.x;
    u64 total = 0;
    for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < length; i += stride) {
        u64 x = words[i] ^ (i * 0x9E3779B97F4A7C15ull);
        x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCDull;
        x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53ull;
        total += x ^ (x >> 33);
    }
    for (int offset = 16; offset; offset /= 2) total += __shfl_down_sync(~0u, total, offset);
    if (threadIdx.x % 32 == 0) atomicAdd(sum, total);
}
