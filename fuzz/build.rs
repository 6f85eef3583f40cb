//! The worker's code mentions Python, of which the fuzz targets call nothing.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Wl,--unresolved-symbols=ignore-all");
}
