"""The README keeps its word: its code runs, its names exist, its commands are the ones that are checked."""

import pathlib
import re
import runpy
import sys

import keras
import matplotlib
import pytest

import lrtuner

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)

# The README's searches, made short.
SHORTER = {
    r"max_trials=\d+": "max_trials=1",
    r"epochs=5": "epochs=1",
}


@pytest.mark.slow
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    for block in BLOCKS:
        for long, short in SHORTER.items():
            block = re.sub(long, short, block)
        exec(compile(block, "README.md", "exec"), names)
    matplotlib.pyplot.close("all")
    for project in ("drop_in", "any_oracle", "any_tuner"):
        assert {"lr_sweeps.png", "lr_range.json"} <= {
            path.name for path in (tmp_path / "runs" / project).iterdir()
        }


def test_there_are_blocks_to_run():
    assert len(BLOCKS) >= 5


def test_names_in_the_readme_exist():
    named = set(re.findall(r"\blrtuner\.([A-Za-z_]\w*)", README)) - {"json"}
    assert named <= set(lrtuner.__all__)
    for name in named:
        assert getattr(lrtuner, name).__name__ == name


def test_every_public_name_is_in_the_readme():
    assert [name for name in lrtuner.__all__ if not re.search(rf"\b{name}\b", README)] == []


def test_files_that_the_readme_shows_or_links_exist():
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"|(examples/\w+\.py)", README)
    paths = {path for link in links for path in link if path and "://" not in path}
    assert "examples/quickstart.py" in paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_the_first_screen_has_the_two_commands():
    # .ci/run takes them from the README by the same words.
    first_screen = README[: README.index("\n## ")].splitlines()
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert [line for line in commands if line in first_screen] == commands
    assert commands[0].endswith("examples/quickstart.py")
    assert commands[1].endswith("-m pytest")


def test_rules_in_the_readme_are_the_rules():
    from lrtuner.rules import RULES

    table = README[README.index("| `rule=` |") :]
    assert re.findall(r"^\| `\"(\w+)\"` ", table, flags=re.MULTILINE) == list(RULES)


def mnist(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["mnist.py", *arguments])
    runpy.run_path(str(ROOT / "examples" / "mnist.py"), run_name="__main__")


def test_mnist_that_cannot_be_downloaded(monkeypatch):
    def load_data():
        raise Exception("URL fetch failure: no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(SystemExit, match=r"(?s)no network.*--data digits"):
        mnist(monkeypatch)


@pytest.mark.slow
def test_mnist_with_the_shipped_digits(monkeypatch, capsys):
    mnist(monkeypatch, "--data", "digits", "--epochs", "1")
    at_default, at_sweeps = re.findall(r"at the .* rate \S+ +(0\.\d+)", capsys.readouterr().out)
    assert float(at_sweeps) > float(at_default) + 0.1
