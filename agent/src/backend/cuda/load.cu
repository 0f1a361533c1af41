// Known work for the rest of the GPU while something is measured: what neighbours that are served there would do.
//
// Both kernels have the parameters (out, in, count), so that one worker protocol serves them.

// As the inner loop of a matrix product in registers: 64 sums of a thread, two blocks of 256 threads on an SM, each
// block over within about 50 us, as those of real kernels are. 128 operations per thread and round.
extern "C" __global__ void fractune_compute(float *out, const float *in, int count)
{
    float a[8], b[8], sums[8][8] = {};
    for (int i = 0; i < 8; i++) {
        a[i] = in[(threadIdx.x + i) % 256];
        b[i] = in[(threadIdx.x * 3 + i) % 256];
    }
    for (int round = 0; round < count; round++) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
#pragma unroll
            for (int j = 0; j < 8; j++) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
        }
        // Another operand in every round, or the rounds could be made one; and sums that stay small.
#pragma unroll
        for (int i = 0; i < 8; i++) a[i] = -a[i];
    }
    float all = 0;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) all += sums[i][j];
    // Whatever the sum is, it must be computed: the compiler cannot know that it is never this.
    if (all == 1.2345e-38f) out[threadIdx.x % 256] = all;
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
