//! `wsgi-worker`: a worker as a program that embeds CPython.

fn main() -> std::process::ExitCode {
    worker::main()
}
