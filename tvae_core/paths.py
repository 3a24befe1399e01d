"""Where data, runs and figures live: constants, moved together by the environment variable TVAE_HOME.

TVAE_DATA points at downloaded data elsewhere, as on a machine without network.

In a checkout everything made lies in `notebooks/results`, in sight of whoever opens the notebooks; an
installed package without a checkout uses the user's data folder. Downloaded data are shared by all
checkouts of a user. Nothing here creates a folder: whoever writes, does.
"""

import os
from pathlib import Path

import platformdirs

HOME_VARIABLE = "TVAE_HOME"
DATA_VARIABLE = "TVAE_DATA"
OFFLINE_VARIABLE = "TVAE_OFFLINE"

_CHECKOUT = Path(__file__).resolve().parent.parent
_MOVED = os.environ.get(HOME_VARIABLE)

if _MOVED:
    HOME = Path(_MOVED).expanduser().absolute()
    DATA = HOME / "data"
else:
    in_checkout = (_CHECKOUT / "run_all.sh").is_file()
    HOME = _CHECKOUT / "notebooks" / "results" if in_checkout else platformdirs.user_data_path("tvae")
    DATA = platformdirs.user_cache_path("tvae")

if os.environ.get(DATA_VARIABLE):
    DATA = Path(os.environ[DATA_VARIABLE]).expanduser().absolute()

# Data sets whose originals are not to be asked for, e.g. TVAE_OFFLINE=mnist,dsprites: saves the wait for a
# network known to be dead, and keeps the answer the same for all processes of one call.
OFFLINE = frozenset(os.environ.get(OFFLINE_VARIABLE, "").split(","))

RUNS = HOME / "runs"
FIGURES = HOME / "figures"
