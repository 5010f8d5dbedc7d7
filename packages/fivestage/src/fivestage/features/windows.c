/* Counts and sums of facts in many windows at once, from the series of windows.py. */

#include <stdint.h>

typedef struct {
    int64_t times;  /* address of the facts' times, ascending */
    int64_t totals; /* address of the sums before, between and after them */
    int64_t count, width;
} Series;

/* How many times are not after a moment. Most are asked for near the end: steps back from there, each twice as
   long, find where to halve, and touch less memory. Halving is without branches, which could not be foretold. */
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

/* `query` is the moment and the addresses of series, 0 where there is none; `asked` are pairs of a place among
   those and seconds back. Of each goes to `out` the number of facts and the sums of their first `width` values, 0 for
   those that they lack. */
void windows(const int64_t *query, const int64_t *asked, int64_t count, int64_t width, double *out) {
    const int64_t at = *query++;
    int64_t place = -1, end = 0;
    for (; count--; asked += 2, out += width + 1) {
        const Series *series = (const Series *)(intptr_t)query[asked[0]];
        if (!series) {
            for (int64_t i = 0; i <= width; i++) out[i] = 0;
            continue;
        }
        const int64_t *times = (const int64_t *)(intptr_t)series->times;
        const int64_t *totals = (const int64_t *)(intptr_t)series->totals;
        if (asked[0] != place) {
            place = asked[0];
            end = known(times, series->count, at);
        }
        const int64_t held = series->width, start = known(times, end, at - asked[1]);
        out[0] = (double)(end - start);
        for (int64_t i = 0; i < width; i++)
            out[i + 1] = i < held ? (double)(totals[end * held + i] - totals[start * held + i]) : 0;
    }
}
