import keras_tuner as kt
import pytest

from lrtuner.search.jobs import Job, Jobs


@pytest.fixture
def jobs():
    jobs = Jobs("lr_sweep")
    for optimizer in ("sgd", "adam"):
        jobs.add(Job("learning_rate", {"optimizer": optimizer}, kt.HyperParameters()))
    return jobs


def test_each_worker_gets_one_of_its_own(jobs):
    first = jobs.give(jobs.free(0.0), "a", 10.0)
    second = jobs.give(jobs.free(0.0), "b", 10.0)
    assert first.trial_id != second.trial_id
    assert jobs.free(0.0) is None
    assert jobs.running() == {"a": first, "b": second}
    assert jobs.of_worker("a", 5.0).trial is first


def test_a_lease_that_has_run_out(jobs):
    first = jobs.give(jobs.free(0.0), "a", 10.0)
    assert jobs.of_worker("a", 10.0) is None
    job = jobs.free(10.0)
    again = jobs.give(job, "b", 20.0)
    assert job.begun == 2
    # Whichever ends first counts, and the other one is not looked for any more.
    assert jobs.of_trial(first.trial_id) is jobs.of_trial(again.trial_id) is job
    jobs.conclude(job)
    assert jobs.of_trial(first.trial_id) is jobs.of_trial(again.trial_id) is None
    assert len(jobs) == 1


def test_ids_are_not_given_twice(jobs):
    ids = set()
    while len(jobs):
        job = jobs.free(0.0)
        ids.add(jobs.give(job, "a", 10.0).trial_id)
        jobs.conclude(job)
    jobs.add(Job("learning_rate", {"optimizer": "lion"}, kt.HyperParameters()))
    assert jobs.give(jobs.free(0.0), "a", 10.0).trial_id not in ids


def test_the_same_sweep_is_added_once(jobs):
    jobs.add(Job("learning_rate", {"optimizer": "adam"}, kt.HyperParameters()))
    assert len(jobs) == 2
    jobs.add(Job("head_lr", {"optimizer": "adam"}, kt.HyperParameters()))
    assert len(jobs) == 3
