// Known work for the rest of the GPU while something is measured: what neighbours that are served there would do.
//
// Both kernels have the parameters (out, in, count), so that one worker protocol serves them.

// A matrix product, as most of what is served is: 128 x 128 of the product in the registers of a block, two blocks on an SM, each
// over within about 100 us. What SMs and the second-level cache do for it they do not do for others. `in` holds two matrices
// of SIDE x SIDE, both read along their rows; a block takes `count` times 8 of those, and each 256 blocks go on where the
// last did. 1024 operations per thread and round.
#define SIDE 2048
#define TILE 128
#define DEPTH 8

extern "C" __global__ __launch_bounds__(256, 2) void fractune_compute(float *out, const float *in, int count)
{
    __shared__ float4 left[DEPTH][TILE / 4], right[DEPTH][TILE / 4];
    const int tiles = SIDE / TILE;
    const float4 *a = (const float4 *)(in + blockIdx.x % tiles * TILE);
    const float4 *b = (const float4 *)(in + SIDE * SIDE + blockIdx.x / tiles % tiles * TILE);
    const int deep = threadIdx.x / (TILE / 4), at = threadIdx.x % (TILE / 4);
    const int y = threadIdx.x / 16 * 2, x = threadIdx.x % 16;
    const int first = blockIdx.x / (tiles * tiles) * count;
    float sums[8][8] = {};
    for (int round = 0; round < count; round++) {
        const int row = ((first + round) * DEPTH + deep) % SIDE * (SIDE / 4) + at;
        const float4 next_left = a[row], next_right = b[row];
        __syncthreads();
        left[deep][at] = next_left;
        right[deep][at] = next_right;
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            const float4 l0 = left[k][y], l1 = left[k][y + 1], r0 = right[k][x], r1 = right[k][x + 16];
            const float l[8] = {l0.x, l0.y, l0.z, l0.w, l1.x, l1.y, l1.z, l1.w};
            const float r[8] = {r0.x, r0.y, r0.z, r0.w, r1.x, r1.y, r1.z, r1.w};
#pragma unroll
            for (int i = 0; i < 8; i++) {
#pragma unroll
                for (int j = 0; j < 8; j++) sums[i][j] = fmaf(l[i], r[j], sums[i][j]);
            }
        }
    }
    float all = 0;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) all += sums[i][j];
    // Whatever the sum is, it must be computed: the compiler cannot know that it is never this.
    if (all == 1.2345e-38f) out[threadIdx.x] = all;
}

// Streams: `count` float4 are read and as many written.
extern "C" __global__ void fractune_memory(float4 *out, const float4 *in, int count)
{
    int at = blockIdx.x * (blockDim.x * 4) + threadIdx.x;
#pragma unroll
    for (int i = 0; i < 4; i++, at += blockDim.x) {
        if (at < count) {
            float4 x = in[at];
            out[at] = make_float4(x.x + 1, x.y + 1, x.z + 1, x.w + 1);
        }
    }
}
