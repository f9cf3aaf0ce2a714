"""Print the reference of lrtuner's public names, as it stands in examples/REFERENCE.md.

python examples/reference.py > examples/REFERENCE.md
"""

import inspect
import re

import lrtuner

# Methods of the oracle that tuners call.
FOR_TUNERS = {
    "expect_sweeps",
    "check_space",
    "skip_sweeps",
    "sweep_all_first",
    "due_sweep",
    "restore",
    "run_sweep",
}


def described(name: str, thing: object) -> str:
    """Return a name with its signature and the first sentence of its docstring, as an item of a list."""
    arguments = ""
    function = getattr(thing, "__init__", thing) if isinstance(thing, type) else thing
    if callable(function) and getattr(function, "__module__", "").startswith("lrtuner"):
        signature = inspect.signature(thing)
        kept = [
            one.replace(annotation=one.empty) for one in signature.parameters.values() if one.name != "self"
        ]
        arguments = str(signature.replace(parameters=kept, return_annotation=signature.empty))
    elif isinstance(thing, type) and not issubclass(thing, Exception):
        arguments = "(...)"
    sentence = re.split(r"(?<=\.)\s", " ".join((inspect.getdoc(thing) or "").split()))[0]
    return f"- **`{name}{arguments}`**: {sentence}"


def own_members(thing: type) -> list[str]:
    """Return the public methods and properties that a class defines itself, but for those of KerasTuner."""
    inherited = {name for base in thing.__mro__[1:] for name in vars(base)}
    return [
        name
        for name, member in vars(thing).items()
        if not name.startswith("_")
        and name not in inherited | FOR_TUNERS
        and (callable(member) or isinstance(member, property))
    ]


def reference() -> str:
    """Return the page."""
    rest = "`help(lrtuner.NAME)` has the rest."
    lines = ["# Reference", "", f"Every public name with the first sentence of its docstring; {rest}", ""]
    for name in sorted(lrtuner.__all__, key=str.lower):
        thing = getattr(lrtuner, name)
        lines.append(described(name, thing))
        for member in own_members(thing) if isinstance(thing, type) else ():
            lines.append("  " + described(member, getattr(thing, member)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
