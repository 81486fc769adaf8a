"""What the defaults of a run depend on: facts of the data, the sites and the machine."""

from __future__ import annotations

from typing import NamedTuple, Self

NO_BOUND = 2**62  # of rows, where their maps are no sites


class SiteLayer(NamedTuple):
    """The sites of one kind in one layer."""

    kind: str
    name: str
    size: int


class Facts(NamedTuple):
    """What a configuration is settled by: numbers of the data, the sites and the machine.

    Attributes
    ----------
    rows, validation_rows : int
        That train, and that validate.
    data_name : str
    is_image : bool
    is_grey : bool
        The rows are images that are not mostly black.
    is_users_model : bool
        The classifier was passed from Python.
    is_fixed : bool
        No parameter of that classifier can be trained.
    layers : tuple of SiteLayer
        In the order of the sites.
    n : int
        Sites to keep; all of them where the budget is a cost.
    keep : int, dict of int by kind, or None
        What --keep became, for the record; None where nothing counts sites.
    is_single : bool
        The budget is one number of sites.
    is_plain : bool
        No site is fixed or tied to another.
    budget : str
        In words, for messages.
    falls : bool
        The budget may be below the whole model.
    fitting_rows : int
        Rows whose maps fit in `max_memory`, where channels or parts of a transformer are sites; elsewhere no bound.
    scale, device : str
        As settled.
    cores : int
        At hand.
    """

    rows: int
    validation_rows: int
    data_name: str
    is_image: bool
    is_grey: bool
    is_users_model: bool
    is_fixed: bool
    layers: tuple[SiteLayer, ...]
    n: int
    keep: int | dict[str, int] | None
    is_single: bool
    is_plain: bool
    budget: str
    falls: bool
    fitting_rows: int
    scale: str
    device: str
    cores: int

    @classmethod
    def of_columns(cls, rows: int, columns: int, n: int, data_name: str = "the rows", cores: int = 1) -> Self:
        """Return the facts of a table of which n columns are kept, without validation rows."""
        return cls(
            rows=rows,
            validation_rows=0,
            data_name=data_name,
            is_image=False,
            is_grey=False,
            is_users_model=False,
            is_fixed=False,
            layers=(SiteLayer("inputs", "", columns),),
            n=n,
            keep=n,
            is_single=True,
            is_plain=True,
            budget=f"keep={n}",
            falls=n < columns,
            fitting_rows=NO_BOUND,
            scale="none",
            device="cpu",
            cores=cores,
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of sites."""
        return frozenset(layer.kind for layer in self.layers)

    @property
    def size(self) -> int:
        """N, the number of sites."""
        return sum(layer.size for layer in self.layers)


class Traits(NamedTuple):
    """What the rules look at: a configuration and the facts of its run, as yes or no.

    Attributes
    ----------
    is_chain : bool
        The method is the chain.
    is_large : bool
        There are `LARGE` training rows or more.
    is_grey : bool
        Of many rows, images that are not mostly black, and the classifier is trained during the search.
    has_some_images : bool
        Rows are several thousand images, but not many, and no other rows are to evaluate than those that train.
    is_pixels : bool
        Rows are images whose single pixels are read: no channels, and no parts of a transformer, are sites.
    is_frozen : bool
        The classifier is not trained during the search.
    is_fixed : bool
        No parameter of the user's model can be trained.
    is_own_mlp : bool
        The classifier is mcprune's own MLP.
    has_channels : bool
        Channels, or heads, neurons or blocks of a transformer, are sites: they are cut out of the search's classifier.
    has_parts : bool
        Heads, neurons or blocks are sites.
    is_sloped : bool
        Sites are proposed by the slopes of the loss.
    has_weights, has_groups, has_pattern : bool
        Kinds of sites, and tied sites of unequal costs.
    only_inputs : bool
        Inputs alone are sites.
    is_costed : bool
        A bound on multiply-accumulates or parameters, which are counted in the classifier that is searched.
    is_counted : bool
        The budget counts sites, or columns and groups that each cost one: no bound on costs.
    is_single : bool
        The budget is one number of sites.
    is_by_rank : bool
        The chain keeps the n largest weights.
    is_cold : bool
        The temperature is 0 throughout.
    is_followed : bool
        n(t) falls, and a pool follows it.
    may_be_fresh : bool
        The small model is trained from scratch unless the kind of sites forbids it.
    may_fold : bool
        A chain trains mcprune's own MLP from scratch, and searches its inputs or units.
    is_folded : bool
        A classifier for each fold evaluates candidates.
    is_table : bool
        A chain of exchanges chooses n inputs of mcprune's own MLP by cross-entropy, on few rows but not in few steps.
    is_narrow : bool
        There are at most `NARROW` sites.
    is_short_list : bool
        There are fewer than `SHORT_LIST` sites.
    is_roomy : bool
        Each hidden layer of mcprune's own MLP has `ROOMY` units or more.
    is_crowded : bool
        There are at most `ROWS_AN_INPUT` training rows for each kept site.
    is_retrained_long : bool
        Retraining is not asked to take fewer than the usual epochs.
    is_augmented : bool
        Retraining warps its images, or learns from a teacher.
    """

    is_chain: bool
    is_large: bool
    is_grey: bool
    has_some_images: bool
    is_pixels: bool
    is_frozen: bool
    is_fixed: bool
    is_own_mlp: bool
    has_channels: bool
    has_parts: bool
    has_weights: bool
    has_groups: bool
    has_pattern: bool
    only_inputs: bool
    is_costed: bool
    is_counted: bool
    is_single: bool
    is_by_rank: bool
    is_cold: bool
    is_followed: bool
    may_be_fresh: bool
    may_fold: bool
    is_folded: bool
    is_table: bool
    is_narrow: bool
    is_short_list: bool = False
    is_sloped: bool = False
    is_roomy: bool = True
    is_crowded: bool = True
    is_retrained_long: bool = True
    is_augmented: bool = False

    @property
    def is_pushed(self) -> bool:
        """Whether L_pru pushes the chain towards n."""
        return self.is_single and not self.is_by_rank

    @property
    def is_grey_search(self) -> bool:
        """Whether a chain searches the inputs of the built-in MLP on grey images."""
        is_ours = self.only_inputs and self.is_own_mlp and (self.is_counted or self.has_groups)
        return self.is_grey and self.is_chain and is_ours

    @property
    def is_grey_scratch(self) -> bool:
        """Whether an MLP of mcprune's own is trained from scratch on what is kept of grey images."""
        # In place of noise dropout keeps a small MLP from remembering its rows; it then has use for more epochs.
        return self.is_grey and self.only_inputs and self.is_own_mlp and self.may_be_fresh

    @property
    def is_large_scratch(self) -> bool:
        """Whether an MLP of mcprune's own is trained from scratch on the kept inputs of many rows."""
        is_ours = self.only_inputs and self.is_own_mlp and self.may_be_fresh
        return is_ours and self.is_large and not self.is_grey and not self.is_augmented

    @property
    def is_small_scratch(self) -> bool:
        """Whether an MLP of mcprune's own is trained from scratch on the kept inputs of few rows, with units and time for dropout."""
        is_ours = self.only_inputs and self.is_own_mlp and self.may_be_fresh
        return is_ours and not self.is_large and self.is_crowded and self.is_roomy and self.is_retrained_long

    @property
    def may_differ(self) -> bool:
        """Whether another classifier may search than the one that is kept: its weights are not kept, and no cost is counted in it."""
        is_ours = self.only_inputs and self.is_own_mlp and self.is_chain
        return is_ours and self.may_be_fresh and not self.is_costed

    @property
    def is_wide(self) -> bool:
        """Whether a wider classifier searches than the one that is kept."""
        return self.may_differ and self.is_large and not self.is_frozen and not self.is_grey_search

    @property
    def is_image_search(self) -> bool:
        """Whether a chain searches the pixels of several thousand images as it searches those of many."""
        return self.has_some_images and self.is_pixels and self.may_differ and self.is_counted and not self.is_frozen

    @property
    def has_starts(self) -> bool:
        """Whether several chains start from different masks."""
        return self.is_table and not self.is_image_search

    @property
    def has_noisy_pixels(self) -> bool:
        """Whether noise on the pixels of many images makes a classifier evaluate them more evenly."""
        return self.is_pixels and self.is_large and not self.is_frozen and not self.is_grey

    @property
    def has_many_inputs(self) -> bool:
        """Whether a chain searches many inputs of the built-in MLP on many rows."""
        return (self.is_wide or self.is_grey_search) and not self.is_short_list

    @property
    def regrows(self) -> bool:
        """Whether n(t) rises again after its fall."""
        # At T > 0 the law has to stay the same for a while: n(t) reaches n once and stays.
        # On few rows regrowth has not helped, but on images: the blocks are too few to train what comes back.
        # Under a cost it brings back mostly inputs, cheap while few units read them (docs/budgets.md).
        # Channels that come back are behind batch-norms that have not seen them for long: the loss of all goes up with them.
        # A frozen classifier has nothing to train of what comes back.
        may = self.is_counted and not self.has_channels and not self.is_frozen and not self.is_grey_search
        return may and self.is_chain and self.is_followed and self.is_cold and (self.is_large or self.is_image_search)
