/* Counts and sums of events in several windows at once, from the series of stores.py. */

#include <stdint.h>

typedef struct {
    int64_t times;  /* address of the events' times, ascending */
    int64_t totals; /* address of the cumulative sums before the first event and after each */
    int64_t count, width;
} Series;

/* The number of times that are not after `at`. Most queries are near the end: an exponential search from there
   finds the range of the binary search, and touches less memory. The binary search has no branches, because the
   processor could not predict them. */
static int64_t known(const int64_t *times, int64_t count, int64_t at) {
    const int64_t *from = times;
    for (int64_t step = 8; step < count; step *= 2)
        if (times[count - step] <= at) {
            from = times + count - step;
            count = step;
            break;
        }
    while (count > 1) {
        const int64_t half = count / 2;
        from += (from[half - 1] <= at) * half;
        count -= half;
    }
    return from - times + (count == 1 && *from <= at);
}

/* `query` holds the decision time and the addresses of series, 0 for a missing one. `plan` holds two numbers for
   each window: the index of its series in `query`, and its length in seconds. `out` receives, for each window, the
   number of events and the sums of their first `width` values, 0 for values that events lack. */
void windows(const int64_t *query, const int64_t *plan, int64_t count, int64_t width, double *out) {
    const int64_t at = *query++;
    int64_t previous = -1, end = 0;
    for (; count--; plan += 2, out += width + 1) {
        const Series *series = (const Series *)(intptr_t)query[plan[0]];
        if (!series) {
            for (int64_t i = 0; i <= width; i++) out[i] = 0;
            continue;
        }
        const int64_t *times = (const int64_t *)(intptr_t)series->times;
        const int64_t *totals = (const int64_t *)(intptr_t)series->totals;
        if (plan[0] != previous) {
            previous = plan[0];
            end = known(times, series->count, at);
        }
        const int64_t values = series->width, start = known(times, end, at - plan[1]);
        out[0] = (double)(end - start);
        for (int64_t i = 0; i < width; i++)
            out[i + 1] = i < values ? (double)(totals[end * values + i] - totals[start * values + i]) : 0;
    }
}
