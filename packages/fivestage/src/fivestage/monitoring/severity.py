"""Every number that is set by hand and decides how bad a difference is; all other limits are calibrated.

A season moves inputs as a fault does, so what moved only warns. Data are broken, which blocks a training, on
hard evidence alone: values missing, constraints violated, rows duplicated, rows gone.
"""

import math

# Least limits: a column that never moved in the reference does not alarm at the first trifle.
LEAST_SHARE = 0.03  # three points: of missing values, levels, repeated rows, empty days, violations
LEAST_CHANGE = 0.1  # ten points of new values, a tenth of the rows: both move a little on every day
LEAST_RESIDUAL = 0.06  # of a residual's standard deviation
LEAST_MODAL = 0.3  # of a modal share: a calm day can make a column one value
LEAST_EXCESS = 0.3  # widths of the range, in the mean of all values: a new record is less, another unit more
LEAST_LABEL = 0.02  # of a label's rate, or of an interval's width
# From these differences on the data are broken.
BROKEN_MISSING = 0.1  # points more missing: a model that learns from these learns the fault
BROKEN_VOLUME = math.log(2)  # half or twice the rows a day, which no season of a few weeks does
BROKEN_DUPLICATES = 0.05  # of the rows come again: a delivery repeated in part
BROKEN_CONSTRAINT = 0.1  # of the values violate what always held
# What a single value may do.
SLIPS = 3  # values a day may violate a constraint: typing errors
MOST_EXCESS = 10.0  # widths of the reference's range that one value counts for: one wild value is no drift
