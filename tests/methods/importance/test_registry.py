"""Every measure against brute force in float64: finite differences, single rows, whole Hessians; each with a rule that must fail."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.config.measures import MEASURES
from mcprune.errors import ConfigError, ModelError, NumericalError
from mcprune.methods.importance import second_order
from mcprune.methods.importance.evidence import Evidence, balanced_rows, row_losses
from mcprune.methods.importance.registry import REGISTRY, measure, ranked, score
from mcprune.methods.importance.samples import label_slopes, squared_sums
from mcprune.objectives.classification import CrossEntropy, ErrorRate
from mcprune.sites.gates import GatedModel
from mcprune.sites.owners import Owners
from mcprune.sites.site_map import SiteGroup, SiteMap, site_map

ROWS, CLASSES = 24, 3


class Case:
    """A small net in float64, rows, and for each site the elements that are its own, written down by hand."""

    def __init__(self, model, sites, shape, owned, seed=0):
        draw = torch.Generator().manual_seed(seed)
        self.model = model.double().eval()
        with torch.no_grad():
            for parameter in model.parameters():  # away from the zeros and ones of fresh batch-norms
                parameter += 0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean += 0.2
                    module.running_var *= 1.7
        self.sites = sites
        self.x = torch.randn(ROWS, *shape, generator=draw, dtype=torch.float64)
        self.y = torch.randint(0, CLASSES, (ROWS,), generator=draw)
        self.owned = owned  # site -> list of (parameter, index)
        self.parameters = dict(model.named_parameters())

    def evidence(self, name="loss", **more):
        batches = [(self.x[:10], self.y[:10]), (self.x[10:], self.y[10:])]
        losses = row_losses(CrossEntropy(), name)
        return Evidence(self.model, Owners(self.model, self.sites), batches, losses=losses, **more)

    def score(self, name, **more):
        return score(name, self.evidence(name, **more)).values

    def loss(self, rows=slice(None), temperature=1.0):
        return nn.functional.cross_entropy(self.model(self.x[rows]) / temperature, self.y[rows])

    def value(self):
        return self.loss().item()

    def sums(self, values):
        """Sum over each site's elements, one by one."""
        return np.array([sum(float(values[name][index].sum()) for name, index in owned) for owned in self.owned])

    def scaled(self, site, factor, what):
        """`what()` with the site's own parameters multiplied."""
        names = {name for name, _ in self.owned[site]}
        before = {name: self.parameters[name].detach().clone() for name in names}
        with torch.no_grad():
            for name, index in self.owned[site]:
                self.parameters[name][index] *= factor
        found = what()
        with torch.no_grad():
            for name, value in before.items():
                self.parameters[name].copy_(value)
        return found

    def gradient(self, rows=slice(None), temperature=1.0):
        names = {name for owned in self.owned for name, _ in owned}
        found = torch.autograd.grad(self.loss(rows, temperature), [self.parameters[name] for name in names])
        return dict(zip(names, found, strict=True))

    def hessian(self, rows=slice(None)):
        """The whole Hessian over the owned tensors, and their names and sizes in its order."""
        names = sorted({name for owned in self.owned for name, _ in owned})
        tensors = tuple(self.parameters[name].detach().clone() for name in names)

        def of(*values):
            out = torch.func.functional_call(self.model, dict(zip(names, values, strict=True)), (self.x[rows],))
            return nn.functional.cross_entropy(out, self.y[rows])

        blocks = torch.autograd.functional.hessian(of, tensors)
        sizes = [tensor.numel() for tensor in tensors]
        whole = torch.cat(
            [
                torch.cat([blocks[i][j].reshape(sizes[i], sizes[j]) for j in range(len(names))], 1)
                for i in range(len(names))
            ]
        )
        return whole, names, sizes

    def split(self, vector, names, sizes):
        parts = vector.split(sizes)
        return {name: part.view_as(self.parameters[name]) for name, part in zip(names, parts, strict=True)}


