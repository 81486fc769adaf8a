"""Named sets of options, which explicit options override."""

PRESETS: dict[str, dict[str, object]] = {
    "default": {},
    # The source's own rule: every site moves, L_tot with soft gates must fall, n and alpha are constant.
    "slides": {
        "moves": {"uniform": 1.0},
        "delta": "1",
        "temperature": "0",
        "alpha": "10",
        "gates": "sigmoid",
        "keep_schedule": "constant",
        "pool": "none",
        "mask_noise": 0.0,
    },
}
