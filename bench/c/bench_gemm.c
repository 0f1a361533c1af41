/* Times one contender of the matrix product C = A * B (row-major, float) and prints a line of JSON.

   The kernel is compiled by itself, with a tuned header, and linked:

     cc -O3 -march=native -fopenmp -include tuned.h -DFRACTUNE_SELECT_SGEMM_SQUARE_100 -c sgemm.c
     cc -O2 -fopenmp [-DWITH_OPENBLAS] bench_gemm.c sgemm.o -o bench_gemm -lm [-lopenblas]
     OMP_NUM_THREADS=2 ./bench_gemm tuned 512 512 512 30

   A process times one contender, so that no other's waiting threads disturb it. Buffers are evicted
   from the caches before every run, as fractune does with `cache: Cold`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void product(const float *A, const float *B, float *C, int m, int n, int k);

product sgemm, sgemm_reference; /* of the kernel's own source */

/* The reference with its inner loops exchanged: what a compiler makes of a better order alone. */
static void reordered(const float *A, const float *B, float *C, int m, int n, int k)
{
  memset(C, 0, sizeof(float) * m * n);
  for (int i = 0; i < m; i++)
    for (int p = 0; p < k; p++)
      for (int j = 0; j < n; j++) C[(long)i * n + j] += A[(long)i * k + p] * B[(long)p * n + j];
}

#ifdef WITH_OPENBLAS
/* Declared here because distributions put cblas.h in different places. */
void cblas_sgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                 const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static void openblas(const float *A, const float *B, float *C, int m, int n, int k)
{
  enum { ROW_MAJOR = 101, AS_IT_IS = 111 };
  cblas_sgemm(ROW_MAJOR, AS_IT_IS, AS_IT_IS, m, n, k, 1, A, k, B, n, 0, C, n);
}
#endif

static double now_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void evict(const void *start, size_t bytes)
{
#if defined(__x86_64__)
  for (size_t i = 0; i < bytes; i += 64) __builtin_ia32_clflush((const char *)start + i);
  __builtin_ia32_mfence();
#else
  (void)start, (void)bytes; /* elsewhere: read more than any cache holds */
  static volatile char other[64 << 20];
  for (size_t i = 0; i < sizeof other; i += 64) other[i]++;
#endif
}

static float *buffer(size_t elements)
{
  size_t bytes = (elements * sizeof(float) + 4095) / 4096 * 4096;
  float *b = aligned_alloc(4096, bytes);
  if (!b) {
    fprintf(stderr, "bench_gemm: %zu bytes cannot be had\n", bytes);
    exit(1);
  }
  for (size_t i = 0; i < elements; i++) b[i] = (float)rand() / ((float)RAND_MAX / 2) - 1;
  return b;
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
  if (argc != 6) {
    fprintf(stderr, "usage: bench_gemm tuned|naive|reordered|openblas M N K RUNS\n");
    return 64;
  }
  product *run = NULL;
  if (!strcmp(argv[1], "tuned")) run = sgemm;
  if (!strcmp(argv[1], "naive")) run = sgemm_reference;
  if (!strcmp(argv[1], "reordered")) run = reordered;
#ifdef WITH_OPENBLAS
  if (!strcmp(argv[1], "openblas")) run = openblas;
#endif
  const int m = atoi(argv[2]), n = atoi(argv[3]), k = atoi(argv[4]), runs = atoi(argv[5]);
  if (!run || m < 1 || n < 1 || k < 1 || runs < 1) {
    fprintf(stderr, "bench_gemm: no contender `%s`, or a size or count below 1\n", argv[1]);
    return 64;
  }
  const size_t in_a = (size_t)m * k, in_b = (size_t)k * n, in_c = (size_t)m * n;
  float *A = buffer(in_a), *B = buffer(in_b), *C = buffer(in_c), *right = buffer(in_c);

  reordered(A, B, right, m, n, k);
  for (double start = now_ns(); now_ns() - start < 1e8;) run(A, B, C, m, n, k); /* clocks go up */
  double error = 0, square = 0;
  for (size_t i = 0; i < in_c; i++) {
    error = fmax(error, fabs(C[i] - right[i]));
    square += (double)right[i] * right[i];
  }
  if (!(error <= 1e-3 * sqrt(square / in_c))) {
    fprintf(stderr, "bench_gemm: `%s` computes a wrong product\n", argv[1]);
    return 1;
  }

  double *times = malloc(sizeof *times * runs);
  if (!times) return 1;
  for (int i = 0; i < runs; i++) {
    evict(A, in_a * sizeof *A), evict(B, in_b * sizeof *B), evict(C, in_c * sizeof *C);
    double start = now_ns();
    run(A, B, C, m, n, k);
    times[i] = now_ns() - start;
  }
  qsort(times, runs, sizeof *times, ascending);
  printf("{\"contender\": \"%s\", \"median_ns\": %.0f, \"min_ns\": %.0f, \"gflops\": %.2f}\n", argv[1],
         times[runs / 2], times[0], 2.0 * m * n * k / times[runs / 2]);
  return 0;
}
