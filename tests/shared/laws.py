"""What the statistical tests share: the states that were visited, the law they should have, chi-square between both."""

import numpy as np
from scipy.stats import chi2


def codes_of(positions):
    """The masks (..., N) as whole numbers, site 0 the lowest bit."""
    return (positions > 0) @ (1 << np.arange(positions.shape[-1]))


def p_value(counts, law):
    """Chi-square of counts against a law; cells with fewer than 10 expected are pooled."""
    expected = law / law.sum() * counts.sum()
    small = expected < 10
    met = np.append(counts[~small], counts[small].sum())
    due = np.append(expected[~small], expected[small].sum())
    met, due = (met[:-1], due[:-1]) if due[-1] == 0 and met[-1] == 0 else (met, due)
    if (due == 0).any():
        return 0.0
    return float(chi2.sf(np.sum((met - due) ** 2 / due), due.size - 1))


def boltzmann(energy, temperature):
    """Probabilities of states by their energies."""
    law = np.exp(-(energy - energy.min()) / temperature)
    return law / law.sum()
