/* How steady a CPU is: the same work again and again for some seconds, once in registers, once in memory.
 *
 *   cc -O3 -march=native steadiness.c -o steadiness && ./steadiness 5
 *
 * Prints, for each, {"best_ns", "median_ns", "best_second_ns", "worst_second_ns"}. On a machine of one's own
 * all four are alike. Where neighbours compete for the core, the last-level cache or the memory, the medians of
 * single seconds differ, and no time reported here can be truer than that. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CHAINS = 80, STEPS = 100000, WORDS = 16 << 20, MOST = 100000 };

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float chain[CHAINS];

static void in_registers(void) {
    float local[CHAINS];
    for (int c = 0; c < CHAINS; c++) local[c] = chain[c] + c;
    for (int i = 0; i < STEPS; i++)
        for (int c = 0; c < CHAINS; c++) local[c] = local[c] * 0.999f + 0.999f;
    for (int c = 0; c < CHAINS; c++) chain[c] = local[c];
}

static int *words;
static volatile int sum;

static void in_memory(void) {
    int total = 0;
    for (int i = 0; i < WORDS; i++) total += words[i];
    sum = total;
}

static int report(const char *name, void (*work)(void), int seconds) {
    static double all[MOST], second[MOST];
    double best_second = 1e18, worst_second = 0;
    int count = 0;
    for (int s = 0; s < seconds; s++) {
        int here = 0;
        for (double end = now_ns() + 1e9; now_ns() < end && count < MOST;) {
            double start = now_ns();
            work();
            second[here++] = all[count++] = now_ns() - start;
        }
        if (here == 0) break;
        qsort(second, here, sizeof *second, order);
        if (second[here / 2] < best_second) best_second = second[here / 2];
        if (second[here / 2] > worst_second) worst_second = second[here / 2];
    }
    if (count == 0) return 1;
    qsort(all, count, sizeof *all, order);
    printf("\"%s\": {\"best_ns\": %.0f, \"median_ns\": %.0f, \"best_second_ns\": %.0f, \"worst_second_ns\": %.0f}",
           name, all[0], all[count / 2], best_second, worst_second);
    return 0;
}

int main(int argc, char **argv) {
    int seconds = argc > 1 ? atoi(argv[1]) : 5;
    words = calloc(WORDS, sizeof *words);
    if (!words) return 1;
    for (int i = 0; i < WORDS; i++) words[i] = i;
    printf("{");
    int failed = report("registers", in_registers, seconds);
    printf(", ");
    failed |= report("memory", in_memory, seconds);
    printf("}\n");
    return failed;
}
