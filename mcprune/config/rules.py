"""Defaults that depend on the run: a table of rules, used to compute them and to word them in the help."""

from __future__ import annotations

from mcprune.config.rule import Default, PerRow, Rule

USUAL_EPOCHS = 30
# Training rows from which a run is large: a batch of backprop is large by default, and every training row may evaluate candidates.
LARGE = 20_000
IMAGES = 4_000  # images from which their pixels are searched as those of many are
# Passes over the rows; for few rows as many as make so many training steps.
SEARCH_STEPS, SHORT_STEPS = 2_000, 500
# Rows that pass through backprop at most, in the search and in the retraining: of very many rows fewer passes, but one at least.
MOST_ROWS, MOST_RETRAIN_ROWS = 2_000_000, 4_000_000
SHORT_LIST = 64  # sites, of which a block makes few decisions: there are not many exchanges to choose among
SHORT_BATCH = 64  # of the steps of a short update
NARROW = 1_024  # sites up to which one of several chains starts from all: below many more n(t) takes most of the time
LONG_STEPS = 500  # of training, below which a run has no time for several chains
SMALL_TABLE = 200_000  # rows times columns up to which mutual information costs little
ALL_SITES_SHARE = 0.4  # of the run for a chain from all sites, where others follow
HOTTEST = 10.0  # times the temperature of the coldest replica
REGROWN_UNTIL = 0.9  # fraction of the run at which n(t) is at rest
LARGEST_DELTA = 1e6
THREADS_A_CORE = 4  # more is a mistake; up to there a run of a larger machine is repeated as it was
SEARCH_WIDTH = 512  # a wide layer judges more evenly than a narrow pair (docs/what-makes-a-good-mask.md)
IMAGE_WIDTH = 256  # of the same on fewer images
FOLDED_WIDTH = 64  # of a classifier for each fold: few rows train it
GREY_DROPOUT, SMALL_DROPOUT = 0.2, 0.3
# Units of each hidden layer from which some may be dropped in training; rows for each kept input up to which a small network learns rows
# by heart (docs/what-makes-a-good-mask.md).
ROOMY, ROWS_AN_INPUT = 64, 200
# Of the parts of alpha: the run has so many decades; means over so many epochs, half of a decade.
DECADES, WINDOW = 8, 10
# The way that a site weight could go in a run under Adam: several times from one end to the other.
TRAVEL, LEAST_RATE, LARGEST_RATE = 100.0, 1e-3, 0.1
SGD_RATE = 30.0  # the gradient of a site weight is of order alpha s (1 - s) / N

MANY = f"{LARGE:,} training rows or more"
GREY = f"{LARGE:,} or more grey images"
SOME = f"{IMAGES:,} to {LARGE:,} images"
FEW = (
    f"inputs of fewer rows, at most {ROWS_AN_INPUT} for each kept one (hidden layers of {ROOMY} units or more, "
    f"{USUAL_EPOCHS} epochs or more)"
)
FROZEN = "a frozen classifier"
CUT = "channels, states, heads, neurons, experts and blocks"
PARTS = "heads, neurons, experts and blocks"
FOLDED = "--eval-on folds"

