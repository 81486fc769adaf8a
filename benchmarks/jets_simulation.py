"""Simulated jets of five kinds with features of their substructure: pythia8mc makes the events, fastjet the jets.

Light quarks (q) and gluons (g) from hard QCD, W, Z and top (t) in pairs that decay to hadrons, at 13 TeV; multiple interactions and
detector are left out. The two leading anti-kt jets (R = 0.8) of an event with 400 < pT < 650 GeV and |eta| < 2 are taken; W, Z and t
jets must lie within R = 0.6 of what they come from. Everything here is simulated: no such figure is one of a detector.

    pip install --only-binary :all: pythia8mc fastjet
    python benchmarks/jets_simulation.py jets.csv --jets 20000

Definitions: tau_N of N-subjettiness with exclusive-kt axes, beta = 1 (Thaler & Van Tilburg, 2011); C2, D2 from energy correlation
functions (Larkoski, Salam & Thaler, 2013; Larkoski, Moult & Neill, 2014); soft drop with z_cut = 0.1, beta = 0 (Larkoski et al., 2014);
LHA, girth, width and p_T D as generalised angularities (Larkoski, Thaler & Waalewijn, 2014).
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

RADIUS, PT_LEAST, PT_MOST, ETA_MOST, MATCHED = 0.8, 400.0, 650.0, 2.0, 0.6
Z_CUT = 0.1
KINDS: dict[str, tuple[tuple[str, ...], int]] = {
    "q": (("HardQCD:qq2qq = on",), 0),
    "g": (("HardQCD:gg2gg = on",), 0),
    "W": (("WeakDoubleBoson:ffbar2WW = on", "24:onMode = off", "24:onIfAny = 1 2 3 4 5"), 24),
    "Z": (
        ("WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2", "23:onMode = off", "23:onIfAny = 1 2 3 4 5"),
        23,
    ),
    "t": (("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off", "24:onIfAny = 1 2 3 4 5"), 6),
}
FEATURES = (
    *("pt", "abs_eta", "mass", "mass_over_pt", "constituents", "charged", "charged_share", "largest_share"),
    *("tau1", "tau2", "tau3", "tau4", "tau21", "tau32", "tau43", "c2", "d2", "c2_beta2", "d2_beta2"),
    *("ptd", "lha", "girth", "width", "softdrop_mass", "softdrop_share", "zg", "rg"),
)


def main() -> None:
    """Simulate and write a csv with the column `kind`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("out", type=Path, help="the csv to write")
    options.add_argument(
        "--jets", type=int, default=20_000, help="in all, the same number of each kind (default: 20000)"
    )
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    try:
        import fastjet  # noqa: F401
        import pythia8mc  # noqa: F401
    except ImportError as error:
        raise SystemExit(f"{error.name} is missing: pip install --only-binary :all: pythia8mc fastjet") from None
    began = time.perf_counter()
    rows: list[list[Any]] = []
    for place, kind in enumerate(KINDS):
        found = simulate(kind, given.jets // len(KINDS), given.seed * len(KINDS) + place)
        rows += [[*line, kind] for line in found]
        print(f"{kind}: {len(found)} simulated jets, {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    np.random.default_rng(given.seed).shuffle(rows)
    part = given.out.with_name(given.out.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*FEATURES, "kind"])
        writer.writerows([[*(f"{value:.7g}" for value in line[:-1]), line[-1]] for line in rows])
    part.replace(given.out)


def simulate(kind: str, count: int, seed: int) -> list[list[float]]:
    """Return the features of so many jets of a kind."""
    import fastjet as fj
    import pythia8mc

    commands, source = KINDS[kind]
    pythia = pythia8mc.Pythia("", False)
    for line in (
        "Print:quiet = on",
        "Beams:eCM = 13000.",
        f"PhaseSpace:pTHatMin = {PT_LEAST}",
        f"PhaseSpace:pTHatMax = {PT_MOST}",
        "PartonLevel:MPI = off",
        "Random:setSeed = on",
        f"Random:seed = {seed + 1}",
        *commands,
    ):
        if not pythia.readString(line):
            raise SystemExit(f"Pythia does not take {line!r}")
    if not pythia.init():
        raise SystemExit(f"Pythia could not be set up for {kind!r}")
    clustering = fj.JetDefinition(fj.antikt_algorithm, RADIUS)
    out: list[list[float]] = []
    while len(out) < count:
        if not pythia.next():
            continue
        particles, sources = [], []
        for one in pythia.event:
            if one.isFinal() and one.isVisible() and abs(one.eta()) < 4:
                each = fj.PseudoJet(one.px(), one.py(), one.pz(), one.e())
                each.set_user_index(int(one.isCharged()))
                particles.append(each)
            elif source and abs(one.id()) == source and abs(one.status()) in (22, 62):
                sources.append((one.y(), one.phi()))
        sequence = fj.ClusterSequence(particles, clustering)
        for jet in fj.sorted_by_pt(sequence.inclusive_jets(PT_LEAST))[:2]:
            is_near = not source or any(_distance(jet.rap(), jet.phi(), *each) < MATCHED for each in sources)
            if jet.pt() < PT_MOST and abs(jet.eta()) < ETA_MOST and is_near and len(jet.constituents()) >= 4:
                out.append(features(jet, fj))
    return out[:count]


def _distance(y: float, phi: float, other_y: float, other_phi: float) -> float:
    turn = math.remainder(phi - other_phi, 2 * math.pi)
    return math.hypot(y - other_y, turn)


def features(jet: Any, fj: Any) -> list[float]:
    """Return the features of one jet, in the order of FEATURES."""
    parts = list(jet.constituents())
    pt = np.array([part.pt() for part in parts])
    places = np.array([[part.rap(), part.phi()] for part in parts])
    charged = sum(part.user_index() for part in parts)
    z = pt / pt.sum()
    from_axis = _radii(places, np.array([[jet.rap(), jet.phi()]]))[:, 0]
    taus = []
    grown = fj.ClusterSequence(parts, fj.JetDefinition(fj.kt_algorithm, fj.JetDefinition.max_allowable_R))
    for number in (1, 2, 3, 4):
        axes = np.array([[axis.rap(), axis.phi()] for axis in grown.exclusive_jets(number)])
        taus.append(float((z * _radii(places, axes).min(axis=1)).sum()) / RADIUS)
    between = _radii(places, places)
    correlations = []
    for power in (1, 2):
        far = between**power
        two = float(z @ far @ z) / 2
        three = float(((far * z) @ far * far * np.outer(z, z)).sum()) / 6
        two = max(two, 1e-12)
        correlations += [three / two**2, three / two**3]
    mass = max(jet.m(), 0.0)
    dropped, share, angle = _soft_drop(parts, fj)
    ratios = [taus[k + 1] / max(taus[k], 1e-12) for k in range(3)]
    return [
        *(jet.pt(), abs(jet.eta()), mass, mass / jet.pt(), len(parts), charged, charged / len(parts), float(z.max())),
        *taus,
        *ratios,
        *correlations,
        *(float(np.sqrt((z**2).sum())), float((z * np.sqrt(from_axis / RADIUS)).sum())),
        *(float((z * from_axis).sum()) / RADIUS, float((z * from_axis**2).sum()) / RADIUS**2),
        *(dropped, dropped / max(mass, 1e-9), share, angle),
    ]


def _radii(one: Any, other: Any) -> Any:
    """Distances in (y, phi) of all pairs."""
    y = one[:, None, 0] - other[None, :, 0]
    turn = np.abs(one[:, None, 1] - other[None, :, 1]) % (2 * math.pi)
    return np.hypot(y, np.minimum(turn, 2 * math.pi - turn))


def _soft_drop(parts: Any, fj: Any) -> tuple[float, float, float]:
    """Return the groomed mass, z_g and r_g; 0 for both where nothing passes."""
    sequence = fj.ClusterSequence(parts, fj.JetDefinition(fj.cambridge_algorithm, fj.JetDefinition.max_allowable_R))
    jet = fj.sorted_by_pt(sequence.inclusive_jets())[0]
    while True:
        first, second = fj.PseudoJet(), fj.PseudoJet()
        if not jet.has_parents(first, second):
            return max(jet.m(), 0.0), 0.0, 0.0
        if first.pt() < second.pt():
            first, second = second, first
        share = second.pt() / (first.pt() + second.pt())
        if share > Z_CUT:
            return max(jet.m(), 0.0), share, first.delta_R(second)
        jet = first


if __name__ == "__main__":
    main()
