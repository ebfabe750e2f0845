"""Statistics of repeated runs and of series of samples."""

import math
from statistics import mean, median


def spread(values):
    """The median, the lowest and the highest of one or more values."""
    return median(values), min(values), max(values)


def median_index(values):
    """Which of the values is the median; of an even number, the lower of the two in the middle."""
    order = sorted(range(len(values)), key=values.__getitem__)
    return order[(len(order) - 1) // 2]


def slope(points):
    """The slope of the line through (x, y) with the least squares; 0 when all x are the same."""
    x_mean, y_mean = mean(x for x, _ in points), mean(y for _, y in points)
    square = sum((x - x_mean) ** 2 for x, _ in points)
    if square == 0:
        return 0.0
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / square


def growth(points):
    """By how much y grows per hour, and over all, when x is in seconds."""
    per_second = slope(points)
    return per_second * 3600, per_second * (points[-1][0] - points[0][0])


def second_half(points):
    """The points whose x is in the second half of the range; x must rise."""
    middle = (points[0][0] + points[-1][0]) / 2
    return [(x, y) for x, y in points if x >= middle]


def two_digits(value):
    """A positive value to two significant digits, as a round figure for people."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    rounded = round(value / unit) * unit
    return round(rounded) if unit >= 1 else round(rounded, 6)
