//! Compiles the worker's Python modules for the Pythons of this machine, so that a worker need not do
//! it at each start.
//!
//! `MOD_WSGI_RS_PYTHONS` names the interpreters, with colons between them. A worker in any other
//! version compiles them itself.

use std::env;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Compiles the modules of one folder into another.
const COMPILE: &str = "
import importlib.util, marshal, pathlib, sys
target = pathlib.Path(sys.argv[2], importlib.util.MAGIC_NUMBER.hex())
target.mkdir(exist_ok=True)
for source in pathlib.Path(sys.argv[1]).glob('*.py'):
    code = compile(source.read_bytes(), '<mod_wsgi>', 'exec', dont_inherit=True)
    (target / (source.stem + '.bin')).write_bytes(marshal.dumps(code))
print(importlib.util.MAGIC_NUMBER.hex())
";

/// Where they are.
const MODULES: &str = "src/python";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={MODULES}");
    println!("cargo:rerun-if-env-changed=MOD_WSGI_RS_PYTHONS");
    pyo3_build_config::add_libpython_rpath_link_args();
    println!("cargo:rustc-link-arg=-Wl,--unresolved-symbols=ignore-all");

    let out = env::var("OUT_DIR").expect("cargo sets it");
    let named = env::var("MOD_WSGI_RS_PYTHONS").unwrap_or_default();
    let mut magics: Vec<String> =
        named.split(':').filter_map(|python| compile(python, &out)).collect();
    magics.sort();
    magics.dedup();

    // An array for each module: the number of a version's code, and the code.
    let mut source = String::new();
    for entry in std::fs::read_dir(MODULES).expect("it is here") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_none_or(|extension| extension != "py") {
            continue;
        }
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let _ = write!(source, "pub const {}: &[([u8; 4], &[u8])] = &[", name.to_uppercase());
        for magic in &magics {
            let bytes: Vec<_> =
                (0..4).map(|place| format!("0x{}", &magic[2 * place..][..2])).collect();
            let code = Path::new(&out).join(magic).join(format!("{name}.bin"));
            let _ = write!(source, "([{}], include_bytes!({code:?})),", bytes.join(","));
        }
        source.push_str("];\n");
    }
    std::fs::write(Path::new(&out).join("compiled.rs"), source).expect("it can be written");
}

/// Compiles all modules with one Python, unless that does not work. Returns the number of its code.
fn compile(python: &str, out: &str) -> Option<String> {
    let output = Command::new(python).args(["-I", "-c", COMPILE, MODULES, out]).output().ok()?;
    let magic = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && magic.len() == 8).then_some(magic)
}
