//! Options of `WSGIDaemonProcess`: each case has a group of its own. A repeated option counts last.

use testkit::running_as_root;

use super::{Ask, Case, check_hosts};

const USER: &str = "user()";
const GROUP: &str = "__import__('grp').getgrgid(os.getegid()).gr_name";
const GID: &str = "os.getegid()";
const GROUPS: &str = "sorted(os.getgroups())";
const CWD: &str = "os.getcwd()";
const LANG: &str = "os.environ['LANG']";
const LC_ALL: &str = "os.environ['LC_ALL']";
/// Of a category that Python leaves alone.
const LOCALE: &str = "(lambda l: l.setlocale(l.LC_TIME))(__import__('locale'))";
const EGGS: &str = "os.environ['PYTHON_EGG_CACHE']";
const MODULE: &str = "__import__('mwrs_module').value";
const INTERVAL: &str = "sys.getswitchinterval()";
const TITLE: &str = "open('/proc/self/cmdline').read().split('\\0')[0]";
const PROCESSES: &str = "environ['wsgi.multiprocess']";
const THREADS: &str = "environ['wsgi.multithread']";
const CPU: &str = "resource.getrlimit(resource.RLIMIT_CPU)[0]";
const DATA: &str = "resource.getrlimit(resource.RLIMIT_DATA)[0]";
const AS: &str = "resource.getrlimit(resource.RLIMIT_AS)[0]";
const STACK: &str = "stack()";
const SERVED: &str = "'served'";

/// How many of the first rows need root.
const IDENTITY: usize = 17;

