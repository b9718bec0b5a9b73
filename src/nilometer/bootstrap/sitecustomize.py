"""Run by Python itself before a program that `nilometer run` started; sets Nilometer up in it.

`nilometer run` puts this folder first on PYTHONPATH and the settings into NILOMETER_...
variables, so the program's own source stays untouched. Three rules:

1. The program must not notice: whatever fails here is one line on stderr, and it runs on.
2. Only `nilometer` becomes importable, even if it is installed for another interpreter: the
   package is loaded from where it lies, and its neighbours stay out of the program's reach.
3. A `sitecustomize` that the program had before still runs.
"""

import gc
import sys
from importlib import util
from importlib.machinery import PathFinder
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON_MIN = (3, 11)


def run_the_hidden_sitecustomize() -> None:
    """Ours comes first on the path and hides another; run that one too, under its own name."""
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    spec = PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is None or spec.loader is None:
        return
    module = util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def load_nilometer() -> None:
    """Make `import nilometer` work here without opening the folder it is installed in."""
    if util.find_spec("nilometer") is not None:
        return
    package = HERE.parent
    spec = util.spec_from_file_location(
        "nilometer", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package in {package}")
    module = util.module_from_spec(spec)
    sys.modules["nilometer"] = module
    spec.loader.exec_module(module)


def measure_this_program() -> None:
    """Start from the environment, as `nilometer.configure()` would in code."""
    try:
        if sys.version_info < PYTHON_MIN:
            raise ImportError("Nilometer needs Python " + ".".join(map(str, PYTHON_MIN)))
        load_nilometer()
        from nilometer.assembly import start_in_foreign_program

        start_in_foreign_program()
        # What stands now is the interpreter's and ours, 20,000 objects, and stays: each full
        # collection of the program's own would walk it.
        gc.freeze()
    except Exception as error:  # noqa: BLE001 - rule 1
        because = " ".join(str(error).split()) or type(error).__name__
        # Where it is started without a stderr, there is nobody to tell.
        if sys.stderr is not None:
            sys.stderr.write(f"nilometer: this program runs unmeasured: {because}\n")


try:
    run_the_hidden_sitecustomize()
finally:  # what that one raises goes on to Python, as it would without us
    measure_this_program()
