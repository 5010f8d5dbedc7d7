/* Margins of boosted trees: walks the nodes of eight trees at a time, so that no load waits for another. */

#include <stdint.h>
#include <string.h>

#define LANES 8

typedef struct {
    double threshold;
    uint32_t split; /* twice the column, plus 1 if missing values go right */
    int32_t left;   /* the right child follows; a leaf is its own left child, and its threshold is infinite */
} Node;

typedef struct {
    int64_t features, trees, sums, width, categories, category_splits; /* trees: padded to a multiple of LANES */
    const Node *nodes;
    const double *values;         /* nodes x width: a sum for each class, where leaves have a value for each */
    const int64_t *split_feature; /* per category split */
    const uint8_t *matched;       /* category splits x categories: those that go left */
    const int64_t *roots;         /* per tree, the deepest tree first */
    const int64_t *depths;
    const int64_t *numbers;       /* the place of each tree in the sums */
    const int64_t *ends;          /* per sum, the end of its trees */
    const double *bases;          /* sums x width */
    double *columns;              /* of a row: its features, and for each category split 0 for left, 1 for right */
    int64_t *leaves;              /* the node that a row reaches in each tree, times width */
} Trees;

static void fill(const Trees *trees, const double *row) {
    memcpy(trees->columns, row, (size_t)trees->features * sizeof *row);
    const uint8_t *matched = trees->matched;
    for (int64_t split = 0; split < trees->category_splits; split++, matched += trees->categories) {
        const double value = row[trees->split_feature[split]];
        const int known = value >= 0 && value < (double)trees->categories;
        trees->columns[trees->features + split] = value != value ? value : !(known && matched[(int64_t)value]);
    }
}

void margins(const Trees *trees, const double *row, int64_t count, double *out) {
    const Node *nodes = trees->nodes;
    const double *columns = trees->columns;
    for (; count--; row += trees->features) {
        fill(trees, row);
        for (int64_t first = 0; first < trees->trees; first += LANES) {
            int64_t at[LANES];
            for (int lane = 0; lane < LANES; lane++) at[lane] = trees->roots[first + lane];
            for (int64_t depth = trees->depths[first]; depth; depth--)
                for (int lane = 0; lane < LANES; lane++) {
                    const Node node = nodes[at[lane]];
                    const double value = columns[node.split >> 1];
                    /* No branches: the processor could not predict them. */
                    at[lane] = node.left + ((value > node.threshold) | ((value != value) & node.split & 1));
                }
            for (int lane = 0; lane < LANES; lane++)
                trees->leaves[trees->numbers[first + lane]] = at[lane] * trees->width;
        }
        const double *base = trees->bases;
        for (int64_t number = 0, start = 0; number < trees->sums; start = trees->ends[number++])
            for (int64_t place = 0; place < trees->width; place++) {
                double sum = *base++;
                for (int64_t tree = start; tree < trees->ends[number]; tree++)
                    sum += trees->values[trees->leaves[tree] + place];
                *out++ = sum;
            }
    }
}
