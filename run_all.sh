#!/usr/bin/env bash
# The one door: sets up what is missing, then regenerates every figure and table. See --help.
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi # called with sh or zsh
set -euo pipefail
unset CDPATH

source="${BASH_SOURCE[0]}"
while [ -L "$source" ]; do # a link leads to the clone that it points into
    target="$(readlink "$source")"
    case "$target" in /*) source="$target" ;; *) source="$(dirname "$source")/$target" ;; esac
done
root="$(cd "$(dirname "$source")" && pwd -P)"

usage() {
    cat <<'HELP'
Usage: ./run_all.sh [options]        regenerate the figures and tables
       ./run_all.sh test [--thorough]    set up, then run the tests (--thorough: the slow ones too, and Slurm)
       ./run_all.sh lab              set up, then open the notebooks in JupyterLab
       ./run_all.sh explore          set up, then open the explorer in a browser
       ./run_all.sh pages            set up, then write pages about the library's public names

  --scale S        smoke (seconds a run), quick (minutes), long (ten minutes) or paper (the full protocol);
                   paper where there is a CUDA GPU, quick elsewhere
  --only A,B       these notebooks alone, for example fig4,table1 (all of them: --list)
  --seeds 1,2,3    one run of each experiment for each seed (each experiment's own seed)
  --jobs N         so many runs or notebooks at a time (2 on a CPU, 1 on a GPU)
  --executor E     slurm, or a folder with a Snakemake profile: jobs run on a cluster, all at once
  --device D       auto, cpu, cuda or mps (auto)
  --data DIR       the folder that holds the data, or will (the user's cache folder)
  --set KEY=VALUE  another value for a notebook's parameter; may be repeated
  --force          run the notebooks again even if nothing changed; no run is trained twice
  --list           name every item with its notebook, the experiments it needs, and its status
  --cpu            set up PyTorch without CUDA, which is 2.8 GB smaller on Linux; say it the first time
  --help           this text

Each run is trained once however many notebooks need it, and only what is not up to date is made:
interrupt it when you like and call it again. What is made lies in notebooks/results, or in the
folder that the environment variable TVAE_HOME names. At the end stands a table: notebook, status,
minutes, figure; report.html beside the figures shows them all on one page. A status is
  made       there, and made from the code, runs and options that are here now
  stale      there, but something that it was made from has changed
  failed     its notebook stopped with an error
  missing    not there
The exit code is 1 if anything failed, 2 if a request was refused, 130 if it was interrupted.

Set-up: an active conda environment is used if it is named tvae or holds tvae_core already. Otherwise
the .venv beside this script is used, or made with the first Python from 3.11 to 3.14 found (or
$PYTHON), and the packages of requirements.lock are installed into it.
HELP
}

stop() {
    echo "run_all.sh: $1" >&2
    exit "${2:-1}"
}

usable() { # a folder that can be written to, or made
    { [ -d "$1" ] && [ -w "$1" ]; } || { [ ! -e "$1" ] && usable "$(dirname "$1")"; }
}

clear_settings() { # the user's own settings of Python, pip, Jupyter and matplotlib reach no run
    local name
    for name in ${!PYTHON*} ${!PIP_*}; do
        case "$name" in
            PYTHON | PYTHONIOENCODING | PIP_*INDEX* | PIP_FIND_LINKS | PIP_*HOST | PIP_*CERT | PIP_PROXY) ;;
            PIP_*TIMEOUT | PIP_RETRIES | PIP_*CACHE_DIR | PIP_CONFIG_FILE | PIP_KEYRING_PROVIDER) ;;
            *) unset "$name" ;;
        esac
    done
    unset JUPYTER_PATH JUPYTER_CONFIG_PATH MPLBACKEND SNAKEMAKE_PROFILE
    export MATPLOTLIBRC=/dev/null # a file of settings without any
    export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1
    # The code of this clone, and the kernel of its environment, go before others of the same name.
    export PYTHONPATH="$root" PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 PYTHONUTF8=1 JUPYTER_PREFER_ENV_PATH=1
}

find_home() { # sets home, where results go; what programs keep for a user goes there if it cannot go elsewhere
    local pair name
    home="${TVAE_HOME:-$root/notebooks/results}"
    case "$home" in \~*) home="${HOME:-}${home#\~}" ;; /*) ;; *) home="$PWD/$home" ;; esac
    if [ -n "${TVAE_HOME:-}" ]; then export TVAE_HOME="$home"; fi
    usable "$home" || stop "nothing can be written to $home; name another folder: TVAE_HOME=/path/to/folder ./run_all.sh"
    if [ -z "${HOME:-}" ] || ! usable "$HOME"; then export HOME="$home/home"; fi
    for pair in XDG_CACHE_HOME:.cache XDG_DATA_HOME:.local/share XDG_CONFIG_HOME:.config; do
        name="${pair%%:*}"
        usable "${!name:-$HOME/${pair#*:}}" || export "$name=$home/home/${pair#*:}"
    done
    usable "${TMPDIR:-/tmp}" || unset TMPDIR
    for name in MPLCONFIGDIR JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR; do
        usable "${!name:-/tmp}" || unset "$name"
    done
    export LOGNAME="${LOGNAME:-${USER:-$(id -un 2>/dev/null || echo nobody)}}" IPYTHONDIR="$home/home/.ipython"
}

fits() { # whether a Python is one that the lock file fits
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

check_words() { # the options as far as a shell can know them, for a machine without Python
    local word option=""
    for word in "$@"; do
        case "$option:$word" in
            --scale:smoke | --scale:quick | --scale:long | --scale:paper) option="" ;;
            --scale:*) stop "scale '$word' is not one of smoke, quick, long, paper" 2 ;;
            --device:auto | --device:cpu | --device:cuda | --device:mps) option="" ;;
            --device:*) stop "device '$word' is not one of auto, cpu, cuda, mps" 2 ;;
            --*:*) option="" ;;
            :--scale | :--only | :--seeds | :--jobs | :--device | :--data | :--executor | :--set) option="$word" ;;
            :--scale=* | :--only=* | :--seeds=* | :--jobs=* | :--device=* | :--data=* | :--executor=* | :--set=*) ;;
            :--force | :--list) ;;
            *) stop "'$word' is not one of --scale, --only, --seeds, --jobs, --device, --data, --executor, --set, --force, --list, --cpu, --help" 2 ;;
        esac
    done
    [ -z "$option" ] || stop "$option expects a value" 2
}

find_python() { # sets base, the first Python that fits
    for base in ${PYTHON:+"$PYTHON"} python3 python python3.11 python3.12 python3.13 python3.14; do
        if fits "$base"; then return; fi
    done
    check_words "$@"
    stop "no Python from 3.11 to 3.14 found; install one, or name it: PYTHON=/path/to/python ./run_all.sh"
}

show_progress() { # pip's lines: the latest one on a terminal, the large downloads elsewhere
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

install() { # install with these arguments, the whole output in a log
    local log="$prefix/setup.log" tool=("$python" -m pip install --progress-bar off --no-compile)
    if ! "$python" -m pip --version >/dev/null 2>&1; then tool=(uv pip install --python "$python"); fi
    if ! "${tool[@]}" "$@" 2>&1 | show_progress "$log"; then
        tail -n 15 "$log" >&2
        stop "installing failed (above; in full in $log); call again to go on from here"
    fi
}

install_without_cuda() { # PyTorch from an index that has it so, then all else but CUDA's libraries
    local here="$prefix/requirements.cpu" plain='^(torch|torchvision)=='
    echo "PyTorch without CUDA comes from $index (another one: TVAE_TORCH_INDEX=URL) ..."
    grep -E "$plain" "$root/requirements.lock" >"$here"
    if [ "$(uname)" = Linux ]; then sed -i 's/^\(torch==.*\)/\1+cpu/' "$here"; fi
    install --no-deps --index-url "$index" -r "$here"
    grep -Ev "$plain|^(triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+)==" "$root/requirements.lock" >"$here"
    install --no-deps -r "$here"
}

choose_environment() { # sets prefix and python
    local conda="${CONDA_PREFIX:-}"
    prefix="$root/.venv"
    if [ -n "$conda" ] && [ -x "$conda/bin/python" ] && { [ "$(basename "$conda")" = tvae ] ||
        "$conda/bin/python" -c 'import importlib.metadata as m; m.version("tvae_core")' 2>/dev/null; }; then
        prefix="$conda"
    elif [ ! -e "$prefix" ] && ! usable "$prefix"; then # a clone that is only for reading
        prefix="$home/.venv"
    fi
    python="$prefix/bin/python"
}

make_environment() { # makes the one chosen where it is missing; one that is there is used or refused, never emptied
    if ! "$python" -c '' 2>/dev/null; then
        echo "Making $prefix with $("$base" --version) ..."
        "$base" -m venv "$prefix" ||
            stop "$base cannot make the virtual environment $prefix (on Debian and Ubuntu: apt install python3-venv)"
    fi
    fits "$python" || stop "$prefix has $("$python" --version), but Python 3.11 to 3.14 is needed; move it away"
    if ! { "$python" -m pip --version || "$python" -m ensurepip || command -v uv; } >/dev/null 2>&1; then
        stop "$prefix has no pip and none can be added; install pip or uv, or move that folder away"
    fi
}

# Python reads the link to the clone in the encoding of the locale, which may lack a letter of its path.
PLAIN_LINK='
import pathlib, shlex, sys
for link in pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages/tvae_core.pth"):
    link.write_text(f"import sys; sys.path.append({ascii(sys.argv[2])})\n")
if chr(34) in sys.argv[1]: # pip writes the path between such marks
    python, call = shlex.quote(sys.argv[1] + "/bin/python"), "-P -m tvae_core.start tvae_core.cli"
    pathlib.Path(sys.argv[1], "bin", "tvae").write_text(f"#!/bin/sh\nexec {python} {call} {chr(34)}$@{chr(34)}\n")
'

set_up() { # the stamp is written last, so an interrupted set-up is gone on with
    local stamp wanted refused waited=0
    wanted="$root $(cat "$root/requirements.lock" "$root/pyproject.toml" | cksum)"
    choose_environment
    if ! { usable "$prefix" && usable "$prefix.lock"; } &&
        [ "$(cat "$prefix/tvae_setup" 2>/dev/null)" != "$wanted" ]; then # made at another place, and only for reading
        prefix="$home/.venv" python="$home/.venv/bin/python"
    fi
    stamp="$prefix/tvae_setup"
    if [ -e "$prefix/tvae_cpu" ]; then
        cpu=yes
    elif [ "$cpu" ] && [ -f "$stamp" ]; then
        stop "$prefix has PyTorch with CUDA already; move it away to set it up without" 2
    fi
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
    find_python "$@"
    refused="$("$base" -S -m tvae_core.reproduce.options "$@" 2>&1)" || [ $? -ne 2 ] || { echo "$refused" >&2; exit 2; }
    lock="$prefix.lock" # read by the trap too
    mkdir -p "$(dirname "$prefix")"
    until mkdir "$lock" 2>/dev/null; do # several calls at once: one sets up, the others wait
        if ! kill -0 "$(cat "$lock/pid" 2>/dev/null || echo $$)" 2>/dev/null; then rm -rf "$lock"; fi
        if [ $((waited++)) -eq 0 ]; then echo "Waiting for another call that sets up $prefix ..."; fi
        sleep 1
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'stop "set-up interrupted; call again to go on from here" 130' INT TERM
    if ! { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; }; then
        make_environment
        rm -f "$stamp" "$prefix/setup.log"
        if [ "$cpu" ]; then
            touch "$prefix/tvae_cpu"
            echo "Setting up $prefix from requirements.lock, without CUDA ..."
            install_without_cuda
        else
            echo "Setting up $prefix from requirements.lock (on Linux 6.6 GB on the disk, most of it CUDA's libraries) ..."
            install --no-deps -r "$root/requirements.lock" # which names all that they need
        fi
        install --no-deps --no-build-isolation -e "$root"
        "$python" -S -c "$PLAIN_LINK" "$prefix" "$root"
        echo "$wanted" >"$stamp"
    fi
    rm -rf "$lock"
    trap - EXIT INT TERM
}

find_browser() { # Chromium for the browser tests; installed where this may be done
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

run_tests() { # in a home of their own; the first step that fails ends it
    local slurm="" chosen="not browser and not thorough" notebooks=(--only fig2,fig4,table1)
    if [ "${1:-}" = --thorough ]; then chosen="not browser" notebooks=() slurm=yes; fi
    cd "$root"
    TVAE_HOME="$(mktemp -d)"
    trap 'rm -rf "$TVAE_HOME"' EXIT
    export OMP_NUM_THREADS=1
    find_home
    mkdir -p "$IPYTHONDIR"
    find_browser
    step "ruff" "$python" -m ruff check .
    step "ruff format" "$python" -m ruff format --check .
    step "pytest" "$python" -m pytest -n auto -m "$chosen"
    step "pytest, in a browser" "$python" -m pytest -m browser
    # One worker a notebook, the longest first; those that were named before are not run again.
    step "nbval" "$python" -m pytest --nbval -n auto --dist loadscope --no-loadscope-reorder \
        notebooks/{study,fig7_21,table5,appendix_c,claims}.ipynb notebooks/*.ipynb
    step "run_all.sh --scale smoke" "$root/run_all.sh" --scale smoke "${notebooks[@]}"
    if [ "$slurm" ]; then
        step "run_all.sh --executor slurm" bash "$root/tests/reproduce/slurm.sh" --or-say-why-not
    else
        echo "Not run: the tests that take long, and run_all.sh on a Slurm (./run_all.sh test --thorough)."
    fi
    echo "All tests passed in $SECONDS s."
}

step() {
    local name="$1"
    shift
    echo "== $name (after $SECONDS s)"
    "$@" || stop "the tests stop here: $name failed"
}

cpu="" index="${TVAE_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}"
for argument in "$@"; do
    shift
    case "$argument" in
        -h | --help) usage && exit ;;
        --cpu) cpu=yes ;;
        *) set -- "$@" "$argument" ;;
    esac
done
case "${1:-}:$#:${2:-}" in
    test:1: | test:2:--thorough | lab:* | explore:* | pages:1:) request=() ;;
    pages:*) stop "'pages' takes nothing, got '${*:2}'" 2 ;;
    test:*) stop "'test' takes --thorough or nothing, got '${*:2}'" 2 ;;
    *) request=("$@") ;;
esac
clear_settings
find_home
set_up ${request[@]+"${request[@]}"}
export PATH="$prefix/bin:$PATH"
mkdir -p "$IPYTHONDIR" # IPython warns where it has to make the folder above its own

case "${1:-}" in
    test) run_tests "${2:-}" ;;
    explore) exec "$python" -m tvae_core.explorer.app "${@:2}" ;;
    pages) exec "$python" -m tvae_core.reproduce.pages ;;
    lab) exec "$python" -m jupyter lab --ip=127.0.0.1 --notebook-dir "$root/notebooks" --LabApp.default_url=/lab/tree/index.ipynb "${@:2}" ;;
    *) exec "$python" -m tvae_core.start tvae_core.reproduce.run_all "$@" ;;
esac
