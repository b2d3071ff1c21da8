"""The calls themselves cannot run here; what can be checked is that they fit the layer that the logic wants."""

import inspect

import pytest

from mcpguard.system.macos import Layer
from mcpguard.system.macoscalls import Calls


@pytest.mark.parametrize("name", [name for name in vars(Layer) if not name.startswith("_")])
def test_every_call_of_the_layer_is_there_with_the_same_parameters(name):
    wanted = inspect.signature(getattr(Layer, name))
    assert inspect.signature(getattr(Calls, name)) == wanted


@pytest.mark.skipif("sys.platform == 'darwin'", reason="on macOS the libraries are there")
def test_elsewhere_the_libraries_are_missing_and_say_so():
    with pytest.raises(OSError, match=r"libSystem|Security"):
        Calls()
