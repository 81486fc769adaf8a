"""`mcprune refine`: improve a mask from elsewhere at the same number of sites."""

from __future__ import annotations

from mcprune.cli.arguments import run_options, run_parser
from mcprune.cli.parser import Parser
from mcprune.cli.run import run_with
from mcprune.config.measures import is_mask_file
from mcprune.errors import ConfigError

FORMS = (
    "the mask.json of a run, a JSON list of indices or names, a support_ array of scikit-learn (.npy), or the masks of "
    "torch.nn.utils.prune in a state_dict (.pt, .safetensors)"
)
DESCRIPTION = (
    "Start a chain from a mask and exchange kept and dropped sites where that lowers the loss: the number of sites stays, and the result "
    f"is never worse than the mask on the evaluation rows. MASKFILE is {FORMS}. Takes the options of mcprune run."
)


def refine_parser() -> Parser:
    """Return the parser: the options of run, and the mask."""
    parser = run_parser("refine", DESCRIPTION)
    parser.usage = "mcprune refine MASKFILE [--data NAME|FILE|FOLDER] [options]"
    parser.option("mask", metavar="MASKFILE", nargs="?", help="the mask to start from")
    return parser


def refine(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options, quiet, json = run_options(arguments, refine_parser())
    mask = options.pop("mask", None)
    if mask is None:
        raise ConfigError(f"there is no mask to refine. Give its file: {FORMS}. See mcprune refine --help")
    if "start" in options:
        raise ConfigError(f"--start beside {str(mask)!r}, which is the start of the chain. Leave --start out.")
    if "fdr" in options:
        raise ConfigError(
            "--fdr chooses how many columns are kept, but refine keeps as many as the mask. Leave --fdr out."
        )
    start = str(mask) if is_mask_file(str(mask)) else f"./{mask}"
    return run_with({**options, "start": start}, quiet=quiet, json=json)
