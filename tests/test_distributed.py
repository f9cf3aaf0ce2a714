import json
import socket
import time
from pathlib import Path

import pytest
from processes import start
from searches import random_search, warned

import lrtuner

PROGRAM = Path(__file__).with_name("distributed_process.py")
CHIEF, WORKERS = "chief", ("worker0", "worker1")


class Outcome:
    def __init__(self, codes, outputs, directory):
        self.codes = codes
        self.outputs = outputs
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
    begin, processes = time.time(), {}
    try:
        for name in names:
            processes[name] = start(
                PROGRAM,
                argument,
                output=directory / f"{name}.txt",
                environment={**environment, "KERASTUNER_TUNER_ID": name},
            )
        for process in processes.values():
            process.join(max(0.0, begin + limit - time.time()))
    finally:
        codes = {name: process.exitcode for name, process in processes.items()}
        for process in processes.values():
            process.kill()
            process.join()
    outputs = {name: (directory / f"{name}.txt").read_text() for name in names}
    return Outcome(codes, outputs, directory)


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
@pytest.mark.parametrize("name", ["GridSearch", "Hyperband"])
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


def test_worker_killed_in_its_sweep(tmp_path):
    """The other one repeats it when its lease has run out."""
    outcome = run(tmp_path, die="sweep 0", lease=6)
    codes = dict(outcome.codes)
    begun = outcome.who("sweep")
    assert codes.pop(begun[0]) == -9
    assert len(begun) == len(set(begun)) == 2
    assert set(codes.values()) == {0}, outcome.outputs
    assert outcome.result["sweeps"] == 1
    assert len(outcome.result["rates"]) == len(outcome.who("trial")) == 4
    low, high = outcome.result["lr_range"]
    assert all(low <= rate <= high for rate in outcome.result["rates"])


def test_sweep_that_raises_ends_in_unnarrowed_search(tmp_path):
    outcome = run(tmp_path, names=(CHIEF, "worker0"), raises=True)
    assert set(outcome.codes.values()) == {0}, outcome.outputs
    # Once, and once again.
    assert outcome.who("sweep") == ["worker0"] * 2
    assert outcome.result["lr_range"] is None
    assert outcome.result["reason"] == "OSError: the data is gone"
    assert outcome.result["statuses"] == ["COMPLETED"] * 4
    assert "found no range, so the declared space stays as it is: OSError" in outcome.outputs[CHIEF]


@pytest.fixture
def oracle(tmp_path):
    """An oracle with a tuner that has not begun to search."""
    tuner = lrtuner.Tuner(
        lrtuner.LRRangeOracle(random_search(), lease=1.0),
        lambda hp: hp.Float("learning_rate", 1e-6, 10.0, sampling="log"),
        directory=tmp_path,
    )
    return tuner.oracle


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
    time.sleep(1.1)
    # Whoever has let its lease run out may be dead.
    again = oracle.create_trial("worker1")
    assert oracle.tuner_ids == {"worker1"}
    assert again.trial_id != sweep.trial_id
    assert oracle.ongoing_trials == {"worker1": again}


def test_waiting_workers_ask_seldom_and_keep_nobody_from_being_served(oracle, monkeypatch):
    pauses, oracle.lease = [], 60.0
    monkeypatch.setattr(time, "sleep", pauses.append)
    sweep = oracle.create_trial("worker0")
    assert oracle.create_trial("worker0") is sweep
    for _ in range(4):
        assert oracle.create_trial("worker1").status == "IDLE"
    assert sum(pauses) >= 0.9
    # What a chief's one thread has to answer before it comes to one more question.
    workers = [f"idle{number}" for number in range(64)]
    oracle._sweeps.tuner_ids.update(workers)
    pauses.clear()
    for worker in workers:
        oracle.create_trial(worker)
    assert sum(pauses) < 1.0
