"""The documents keep their word: their code runs, their names exist, their commands are the checked ones."""

import inspect
import pathlib
import re
import runpy
import sys

import keras
import matplotlib
import pytest

import lrtuner
from lrtuner.curve.rules import RULES

ROOT = pathlib.Path(__file__).parent.parent
FILES = ("README.md", "examples/README.md", "examples/benchmarks/README.md")
DOCUMENTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
README, GUIDE = DOCUMENTS["README.md"], DOCUMENTS["examples/README.md"]


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", document, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    # Those of the guide go on from those of the README.
    for file in FILES[:2]:
        for block in blocks(DOCUMENTS[file], "python"):
            # The documents' searches, made short.
            block = re.sub(r"max_trials=\d+", "max_trials=1", block).replace("epochs=5", "epochs=1")
            exec(compile(block, file, "exec"), names)
    matplotlib.pyplot.close("all")
    projects = re.findall(r'project_name="(\w+)"', README + GUIDE)
    assert len(projects) >= 5
    for project in projects:
        written = {path.name for path in (tmp_path / project).iterdir()}
        assert {"lr_sweeps.png", "lr_range.json"} <= written


def test_the_schedule_of_the_guide_goes_between_the_ends_of_the_range():
    (block,) = [block for block in blocks(GUIDE, "python") if "class Triangles" in block]
    names = {"keras": keras}
    exec(block, names)
    schedule = names["Triangles"](0.001, 0.1, half=50)
    rates = [float(schedule(step)) for step in (0, 25, 50, 75, 100)]
    assert rates == pytest.approx([0.001, 0.0505, 0.1, 0.0505, 0.001], rel=1e-3)


def test_names_in_the_documents_exist_and_every_public_name_is_there():
    text = "".join(DOCUMENTS.values())
    named = set(re.findall(r"\blrtuner\.([A-Za-z_]\w*)", text)) - {"json"}
    assert named <= set(lrtuner.__all__)
    for name in named:
        assert getattr(lrtuner, name).__name__ == name
    text = README + GUIDE
    assert [name for name in lrtuner.__all__ if not re.search(rf"\b{name}\b", text)] == []


def heading_anchors(document):
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", FILES)
def test_what_a_document_links_to_exists(file):
    folder = (ROOT / file).parent
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", DOCUMENTS[file])
    targets = [target for link in links for target in link if target and "://" not in target]
    for target in targets:
        path, _, anchor = target.partition("#")
        linked = (folder / path).resolve() if path else ROOT / file
        assert linked.exists(), target
        if anchor:
            assert anchor in heading_anchors(linked.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("file", FILES)
def test_scripts_that_a_document_names_exist(file):
    folder = (ROOT / file).parent
    named = set(re.findall(r"(?:[\w]+/)*\w+\.py\b", DOCUMENTS[file]))
    assert named
    assert [name for name in sorted(named) if not ((folder / name).exists() or (ROOT / name).exists())] == []


def test_the_first_screen_has_the_two_commands():
    # .ci/run takes them from the README by the same words.
    first_screen = README[: README.index("\n## ")].splitlines()
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert [line for line in commands if line in first_screen] == commands
    assert commands[0].endswith("examples/quickstart.py")
    assert commands[1].endswith("-m pytest -n 3 --dist worksteal")


def test_documents_are_short_and_have_short_lines():
    assert len(README.splitlines()) <= 180
    for document in DOCUMENTS.values():
        # The two commands that are copied stand on one line each.
        lines = [line for line in document.splitlines() if not line.startswith("python3 -m venv")]
        assert [line for line in lines if len(line) >= 120] == []


def test_tables_have_the_rules_and_the_options():
    table = GUIDE[GUIDE.index("| `rule=` |") :]
    assert re.findall(r"^\| `\"(\w+)\"` ", table, flags=re.MULTILINE) == list(RULES)
    table = README[README.index("## Options") : README.index("## Resume")]
    rows = re.findall(r"^\| (`.*?) \| .* \| (.*) \|$", table, flags=re.MULTILINE)
    told = {name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)}
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(lrtuner.LRRangeOracle).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert list(told) == list(options)
    assert told["min_lr"] == told["max_lr"] == f"{options['min_lr']:.0e}, 10".replace("e-0", "e-")
    assert options["max_lr"] == 10
    assert told["rule"] == f'`"{options["rule"]}"`'
    assert told["batch_size_scaling"] == f"`{options['batch_size_scaling']}`"
    assert told["lease"] == f"{options['lease']:g}"


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


def test_measured_figures_are_those_that_a_benchmark_printed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "benchmarks"))
    import figures

    found = figures.sources()
    assert len(found) >= 5
    assert [(place, missing) for place, _, missing in found if missing] == []