def mlp(activation=nn.ReLU):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 4), activation(), nn.Linear(4, 6), activation(), nn.Linear(6, CLASSES))
    sites = site_map(model, "inputs,units", 5)
    owned = [[("0.weight", (slice(None), i))] for i in range(5)]
    owned += [
        [(f"{layer}.{part}", (j,)) for part in ("weight", "bias")]
        for layer, size in ((0, 4), (2, 6))
        for j in range(size)
    ]
    return Case(model, sites, (5,), owned)


def single_weights(activation=nn.Tanh):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 5), activation(), nn.Linear(5, CLASSES, bias=False))
    sites = SiteMap((SiteGroup("weights", "0", 0, 20), SiteGroup("weights", "2", 20, 15)))
    owned = [[("0.weight", (i, j))] for i in range(5) for j in range(4)]
    owned += [[("2.weight", (i, j))] for i in range(CLASSES) for j in range(5)]
    return Case(model, sites, (4,), owned)


def convolutions():
    """A convolution, its batch-norm and the depthwise layer behind it share sites; another one with a stride has its own."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 3, 2, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, CLASSES),
    )  # fmt: skip
    sites = SiteMap(
        (
            SiteGroup("channels", "0", 0, 4, ("0", "1", "3", "4"), ("4",)),
            SiteGroup("channels", "6", 4, 3, ("6",), ("6",)),
        )
    )
    tensors = ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias")
    owned = [[(name, (channel,)) for name in tensors] for channel in range(4)]
    owned += [[(name, (channel,)) for name in ("6.weight", "6.bias")] for channel in range(3)]
    return Case(model, sites, (2, 6, 6), owned)


CASES = {"mlp": mlp, "weights": single_weights, "channels": convolutions}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]()


def brute(case, name):
    """The measures from whole gradients and Hessians, site by site."""
    theta = {key: value.detach() for key, value in case.parameters.items()}
    g = case.gradient()
    whole, names, sizes = case.hessian()
    if name == "magnitude":
        return np.sqrt(case.sums({key: value**2 for key, value in theta.items()}))
    if name == "magnitude-l1":
        return case.sums({key: value.abs() for key, value in theta.items()})
    if name == "loss":
        return np.abs(case.sums({key: theta[key] * g[key] for key in g}))
    if name == "loss-elements":
        return case.sums({key: (theta[key] * g[key]).abs() for key in g})
    if name == "loss-weighted":
        return case.sums({key: (theta[key] ** 2 * g[key]).abs() for key in g})
    if name in ("grasp", "gradient-norm"):
        flat = torch.cat([g[key].reshape(-1) for key in names])
        product = case.split(whole @ flat, names, sizes)
        sums = case.sums({key: theta[key] * product[key] for key in product})
        return sums if name == "grasp" else np.abs(sums)
    if name in ("fisher", "fisher-batch"):
        pieces = [slice(r, r + 1) for r in range(ROWS)] if name == "fisher" else [slice(0, 10), slice(10, None)]
        squares = [{key: value**2 for key, value in case.gradient(piece).items()} for piece in pieces]
        return case.sums({key: theta[key] ** 2 * sum(part[key] for part in squares) / len(pieces) for key in g})
    if name == "obd":
        diagonal = case.split(whole.diagonal(), names, sizes)
        return case.sums({key: diagonal[key] * theta[key] ** 2 / 2 for key in diagonal})
    assert name == "obd-row-sum"
    first, names, sizes = case.hessian(slice(0, 10))
    return case.sums(case.split(first.sum(1), names, sizes))


COMPARED = [name for name in MEASURES if name not in ("bn-scale", "loss-tracked", "random")]


@pytest.mark.parametrize("name", COMPARED)
def test_each_measure_is_what_its_formula_says(case, name):
    met = case.score(name, temperature=1.0)
    np.testing.assert_allclose(met, brute(case, name), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", COMPARED)
def test_no_measure_passes_for_another(name):
    """The comparison above tells measures apart: every other formula is off by far more than its tolerance."""
    case = mlp(nn.Tanh)
    met = case.score(name, temperature=1.0)
    for other in COMPARED:
        if other != name:
            assert np.abs(met - brute(case, other)).max() > 1e-3 * np.abs(met).max(), other


def test_the_gradient_is_that_of_finite_differences(case):
    step, g = 1e-5, case.evidence().gradient
    for owned in case.owned[::3]:
        for name, index in owned:
            flat = case.parameters[name].detach()[index].reshape(-1)
            place = int(flat.abs().argmax())
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    view = case.parameters[name][index].view(-1)
                    view[place] += sign * step
                    ends.append(case.value())
                    view[place] -= sign * step
            slope = (ends[0] - ends[1]) / (2 * step)
            assert slope == pytest.approx(float(g[name][index].reshape(-1)[place]), abs=1e-7)


def test_loss_is_the_change_of_the_loss_as_a_site_fades(case):
    """L((1 - e) theta) - L = -e sum theta g + O(e^2); sums of single changes do not pass for it."""
    fade = 1e-4
    met = np.array([
        abs(case.scaled(site, 1 - fade, case.value) - case.scaled(site, 1 + fade, case.value)) / (2 * fade)
        for site in range(case.sites.size)
    ])  # fmt: skip
    np.testing.assert_allclose(case.score("loss"), met, rtol=1e-5, atol=1e-7)
    if max(len(owned) for owned in case.owned) > 1 or case.owned[0][0][1][0] == slice(None):
        assert np.abs(case.score("loss-elements") - met).max() > 1e-2 * met.max()


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_grasp_is_the_change_of_the_gradients_norm(case, temperature):
    """|g|^2 changes by -2 e sum theta (H g): the lowest score raises it most, so the sign matters."""
    fade = 1e-4

    def norm():
        return sum(float((value**2).sum()) for value in case.gradient(temperature=temperature).values())

    rises = np.array([
        (case.scaled(site, 1 - fade, norm) - case.scaled(site, 1 + fade, norm)) / (2 * fade)
        for site in range(case.sites.size)
    ])  # fmt: skip
    met = case.score("grasp", temperature=temperature)
    np.testing.assert_allclose(-2 * met, rises, rtol=1e-4, atol=1e-7)
    assert np.argmin(met) == np.argmax(rises)
    if (rises > 0).any():
        assert np.abs(-2 * np.abs(met) - rises).max() > 1e-2 * np.abs(rises).max()


def test_obd_is_the_curvature_of_the_loss_along_a_weight():
    """L((1 + e) theta_k) + L((1 - e) theta_k) - 2 L = 2 e^2 score + O(e^4); the loss's own change is of another order."""
    case, fade = single_weights(), 1e-3
    now = case.value()
    curve = [
        (case.scaled(site, 1 + fade, case.value) + case.scaled(site, 1 - fade, case.value) - 2 * now) / (2 * fade**2)
        for site in range(case.sites.size)
    ]
    np.testing.assert_allclose(case.score("obd"), curve, rtol=1e-3, atol=1e-7)
    gone = np.array([case.scaled(site, 0.0, case.value) - now for site in range(case.sites.size)])
    first = case.sums({key: case.parameters[key].detach() * g for key, g in case.gradient().items()})
    both = case.score("obd") - first
    # To second order the loss without a weight is what both measures say together; one alone is further away.
    assert np.abs(both - gone).mean() < 0.5 * np.abs(case.score("obd") - gone).mean()


