"""The accept rule, greedy and Metropolis, as the engine applies it to every candidate.

With L_tot = L_cla + alpha L_pru, a uniform u of (0, 1) and the proposals' ratio q(old|new) / q(new|old), a candidate is accepted

    at T > 0 (Metropolis and Hastings) where  u <= exp(-(L_tot_new - L_tot_old) / T) q(old|new) / q(new|old)
    at T = 0 (greedy)                  where  L_tot_new < L_tot_old

The logarithm of the first, solved for the new L_cla, is

    L_cla_new <= L_cla_old + (alpha L_pru_old - alpha L_pru_new) + T (log q-ratio - log u)

whose right side is known before any loss is evaluated: `threshold`. At T = 0 the last term is absent, and a tie is rejected.
A loss that is not finite is never accepted.

References
----------
.. [1] Metropolis et al. (1953), J. Chem. Phys. 21, 1087. Hastings (1970), Biometrika 57, 97.
"""

import math

from mcprune.chain.jit import kernel

__all__ = ["is_accepted", "threshold"]


@kernel
def threshold(cla: float, old: float, new: float, log_ratio: float, temperature: float, u: float) -> float:
    """L_cla up to which a candidate is accepted (T > 0), or below which (T = 0); old, new: alpha L_pru, u: see above.

    The pressures are subtracted first: an exchange has equal ones, so its threshold is the current L_cla
    exactly. A correctly rounded sum lies above no double that is above the real sum: rounding is never taken
    for a decrease.
    """
    bound = cla + (old - new)
    if temperature > 0.0:
        bound += temperature * (log_ratio - math.log(u))
    return bound


@kernel
def is_accepted(loss: float, bound: float, temperature: float) -> bool:
    """Whether a candidate of L_cla `loss` is accepted, `bound` being its threshold."""
    return math.isfinite(loss) and (loss <= bound if temperature > 0.0 else loss < bound)
