"""While the tests run, every annotated shape and type of the library is checked at every call."""

from jaxtyping import install_import_hook

install_import_hook("tvae_core", "beartype.beartype")
