import json
import socket
import time
from pathlib import Path

import keras
import keras_tuner as kt
import pytest
from processes import start
from searches import random_search, warned

import lrtuner

PROGRAM = Path(__file__).with_name("distributed_process.py")
CHIEF, WORKERS = "chief", ("worker0", "worker1")


class Outcome:
    def __init__(self, codes, outputs, seconds, directory):
        self.codes = codes
        self.outputs = outputs
        # Until each process ended.
        self.seconds = seconds
        lines = (directory / "events").read_text().splitlines() if (directory / "events").exists() else []
        self.events = [tuple(json.loads(line)) for line in lines]
        found = [line for line in outputs[CHIEF].splitlines() if line.startswith("RESULT ")]
        self.result = json.loads(found[0].removeprefix("RESULT ")) if found else None

    def who(self, event):
        return [name for _, name, what in self.events if what == event]


def run(directory, *, names=(CHIEF, *WORKERS), limit=170, **options):
    """Run a chief and workers as processes until they end; a worker that starts first waits for the chief."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "MPLBACKEND": "agg",
    }
    argument = json.dumps({"directory": str(directory), **options})
    begin, processes, ended = time.time(), {}, {}
    try:
        for name in names:
            processes[name] = start(
                PROGRAM,
                argument,
                output=directory / f"{name}.txt",
                environment={**environment, "KERASTUNER_TUNER_ID": name},
            )
        while len(ended) < len(names) and time.time() - begin < limit:
            time.sleep(0.05)
            for name, process in processes.items():
                if name not in ended and process.exitcode is not None:
                    ended[name] = time.time()
    finally:
        for process in processes.values():
            process.kill()
            process.join()
    outputs = {name: (directory / f"{name}.txt").read_text() for name in names}
    codes = {name: process.exitcode if name in ended else "hung" for name, process in processes.items()}
    return Outcome(codes, outputs, ended, directory)


def assert_narrowed(outcome, trials):
    assert set(outcome.codes.values()) == {0}, outcome.outputs
    low, high = outcome.result["lr_range"]
    assert len(outcome.result["rates"]) == trials
    assert all(low <= rate <= high for rate in outcome.result["rates"])
    assert outcome.result["statuses"] == ["COMPLETED"] * trials
    assert outcome.result["sweeps"] == 1
    assert outcome.result["plotted"]
    assert len(outcome.who("trial")) == trials


def test_workers_sweep_once_and_search_inside(tmp_path):
    outcome = run(tmp_path)
    assert_narrowed(outcome, trials=4)
    assert len(outcome.who("sweep")) == 1
    assert CHIEF not in outcome.who("sweep") + outcome.who("trial")
    assert (tmp_path / "project" / "lr_sweeps.png").exists()
    for worker in WORKERS:
        for name in ("lr_range", "sweeps", "plot_sweeps", "trials"):
            assert f"`oracle.{name}` is known to the chief alone" in outcome.outputs[worker]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RandomSearch", "BayesianOptimization", "GridSearch", "Hyperband"])
def test_drop_ins(tmp_path, name):
    outcome = run(tmp_path, tuner=name)
    assert_narrowed(outcome, trials=len(outcome.result["rates"]))
    assert len(outcome.result["rates"]) == (6 if name == "Hyperband" else 4)
    assert len(outcome.who("sweep")) == 1


def test_rates_of_branches(tmp_path):
    """What only the other branch declares comes back from the worker that has built it."""
    outcome = run(tmp_path, branches=True, trials=6)
    assert set(outcome.codes.values()) == {0}, outcome.outputs
    assert outcome.result["sweeps"] == 2
    assert [event for _, _, event in outcome.events if event in ("sweep", "trial")][:2] == ["sweep"] * 2
    assert set(outcome.result["optimizers"]) == {"adam", "sgd"}
    for name, rate in zip(outcome.result["optimizers"], outcome.result["rates"], strict=True):
        low, high = outcome.result["ranges"][name]
        assert low <= rate <= high


def test_several_sweeps_at_once(tmp_path):
    """The first sweep tells which there are; then each worker runs one, and no trial begins before."""
    # A sweep that nobody joins fails, and is run once more.
    outcome = run(tmp_path, optimizers=True, trials=6, wait_for={"sweep 1": "sweep 2"})
    assert set(outcome.codes.values()) == {0}, outcome.outputs
    assert outcome.result["sweeps"] == 3
    whose = outcome.who("sweep")
    assert len(whose) == 3
    # Whoever ends the first one may begin the next before the other has asked again.
    assert set(whose[1:]) == set(WORKERS)
    assert [event for _, _, event in outcome.events if event != "end"] == ["sweep"] * 3 + ["trial"] * 6
    for name, rate in zip(outcome.result["optimizers"], outcome.result["rates"], strict=True):
        low, high = outcome.result["ranges"][name]
        assert low <= rate <= high


@pytest.mark.slow
def test_stock_tuners_with_wrapped_hypermodels(tmp_path):
    outcome = run(tmp_path, stock=True)
    assert_narrowed(outcome, trials=4)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a feature of TensorFlow alone")
def test_a_strategy_of_two_devices_on_a_worker(tmp_path):
    outcome = run(tmp_path, names=(CHIEF, "worker0"), strategy=True, trials=2)
    assert_narrowed(outcome, trials=2)
    assert outcome.who("2 replicas") == ["worker0"] * 3


def test_worker_killed_in_its_sweep_and_a_slow_one(tmp_path):
    """The first dies, the second takes longer than its lease, the third is quick: one result counts."""
    names = (CHIEF, "worker0", "worker1", "worker2")
    # Nobody begins the third before the second's lease has run out. Who lives is heard of every 2 seconds.
    slow = {"sweep 1": "end of sweep 2"}
    outcome = run(tmp_path, names=names, die="sweep 0", wait_for=slow, lease=8, silence=10)
    codes = dict(outcome.codes)
    begun = outcome.who("sweep")
    assert codes.pop(begun[0]) == -9
    assert len(begun) == len(set(begun)) == 3
    assert set(codes.values()) == {0}, outcome.outputs
    assert outcome.result["sweeps"] == 1
    assert len(outcome.result["rates"]) == len(outcome.who("trial")) == 4
    low, high = outcome.result["lr_range"]
    assert all(low <= rate <= high for rate in outcome.result["rates"])


def test_sweep_that_raises_ends_in_unnarrowed_search(tmp_path):
    outcome = run(tmp_path, names=(CHIEF, "worker0"), failure="raises", retries=1)
    assert set(outcome.codes.values()) == {0}, outcome.outputs
    # Once, once again, and at the defaults.
    assert outcome.who("sweep") == ["worker0"] * 3
    assert outcome.result["lr_range"] is None
    assert outcome.result["reason"] == "OSError: the data is gone"
    assert outcome.result["statuses"] == ["COMPLETED"] * 4
    assert "found no range, so the search goes on in the declared space: OSError" in outcome.outputs[CHIEF]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "cause"),
    [("not compiled", "not compiled, so it has no"), ("trials", "Number of consecutive failures exceeded")],
)
def test_a_fatal_error_ends_all_processes(tmp_path, failure, cause):
    outcome = run(tmp_path, failure=failure, trials=20)
    assert all(code not in (0, "hung") for code in outcome.codes.values()), (outcome.codes, outcome.outputs)
    for output in outcome.outputs.values():
        assert cause in output
    # The last thing that any of them trained.
    last = max(when for when, _, _ in outcome.events)
    assert max(outcome.seconds.values()) - last < 30


def ask(oracle, tuner_id, seconds):
    """Ask for trials as KerasTuner's loop does; return how often in that time."""
    questions, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        assert oracle.create_trial(tuner_id).status == "IDLE"
        questions += 1
    return questions