# Each decision on few rows fits their noise a little more, so there are fewer decisions.
LEAST_STEPS: Default[int | PerRow] = Default(
    (Rule(PerRow(1.0, 200, 1_000), FOLDED, lambda traits: traits.is_folded), Rule(SEARCH_STEPS))
)
EPOCHS = Default(
    (
        Rule(USUAL_EPOCHS, f"a chain on the inputs of {GREY}", lambda traits: traits.is_grey_search),
        Rule(12, f"a chain on {MANY}", lambda traits: traits.is_chain and traits.is_large),
        Rule(20, f"a chain on the inputs of {SOME}", lambda traits: traits.is_image_search),
        Rule(12, FOLDED, lambda traits: traits.is_folded),
        Rule(USUAL_EPOCHS),
    ),
    f"more where these make fewer training steps than {LEAST_STEPS}; fewer, but one, of more than {MOST_ROWS:,} rows in all",
)
BATCH_SIZE = Default((Rule(256, MANY, lambda traits: traits.is_large), Rule(64)), "at most the training rows")
INPUT_NOISE = Default(
    (
        Rule(
            0.1,
            f"{LARGE:,} or more images that are mostly black, a chain on the inputs of {IMAGES:,} or more",
            lambda traits: traits.has_noisy_pixels or traits.is_image_search,
        ),
        Rule(0.0),
    )
)
SEARCH_HIDDEN: Default[int | str] = Default(
    (
        Rule(SEARCH_WIDTH, f"a chain on the inputs of {MANY}", lambda traits: traits.is_wide),
        Rule(IMAGE_WIDTH, f"one on those of {SOME}", lambda traits: traits.is_image_search),
        Rule(FOLDED_WIDTH, f"inputs under {FOLDED}", lambda traits: traits.is_folded and traits.may_differ),
        Rule("that of --hidden"),
    )
)
FINETUNE: Default[str] = Default(
    (
        Rule("none", "a model without trainable parameters", lambda traits: traits.is_fixed),
        Rule("short", "weights and frozen classifiers", lambda traits: traits.is_frozen or traits.has_weights),
        Rule("warm", CUT, lambda traits: traits.has_channels),
        Rule("scratch"),
    )
)
# A small network learns few rows by heart in more.
RETRAIN_STEPS: Default[int | PerRow] = Default(
    (Rule(PerRow(1.0, 200, 2_500), "the built-in MLP", lambda traits: traits.is_own_mlp), Rule(2_500))
)
# On many rows batches twice as large, at twice the learning rate, reach the same accuracy in half the time.
RETRAIN_BATCHES = Default(
    (
        Rule(2, f"an MLP on the inputs of {MANY} (no warp, no distillation)", lambda traits: traits.is_large_scratch),
        Rule(1),
    )
)
RETRAIN_EPOCHS = Default(
    (
        Rule(60, f"an MLP on {GREY}", lambda traits: traits.is_grey_scratch),
        Rule(60, f"an MLP on {FEW}", lambda traits: traits.is_small_scratch),
        Rule(20, RETRAIN_BATCHES.rules[0].words, lambda traits: traits.is_large_scratch),
        Rule(USUAL_EPOCHS),
    ),
    f"more where these make fewer training steps than {RETRAIN_STEPS}, "
    f"fewer, but one, of more than {MOST_RETRAIN_ROWS:,} rows in all; --epochs under --finetune warm, "
    f"5 or {SHORT_STEPS} steps under --finetune short",
)
SHORT_EPOCHS = 5
RETRAIN_DROPOUT = Default(
    (
        Rule(f"{GREY_DROPOUT:g}", f"an MLP on {GREY}", lambda traits: traits.is_grey_scratch),
        Rule(
            f"that of --dropout if given, else {SMALL_DROPOUT:g}",
            f"an MLP on {FEW}",
            lambda traits: traits.is_small_scratch,
        ),
        Rule("that of --dropout if given, else 0"),
    )
)
# Noise on the pixels helps classifiers that see single pixels; batch-norms need none.
RETRAIN_INPUT_NOISE = Default(
    (Rule(0.1, f"images, but not {GREY}", lambda traits: traits.is_pixels and not traits.is_grey), Rule(0.0))
)
MOVES: Default[dict[str, float]] = Default(
    (
        # Exchanges of unequal groups leave gaps.
        Rule({"exchange": 0.75, "toggle": 0.25}, "groups", lambda traits: traits.has_groups),
        Rule({"exchange": 1.0}, "a pattern of weights", lambda traits: traits.has_pattern),
        Rule({"informed": 0.9, "exchange": 0.1}, "weights", lambda traits: traits.has_weights),
        Rule({"informed": 0.9, "exchange": 0.1}, "--proposals slopes", lambda traits: traits.is_sloped),
        Rule(
            {"site": 0.7, "exchange": 0.3},
            f"gates by rank on {SHORT_LIST} inputs or more of {MANY}",
            lambda traits: traits.is_by_rank and traits.has_many_inputs,
        ),
        Rule({"site": 1.0}, "gates by rank otherwise", lambda traits: traits.is_by_rank),
        Rule({"exchange": 1.0}),
    )
)
# What acts by the sign of a weight alone, a weight of L_pru, asks for gates by sign.
CHAIN_GATES = Default(
    (Rule("rank", "one number of sites, without --alpha", lambda traits: traits.is_by_rank), Rule("hard"))
)
CHAIN_ALPHA = Default((Rule("1", "one number of sites, gates not by rank", lambda traits: traits.is_pushed), Rule("0")))
# Nothing goes stale between the blocks of a frozen classifier: they may be long, and their rows many.
DECISIONS = Default(
    (
        Rule(64, PARTS, lambda traits: traits.has_parts),  # a forward pass is expensive
        Rule(1024, FROZEN, lambda traits: traits.is_frozen),
        Rule(16, f"fewer than {SHORT_LIST} sites of {MANY}", lambda traits: traits.is_short_list and traits.is_large),
        Rule(128, f"{SHORT_LIST} inputs or more of {MANY}", lambda traits: traits.has_many_inputs),
        Rule(64),
    )
)
LOOKAHEAD = Default(
    (
        Rule(4, PARTS, lambda traits: traits.has_parts),  # what is evaluated behind an acceptance is wasted
        Rule(256, FROZEN, lambda traits: traits.is_frozen),
        Rule(16),
    )
)
PROPOSALS: Default[str] = Default((Rule("probes", "weights", lambda traits: traits.has_weights), Rule("chain")))
START: Default[str] = Default(
    (
        Rule(
            "all+forest+l1",
            f"a chain on at most {NARROW:,} columns of fewer than {LARGE:,} training rows, but not {SOME}",
            lambda traits: traits.has_starts and traits.is_narrow,
        ),
        Rule("forest+l1", "on more columns of such rows", lambda traits: traits.has_starts),
        Rule("all"),
    )
)
REGROW = Default(
    (
        Rule(
            40,
            f"a chain at temperature 0 on {MANY}, not of channels, costs or grey images, and on {SOME}",
            lambda traits: traits.regrows,
        ),
        Rule(0),
    )
)
UNTIL, UNTIL_REGROWTH = 0.5, 0.3
POOL = Default(
    (
        Rule(8, f"the inputs of {GREY}", lambda traits: traits.is_grey_search),
        # Of few rows the cheapest of many is the luckiest.
        Rule(8, FOLDED, lambda traits: traits.is_folded),
        Rule(32),
    )
)
POOL_LIMIT: Default[int] = Default((), "2048 with the fused evaluator, else 512, none below 2,048 sites")
END_ROWS = Default(
    (
        # A forward pass through maps is expensive.
        Rule(1024, CUT, lambda traits: traits.has_channels),
        Rule(8192, FROZEN, lambda traits: traits.is_frozen and traits.is_chain),
        Rule(4096),
    )
)
EARLY_ROWS = Default(
    (
        Rule(512, CUT, lambda traits: traits.has_channels),
        Rule(1024, f"the inputs of {GREY}", lambda traits: traits.is_grey_search),
        Rule(2048),
    )
)
EVAL_ON: Default[str] = Default(
    (
        Rule("train", f"{MANY}, inputs of {SOME}", lambda traits: traits.is_large or traits.is_image_search),
        Rule("folds", "inputs or units of the built-in MLP", lambda traits: traits.may_fold),
        Rule("held-out"),
    )
)
DROPOUT = Default(
    (Rule(0.3, f"a search of inputs under {FOLDED}", lambda traits: traits.is_folded and traits.only_inputs), Rule(0.0))
)
WEIGHT_DECAY = Default((Rule(0.01, f"the search under {FOLDED}", lambda traits: traits.is_folded), Rule(0.0)))
MASK_NOISE = Default((Rule(0.1, FOLDED, lambda traits: traits.is_folded), Rule(0.05)))
TRAIN_STEPS = Default((Rule(4, FOLDED, lambda traits: traits.is_folded), Rule(8)), "at most those of the run")
SHARPNESS = Default((Rule("geometric:1:16"),))
SCORE_ROWS = Default((Rule(2560),))
MIN_PER_LAYER = Default((Rule(1),))
ROUNDS = Default((Rule(10),), "fewer where there are not so many epochs")
PILOTS = 0.4
FIXED_ALPHA, RAMP = "10", "geometric:0.02:30:0.7"
BOUND, BOUND_DRAWN = 7.0, 3.5  # with straight-through gates it sets how many sites a row trades

