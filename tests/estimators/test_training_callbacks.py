"""Callbacks of other training loops leave the fitted network alone and give a mask of exactly n."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

X, Y = load_digits(return_X_y=True)
X, Y = X[:300].astype(np.float32), Y[:300].astype(np.int64)
QUICK = {"epochs": 1, "finetune": "none", "threads": 1}


def network():
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


@pytest.mark.slow
def test_skorch_prunes_after_the_fit():
    skorch = pytest.importorskip("skorch")
    from mcprune.estimators.skorch import PruneAfterFit

    callback = PruneAfterFit(9, **QUICK)
    net = skorch.NeuralNetClassifier(
        network(),
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        verbose=0,
        callbacks=[("prune", callback)],
        train_split=None,
    )
    net.fit(X, Y)
    result = dict(net.callbacks_)["prune"].result_
    assert result.mask.indices.size == 9
    assert next(iter(net.module_.parameters())).shape == (12, 64)
    assert result.model.predict(X).shape == (300,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's own hints about workers and logging
def test_lightning_prunes_after_the_fit(tmp_path):
    lightning = pytest.importorskip("lightning")
    from mcprune.estimators.lightning import PruneAfterFit

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network()

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    module, callback = Module(), PruneAfterFit(9, **QUICK)
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=64))
    assert callback.result.mask.indices.size == 9
    assert module.model[0].weight.shape == (12, 64)
