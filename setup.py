"""The C twins: optional, so that an install without a compiler still works in pure Python."""

import os
import runpy
from pathlib import Path

from setuptools import Extension, setup

SOURCE = Path("src/nilometer")

# Warnings are errors where we build for ourselves; a user's newer compiler must not be
# stopped by a warning that ours did not know.
STRICT = ["-Werror"] if os.environ.get("NILOMETER_REQUIRE_C") else []
SANITIZE = os.environ.get("NILOMETER_SANITIZE", "")
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wno-cast-function-type", *STRICT]
if SANITIZE:
    FLAGS += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
    # Python's own -fwrapv would make signed overflow legal, and hide it.
    FLAGS += ["-fno-wrapv", "-fno-omit-frame-pointer", "-g", "-O1"]

# What the chooser will compare: by its own function, so that the two cannot disagree.
SOURCES_OF = runpy.run_path(str(SOURCE / "twin.py"))["sources_of"]


def twin(path: Path) -> Extension:
    """One C twin; its name follows from where it lies."""
    name = ".".join(path.relative_to("src").with_suffix("").parts)
    return Extension(
        name,
        [str(path)],
        define_macros=[("NILOMETER_SOURCES", f'"{SOURCES_OF(str(SOURCE), name)}"')],
        include_dirs=[str(SOURCE)],
        depends=[str(header) for header in SOURCE.glob("**/*.h")],
        extra_compile_args=FLAGS,
        extra_link_args=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
        optional=not os.environ.get("NILOMETER_REQUIRE_C"),
    )


setup(ext_modules=[twin(path) for path in sorted(SOURCE.glob("*/_*.c"))])
