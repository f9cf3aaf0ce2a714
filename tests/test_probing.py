import gc
import weakref

import keras_tuner as kt
from searches import build_choice, search, tuner

from lrtuner.probing import RateProbe


def test_each_model_is_freed_before_the_next_is_built():
    models = []

    class Counting(kt.HyperModel):
        def build(self, hp):
            assert not any(model() is not None for model in models)
            model = build_choice(hp)
            models.append(weakref.ref(model))
            return model

    hp = kt.HyperParameters()
    swept = build_choice(hp)
    found, _ = RateProbe(Counting(), hp, swept).settings(["learning_rate"], names=None, others_count=True)
    assert found.names == ("optimizer",)
    assert len(models) == 3


def test_nothing_is_kept_of_the_swept_model_when_a_trial_is_built(tmp_path):
    models, alive = [], []

    def build(hp):
        gc.collect()
        alive.append(sum(model() is not None for model in models))
        model = build_choice(hp)
        models.append(weakref.ref(model))
        return model

    search(tuner(tmp_path, build))
    # The last two builds are those of the two trials.
    assert alive[-2:] == [0, 0]