@pytest.mark.parametrize("make", [mlp, lambda: single_weights(nn.ReLU), convolutions])
def test_the_gauss_newton_diagonal_is_the_hessians_where_the_net_is_piecewise_linear(make):
    """Batch-norm in evaluation mode is linear too; tanh is not, and there they differ."""
    case = make()
    assert second_order.is_piecewise_linear(case.model)
    whole, names, sizes = case.hessian()
    near = second_order.gauss_newton_diagonal(case.evidence())
    exact = second_order.exact_diagonal(case.evidence())
    for name, value in case.split(whole.diagonal(), names, sizes).items():
        torch.testing.assert_close(near[name], value, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(exact[name], value, rtol=1e-8, atol=1e-12)
        assert (near[name] >= 0).all()


def test_the_gauss_newton_diagonal_is_not_the_hessians_behind_a_tanh(monkeypatch):
    case = single_weights(nn.Tanh)
    assert not second_order.is_piecewise_linear(case.model)
    whole, names, sizes = case.hessian()
    true = case.split(whole.diagonal(), names, sizes)["0.weight"]
    exact = second_order.hessian_diagonal(case.evidence())["0.weight"]
    torch.testing.assert_close(exact, true)
    monkeypatch.setattr(second_order, "EXACT_UP_TO", 3)
    evidence = case.evidence()
    near = second_order.hessian_diagonal(evidence)["0.weight"]
    assert (near - true).abs().max() > 1e-3
    assert "Gauss-Newton" in evidence.notes[0]


class Twice(nn.Module):
    """One layer used twice, and a layer of another kind."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Conv1d(1, 4, 2), nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, x):
        hidden = torch.tanh(self.first(x[:, None]).mean(2))
        return self.last(torch.relu(self.again(torch.relu(self.again(hidden)))))


def test_rows_squares_are_exact_where_no_closed_form_serves():
    torch.manual_seed(4)
    sites = SiteMap((SiteGroup("channels", "first", 0, 4, ("first",), ("first",)), SiteGroup("units", "again", 4, 4)))
    owned = [
        [(f"{layer}.{part}", (j,)) for part in ("weight", "bias")] for layer in ("first", "again") for j in range(4)
    ]
    case = Case(Twice(), sites, (6,), owned)
    evidence = case.evidence(rows_at_once=7)
    met = score("fisher", evidence)
    np.testing.assert_allclose(met.values, brute(case, "fisher"), rtol=1e-8)
    assert "vmap" in met.notes[0]
    np.testing.assert_allclose(case.score("obd"), brute(case, "obd"), rtol=1e-8)


@pytest.mark.parametrize("at_once", [1, 5, None])
def test_pieces_of_rows_change_nothing(at_once):
    case = convolutions()
    whole = case.score("fisher")
    np.testing.assert_allclose(case.score("fisher", rows_at_once=at_once), whole, rtol=1e-12)


def test_rows_squares_of_a_linear_over_several_places():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8, CLASSES))
    case = Case(
        model,
        SiteMap((SiteGroup("units", "0", 0, 4),)),
        (2, 3),
        [[(f"0.{p}", (j,)) for p in ("weight", "bias")] for j in range(4)],
    )
    np.testing.assert_allclose(case.score("fisher"), brute(case, "fisher"), rtol=1e-8)
    assert not case.evidence().notes


def test_bn_scale_is_the_scale_of_the_batch_norms():
    case = convolutions()
    sites = SiteMap(case.sites.groups[:1])
    evidence = Evidence(
        case.model, Owners(case.model, sites), [(case.x, case.y)], losses=row_losses(CrossEntropy(), "loss")
    )
    scales = sum(case.parameters[name].detach().abs() for name in ("1.weight", "4.weight"))
    np.testing.assert_allclose(score("bn-scale", evidence).values, scales)
    with pytest.raises(ConfigError, match=r"bn-scale ranks .* '6' has none"):
        case.score("bn-scale")


def test_under_a_mask_the_model_is_the_gated_one():
    """Kept sites have the slope of their gates; the weights between them and dropped sites are left out."""
    case = mlp()
    mask = np.ones(15, bool)
    mask[[1, 6, 12]] = False
    evidence = case.evidence(mask=mask)
    gated = GatedModel(case.model, case.sites)
    with torch.no_grad():
        wanted = gated(case.x, gated.hard_gates(mask))
        torch.testing.assert_close(evidence.logits(case.x), wanted)
        assert (evidence.logits(case.x) - case.model(case.x)).abs().max() > 1e-3

    def loss_at(site, gate):
        gates = gated.hard_gates(mask)
        gates[site] = gate
        return nn.functional.cross_entropy(gated(case.x, gates), case.y).item()

    step, met = 1e-5, score("loss", evidence).values
    assert not met[~mask].any()
    assert not score("magnitude", evidence).values[~mask].any()
    for site in np.flatnonzero(mask):
        slope = (loss_at(site, 1 + step) - loss_at(site, 1 - step)) / (2 * step)
        assert met[site] == pytest.approx(abs(slope), rel=1e-5, abs=1e-8)


def test_the_model_is_left_as_it_was():
    case = convolutions()
    case.model.train()
    case.model[1].eval()
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    for name in COMPARED:
        case.score(name)
    assert case.model.training
    assert not case.model[1].training
    assert all(torch.equal(value, before[name]) for name, value in case.model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in case.model.parameters())
    assert not any(module._forward_hooks for module in case.model.modules())


def test_what_is_not_finite_is_named_and_last():
    values = np.array([3.0, np.nan, -2.0, np.inf, 1.0])
    found = ranked("loss", values, tuple("abcde"))
    assert found.nonfinite.tolist() == [1, 3]
    assert set(np.argsort(found.values)[:2]) == {1, 3}
    assert np.isfinite(found.values).all()
    assert "2 of 5 scores were not finite and count as the lowest: b, d" in found.notes[0]
    with pytest.raises(NumericalError, match=r"no score of the measure 'loss' is finite"):
        ranked("loss", np.full(3, np.nan), tuple("abc"))


def test_a_row_that_overflows_is_met_with_its_name():
    case = mlp()
    with torch.no_grad():
        case.parameters["2.weight"][3] = 1e200
    met = score("magnitude", case.evidence())
    assert met.nonfinite.tolist() == [12]


def test_a_name_that_is_none_has_its_nearest():
    with pytest.raises(ConfigError, match=r"no measure 'fischer' \(did you mean 'fisher'\?\)"):
        measure("fischer")
    assert measure("l2") is REGISTRY["magnitude"]


def test_an_objective_without_a_gradient_is_refused_by_the_measures_name():
    with pytest.raises(ConfigError, match=r"'fisher' needs a gradient, and the objective 'error' has none"):
        row_losses(ErrorRate(), "fisher")


def test_inputs_of_a_convolution_own_nothing():
    model = convolutions().model
    with pytest.raises(ModelError, match=r"first layer, '0', is a Conv2d"):
        Owners(model, SiteMap((SiteGroup("inputs", "", 0, 72),)))


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(9, CLASSES)

    def forward(self, x):
        return self.last(torch.cat([torch.relu(self.first(x)), x], 1))


def test_inputs_that_are_read_twice_are_refused():
    model = Skips()
    owners = Owners(model, site_map(model, "inputs", 5))
    rows = [(torch.randn(6, 5), torch.zeros(6, dtype=torch.int64))]
    with pytest.raises(ModelError, match=r"reads its inputs elsewhere than in 'first'"):
        Evidence(model, owners, rows, losses=row_losses(CrossEntropy(), "loss"))


def test_owners_index_and_counts():
    case = mlp()
    owners = Owners(case.model, case.sites)
    assert owners.index("0.weight", "inputs").expand(4, 5).tolist() == [[0, 1, 2, 3, 4]] * 4
    assert owners.index("0.weight", "units").expand(4, 5).tolist() == [[5] * 5, [6] * 5, [7] * 5, [8] * 5]
    assert owners.index("4.weight").expand(3, 6).eq(-1).all()
    with pytest.raises(ModelError, match=r"several kinds \(inputs, units\)"):
        owners.index("0.weight")
    assert owners.counts().tolist() == [4.0] * 5 + [6.0] * 4 + [5.0] * 6
    with pytest.raises(ModelError, match=r"layer 'nowhere'"):
        Owners(case.model, SiteMap((SiteGroup("units", "nowhere", 0, 4),)))
    with pytest.raises(ModelError, match=r"no parameter for its 7 sites"):
        Owners(case.model, SiteMap((SiteGroup("units", "0", 0, 7),)))


def test_batches_are_balanced():
    targets = np.array([0] * 300 + [1] * 40 + [2] * 100)
    batches = balanced_rows(targets, 100, 30, seed=1)
    assert [len(batch) for batch in batches] == [30, 30, 30, 10]
    for batch in batches:
        counts = np.bincount(targets[batch], minlength=3)
        assert counts.max() - counts.min() <= 2
    assert len(np.unique(np.concatenate(batches))) == 100
    # When a class runs out the others go on.
    every = np.concatenate(balanced_rows(targets, 10_000, 64, seed=1))
    assert sorted(every) == list(range(440))
    assert balanced_rows(targets, 100, 30, seed=2)[0].tolist() != batches[0].tolist()


def test_hessian_products_behind_batch_norms_are_those_of_torchs_own():
    """Against a second derivative through torch's batch-norm; a scale that is left out would be found."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Unflatten(1, (2, 6, 6)), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3),
        nn.BatchNorm2d(3, affine=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3),
    ).double().eval()  # fmt: skip
    for norm in (model[2], model[5]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.3, 3.0)
    with torch.no_grad():
        model[2].weight.uniform_(0.3, 3.0)
    x, y = torch.randn(20, 72, dtype=torch.float64), torch.arange(20) % 3
    owners = Owners(model, site_map(model, "channels", 72))
    evidence = Evidence(model, owners, [(x, y)], losses=row_losses(CrossEntropy(), "grasp"))
    held = dict(model.named_parameters())
    names = list(evidence.leaves)
    slopes = torch.autograd.grad(
        torch.nn.functional.cross_entropy(model(x), y), [held[name] for name in names], create_graph=True
    )
    along = sum((slope * slope.detach()).sum() for slope in slopes)
    wanted = dict(zip(names, torch.autograd.grad(along, [held[name] for name in names]), strict=True))
    for name, value in evidence.hessian_gradient.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-12)
    assert all("forward" not in vars(module) for module in model.modules())


