//! Random messages of each direction. Borrowed parts are leaked: tests are short.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::Secret;
use crate::admin::{self, FromAdmin, ToAdmin};
use crate::broker::{FromBroker, ToBroker};
use crate::control::{self, Httpd, Interpreter, Python, Settings, Stack};
use crate::exchange::{self, Inquiry, Level, Password, Question, Refusal, Request, Verdict};
use crate::generation::{
    self, ApplicationGroup, Configuration, FromSupervisor, Group, Identity, Log, Syslog,
    ToSupervisor,
};
use crate::limits::{Cause, Limits};
use crate::output::ToReader;
use crate::scoreboard::{Process, Scoreboard, Thread};
use crate::telemetry::Telemetry;

type Pairs = Vec<(&'static [u8], &'static [u8])>;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..12)
}

fn slice() -> impl Strategy<Value = &'static [u8]> {
    bytes().prop_map(|bytes| &*bytes.leak())
}

fn pairs() -> impl Strategy<Value = Pairs> {
    vec((slice(), slice()), 0..5)
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..8).prop_map(|characters| characters.into_iter().collect())
}

fn path() -> impl Strategy<Value = PathBuf> {
    bytes().prop_map(|bytes| OsString::from_vec(bytes).into())
}

fn secret() -> impl Strategy<Value = Secret> {
    any::<[u8; Secret::SIZE]>().prop_map(Secret::new)
}

fn level() -> impl Strategy<Value = Level> {
    (0..8_u8).prop_map(Level::from_number)
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::Busy),
        Just(Refusal::Draining),
        Just(Refusal::WrongGroup),
        Just(Refusal::NotAuthentic),
        Just(Refusal::WrongVersion),
        Just(Refusal::Full),
        Just(Refusal::Late),
    ]
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let names = (slice(), slice(), slice());
    let flags = any::<(bool, bool, bool, bool, bool, bool)>();
    let numbers = any::<(u32, u32, u64, Option<u32>)>();
    (names, flags, numbers, pairs()).prop_map(|(names, flags, numbers, environ)| Request {
        script: names.0,
        callable: names.1,
        application_group: names.2,
        https: flags.0,
        may_refuse: flags.1,
        has_body: flags.2,
        script_reloading: flags.3,
        ignore_activity: flags.4,
        may_wait: flags.5,
        connects: numbers.0,
        restarts: numbers.1,
        received: numbers.2,
        whole_body: numbers.3,
        environ,
    })
}

fn question() -> impl Strategy<Value = Question<'static>> {
    prop_oneof![
        slice().prop_map(|host| Question::Access { host }),
        (slice(), slice())
            .prop_map(|(user, password)| Question::Password { user, password: Password(password) }),
        (slice(), slice()).prop_map(|(user, realm)| Question::RealmHash { user, realm }),
        slice().prop_map(|user| Question::Groups { user }),
        Just(Question::Dispatch),
    ]
}

fn inquiry() -> impl Strategy<Value = Inquiry<'static>> {
    let flags = any::<(bool, bool, bool, bool)>();
    (slice(), slice(), flags, pairs(), question()).prop_map(
        |(script, application_group, flags, environ, question)| Inquiry {
            script,
            application_group,
            script_reloading: flags.0,
            may_refuse: flags.1,
            https: flags.2,
            may_wait: flags.3,
            environ,
            question,
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict<'static>> {
    let text = || slice().prop_map(Into::into);
    let name = || option::of(text());
    prop_oneof![
        Just(Verdict::Allowed),
        Just(Verdict::Denied),
        Just(Verdict::Declined),
        text().prop_map(Verdict::User),
        text().prop_map(Verdict::Hash),
        vec(text(), 0..4).prop_map(Verdict::Groups),
        (name(), name(), name()).prop_map(|(process_group, application_group, callable)| {
            Verdict::Target { process_group, application_group, callable }
        }),
    ]
}

fn purpose() -> impl Strategy<Value = exchange::Purpose> {
    prop_oneof![Just(exchange::Purpose::Response), Just(exchange::Purpose::Body)]
}

pub fn exchange_to_worker() -> impl Strategy<Value = exchange::ToWorker<'static>> {
    use exchange::ToWorker;
    prop_oneof![
        (any::<u16>(), secret()).prop_map(|(version, secret)| ToWorker::Hello { version, secret }),
        request().prop_map(ToWorker::Request),
        slice().prop_map(ToWorker::Body),
        Just(ToWorker::BodyEnd),
        text().prop_map(|text| ToWorker::BodyFailed { reason: text.leak() }),
        any::<bool>().prop_map(|certain| ToWorker::ClientGone { certain }),
        inquiry().prop_map(ToWorker::Ask),
        option::of(slice()).prop_map(ToWorker::Variable),
        (purpose(), any::<u32>()).prop_map(|(purpose, size)| ToWorker::Window { purpose, size }),
        any::<u32>().prop_map(|len| ToWorker::BodyAt { len }),
        any::<u32>().prop_map(|len| ToWorker::Taken { len }),
    ]
}

