"""How Sphinx builds the site; ``make docs`` runs it with warnings as errors."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import mmvae

# The kernels that execute the tutorials keep their histories and connection files under the build folder too.
_SCRATCH = Path(__file__).parent / "_build" / "scratch"
_SCRATCH.mkdir(parents=True, exist_ok=True)
for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
    os.environ[variable] = str(_SCRATCH / variable.lower())
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"
os.environ["PYTHONWARNINGS"] = (
    "ignore:IProgress not found"  # tqdm, which Pyro imports, misses widgets that no page needs
)

project = "mmvae"
author = "The mmvae authors"
copyright = "the mmvae authors"
version = release = mmvae.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "jupyter_execute"]
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = f"mmvae {release}"
html_static_path = ["_static"]
html_css_files = ["mmvae.css"]
html_copy_source = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove-warn"  # what a page warns of fails the build

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False

_logger = logging.getLogger(__name__)


def _mathml(latex: str, display: str) -> str:
    # Browsers set MathML themselves: no script and no network is needed to read a formula.
    return convert(re.sub(r"\\log(?!_)", r"\\,\\log\\,", latex), display=display)


def _inline_math(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block_math(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{_mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def _plain_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings speak of |S|, of sizes as "D.", and types of "*D": outside literals these are no markup."""
    for index, line in enumerate(lines):
        line = re.sub(r"^(\s*(?::\w+ \w+: )?)([A-Z]\.)", r"\1\\\2", line)
        line = line.replace("*", r"\*") if line.startswith(":vartype") else line
        parts = re.split(r"(``.*?``)", line)
        lines[index] = "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)


def _public_names(value: object, name: str) -> set[str]:
    """What a name of ``mmvae.__all__`` promises: itself, or the public names of the module that it is."""
    if not inspect.ismodule(value):
        return {f"mmvae.{name}"}
    own = [each for each, it in vars(value).items() if getattr(it, "__module__", None) == value.__name__]
    names = getattr(value, "__all__", [each for each in own if not each.startswith("_")])
    return {f"{value.__name__}.{each}" for each in names}


def _check_reference(app: Sphinx, env: BuildEnvironment) -> None:
    """Warns of every public name that the reference lacks."""
    documented = {name for name, *_ in env.get_domain("py").get_objects()}
    for name in mmvae.__all__:
        for missing in sorted(_public_names(getattr(mmvae, name), name) - documented):
            _logger.warning("reference: %s is public and has no entry.", missing)


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
    app.connect("autodoc-process-docstring", _plain_text, priority=900)  # after napoleon
    app.connect("env-check-consistency", _check_reference)
