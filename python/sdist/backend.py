"""Builds the wheel of mod_wsgi_rs from its source package, for this machine alone: what pip calls (PEP 517).

It needs Rust, a C compiler, httpd's headers with apxs, and libclang, and reaches no network: the crates are
in `vendor`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE / "target" / "release"


class UnsupportedOperation(Exception):
    """Something that only a checkout of the repository can do."""


def build_sdist(sdist_directory, config_settings=None):
    raise UnsupportedOperation("`cargo xtask sdist` makes source packages, in a checkout of the repository")


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    compile_programs()
    content = HERE / "target" / "wheel"
    shutil.rmtree(content, ignore_errors=True)
    package = content / "mod_wsgi_rs"
    shutil.copytree(HERE / "python" / "mod_wsgi_rs", package)
    place_programs(package)
    describe(content)
    # Its name is that of the only file in a folder of its own.
    fresh = HERE / "target" / "packed"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    run(sys.executable, "-m", "wheel", "pack", "--dest-dir", fresh, content)
    (wheel,) = fresh.iterdir()
    shutil.move(str(wheel), wheel_directory)
    return wheel.name


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """Without it, pip would compile all only to hear the package's name."""
    return describe(Path(metadata_directory))


def compile_programs():
    cargo = shutil.which("cargo")
    if cargo is None:
        sys.exit("mod_wsgi_rs: cargo is not on PATH: install Rust (https://rustup.rs), or a wheel of mod_wsgi_rs")
    run(
        cargo, "build", "--release", "--workspace", "--frozen", "--target-dir", HERE / "target",
        # The worker is for this Python, and its own Python code is compiled beforehand.
        env={**os.environ, "PYO3_PYTHON": sys.executable, "MOD_WSGI_RS_PYTHONS": sys.executable},
    )


def place_programs(package):
    """Puts what was compiled beside the Python code, under the names of `cargo xtask dist`."""
    for program in BUILT.iterdir():
        if program.is_file() and not program.suffix and os.access(program, os.X_OK):
            shutil.copy2(program, package)
    free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")
    tag = f"cpython-{sys.version_info[0]}{sys.version_info[1]}t" if free_threaded else "abi3"
    shutil.copy2(BUILT / "libwsgi_worker.so", package / f"wsgi_worker.{tag}.so")
    # A running httpd keeps its library for ever; another build has to have another name.
    content = (BUILT / "libmod_wsgi_rs.so").read_bytes()
    library = package / f"libmod_wsgi_rs-{hashlib.sha256(content).hexdigest()[:16]}.so"
    library.write_bytes(content)
    library.chmod(0o755)
    run(
        os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", "-s", "-o", package / "mod_wsgi_rs.so",
        f'-DLIBRARY="{library.name}"', HERE / "src" / "ffi" / "loader.c",
        "-Wl,-rpath,$ORIGIN", "-Wl,-Bsymbolic", "-Wl,--no-as-needed", "-L", package, f"-l:{library.name}",
    )


def describe(content):
    """Writes what pip reads about the package, and returns the name of its folder."""
    (folder,) = HERE.glob("*.dist-info")
    target = content / folder.name
    shutil.copytree(folder, target)
    shutil.copy2(HERE / "PKG-INFO", target / "METADATA")
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    lines = ["Wheel-Version: 1.0", "Generator: mod_wsgi_rs", "Root-Is-Purelib: false", f"Tag: py3-none-{platform}"]
    (target / "WHEEL").write_text("\n".join(lines) + "\n")
    return folder.name


def run(*words, env=None):
    subprocess.run([str(word) for word in words], check=True, env=env)