pub fn exchange_from_worker() -> impl Strategy<Value = exchange::FromWorker<'static>> {
    use exchange::FromWorker;
    prop_oneof![
        refusal().prop_map(FromWorker::Refused),
        any::<(u32, bool)>().prop_map(|(at_most, all)| FromWorker::NeedBody { at_most, all }),
        (slice(), pairs()).prop_map(|(status, headers)| FromWorker::Head { status, headers }),
        slice().prop_map(FromWorker::Data),
        (level(), slice()).prop_map(|(level, text)| FromWorker::Log { level, text }),
        Just(FromWorker::End),
        any::<u16>().prop_map(|status| FromWorker::Failed { status }),
        Just(FromWorker::Goodbye),
        any::<u32>().prop_map(|worker| FromWorker::Welcome { worker }),
        any::<(u64, u64)>().prop_map(|(offset, length)| FromWorker::File { offset, length }),
        pairs().prop_map(|headers| FromWorker::EarlyHints { headers }),
        (level(), slice(), any::<u32>(), slice())
            .prop_map(|(level, path, line, text)| FromWorker::LogFrom { level, path, line, text }),
        (level(), slice(), slice(), slice()).prop_map(|(level, name, logger, text)| {
            FromWorker::Record { level, name, logger, text }
        }),
        verdict().prop_map(FromWorker::Verdict),
        slice().prop_map(FromWorker::NeedVariable),
        any::<(u32, u32)>().prop_map(|(offset, len)| FromWorker::DataAt { offset, len }),
        any::<(u64, u64)>().prop_map(|(begun, ended)| FromWorker::Ran { begun, ended }),
    ]
}

pub fn to_broker() -> impl Strategy<Value = ToBroker<'static>> {
    prop_oneof![
        (any::<u16>(), secret(), slice(), slice(), option::of(slice())).prop_map(
            |(version, secret, process_group, application_group, script)| ToBroker::Acquire {
                version,
                secret,
                process_group,
                application_group,
                script,
            },
        ),
        (any::<u16>(), secret(), any::<u32>())
            .prop_map(|(version, secret, worker)| ToBroker::Inquire { version, secret, worker }),
    ]
}