pub const CASES: &[Case] = &[
    Case::sets("user=", "user=nobody home=/", Ask(USER), "nobody"),
    Case::merges("user=", "user=nobody user={user} home=/", Ask(USER), "{user}"),
    Case::sets("group=", "group=#2", Ask(GID), "2"),
    Case::merges("group=", "group=#2 group=#3", Ask(GID), "3"),
    Case::sets(
        "supplementary-groups=",
        "group=#2 supplementary-groups=#3,#4",
        Ask(GROUPS),
        "[2, 3, 4]",
    ),
    Case::merges(
        "supplementary-groups=",
        "group=#2 supplementary-groups=#3,#4 supplementary-groups=#5",
        Ask(GROUPS),
        "[2, 5]",
    ),
    Case::sets(
        "supplementary-groups=",
        "group=#2 supplementary-groups=#3,,#4,",
        Ask(GROUPS),
        "[2, 3, 4]",
    ),
    Case::sets("supplementary-groups=", "group=#2 supplementary-groups=,#3", Ask(GROUPS), "[2, 3]")
        .theirs("[2]"),
    Case::sets(
        "supplementary-groups=",
        "group=#2 supplementary-groups=#-2",
        Ask(GROUPS),
        "[2, 4294967294]",
    ),
    // No group at all, which leaves httpd's.
    Case::merges("group=", "group=#3 group=#-1", Ask(GROUP), "{httpds group}"),
    Case::sets("group=", "group=#4294967295", Ask(GROUP), "{httpds group}"),
    Case::sets("group=", "group=#-2", Ask(GID), "4294967294"),
    // Workers of another user than httpd's are at home.
    Case::sets("home=", "", Ask("os.getcwd() == pwd.getpwuid(os.geteuid()).pw_dir"), "True"),
    // The files of tests belong to who runs them.
    Case::sets("script-user=", "script-user={user}", Ask(SERVED), "403"),
    Case::merges("script-user=", "script-user={user} script-user=root", Ask(SERVED), "served"),
    Case::sets("script-group=", "script-group={group}", Ask(SERVED), "403"),
    Case::merges("script-group=", "script-group={group} script-group=#0", Ask(SERVED), "served"),
    // mod_wsgi lets nobody connect but the owner.
    Case::sets("socket-user=", "socket-user={user}", Ask(SERVED), "served").theirs("503"),
    Case::merges("socket-user=", "socket-user={user} socket-user=root", Ask(SERVED), "served")
        .theirs("503"),
    Case::merges(
        "server-metrics=",
        "server-metrics=Off server-metrics=On",
        Ask("__import__('mod_wsgi').server_metrics()['thread_limit']"),
        "16",
    ),
    Case::sets("umask=", "umask=027", Ask("umask()"), "0o27"),
    Case::sets("umask=", "umask=-0", Ask("umask()"), "0o0"),
    Case::merges("umask=", "umask=027 umask=022", Ask("umask()"), "0o22"),
    Case::sets("home=", "home=/usr", Ask(CWD), "/usr"),
    Case::merges("home=", "home=/ home=/usr", Ask(CWD), "/usr"),
    Case::sets("lang=", "lang=C.UTF-8", Ask(LANG), "C.UTF-8"),
    Case::merges("lang=", "lang=C lang=C.UTF-8", Ask(LANG), "C.UTF-8"),
    Case::sets("locale=", "locale=C.UTF-8", Ask(LC_ALL), "C.UTF-8"),
    Case::sets("locale=", "locale=C.UTF-8", Ask(LOCALE), "C.UTF-8"),
    Case::merges("locale=", "locale=C locale=C.UTF-8", Ask(LC_ALL), "C.UTF-8"),
    // One that is not installed.
    Case::sets("locale=", "locale=xx_XX.nothing", Ask(LC_ALL), "xx_XX.nothing"),
    Case::sets("locale=", "locale=xx_XX.nothing", Ask(LOCALE), "C"),
    Case::sets("python-home=", "python-home={venv}", Ask("sys.prefix"), "{venv}"),
    // What getpath.py of CPython takes apart: prefix, and prefix of what depends on the machine.
    Case::sets("python-home=", "python-home=/usr:/usr", Ask("sys.prefix"), "/usr"),
    Case::merges(
        "python-home=",
        "python-home=/usr python-home={venv}",
        Ask("sys.prefix"),
        "{venv}",
    ),
    Case::sets("python-path=", "python-path={dir}/lib:{dir}/lib2", Ask(MODULE), "7"),
    // An empty entry is the working directory, which `home=` names.
    Case::sets(
        "python-path=",
        "home=/etc python-path=/usr::/srv:",
        Ask("sys.path[:4]"),
        "['/etc', '/usr', '/etc', '/srv']",
    ),
    Case::merges("python-path=", "python-path={dir}/lib python-path={dir}/lib2", Ask(MODULE), "8"),
    Case::sets("python-eggs=", "python-eggs=/tmp/one", Ask(EGGS), "/tmp/one"),
    Case::merges(
        "python-eggs=",
        "python-eggs=/tmp/one python-eggs=/tmp/two",
        Ask(EGGS),
        "/tmp/two",
    ),
    Case::sets("switch-interval=", "switch-interval=0.04", Ask(INTERVAL), "0.04"),
    // Less than what Python counts in.
    Case::sets("switch-interval=", "switch-interval=1e-9", Ask(SERVED), "served"),
    Case::sets("switch-interval=", "switch-interval=1e20", Ask(SERVED), "served"),
    Case::sets("switch-interval=", "switch-interval= 0x1p-4", Ask(INTERVAL), "0.0625"),
    Case::sets("switch-interval=", "switch-interval=nan", Ask(INTERVAL), "0.005"),
    Case::merges(
        "switch-interval=",
        "switch-interval=0.04 switch-interval=0.03",
        Ask(INTERVAL),
        "0.03",
    ),
    Case::sets("display-name=", "display-name=one", Ask(TITLE), "one"),
    Case::merges("display-name=", "display-name=one display-name=two", Ask(TITLE), "two"),
    Case::sets("processes=", "processes=1", Ask(PROCESSES), "True"),
    Case::sets("processes=", "", Ask(PROCESSES), "False"),
    Case::merges("processes=", "processes=1 processes=2", Ask(PROCESSES), "True"),
    Case::sets("threads=", "threads=1", Ask(THREADS), "False"),
    Case::merges("threads=", "threads=1 threads=2", Ask(THREADS), "True"),
    Case::sets("stack-size=", "stack-size=1048576", Ask(STACK), "1048576"),
    Case::sets("stack-size=", "stack-size=65536", Ask(STACK), "131072").theirs("65536"),
    // Less than a thread can have.
    Case::sets("stack-size=", "stack-size=1024", Ask("stack() > 1048576"), "True"),
    Case::merges("stack-size=", "stack-size=1048576 stack-size=524288", Ask(STACK), "524288"),
    Case::sets("listen-backlog=", "listen-backlog=1", Ask(SERVED), "served"),
    Case::merges("listen-backlog=", "listen-backlog=1 listen-backlog=2", Ask(SERVED), "served"),
    Case::sets("shutdown-timeout=", "shutdown-timeout=7", Ask(SERVED), "served"),
    Case::merges(
        "shutdown-timeout=",
        "shutdown-timeout=7 shutdown-timeout=8",
        Ask(SERVED),
        "served",
    ),
    Case::sets("cpu-time-limit=", "cpu-time-limit=100", Ask(CPU), "100"),
    Case::merges("cpu-time-limit=", "cpu-time-limit=100 cpu-time-limit=200", Ask(CPU), "200"),
    Case::sets("cpu-priority=", "cpu-priority=5", Ask("os.nice(0)"), "5"),
    Case::merges("cpu-priority=", "cpu-priority=5 cpu-priority=6", Ask("os.nice(0)"), "6"),
    Case::sets("memory-limit=", "memory-limit=4000000000", Ask(DATA), "4000000000"),
    Case::merges(
        "memory-limit=",
        "memory-limit=1 memory-limit=4000000000",
        Ask(DATA),
        "4000000000",
    ),
    Case::sets("virtual-memory-limit=", "virtual-memory-limit=8000000000", Ask(AS), "8000000000"),
    Case::merges(
        "virtual-memory-limit=",
        "virtual-memory-limit=1 virtual-memory-limit=8000000000",
        Ask(AS),
        "8000000000",
    ),
    Case::sets("connect-timeout=", "connect-timeout=7", Ask(SERVED), "served"),
    Case::merges("connect-timeout=", "connect-timeout=7 connect-timeout=8", Ask(SERVED), "served"),
    Case::sets("send-buffer-size=", "send-buffer-size=4096", Ask(SERVED), "served"),
    Case::merges(
        "send-buffer-size=",
        "send-buffer-size=4096 send-buffer-size=0",
        Ask(SERVED),
        "served",
    ),
    Case::sets("receive-buffer-size=", "receive-buffer-size=4096", Ask(SERVED), "served"),
    Case::merges(
        "receive-buffer-size=",
        "receive-buffer-size=4096 receive-buffer-size=0",
        Ask(SERVED),
        "served",
    ),
    Case::sets("header-buffer-size=", "header-buffer-size=8192", Ask(SERVED), "served"),
    Case::merges(
        "header-buffer-size=",
        "header-buffer-size=8192 header-buffer-size=0",
        Ask("'served'"),
        "served",
    ),
    Case::sets("response-buffer-size=", "response-buffer-size=65536", Ask(SERVED), "served"),
    Case::merges(
        "response-buffer-size=",
        "response-buffer-size=65536 response-buffer-size=0",
        Ask(SERVED),
        "served",
    ),
    Case::sets("response-flush-delay=", "response-flush-delay=0", Ask(SERVED), "served"),
    Case::merges(
        "response-flush-delay=",
        "response-flush-delay=0 response-flush-delay=10",
        Ask(SERVED),
        "served",
    ),
    Case::sets("socket-timeout=", "socket-timeout=30", Ask(SERVED), "served"),
    Case::merges("socket-timeout=", "socket-timeout=1 socket-timeout=30", Ask(SERVED), "served"),
    Case::sets("graceful-timeout=", "graceful-timeout=9", Ask(SERVED), "served"),
    // What they do is shown where their features are tested.
    Case::merges(
        "maximum-requests=",
        "maximum-requests=1 maximum-requests=0",
        Ask(SERVED),
        "served",
    ),
    Case::merges(
        "inactivity-timeout=",
        "inactivity-timeout=1 inactivity-timeout=0",
        Ask(SERVED),
        "served",
    ),
    Case::merges(
        "restart-interval=",
        "restart-interval=1 restart-interval=0",
        Ask(SERVED),
        "served",
    ),
    Case::merges("request-timeout=", "request-timeout=1 request-timeout=0", Ask(SERVED), "served"),
    Case::merges(
        "interrupt-timeout=",
        "interrupt-timeout=1 interrupt-timeout=0",
        Ask(SERVED),
        "served",
    ),
    Case::merges(
        "deadlock-timeout=",
        "deadlock-timeout=1 deadlock-timeout=0",
        Ask(SERVED),
        "served",
    ),
    Case::merges("startup-timeout=", "startup-timeout=1 startup-timeout=0", Ask(SERVED), "served"),
    Case::merges(
        "graceful-timeout=",
        "graceful-timeout=1 graceful-timeout=0",
        Ask(SERVED),
        "served",
    ),
    Case::merges(
        "eviction-timeout=",
        "eviction-timeout=1 eviction-timeout=0",
        Ask(SERVED),
        "served",
    ),
    Case::merges("queue-timeout=", "queue-timeout=1 queue-timeout=0", Ask(SERVED), "served"),
    Case::merges(
        "response-socket-timeout=",
        "response-socket-timeout=1 response-socket-timeout=30",
        Ask(SERVED),
        "served",
    ),
];

#[test]
fn groups() {
    // An httpd without rights ignores who its workers shall be.
    let cases = if running_as_root() { CASES } else { &CASES[IDENTITY..] };
    check_hosts(cases, "", |number, case| {
        format!(
            "WSGIDaemonProcess g{number} user={{user}} group={{group}} {}\n\
             WSGIScriptAlias / {{apps}}/app.wsgi process-group=g{number}",
            case.conf
        )
    });
}
