// Root mean square normalization of rows: LANES partial sums, so that they need not wait for each other, UNROLL steps at a time.
#include <math.h>

void rmsnorm(const float *x, const float *weight, float *out, int rows, int width)
{
  for (int r = 0; r < rows; r++) {
    const float *row = x + (long)r * width;
    float *result = out + (long)r * width;
    float sums[LANES] = {0};
    for (int i = 0; i < width; i += LANES * UNROLL)
      for (int step = 0; step < UNROLL; step++)
        for (int lane = 0; lane < LANES; lane++) {
          const float value = row[i + step * LANES + lane];
          sums[lane] += value * value;
        }
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += sums[lane];
    const float scale = 1 / sqrtf(total / width + 1e-6f);
    for (int i = 0; i < width; i++) result[i] = row[i] * scale * weight[i];
  }
}

void rmsnorm_reference(const float *x, const float *weight, float *out, int rows, int width)
{
  for (int r = 0; r < rows; r++) {
    double sum = 0;
    for (int i = 0; i < width; i++) sum += (double)x[(long)r * width + i] * x[(long)r * width + i];
    const double scale = 1 / sqrt(sum / width + 1e-6);
    for (int i = 0; i < width; i++) out[(long)r * width + i] = x[(long)r * width + i] * scale * weight[i];
  }
}
