// Root mean square normalization of rows: one block of THREADS a row, each thread VECTOR elements at a time.
extern "C" __global__ void rmsnorm(const float *x, const float *weight, float *out, int width)
{
  const float *row = x + (long)blockIdx.x * width;
  float *result = out + (long)blockIdx.x * width;
  float sum = 0;
  for (int i = threadIdx.x * VECTOR; i < width; i += THREADS * VECTOR)
#pragma unroll
    for (int lane = 0; lane < VECTOR; lane++) sum += row[i + lane] * row[i + lane];
  __shared__ float partial[32];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int warp = 0; warp < THREADS / 32; warp++) total += partial[warp];
    partial[0] = rsqrtf(total / width + 1e-6f);
  }
  __syncthreads();
  const float scale = partial[0];
  for (int i = threadIdx.x * VECTOR; i < width; i += THREADS * VECTOR)
#pragma unroll
    for (int lane = 0; lane < VECTOR; lane++) result[i + lane] = row[i + lane] * scale * weight[i + lane];
}

extern "C" __global__ void rmsnorm_reference(const float *x, const float *weight, float *out, int width)
{
  const float *row = x + (long)blockIdx.x * width;
  double sum = 0;
  for (int i = 0; i < width; i++) sum += (double)row[i] * row[i];
  const double scale = rsqrt(sum / width + 1e-6);
  for (int i = threadIdx.x; i < width; i += blockDim.x) out[(long)blockIdx.x * width + i] = row[i] * scale * weight[i];
}
