#!/usr/bin/env bash
# The one door: sets up what is missing, then regenerates every figure and table. See --help.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "$root"

usage() {
    cat <<'HELP'
Usage: ./run_all.sh [options]      regenerate the figures and tables
       ./run_all.sh test           set up, then run every test
       ./run_all.sh lab            set up, then open the notebooks in JupyterLab

  --scale S        smoke (seconds a run), quick (minutes), long (ten minutes) or paper (the full protocol);
                   paper where there is a CUDA GPU, quick elsewhere
  --only A,B       these notebooks alone, for example fig4,table1 (all of them: --list)
  --seeds 1,2,3    one run of each experiment for each seed (each experiment's own seed)
  --jobs N         so many runs or notebooks at a time (2 on a CPU, 1 on a GPU)
  --device D       auto, cpu, cuda or mps (auto)
  --data DIR       the folder that holds the data, or will (the user's cache folder)
  --set KEY=VALUE  another value for a notebook's parameter; may be repeated
  --force          run the notebooks again even if nothing changed; no run is trained twice
  --list           name every item with its notebook, the experiments it needs, and whether it
                   is made, stale, failed or missing at that scale
  --help           this text

Each run is trained once however many notebooks need it, and only what changed is made again:
interrupt it when you like and call it again. What is made lies in notebooks/results, or in
the folder that the environment variable TVAE_HOME names. At the end stands a table: notebook,
status, minutes, figure; and report.html beside the figures is brought up to date, one page
with all of them. The exit code is 1 if anything failed, 2 if a request was refused.

Set-up: an active conda environment is used if it is named tvae or holds tvae_core already.
Otherwise a .venv beside this script is made from requirements.lock, with the first Python
from 3.11 to 3.14 found (or $PYTHON); an active virtual environment is left as it is.
HELP
}

stop() {
    echo "run_all.sh: $1" >&2
    exit "${2:-1}"
}

find_python() {  # the first Python that the lock file fits
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    stop "no Python from 3.11 to 3.14 found; install one, or name it: PYTHON=/path/to/python ./run_all.sh"
}

show_progress() {  # pip's lines: the latest one on a terminal, the large downloads elsewhere
    local line count=0
    while IFS= read -r line; do
        echo "$line" >>"$1"
        case "$line" in
            Collecting* | *Downloading* | Installing* | *Uninstalling* | Successfully*) ;;
            *) continue ;;
        esac
        count=$((count + 1))
        line="${line#"${line%%[![:space:]]*}"}"
        if [ -t 1 ]; then
            printf '\r\033[K  [%d] %.70s' "$count" "$line"
        elif [[ "$line" =~ \([0-9]{3,}(\.[0-9])?\ MB\) ]]; then
            printf '  %.100s\n' "$line"
        fi
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
}

install() {  # pip install with these arguments, its whole output in a log
    local log="$prefix/setup.log"
    if ! "$python" -m pip --disable-pip-version-check install --progress-bar off "$@" 2>&1 |
        show_progress "$log"; then
        tail -n 15 "$log" >&2
        stop "installing failed (above; in full in $log); call again to go on from here"
    fi
}

choose_environment() {  # sets prefix and python; makes the .venv where it is missing or broken
    local conda="${CONDA_PREFIX:-}" base
    if [ -n "$conda" ] && [ -x "$conda/bin/python" ] && { [ "$(basename "$conda")" = tvae ] ||
        "$conda/bin/python" -c 'import importlib.metadata as m; m.version("tvae_core")' 2>/dev/null; }; then
        prefix="$conda"
    else
        prefix="$root/.venv"
        if ! "$prefix/bin/python" -m pip --version >/dev/null 2>&1; then
            base="$(find_python)"
            echo "Making .venv with $("$base" --version) ..."
            "$base" -m venv --clear "$prefix" ||
                stop "$base cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)"
        fi
    fi
    python="$prefix/bin/python"
}

set_up() {  # the stamp is written last, so an interrupted set-up is gone on with
    local stamp wanted
    choose_environment
    stamp="$prefix/tvae_setup"
    wanted="$root $(cat requirements.lock pyproject.toml | cksum)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
    echo "Setting up $prefix from requirements.lock (on Linux 3 GB, most of it CUDA's libraries) ..."
    trap 'stop "set-up interrupted; call again to go on from here" 130' INT TERM
    rm -f "$stamp" "$prefix/setup.log"
    install -r requirements.lock
    install --no-deps --no-build-isolation -e .
    "$python" -m pip check || stop "the installed packages do not fit together (above)"
    echo "$wanted" >"$stamp"
    trap - INT TERM
}

find_browser() {  # Chromium for the browser tests; installed where this may be done
    local name
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then return; fi
    done
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        stop "the browser tests need Chromium, which is not here (on Debian: apt install chromium)"
    fi
    echo "Installing Chromium for the browser tests ..."
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } \
        >"$prefix/chromium.log" 2>&1 || stop "installing Chromium failed (see $prefix/chromium.log)"
}

run_tests() {  # in a home of their own; the first step that fails ends it
    trap 'rm -rf "$TVAE_HOME"' EXIT
    TVAE_HOME="$(mktemp -d)"
    export TVAE_HOME
    find_browser
    step "ruff" "$python" -m ruff check .
    step "ruff format" "$python" -m ruff format --check .
    step "pytest" "$python" -m pytest -n auto -m "not browser"
    step "pytest, in a browser" "$python" -m pytest -m browser
    step "run_all.sh --scale smoke" "$root/run_all.sh" --scale smoke
    step "nbval" "$python" -m pytest --nbval -n auto --dist loadscope notebooks/*.ipynb
    echo "All tests passed."
}

step() {
    local name="$1"
    shift
    echo "== $name"
    "$@" || stop "the tests stop here: $name failed"
}

for argument in "$@"; do
    case "$argument" in -h | --help) usage && exit ;; esac
done
set_up

# The kernel of this environment goes before one of the same name in the user's folder.
export JUPYTER_PREFER_ENV_PATH=1 PYTHONNOUSERSITE=1
export PATH="$prefix/bin:$PATH"

case "${1:-}" in
    test)
        [ $# -eq 1 ] || stop "'test' takes no further arguments, got '$2'" 2
        run_tests
        ;;
    lab) exec "$python" -m jupyter lab --notebook-dir notebooks "${@:2}" ;;
    *) exec "$python" -m tvae_core.reproduce.run_all "$@" ;;
esac
