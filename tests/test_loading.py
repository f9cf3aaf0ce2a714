import copy
import json
import pickle
import shutil
import subprocess
import sys

import pytest
from searches import RATE, build_choice, random_search, search, tuner, warned

import lrtuner
from lrtuner.command import main
from lrtuner.search.record import STATE_VERSION, SearchRecord, encode


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a search with an optimizer to choose, and its oracle."""
    directory = tmp_path_factory.mktemp("finished")
    done = search(tuner(directory, build_choice, oracle=random_search(4), sweep={"steps": 60}))
    return directory / "project", done.oracle


@pytest.fixture
def project(finished, tmp_path):
    """A copy of that directory."""
    return shutil.copytree(finished[0], tmp_path / "project")


def test_what_is_loaded_is_what_the_oracle_has(finished):
    project, oracle = finished
    results = lrtuner.load(project)
    assert isinstance(results, lrtuner.SearchResults)
    assert results.lr_range == oracle.lr_range
    assert (results.project, results.objective, results.direction) == ("project", "val_loss", "min")
    assert len(results.sweeps) >= 2
    for loaded, sweep in zip(results.sweeps, oracle.sweeps, strict=True):
        assert isinstance(loaded, lrtuner.Sweep)
        assert loaded.to_config() == sweep.to_config()
        low, high = loaded.narrowed
        assert loaded.declared == (1e-6, 10.0)
        assert low >= loaded.lr_range.min_lr * 0.999
        assert high <= loaded.lr_range.max_lr * 1.001
        assert results.scored_rates(loaded) == oracle._sweeping.results().scored_rates(sweep)
        assert loaded.hyperparameters.values == sweep.hyperparameters.values
    best = oracle.get_best_trials(4)
    assert [trial.trial_id for trial in results.trials] == [trial.trial_id for trial in best]
    assert [trial.score for trial in results.trials] == [trial.score for trial in best]
    assert [trial.hyperparameters for trial in results.trials] == [
        trial.hyperparameters.values for trial in best
    ]


def test_loaded_sweeps_can_be_copied_and_pickled(finished):
    sweep = lrtuner.load(finished[0]).sweeps[0]
    for other in (copy.deepcopy(sweep), pickle.loads(pickle.dumps(sweep))):
        assert other.to_config() == sweep.to_config()
        assert other.hyperparameters.values["optimizer"] == sweep.setting["optimizer"]


def in_a_process(*arguments):
    """Run the command, and return what it printed and which heavy modules it has loaded."""
    program = (
        "import atexit, runpy, sys; heavy = {'tensorflow', 'keras', 'keras_tuner'}; "
        "atexit.register(lambda: print(heavy & {*sys.modules}, file=sys.stderr)); "
        "runpy.run_module('lrtuner', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return result.stdout, result.stderr


def test_show_loads_no_tensorflow(project):
    for picture in project.glob("*.png"):
        picture.unlink()
    printed, heavy = in_a_process("show", str(project))
    assert heavy == "set()\n"
    assert "optimizer=sgd" in printed
    assert f"Picture: {project / 'lr_sweeps.png'}" in printed
    assert (project / "lr_sweeps.png").exists()
    assert (project / "lr_search.png").exists()


def test_show(project, finished, capsys):
    assert main(["show", str(project), "--trials", "2", "--no-pictures"]) == 0
    printed = capsys.readouterr().out
    for sweep in finished[1].sweeps:
        low, high = sweep.narrowed
        assert f"Sweep of {len(sweep.curve)} batches for {sweep.name}:" in printed
        assert f"learning_rate 1e-06 to 10 -> {low:.3g} to {high:.3g}" in printed
    rows = printed[printed.index("the best first (val_loss)") :].strip().splitlines()[2:]
    assert [row.split()[0] for row in rows] == [trial.trial_id for trial in finished[1].get_best_trials(2)]
    assert "Picture" not in printed


def test_show_as_json(project, capsys):
    def refuse(constant):
        raise AssertionError(constant)

    path = project / "trial_0" / "trial.json"
    state = json.loads(path.read_text())
    state["hyperparameters"]["values"]["odd"] = float("nan")
    path.write_text(json.dumps(state))
    assert main(["show", str(project), "--json"]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=refuse)
    results = lrtuner.load(project)
    assert [sweep["narrowed"] for sweep in document["sweeps"]] == [
        list(sweep.narrowed) for sweep in results.sweeps
    ]
    assert document["finished_trials"] == len(document["trials"]) == 4
    assert {"odd": "nan"}.items() <= document["trials"][[t.trial_id for t in results.trials].index("0")][
        "hyperparameters"
    ].items()
    assert document["pictures"] == [str(project / "lr_sweeps.png"), str(project / "lr_search.png")]


def test_show_names_the_reason_where_there_is_no_range(project, capsys):
    record = SearchRecord.read(str(project / "lr_range.json"))
    record.sweeps[0].lr_range = record.sweeps[0].narrowed = None
    record.sweeps[0].reason = "The loss neither fell nor blew up."
    (project / "lr_range.json").write_text(encode(record.to_config()))
    assert main(["show", str(project), "--no-pictures"]) == 0
    assert "1e-06 to 10, not narrowed: The loss neither fell nor blew up." in capsys.readouterr().out


def test_trials_at_the_edge_say_where_to_search_next(project, capsys):
    sweep = lrtuner.load(project).sweeps[0]
    state = json.loads((project / "trial_0" / "trial.json").read_text())
    low, high = sweep.narrowed
    for index in range(8):
        rate = low * (high / low) ** (1 - index / 80)
        state["hyperparameters"]["values"] = {**sweep.setting, RATE: rate}
        (project / f"trial_9{index}").mkdir()
        (project / f"trial_9{index}" / "trial.json").write_text(
            json.dumps({**state, "trial_id": f"9{index}", "score": 0.01 * index})
        )
    advice = lrtuner.load(project).advice(sweep)
    assert advice.better.min_lr < high < advice.better.max_lr
    assert main(["show", str(project), "--no-pictures"]) == 0
    better = f"{advice.better.min_lr:.3g} to {advice.better.max_lr:.3g}"
    assert f"The best trials lie at the edge: search {better} next." in capsys.readouterr().out


def test_a_trial_that_is_damaged_is_left_out_with_a_warning(project):
    (project / "trial_0" / "trial.json").write_text("{")
    with warned(r"trial_0/trial\.json' is damaged.*left out"):
        results = lrtuner.load(project)
    assert sorted(trial.trial_id for trial in results.trials) == ["1", "2", "3"]


def lacking(project):
    shutil.rmtree(project)


def without_sweep(project):
    (project / "lr_range.json").unlink()


def without_anything(project):
    without_sweep(project)
    (project / "oracle.json").unlink()


def broken_off(project):
    without_anything(project)
    (project / "trial_lr_sweep_0").mkdir()


def of_another_version(project):
    path = project / "lr_range.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": STATE_VERSION + 1}))


def damaged(project):
    (project / "lr_range.json").write_text("{")


def skipped(project):
    path = project / "lr_range.json"
    state = {**json.loads(path.read_text())["state"], "sweeps": []}
    path.write_text(encode(state))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lacking, "There is no directory"),
        (without_sweep, "ran without lrtuner, or stopped"),
        (without_anything, r"no project of KerasTuner's.*oracle\.json"),
        (broken_off, "is in its first sweep, or was stopped in it"),
        (of_another_version, "another version of lrtuner"),
        (damaged, r"lr_range\.json' is damaged"),
        (skipped, "has no finished sweep"),
    ],
)
def test_directories_that_cannot_be_shown(project, capsys, change, says):
    change(project)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        lrtuner.load(project)
    assert main(["show", str(project)]) == 2
    assert capsys.readouterr().err.startswith("lrtuner show: ")


def test_the_directory_above_names_the_project(project):
    with pytest.raises(ValueError, match=f"but one lies in it: pass '{project}'"):
        lrtuner.load(project.parent)
    shutil.copytree(project, project.parent / "second")
    with pytest.raises(ValueError, match=r"several lie in it: pass '.*project' or '.*second'"):
        lrtuner.load(project.parent)


def test_a_file_is_no_directory(project):
    with pytest.raises(NotADirectoryError, match="pass the project directory"):
        lrtuner.load(project / "oracle.json")
