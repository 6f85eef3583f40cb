//! Directives of the main server: there is no section to merge with, so a later line wins.

use super::{Ask, Case, Embedded, Get, check_together};

const GIL: &str = "'served'";

pub const SETS: &[Case] = &[
    Case::sets(
        "WSGICaseSensitivity",
        "WSGICaseSensitivity Off\nWSGIScriptAlias /UPPER {apps}/app.wsgi process-group=app \
         application-group=%{RESOURCE}",
        Get("/UPPER?environ['mod_wsgi.application_group']"),
        "localhost|/upper",
    ),
    Case::sets("WSGISocketRotation", "WSGISocketRotation Off", Ask("'served'"), "served"),
    Case::sets("WSGIAcceptMutex", "WSGIAcceptMutex fcntl", Ask("'served'"), "served"),
    Case::sets("WSGIPythonHome", "WSGIPythonHome {venv}", Embedded("sys.prefix"), "{venv}"),
    Case::sets(
        "WSGIPythonPath",
        "WSGIPythonPath {dir}/lib",
        Embedded("__import__('mwrs_module').value"),
        "7",
    ),
    Case::sets(
        "WSGIPythonEggs",
        "WSGIPythonEggs /tmp/eggs",
        Embedded("os.environ['PYTHON_EGG_CACHE']"),
        "/tmp/eggs",
    ),
    Case::sets(
        "WSGIPythonWarnings",
        "WSGIPythonWarnings error::UserWarning",
        Ask("'error::UserWarning' in sys.warnoptions"),
        "True",
    ),
    Case::sets("WSGIPythonOptimize", "WSGIPythonOptimize 1", Ask("sys.flags.optimize"), "1"),
    Case::sets(
        "WSGIDontWriteBytecode",
        "WSGIDontWriteBytecode On",
        Ask("sys.dont_write_bytecode"),
        "True",
    ),
    Case::sets(
        "WSGIPythonHashSeed",
        "WSGIPythonHashSeed 0",
        Ask("sys.flags.hash_randomization"),
        "0",
    ),
    Case::sets(
        "WSGISwitchInterval",
        "WSGISwitchInterval 0.02",
        Ask("sys.getswitchinterval()"),
        "0.02",
    ),
    Case::sets("WSGIDestroyInterpreter", "WSGIDestroyInterpreter Off", Ask("'served'"), "served"),
    Case::sets("WSGIPerInterpreterGIL", "WSGIPerInterpreterGIL Off", Ask(GIL), "served"),
    Case::sets("WSGIFreeThreading", "WSGIFreeThreading Off", Ask(GIL), "served"),
    Case::sets(
        "<WSGIInterpreterOptions>",
        "<WSGIInterpreterOptions process-group=app>\nWSGIPythonPath {dir}/lib2\n\
         </WSGIInterpreterOptions>",
        Ask("__import__('mwrs_module').value"),
        "8",
    ),
    Case::sets(
        "WSGIRestrictStdin",
        "WSGIRestrictStdin On",
        Ask("type(sys.stdin).__name__ == 'TextIOWrapper'"),
        "False",
    ),
    Case::sets(
        "WSGIRestrictStdout",
        "WSGIRestrictStdout On",
        Ask("hasattr(sys.stdout, 'write')"),
        "500",
    ),
    Case::sets(
        "WSGIRestrictSignal",
        "WSGIRestrictSignal Off",
        Ask("type(signal.signal).__name__ + signal.signal.__module__"),
        "functionsignal",
    ),
    Case::sets("WSGIRestrictEmbedded", "WSGIRestrictEmbedded Off", Embedded("'served'"), "served"),
    Case::sets("WSGIVerboseDebugging", "WSGIVerboseDebugging On", Ask("'served'"), "served"),
];