# The defaults of options, and of parts of options, by name; an option that is missing here has its default in its declaration.
DEFAULTS: dict[str, Default[object]] = {
    "keep": Default((), "a quarter of all sites, without a bound on costs"),
    "search_hidden": SEARCH_HIDDEN,
    "epochs": EPOCHS,
    "batch_size": BATCH_SIZE,
    "input_noise": INPUT_NOISE,
    "dropout": DROPOUT,
    "weight_decay": WEIGHT_DECAY,
    "mask_noise": MASK_NOISE,
    "train_steps": TRAIN_STEPS,
    "finetune": FINETUNE,
    "retrain_epochs": RETRAIN_EPOCHS,
    "retrain_learning_rate": Default(
        (), f"that of --learning-rate, twice as much for {RETRAIN_BATCHES.rules[0].words}"
    ),
    "retrain_weight_decay": Default((), "that of --weight-decay if given, else 0"),
    "retrain_dropout": RETRAIN_DROPOUT,
    "retrain_input_noise": RETRAIN_INPUT_NOISE,
    "moves": MOVES,
    "alpha": CHAIN_ALPHA,
    "warm_up": Default((), "0.5, or until n(t) has fallen if that is later"),
    "decisions": DECISIONS,
    "lookahead": LOOKAHEAD,
    "eval_on": EVAL_ON,
    "proposals": PROPOSALS,
    "keep_schedule.until": Default((), f"{UNTIL_REGROWTH:g} before regrowth, else {UNTIL:g}"),
    "keep_schedule.regrow": REGROW,
    "pool.size": POOL,
    "pool.limit": POOL_LIMIT,
    "evaluation_rows.end": END_ROWS,
    "evaluation_rows.early": EARLY_ROWS,
    "replicas.hottest": Default((), f"{HOTTEST:g} times --temperature"),
    "replicas.swap_every": Default((), "a block's proposals"),
    "markov.gates": CHAIN_GATES,
    "gates.sharpness": SHARPNESS,
    "start": START,
    "start.after": Default((), "1, or 0 for a classifier that is trained already"),
    "measure.rows": SCORE_ROWS,
    "measure.temperature": Default((), "200 for grasp, else 1"),
    "measure.min_per_layer": MIN_PER_LAYER,
    "rounds.number": ROUNDS,
    "rounds.recover": Default((), "half of the run, or what the rounds leave"),
    "gradient.gates": Default((Rule("sigmoid"),)),
    "gradient.alpha": Default((), RAMP),
    "alpha.value": Default((), f"{FIXED_ALPHA} if fixed, {RAMP} if a ramp"),
    "alpha.lambda": Default((), "1, for mu-lambda 1e5"),
    "alpha.lambda_end": Default((), "1e7"),
    "alpha.epochs": Default((), "an eighth of the run for decade, a 40th for stall"),
    "alpha.window": Default((), f"{WINDOW}, half of a decade's epochs"),
    "alpha.window_kind": Default((Rule("products"),)),
    "alpha.tolerance": Default((Rule(0.01),)),
    "alpha.factor": Default((Rule(2.0),)),
    "alpha.cap": Default((Rule(1e6),)),
    "alpha.pilots": Default((Rule(PILOTS),)),
    "gate_optimizer.learning_rate": Default((), f"scaled to the number of steps, {SGD_RATE:g} with sgd"),
    "gradient.weight_bound": Default((), f"{BOUND:g}, {BOUND_DRAWN:g} for straight-through gates"),
    "device": Default((), "the GPU where there is one"),
    "threads": Default((Rule("all cores", MANY, lambda traits: traits.is_large), Rule("1"))),
    "rank_timeout": Default((Rule(300.0),)),
    "search_time": Default((), "what --max-time leaves"),
    "out": Default((), "runs/NAME of the data"),
}
