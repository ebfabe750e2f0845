"""The verdicts of runs: which weighs most, and how a script ends with it.

The names and codes are those of `loadtest`; see its README.
"""

# From the lightest to the heaviest, with the exit code of each.
EXIT_CODES = {
    "VALID": 0,
    "GATE-FAILED": 3,
    "GENERATOR-BOUND": 4,
    "SERVER-ERRORS": 3,
    "CONNECTIONS-MISSING": 5,
    "INTERRUPTED": 130,
    "COULD-NOT-RUN": 1,
}
VALID, GENERATOR_BOUND, SERVER_ERRORS = "VALID", "GENERATOR-BOUND", "SERVER-ERRORS"
INTERRUPTED, COULD_NOT_RUN = "INTERRUPTED", "COULD-NOT-RUN"


def worst(verdicts):
    """The heaviest of the verdicts; valid when there are none. An unknown one is no run at all."""
    order = list(EXIT_CODES)
    known = [verdict if verdict in EXIT_CODES else COULD_NOT_RUN for verdict in verdicts]
    return max(known, key=order.index, default=VALID)


def in_short(verdicts):
    """The worst verdict of the runs, and how many have it if not all do."""
    found = worst(verdicts)
    count = sum(worst([verdict]) == found for verdict in verdicts)
    mark = f"{found} †" if found == GENERATOR_BOUND else found
    return mark if count == len(verdicts) else f"{mark} ({count} of {len(verdicts)})"


LEGEND = "† the figures are the generator's: the server can do more than they show."