pub fn from_broker() -> impl Strategy<Value = FromBroker> {
    prop_oneof![
        (path(), secret(), any::<u32>()).prop_map(|(socket, secret, processes)| {
            FromBroker::Granted { socket, secret, processes }
        }),
        (text(), any::<u32>())
            .prop_map(|(reason, retry_after)| FromBroker::Unavailable { reason, retry_after }),
        (text(), any::<bool>()).prop_map(|(how, too_slow)| FromBroker::Ended { how, too_slow }),
        Just(FromBroker::Running),
        Just(FromBroker::Unknown),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let sizes = (any::<u16>(), any::<u32>(), any::<bool>(), any::<u32>(), option::of(any::<u32>()));
    let paths = (option::of(path()), option::of(path()), option::of(path()), vec(path(), 0..4));
    let reload = proptest::sample::select(control::Reload::ALL.as_slice());
    let queue = (option::of(any::<u32>()), any::<u32>(), option::of(any::<u32>()));
    let process = (option::of(bytes()), option::of(path()), option::of(bytes()));
    let metrics = (option::of(bytes()), option::of(telemetry()), any::<bool>());
    let rest = (option::of(any::<u64>()), python(), limits(), reload, httpd(), queue, metrics);
    (bytes(), sizes, paths, process, rest).prop_map(
        |(
            process_group,
            sizes,
            paths,
            process,
            (stack_size, python, limits, reload, httpd, queue, metrics),
        )| {
            Settings {
                process_group,
                threads: sizes.0,
                processes: sizes.1,
                backlog: queue.0,
                queue_timeout: queue.1,
                multiprocess: sizes.2,
                peer_uid: sizes.3,
                socket_user: queue.2,
                display_name: process.2,
                umask: sizes.4,
                locale: process.0,
                root: process.1,
                working_directory: paths.0,
                home: paths.1,
                python_home: paths.2,
                python_path: paths.3,
                stack_size,
                python,
                limits,
                reload,
                httpd,
                scoreboard: metrics.0,
                telemetry: metrics.1,
                json_logs: metrics.2,
            }
        },
    )
}

fn telemetry() -> impl Strategy<Value = Telemetry> {
    (path(), any::<(u64, bool, u32)>(), option::of(any::<u64>())).prop_map(
        |(path, (interval, user_agent, httpd), slow)| Telemetry {
            path,
            interval,
            slow,
            user_agent,
            httpd,
        },
    )
}

fn httpd() -> impl Strategy<Value = Httpd> {
    (any::<(u32, u32, u32)>(), bytes(), bytes(), bytes(), any::<(u32, u32)>()).prop_map(
        |(version, description, build_date, mpm_name, limits)| Httpd {
            version,
            description,
            build_date,
            mpm_name,
            maximum_processes: limits.0,
            threads_per_process: limits.1,
        },
    )
}

fn python() -> impl Strategy<Value = Python> {
    let numbers = (option::of(any::<u64>()), any::<u32>(), option::of(any::<u32>()));
    let flags = any::<(bool, bool, bool, bool, bool, bool)>();
    (vec(bytes(), 0..3), numbers, flags).prop_map(|(warnings, numbers, flags)| Python {
        warnings,
        switch_interval: numbers.0,
        optimize: numbers.1,
        hash_seed: numbers.2,
        dont_write_bytecode: flags.0,
        skip_exit_handlers: flags.1,
        restrict_stdin: flags.2,
        restrict_stdout: flags.3,
        restrict_signal: flags.4,
        case_insensitive: flags.5,
    })
}

pub fn control_to_worker() -> impl Strategy<Value = control::ToWorker> {
    use control::ToWorker;
    prop_oneof![
        settings().prop_map(|settings| ToWorker::Configure(Box::new(settings))),
        (bytes(), secret(), vec(bytes(), 0..3), interpreter()).prop_map(
            |(application_group, secret, preload, interpreter)| {
                ToWorker::Assign { application_group, secret, preload, interpreter }
            }
        ),
        Just(ToWorker::Keep),
        Just(ToWorker::Retire),
        vec(bytes(), 0..3).prop_map(|scripts| ToWorker::Load { scripts }),
        Just(ToWorker::Alone),
        Just(ToWorker::Dismiss),
        any::<u32>().prop_map(|grace| ToWorker::Drain { grace }),
        any::<u64>().prop_map(|ticket| ToWorker::Stacks { ticket }),
    ]
}

pub fn control_from_worker() -> impl Strategy<Value = control::FromWorker> {
    use control::FromWorker;
    prop_oneof![
        text().prop_map(|python| FromWorker::Ready { python }),
        Just(FromWorker::Serving),
        (cause(), text(), vec(bytes(), 0..3))
            .prop_map(|(cause, reason, scripts)| FromWorker::Retire { cause, reason, scripts }),
        text().prop_map(|reason| FromWorker::Failed { reason }),
        text().prop_map(|text| FromWorker::Unloaded { text }),
        (level(), text()).prop_map(|(level, text)| FromWorker::Log { level, text }),
        (level(), text(), text(), text(), text()).prop_map(
            |(level, name, logger, request, text)| {
                FromWorker::Record { level, name, logger, request, text }
            }
        ),
        Just(FromWorker::Drained),
        Just(FromWorker::Busy),
        Just(FromWorker::Proven),
        bytes().prop_map(|script| FromWorker::Loaded { script }),
        (bytes(), text()).prop_map(|(script, reason)| FromWorker::Unfit { script, reason }),
        any::<u32>().prop_map(|scripts| FromWorker::Lacks { scripts }),
        (any::<u64>(), stack()).prop_map(|(ticket, stack)| FromWorker::Stack { ticket, stack }),
        (any::<u64>(), vec(text(), 0..3))
            .prop_map(|(ticket, notes)| FromWorker::Stacked { ticket, notes }),
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    let groups = option::of(vec(any::<u32>(), 0..3));
    (any::<u32>(), any::<u32>(), text(), groups).prop_map(|(uid, gid, user, groups)| Identity {
        uid,
        gid,
        user,
        groups,
    })
}

pub fn to_admin() -> impl Strategy<Value = ToAdmin<'static>> {
    prop_oneof![
        (any::<u16>(), option::of(slice()), any::<bool>()).prop_map(
            |(version, process_group, wait)| ToAdmin::Reload { version, process_group, wait }
        ),
        (any::<u16>(), option::of(slice()))
            .prop_map(|(version, process_group)| ToAdmin::Status { version, process_group }),
        any::<u16>().prop_map(|version| ToAdmin::Metrics { version }),
        (any::<u16>(), option::of(slice()))
            .prop_map(|(version, process_group)| ToAdmin::Stacks { version, process_group }),
    ]
}

fn stack() -> impl Strategy<Value = Stack> {
    (text(), option::of(text()), any::<u64>(), text(), vec(text(), 0..4)).prop_map(
        |(thread, request, age, system, frames)| Stack { thread, request, age, system, frames },
    )
}

pub fn from_admin() -> impl Strategy<Value = FromAdmin> {
    let state = prop::sample::select(admin::State::ALL.as_slice());
    let numbers = any::<(u32, u64, u64, u64)>();
    let worker = (bytes(), option::of(bytes()), numbers, state, text()).prop_map(
        |(process_group, application_group, (pid, age, memory, cpu), state, python)| {
            admin::Worker { process_group, application_group, pid, state, age, memory, cpu, python }
        },
    );
    let state = prop::sample::select(admin::State::ALL.as_slice());
    let names = (bytes(), option::of(bytes()), any::<u32>(), state);
    let stacks =
        (names, vec(stack(), 0..3), vec(text(), 0..3)).prop_map(|(names, stacks, notes)| {
            let (process_group, application_group, pid, state) = names;
            admin::WorkerStacks { process_group, application_group, pid, state, stacks, notes }
        });
    prop_oneof![
        Just(FromAdmin::Reloading),
        vec(bytes(), 0..4).prop_map(|process_groups| FromAdmin::UnknownGroup { process_groups }),
        vec(worker, 0..4).prop_map(FromAdmin::Workers),
        any::<u16>().prop_map(|version| FromAdmin::WrongVersion { version }),
        Just(FromAdmin::Metrics),
        Just(FromAdmin::NoMetrics),
        vec(stacks, 0..3).prop_map(FromAdmin::Stacks),
        (any::<u32>(), vec(text(), 0..3))
            .prop_map(|(replaced, failures)| FromAdmin::Reloaded { replaced, failures }),
    ]
}

fn cause() -> impl Strategy<Value = Cause> {
    prop::sample::select(Cause::ALL.as_slice())
}

fn limits() -> impl Strategy<Value = Limits> {
    any::<([u32; 12], u64)>().prop_map(|(numbers, memory_max)| Limits {
        maximum_requests: numbers[0],
        restart_interval: numbers[1],
        inactivity_timeout: numbers[2],
        request_timeout: numbers[3],
        interrupt_timeout: numbers[4],
        deadlock_timeout: numbers[5],
        startup_timeout: numbers[6],
        graceful_timeout: numbers[7],
        eviction_timeout: numbers[8],
        shutdown_timeout: numbers[9],
        cpu_time_limit: numbers[10],
        slow_request: numbers[11],
        memory_max,
    })
}

fn system_limits() -> impl Strategy<Value = generation::Limits> {
    any::<(i32, u64, u64)>().prop_map(|(cpu_priority, memory, virtual_memory)| generation::Limits {
        cpu_priority,
        memory,
        virtual_memory,
    })
}

fn interpreter() -> impl Strategy<Value = Interpreter> {
    let flag = || option::of(any::<bool>());
    (vec(path(), 0..3), option::of(any::<u64>()), (flag(), flag(), flag())).prop_map(
        |(python_path, switch_interval, flags)| Interpreter {
            python_path,
            switch_interval,
            restrict_stdin: flags.0,
            restrict_stdout: flags.1,
            restrict_signal: flags.2,
        },
    )
}

fn application_group() -> impl Strategy<Value = ApplicationGroup> {
    (bytes(), vec(bytes(), 0..3), interpreter())
        .prop_map(|(name, imports, interpreter)| ApplicationGroup { name, imports, interpreter })
}

fn group() -> impl Strategy<Value = Group> {
    let python = (option::of(any::<bool>()), vec((bytes(), bytes()), 0..3));
    let rest = (any::<bool>(), log(), system_limits(), any::<(u32, u32)>());
    let application_groups = vec(application_group(), 0..3);
    (settings(), option::of(identity()), python, rest, application_groups).prop_map(
        |(settings, identity, python, rest, application_groups)| Group {
            settings,
            identity,
            application_groups,
            free_threading: python.0,
            environment: python.1,
            prestart: rest.0,
            log: rest.1,
            limits: rest.2,
            least_processes: rest.3.0,
            idle_timeout: rest.3.1,
        },
    )
}

fn log() -> impl Strategy<Value = Log> {
    (option::of(any::<u32>()), level(), option::of(bytes()), bytes(), any::<bool>())
        .prop_map(|(file, level, format, host, json)| Log { file, level, format, host, json })
}

fn syslog() -> impl Strategy<Value = Syslog> {
    (any::<u8>(), bytes()).prop_map(|(facility, tag)| Syslog { facility, tag })
}

pub fn to_reader() -> impl Strategy<Value = ToReader> {
    prop_oneof![
        bytes().prop_map(|name| ToReader::LogFile { name }),
        (log(), option::of(syslog()), vec(log(), 0..3))
            .prop_map(|(main, syslog, groups)| ToReader::Logs { main, syslog, groups }),
        (any::<(u32, u32)>(), level(), bytes())
            .prop_map(|((group, pid), level, begun)| ToReader::Output { group, pid, level, begun }),
        Just(ToReader::Httpd),
    ]
}

pub fn to_supervisor() -> impl Strategy<Value = ToSupervisor> {
    let ids = any::<(u32, u32)>();
    let logs = (log(), option::of(syslog()));
    let configuration = (ids, secret(), path(), logs, vec(group(), 0..3));
    let configuration =
        configuration.prop_map(|(ids, secret, directory, logs, groups)| Configuration {
            httpd_uid: ids.0,
            httpd_gid: ids.1,
            secret,
            directory,
            log: logs.0,
            syslog: logs.1,
            groups,
        });
    prop_oneof![
        bytes().prop_map(|name| ToSupervisor::LogFile { name }),
        Just(ToSupervisor::Lifeline),
        Just(ToSupervisor::Ping),
        any::<u64>().prop_map(|number| ToSupervisor::Metrics { number }),
        configuration.prop_map(ToSupervisor::Configure),
    ]
}

pub fn from_supervisor() -> impl Strategy<Value = FromSupervisor> {
    prop_oneof![
        Just(FromSupervisor::Ready),
        Just(FromSupervisor::Pong),
        text().prop_map(|reason| FromSupervisor::Failed { reason }),
        vec(text(), 0..3).prop_map(|problems| FromSupervisor::Checked { problems }),
    ]
}

pub fn scoreboard() -> impl Strategy<Value = Scoreboard> {
    let thread = (any::<(u32, u32, u8, [u64; 5])>(), [(); 3].map(|()| bytes())).prop_map(
        |((number, generation, status, numbers), [client, request, host])| Thread {
            number,
            generation,
            status,
            accesses: numbers[0],
            bytes: numbers[1],
            started: numbers[2],
            stopped: numbers[3],
            used: numbers[4],
            client,
            request,
            host,
        },
    );
    let process = (any::<(u32, u32, bool)>(), vec(thread, 0..3)).prop_map(
        |((pid, generation, quiescing), threads)| Process { pid, generation, quiescing, threads },
    );
    (any::<(u32, u32, u32, u64)>(), vec(process, 0..3)).prop_map(|(numbers, processes)| {
        Scoreboard {
            server_limit: numbers.0,
            thread_limit: numbers.1,
            generation: numbers.2,
            restarted: numbers.3,
            processes,
        }
    })
}
