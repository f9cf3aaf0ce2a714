import copy
import json
import pickle
import shutil
import subprocess
import sys

import pytest
from searches import RATE, build_choice, random_search, search, tuner, warned

import lrtuner
from lrtuner.__main__ import main
from lrtuner.results import STATE_VERSION, SearchRecord
from lrtuner.search.codec import encode
from lrtuner.space.relation import Relation


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
        assert encode(loaded) == encode(sweep)
        low, high = loaded.narrowed
        assert loaded.declared == (1e-6, 10.0)
        assert low >= loaded.lr_range.min_lr * 0.999
        assert high <= loaded.lr_range.max_lr * 1.001
        assert results.scored_rates(loaded) == oracle.results().scored_rates(sweep)
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
        assert encode(other) == encode(sweep)
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
    rows = printed[printed.index("the best first (val_loss)") :].strip().splitlines()[1:]
    assert [row.split()[0] for row in rows] == [trial.trial_id for trial in finished[1].get_best_trials(2)]
    assert "Picture" not in printed


def test_show_as_json(project, capsys):
    assert main(["show", str(project), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    results = lrtuner.load(project)
    assert [sweep["narrowed"] for sweep in document["sweeps"]] == [
        list(sweep.narrowed) for sweep in results.sweeps
    ]
    assert document["finished_trials"] == len(document["trials"]) == 4
    assert [trial["score"] for trial in document["trials"]] == [trial.score for trial in results.trials]
    assert document["pictures"] == [str(project / "lr_sweeps.png"), str(project / "lr_search.png")]


def test_show_names_the_reason_where_there_is_no_range(project, capsys):
    path = str(project / "lr_range.json")
    record = SearchRecord.read(path)
    record.sweeps[0].lr_range = record.sweeps[0].narrowed = None
    record.sweeps[0].reason = "The loss neither fell nor blew up."
    record.write(path)
    assert main(["show", str(project), "--no-pictures"]) == 0
    assert "1e-06 to 10, not narrowed: The loss neither fell nor blew up." in capsys.readouterr().out


def test_show_prints_values_of_a_hyperparameter_that_is_no_rate(project, capsys):
    record = SearchRecord.read(str(project / "lr_range.json"))
    sweep = record.sweeps[0]
    sweep.learning_rate, sweep.relation = "log_lr", Relation((-6.0, 1.0), (1e-6, 10.0))
    sweep.declared, sweep.narrowed = (1e-6, 10.0), (1e-3, 1e-2)
    record.write(str(project / "lr_range.json"))
    assert main(["show", str(project), "--no-pictures"]) == 0
    assert "log_lr -6 to 1 -> -3 to -2" in capsys.readouterr().out


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
    assert f"an edge of the learning rates: search {better} next." in capsys.readouterr().out


def test_a_trial_that_is_damaged_is_left_out_with_a_warning(project):
    (project / "trial_0" / "trial.json").write_text("{")
    with warned(r"trial_0/trial\.json' is damaged.*left out"):
        results = lrtuner.load(project)
    assert sorted(trial.trial_id for trial in results.trials) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "There is no finished sweep in .*ran without lrtuner or is in its first sweep"),
        ({"version": STATE_VERSION + 1}, r"lr_range\.json' can't be read .*another version of lrtuner"),
        ("{", r"lr_range\.json' can't be read .*overwrite=True"),
        ({"sweeps": []}, "There is no finished sweep in"),
    ],
)
def test_directories_that_cannot_be_shown(project, capsys, content, says):
    path = project / "lr_range.json"
    state = json.loads(path.read_text())
    path.unlink()
    if content:
        path.write_text(content if content == "{" else json.dumps({**state, **content}))
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        lrtuner.load(project)
    assert main(["show", str(project)]) == 2
    assert capsys.readouterr().err.startswith("lrtuner show: ")


def test_the_directory_above_names_the_project(project):
    shutil.copytree(project, project.parent / "second")
    with pytest.raises(ValueError, match=r"pass '.*project' or '.*second'"):
        lrtuner.load(project.parent)
    with pytest.raises(FileNotFoundError, match="There is no directory"):
        lrtuner.load(project / "nothing")
