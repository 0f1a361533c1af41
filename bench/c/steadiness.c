/* How steady a CPU is: the same multiplications again and again, in registers, for some seconds.
 *
 *   cc -O3 -march=native steadiness.c -o steadiness && ./steadiness 5
 *
 * Prints {"best_ns", "median_ns", "worst_second_ns", "best_second_ns"}: on a CPU of one's own all are alike.
 * Where a neighbour on the same core competes for the multipliers, the median is far above the best, and the
 * medians of single seconds differ. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CHAINS = 80, STEPS = 100000, MOST = 100000 };

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    static double all[MOST], second[MOST];
    static float chain[CHAINS];
    int seconds = argc > 1 ? atoi(argv[1]) : 5, count = 0;
    double best_second = 1e18, worst_second = 0;
    for (int s = 0; s < seconds; s++) {
        int here = 0;
        for (double end = now_ns() + 1e9; now_ns() < end && count < MOST;) {
            double start = now_ns();
            float local[CHAINS];
            for (int c = 0; c < CHAINS; c++) local[c] = chain[c] + c;
            for (int i = 0; i < STEPS; i++)
                for (int c = 0; c < CHAINS; c++) local[c] = local[c] * 0.999f + 0.999f;
            for (int c = 0; c < CHAINS; c++) chain[c] = local[c];
            second[here++] = all[count++] = now_ns() - start;
        }
        if (here == 0) break;
        qsort(second, here, sizeof *second, order);
        if (second[here / 2] < best_second) best_second = second[here / 2];
        if (second[here / 2] > worst_second) worst_second = second[here / 2];
    }
    if (count == 0) return 1;
    qsort(all, count, sizeof *all, order);
    printf("{\"best_ns\": %.0f, \"median_ns\": %.0f, \"best_second_ns\": %.0f, \"worst_second_ns\": %.0f}\n",
           all[0], all[count / 2], best_second, worst_second);
    return chain[0] == 12345.0f;
}
