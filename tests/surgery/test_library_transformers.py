"""Transformers of Hugging Face and timm, built from small configurations: found, cut, counted; only where both are installed."""

import numpy as np
import pytest
import torch
from torch import nn

from mcprune.models.attention import Skipped
from mcprune.models.flops import multiply_accumulates
from mcprune.sites.blocks.find import sub_blocks
from mcprune.sites.costs.count import model_costs
from mcprune.sites.gates import GatedModel
from mcprune.sites.site_map import site_map
from mcprune.surgery.shrink import shrink
from tests.sites.test_block_gates import drawn

transformers = pytest.importorskip("transformers")
SMALL = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24, "num_labels": 3}
WORDS = {"vocab_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


class Tokens(nn.Module):
    """Rows of token numbers."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(input_ids=x.abs().long().clamp(max=31)).logits


class Images(nn.Module):
    """Rows of 3 x 8 x 8."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        out = self.net(x.view(-1, 3, 8, 8))
        return out if isinstance(out, torch.Tensor) else out.logits


def bert():
    return Tokens(transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL, **WORDS))), 12


def gpt2():
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=4, n_inner=24, n_positions=16, num_labels=3, **WORDS)
    return Tokens(transformers.GPT2ForSequenceClassification(config)), 12


def llama():
    config = transformers.LlamaConfig(num_key_value_heads=2, **SMALL, **WORDS)
    return Tokens(transformers.LlamaForSequenceClassification(config)), 12


def vit():
    config = transformers.ViTConfig(image_size=8, patch_size=4, **SMALL)
    return Images(transformers.ViTForImageClassification(config)), 192


def timm_vit():
    timm = pytest.importorskip("timm")
    options = {"embed_dim": 16, "depth": 2, "num_heads": 4, "mlp_ratio": 1.5, "num_classes": 3}
    return Images(timm.models.VisionTransformer(img_size=8, patch_size=4, **options)), 192


@pytest.mark.parametrize("make", [bert, gpt2, llama, vit, timm_vit])
def test_a_library_network(make):
    torch.manual_seed(0)
    try:
        net, n = make()
    except (ImportError, RuntimeError) as error:  # torchvision of another build
        pytest.skip(str(error).splitlines()[0])
    net.eval()
    blocks = sub_blocks(net, (n,))
    assert [(block.kind, block.order) for block in blocks] == [
        ("heads", 0),
        ("neurons", 1),
        ("heads", 2),
        ("neurons", 3),
    ]
    assert not any(block.blocked for block in blocks)
    x = torch.rand(5, n, generator=torch.Generator().manual_seed(1)) * 20
    for kinds in ("heads", "neurons", "blocks", "heads,neurons,blocks"):
        sites = site_map(net, kinds, n)
        gated = GatedModel(net, sites)
        torch.testing.assert_close(gated(x, torch.ones(sites.size)), net(x))
        for seed in (0, 1):
            mask = drawn(sites, seed)
            small = shrink(net, sites, mask, input_shape=(n,))
            torch.testing.assert_close(small(x), gated(x, torch.from_numpy(mask)))
            parameters, macs = (model_costs(net, sites, unit, input_shape=(n,)) for unit in ("parameters", "macs"))
            assert parameters.of_mask(mask) == sum(each.numel() for each in small.parameters())
            assert macs.of_mask(mask) == multiply_accumulates(small, (n,))
    mask = np.ones(4, bool)
    mask[1] = False
    small = shrink(net, site_map(net, "blocks", n), mask, input_shape=(n,))
    assert any(isinstance(module, Skipped) for module in small.modules())
