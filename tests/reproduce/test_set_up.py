"""run_all.sh on the machines people have: its shell, environment, home and settings.

Its Python only notes what it is asked; what is set up for real these tests run in.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from flit_core import buildapi

ROOT = Path(__file__).parents[2]
NOTING = """#!/bin/sh
case "$*" in "-c "*) exit 0 ;; "-m pip"* | "-m ensurepip"*) exit 1 ;; esac
echo "asked: $*"
env
"""


@pytest.fixture
def clone(tmp_path):
    """A clone, in a folder with an awkward name, whose environment counts as set up."""
    clone = tmp_path / 'it\'s {a} "clone" ü'
    (clone / ".venv" / "bin").mkdir(parents=True)
    for name in ("run_all.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    for name in ("__init__.py", "validation.py", "reproduce/__init__.py", "reproduce/options.py"):
        (clone / "tvae_core" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tvae_core" / name, clone / "tvae_core" / name)
    python = clone / ".venv" / "bin" / "python"
    python.write_text(NOTING)
    python.chmod(0o755)
    stamp = subprocess.run(
        "cat requirements.lock pyproject.toml | cksum", shell=True, cwd=clone, text=True, **KEPT
    )
    (clone / ".venv" / "tvae_setup").write_text(f"{clone} {stamp.stdout}")
    return clone


KEPT = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def call(command, cwd, **environment) -> tuple[int, str]:
    """Exit code and output, in an environment of these variables alone."""
    shown = {"PATH": os.environ["PATH"], "HOME": str(cwd), **environment}
    done = subprocess.run(command, cwd=cwd, env=shown, text=True, **KEPT)
    return done.returncode, done.stdout


def seen(output: str) -> dict[str, str]:
    """The environment that Python was given."""
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def test_the_users_settings_do_not_reach_it(clone):
    names = (
        "PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONINSPECT PYTHONHASHSEED PYTHONPLATLIBDIR "
    )
    names += "JUPYTER_PATH IPYTHONDIR MPLBACKEND MATPLOTLIBRC SNAKEMAKE_PROFILE PIP_TARGET PIP_NO_BINARY"
    mine = dict.fromkeys(names.split(), "mine")
    kept = dict.fromkeys(["PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PYTHONIOENCODING"], "kept")
    others = {"PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "1", "JUPYTER_RUNTIME_DIR": "/dev/null/x", **kept}
    code, output = call(["./run_all.sh", "--list"], clone, **mine, **others)
    given = seen(output)
    assert code == 0 and "asked: -m tvae_core.start tvae_core.reproduce.run_all --list" in output
    assert "mine" not in given.values() and kept.items() <= given.items()
    assert "JUPYTER_RUNTIME_DIR" not in given and given["MATPLOTLIBRC"] == "/dev/null"
    assert (given["PYTHONPATH"], given["PIP_USER"], given["PIP_REQUIRE_VIRTUALENV"]) == (str(clone), "0", "0")


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh"])
def test_any_shell_will_do(clone, shell):
    if shutil.which(shell) is None:
        shell = "sh"
    code, output = call([shell, "run_all.sh", "--list", "--only", "fig 2"], clone)
    assert code == 0 and "asked: -m tvae_core.start tvae_core.reproduce.run_all --list --only fig 2" in output


def test_a_link_leads_to_its_own_clone(clone, tmp_path):
    other = tmp_path / "other"
    (other / ".venv").mkdir(parents=True)
    (other / "tvae.sh").symlink_to(Path("..") / clone.name / "run_all.sh")
    (other / "two.sh").symlink_to("tvae.sh")
    code, output = call(["./two.sh"], other, TVAE_HOME="results")
    assert code == 0 and seen(output)["PYTHONPATH"] == str(clone)
    assert seen(output)["TVAE_HOME"] == str(other / "results")  # as seen from where one stands
    assert not list((other / ".venv").iterdir())


@pytest.mark.parametrize("home", [None, "", "/dev/null", "/dev/null/me"])
def test_without_a_home_the_results_folder_is_one(clone, tmp_path, home):
    given = {} if home is None else {"HOME": home}
    environment = {
        "PATH": os.environ["PATH"],
        "TVAE_HOME": str(tmp_path / "t"),
        "XDG_DATA_HOME": "/dev/null/x",
    }
    done = subprocess.run(["./run_all.sh"], cwd=clone, env=environment | given, text=True, **KEPT)
    found = seen(done.stdout)
    assert done.returncode == 0 and found["HOME"] == str(tmp_path / "t" / "home") and found["LOGNAME"]
    assert found["XDG_DATA_HOME"].startswith(str(tmp_path)) and found["IPYTHONDIR"].startswith(str(tmp_path))
    assert Path(found["IPYTHONDIR"]).is_dir()
    assert "XDG_CACHE_HOME" not in found  # it can be had below that home


def test_a_results_folder_that_cannot_be_is_named(clone):
    code, output = call(["./run_all.sh"], clone, TVAE_HOME="/dev/null/t")
    assert code == 1 and "nothing can be written to /dev/null/t; name another folder: TVAE_HOME=" in output


def test_an_environment_that_is_there_is_refused_rather_than_emptied(clone):
    (clone / ".venv" / "tvae_setup").unlink()
    (clone / ".venv" / "mine").write_text("mine")
    tools = clone / "tools"  # a machine without uv and curl
    tools.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "basename", "id", "mkdir", "rm", "sh", "env"):
        (tools / name).symlink_to(shutil.which(name))
    code, output = call(["./run_all.sh"], clone, PYTHON=sys.executable, PATH=str(tools))
    assert code == 1 and ".venv has no pip and none can be added" in output and "asked" not in output
    assert (clone / ".venv" / "mine").read_text() == "mine" and not (clone / ".venv.lock").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scael", "quick"], "did you mean '--scale'?"),
        (["--scale", "quik"], "did you mean 'quick'?"),
        (["--seeds", "1,two"], "seed 'two' is not a whole number"),
        (["test", "--thorugh"], "'test' takes --thorough or nothing, got '--thorugh'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_set_up(clone, arguments, words):
    shutil.rmtree(clone / ".venv")
    code, output = call(["./run_all.sh", *arguments], clone, PYTHON=sys.executable)
    assert code == 2 and words in output and output.count("\n") == 1
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--scael", "quick"], 2, "'--scael' is not one of --scale, --only"),
        (["--scale", "quik"], 2, "scale 'quik' is not one of smoke, quick"),
        (["--jobs", "2", "--device", "gpu"], 2, "device 'gpu' is not one of auto, cpu"),
        (["--only"], 2, "--only expects a value"),
        (["--scale", "quick", "--only=fig4", "--set", "--x=1", "--list"], 1, "no Python from 3.11"),
    ],
)
def test_a_wrong_option_is_refused_without_any_python(clone, arguments, code, words):
    shutil.rmtree(clone / ".venv")
    tools = clone / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "basename", "id"):
        (tools / name).symlink_to(shutil.which(name))
    ended, output = call(["./run_all.sh", *arguments], clone, PATH=str(tools))
    assert ended == code and words in output and output.count("\n") == 1
    assert not (clone / ".venv").exists()


INSTALLING = """#!/bin/sh
case "$*" in "-c "* | "-m pip --version") exit 0 ;; esac
echo "Collecting $*" # into the log
case "$*" in *" -r "*) for last; do :; done; sed "s/^/Collecting: /" "$last" ;; esac
"""


def test_torch_without_cuda_comes_from_its_index_and_cuda_is_left_out(clone):
    python = clone / ".venv" / "bin" / "python"
    python.write_text(INSTALLING)
    (clone / ".venv" / "tvae_setup").unlink()
    stub = {"PYTHON": sys.executable, "TVAE_TORCH_INDEX": "file:///stub"}
    code, output = call(["./run_all.sh", "--list", "--cpu"], clone, **stub)
    assert code == 0 and "--list" in output.splitlines()[-1] and "--cpu" not in output
    _, *calls = (clone / ".venv" / "setup.log").read_text().split("Collecting -m pip install")
    assert ["--index-url file:///stub " in asked for asked in calls] == [True, False, False]
    first, second, _ = (set(re.findall(r"Collecting: ([^=\s]+)==(\S+)", asked)) for asked in calls)
    locked = set(re.findall(r"(?m)^(\S+)==(\S+)", (clone / "requirements.lock").read_text()))
    wanted = {(name, version) for name, version in locked if name in ("torch", "torchvision")}
    assert {(name, version.removesuffix("+cpu")) for name, version in first} == wanted
    assert sys.platform != "linux" or dict(first)["torch"].endswith("+cpu")
    cuda = {(n, v) for n, v in locked if n.startswith(("nvidia-", "cuda-")) or n == "triton"}
    assert len(cuda) > 10 and second == locked - wanted - cuda
    code, output = call(["./run_all.sh", "--list"], clone, **stub)  # it stays so, and is set up
    assert code == 0 and "index" not in output


def test_an_environment_with_cuda_is_not_taken_apart(clone):
    code, output = call(["./run_all.sh", "--cpu", "--list"], clone)
    assert code == 2 and "has PyTorch with CUDA already; move it away" in output


def test_the_package_is_found_wherever_its_clone_lies_and_whatever_the_locale(tmp_path, monkeypatch):
    clone, prefix = tmp_path / "it's {a} clone ü", tmp_path / 'a "venv"'
    shutil.copytree(ROOT / "tvae_core", clone / "tvae_core", ignore=shutil.ignore_patterns("[!_]*"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    before = sorted(clone.rglob("*"))
    monkeypatch.chdir(clone)
    wheel, packages = buildapi.build_editable(str(tmp_path)), prefix / "lib" / "python3.11" / "site-packages"
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        archive.extractall(packages)
    assert sorted(clone.rglob("*")) == before  # a clone may be for reading only
    rewrite = re.search(r"PLAIN_LINK='(.*?)'", (ROOT / "run_all.sh").read_text(), re.DOTALL)[1]
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to(sys.executable)
    (prefix / "bin" / "tvae").touch(0o755)
    subprocess.run([sys.executable, "-S", "-c", rewrite, str(prefix), str(clone)], check=True)
    listed = subprocess.run(
        [prefix / "bin" / "tvae", "--list"],
        env={"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"},
        text=True,
        **KEPT,
    )
    assert listed.stdout.startswith("tvae_2d_mnist"), listed.stderr
    code = (
        "import site, sys; site.addsitedir(sys.argv[1]); import tvae_core; print(ascii(tvae_core.__file__))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(packages)]
    found = subprocess.run(command, env={"LC_ALL": "C"}, text=True, **KEPT)
    assert found.stdout.strip() == ascii(str(clone / "tvae_core" / "__init__.py"))


def test_an_environment_that_takes_no_lock_is_left_alone_and_one_made_among_the_results(clone, tmp_path):
    (clone / ".venv" / "tvae_setup").unlink()  # as where a clone was moved
    (clone / ".venv.lock").write_text("")  # as where nothing can be written beside it
    (clone / "python").write_text("#!/bin/bash\ncase $* in *version_info*) exit 0 ;; *) exit 1 ;; esac\n")
    (clone / "python").chmod(0o755)
    code, output = call(["./run_all.sh"], clone, PYTHON=str(clone / "python"), TVAE_HOME=str(tmp_path / "t"))
    assert code == 1 and f"cannot make the virtual environment {tmp_path / 't' / '.venv'}" in output


def test_a_python_of_any_name_is_found(clone):
    (clone / ".venv" / "tvae_setup").unlink()
    shutil.move(clone / ".venv", clone / "old")
    tools = clone / "tools"
    tools.mkdir()
    for name in ("env", "bash", "cat", "cksum", "dirname", "basename", "id", "mkdir", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python").write_text("#!/bin/bash\ncase $* in *version_info*) exit 0 ;; *) exit 1 ;; esac\n")
    (tools / "python").chmod(0o755)
    code, output = call(["./run_all.sh"], clone, PATH=str(tools))
    assert code == 1 and "run_all.sh: python cannot make the virtual environment" in output
