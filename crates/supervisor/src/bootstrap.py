# What the interpreter of a group's environment runs first: it loads the worker and calls it.
#
# The arguments are `TAG=DESCRIPTOR`, one for each worker that is installed: `abi3` is the one for all
# versions (PEP 384), `cpython-314t` one for a build without the interpreter lock.
import sys


def load(arguments):
    def refuse(why):
        sys.exit("Python %s (%s) cannot run applications here: %s" % (version, sys.executable, why))

    version = sys.version.split()[0]
    if sys.version_info < (3, 9):
        refuse("it is older than 3.9; make the environment with a later one")
    if sys.implementation.name != "cpython":
        refuse("it is %s, not CPython" % sys.implementation.name)
    tag = "abi3"
    if "t" in getattr(sys, "abiflags", ""):
        tag = "cpython-%d%dt" % sys.version_info[:2]

    import posix
    from importlib.machinery import ExtensionFileLoader, ModuleSpec

    workers = dict(argument.split("=") for argument in arguments)
    name = "_mod_wsgi_worker"
    path = "/proc/self/fd/" + workers.get(tag, "")
    if tag in workers:
        loader = ExtensionFileLoader(name, path)
        module = loader.create_module(ModuleSpec(name, loader, origin=path))
        loader.exec_module(module)
    for descriptor in workers.values():
        posix.close(int(descriptor))
    if tag not in workers:
        there = ", ".join(sorted(workers)) or "none"
        refuse("the worker for it, wsgi_worker.%s.so, is not installed (found: %s)" % (tag, there))
    return module


# What `-c` puts in front stands for the working directory.
if sys.path and sys.path[0] == "":
    del sys.path[0]
run = load(sys.argv[1:]).run
# `__main__` is empty for the application.
del load, sys
globals().pop("run")()