pub const REPEATED: &[Case] = &[
    Case::merges(
        "WSGICaseSensitivity",
        "WSGICaseSensitivity Off\nWSGICaseSensitivity On\nWSGIScriptAlias /UPPER {apps}/app.wsgi \
         process-group=app application-group=%{RESOURCE}",
        Get("/UPPER?environ['mod_wsgi.application_group']"),
        "localhost|/UPPER",
    ),
    Case::merges(
        "WSGISocketRotation",
        "WSGISocketRotation Off\nWSGISocketRotation On",
        Ask("'served'"),
        "served",
    ),
    Case::merges(
        "WSGIAcceptMutex",
        "WSGIAcceptMutex fcntl\nWSGIAcceptMutex default",
        Ask("'served'"),
        "served",
    ),
    Case::merges(
        "WSGIPythonHome",
        "WSGIPythonHome /usr\nWSGIPythonHome {venv}",
        Embedded("sys.prefix"),
        "{venv}",
    ),
    Case::merges(
        "WSGIPythonPath",
        "WSGIPythonPath {dir}/lib\nWSGIPythonPath {dir}/lib2",
        Embedded("[name for name in sys.path if 'lib' in name and 'mwrs' in name]"),
        "['{dir}/lib2']",
    ),
    Case::merges(
        "WSGIPythonEggs",
        "WSGIPythonEggs /tmp/one\nWSGIPythonEggs /tmp/two",
        Embedded("os.environ['PYTHON_EGG_CACHE']"),
        "/tmp/two",
    ),
    // The one that adds up.
    Case::merges(
        "WSGIPythonWarnings",
        "WSGIPythonWarnings ignore::ResourceWarning\nWSGIPythonWarnings error::UserWarning",
        Ask("sys.warnoptions[-2:]"),
        "['ignore::ResourceWarning', 'error::UserWarning']",
    ),
    Case::merges(
        "WSGIPythonOptimize",
        "WSGIPythonOptimize 1\nWSGIPythonOptimize 2",
        Ask("sys.flags.optimize"),
        "2",
    ),
    Case::merges(
        "WSGIDontWriteBytecode",
        "WSGIDontWriteBytecode On\nWSGIDontWriteBytecode Off",
        Ask("sys.dont_write_bytecode"),
        "False",
    ),
    Case::merges(
        "WSGIPythonHashSeed",
        "WSGIPythonHashSeed 0\nWSGIPythonHashSeed 7",
        Ask("sys.flags.hash_randomization"),
        "1",
    ),
    Case::merges(
        "WSGISwitchInterval",
        "WSGISwitchInterval 0.02\nWSGISwitchInterval 0.03",
        Ask("sys.getswitchinterval()"),
        "0.03",
    ),
    Case::merges(
        "WSGIDestroyInterpreter",
        "WSGIDestroyInterpreter Off\nWSGIDestroyInterpreter On",
        Ask("'served'"),
        "served",
    ),
    Case::merges(
        "WSGIPerInterpreterGIL",
        "WSGIPerInterpreterGIL On\nWSGIPerInterpreterGIL Off",
        Ask(GIL),
        "served",
    ),
    Case::merges(
        "WSGIFreeThreading",
        "WSGIFreeThreading On\nWSGIFreeThreading Off",
        Ask(GIL),
        "served",
    ),
    // The more selectors, the stronger; a later block beats an equal one.
    Case::merges(
        "<WSGIInterpreterOptions>",
        "<WSGIInterpreterOptions process-group=app>\nWSGISwitchInterval 0.03\n\
         </WSGIInterpreterOptions>\n<WSGIInterpreterOptions>\nWSGISwitchInterval 0.01\n\
         </WSGIInterpreterOptions>",
        Ask("sys.getswitchinterval()"),
        "0.03",
    ),
    Case::merges(
        "WSGIRestrictStdin",
        "WSGIRestrictStdin On\nWSGIRestrictStdin Off",
        Ask("type(sys.stdin).__name__ == 'TextIOWrapper'"),
        "True",
    ),
    Case::merges(
        "WSGIRestrictStdout",
        "WSGIRestrictStdout On\nWSGIRestrictStdout Off",
        Ask("hasattr(sys.stdout, 'write')"),
        "True",
    ),
    Case::merges(
        "WSGIRestrictSignal",
        "WSGIRestrictSignal Off\nWSGIRestrictSignal On",
        Ask("type(signal.signal).__name__ + signal.signal.__module__ == 'functionsignal'"),
        "False",
    ),
    Case::merges(
        "WSGIServerMetrics",
        "WSGIServerMetrics Off\nWSGIServerMetrics On",
        Embedded("__import__('mod_wsgi').server_metrics()['thread_limit']"),
        "16",
    ),
    Case::merges(
        "WSGIVerboseDebugging",
        "WSGIVerboseDebugging On\nWSGIVerboseDebugging Off",
        Ask("'served'"),
        "served",
    ),
];

#[test]
fn set() {
    check_together(SETS);
}

#[test]
fn repeated() {
    check_together(REPEATED);
}
