/* Margins of boosted trees from the tables of tree_tables.py: for each row, ANDs one table row per feature. */

#include <math.h>
#include <stdint.h>

typedef struct {
    int64_t features, trees, leaves, outputs;
    const int64_t *first;      /* index of the first table row of each feature, and the end of the last */
    const uint8_t *category;   /* per feature, whether it is categorical */
    const double *thresholds;  /* per table row; ascending within a feature */
    const void *alive;         /* table rows x trees: masks of the leaves still reachable, 32 or 64 bits */
    const double *values;      /* trees x leaves */
    const int64_t *ends;       /* per output, the end of its trees */
    const double *bases;       /* per output */
} Forest;

static int64_t place(const Forest *forest, int64_t feature, double value) {
    int64_t low = forest->first[feature], end = forest->first[feature + 1];
    if (isnan(value)) return end - 1;
    int64_t high = end - 2; /* the row for values above all thresholds, or for any other category */
    if (forest->category[feature])
        return value >= 0 && value < (double)(high - low) ? low + (int64_t)value : high;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (forest->thresholds[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
}

#define MARGINS(name, mask, lowest)                                                                       \
    void name(const Forest *forest, const double *rows, int64_t count, mask *scratch, double *out) {      \
        const int64_t trees = forest->trees;                                                               \
        const mask *alive = forest->alive;                                                                 \
        for (int64_t row = 0; row < count; row++, rows += forest->features) {                              \
            const mask *one = alive + place(forest, 0, rows[0]) * trees;                                   \
            for (int64_t tree = 0; tree < trees; tree++) scratch[tree] = one[tree];                        \
            for (int64_t feature = 1; feature < forest->features; feature++) {                             \
                one = alive + place(forest, feature, rows[feature]) * trees;                               \
                for (int64_t tree = 0; tree < trees; tree++) scratch[tree] &= one[tree];                   \
            }                                                                                              \
            for (int64_t output = 0, tree = 0; output < forest->outputs; output++) {                       \
                const int64_t end = forest->ends[output];                                                  \
                double sum = forest->bases[output];                                                        \
                for (; tree < end; tree++)                                                                 \
                    sum += forest->values[tree * forest->leaves + lowest(scratch[tree])];                  \
                *out++ = sum;                                                                              \
            }                                                                                              \
        }                                                                                                  \
    }

MARGINS(margins32, uint32_t, __builtin_ctz)
MARGINS(margins64, uint64_t, __builtin_ctzll)