@pytest.fixture
def oracle(tmp_path):
    """An oracle with a tuner that has not begun to search."""
    tuner = lrtuner.Tuner(
        lrtuner.LRRangeOracle(random_search(), lease=1.0),
        lambda hp: hp.Float("learning_rate", 1e-6, 10.0, sampling="log"),
        directory=tmp_path,
    )
    return tuner.oracle


def test_idle_workers_ask_a_few_times_a_second(oracle):
    oracle.lease = 60.0
    assert oracle.create_trial("worker0").status == "RUNNING"
    assert ask(oracle, "worker1", 2.0) <= 8


def test_whoever_is_ready_is_served_soon_while_others_wait(oracle):
    oracle.lease = 60.0
    oracle.create_trial("worker0")
    for worker in range(64):
        oracle.create_trial(f"idle{worker}")
    begin = time.monotonic()
    # What a chief's one thread has to answer before it comes to one more question.
    for worker in range(64):
        oracle.create_trial(f"idle{worker}")
    assert time.monotonic() - begin < 1.0


def test_a_late_failure_is_not_counted(oracle):
    first = oracle.create_trial("worker0")
    time.sleep(1.1)
    second = oracle.create_trial("worker1")
    assert second.trial_id != first.trial_id
    first.status, first.message = "INVALID", "OSError: too late"
    oracle.end_trial(first)
    assert oracle.sweeps == []
    assert oracle.ongoing_trials == {"worker1": second}


def test_a_sweep_that_never_ends_is_given_up(oracle):
    begun = []
    with warned(r"begun 3 times and never ended in 0\.2 s"):
        oracle.lease = 0.2
        while not oracle.sweeps:
            trial = oracle.create_trial(f"worker{len(begun)}")
            begun.append(trial.trial_id)
            time.sleep(0.25)
    assert len(begun) == 4
    assert oracle.lr_range is None
    assert trial.trial_id == "0"
    assert oracle.ongoing_trials == {"worker3": trial}


def test_a_chief_waits_for_the_sweep_and_for_those_who_wait_for_it(oracle):
    sweep = oracle.create_trial("worker0")
    oracle.create_trial("worker1")
    assert oracle.ongoing_trials == {"worker0": sweep}
    assert oracle.tuner_ids == {"worker0", "worker1"}
    assert isinstance(oracle, kt.Oracle)
