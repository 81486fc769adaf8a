"""Watch a run and change its temperature during the search, by a class of your own."""

import mcprune
from mcprune.session.steering.controller import Commands


class Steering(mcprune.Callback, mcprune.Controller):
    """Print every twentieth block, and lower the temperature once."""

    def on_block(self, search, info):
        if search.blocks_done % 20 == 0:
            kept = int((search.training_gates() > 0.5).sum())
            print(f"block {search.blocks_done} of {search.planned_blocks}: {kept} kept, loss {info.loss:.4f}")

    def poll(self, block, should_stop):
        return Commands(({"temperature": 0.0},)) if block == 40 else Commands()


search = mcprune.Markov(start="all", temperature=1e-2)
problem = mcprune.Problem(None, "digits", keep=16)
result = mcprune.fit(problem, search, callbacks=[Steering()], epochs=20, retrain_epochs=10)

for event in result.events:
    if isinstance(event, mcprune.KnobChanged):
        print("changed after block", event.block, ":", event.knobs)
print("kept pixels:", result.mask.indices.tolist())
print("test accuracy:", round(result.metrics["test_accuracy"], 3))