def test_closed_squares_meet_vmap_on_float32(monkeypatch):
    case = convolutions()
    closed = squared_sums(case.evidence(), label_slopes(case.evidence()))
    monkeypatch.setattr("mcprune.methods.importance.samples._is_closed", lambda _: False)
    opened = squared_sums(case.evidence(), label_slopes(case.evidence()))
    for name, value in closed.items():
        torch.testing.assert_close(value, opened[name], rtol=1e-8, atol=1e-12)


class Backwards(torch.autograd.Function):
    """A square that torch knows the gradients of, and no forward mode."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(context, slope):
        (x,) = context.saved_tensors
        return 2 * x * slope


class Squared(nn.Module):
    def forward(self, x):
        return Backwards.apply(x)


@pytest.mark.parametrize(
    ("activation", "has_forward"), [(nn.Tanh, True), (Squared, False), (lambda: nn.LogSoftmax(1), False)]
)
def test_hessian_products_are_the_same_with_and_without_forward_mode(activation, has_forward):
    case = single_weights(activation)
    evidence, plain = case.evidence(), case.evidence()
    plain._has_forward = False
    products, wanted = evidence.hessian_gradient, plain.hessian_gradient
    assert evidence._has_forward == has_forward
    for name, value in wanted.items():
        assert value.abs().max() > 1e-6
        torch.testing.assert_close(products[name], value, rtol=1e-9, atol=1e-12)
