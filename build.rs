//! Finds httpd through apxs, generates its bindings and compiles the C shim.
//!
//! `APXS` names another apxs than the one on PATH.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// What the module uses of httpd and APR, and nothing else: what came after httpd 2.4.6 is in the shim.
const FUNCTIONS: &[&str] = &[
    "ap_(add_version_component|allow_options|auth_type|context_document_root|context_prefix)",
    "ap_(document_root|escape_html2|find_path_info|get_brigade|get_limit_req_body)",
    "ap_(get_request_module_loglevel|get_server_banner|get_server_module_loglevel)",
    "ap_(get_server_built|get_server_name|get_server_name_for_url|get_server_port|get_server_version)",
    "ap_(hook_check_config|hook_child_init|hook_handler|hook_monitor|hook_post_config)",
    "ap_(hook_pre_config|hook_translate_name|http_scheme|log_error_|log_rerror_|mpm_query)",
    "ap_(get_module_config|set_module_config|check_cmd_context|walk_config)",
    "ap_(pregcomp|pregsub|regexec|server_root_relative)",
    "ap_rwrite",
    "apr_optional_hook_add",
    "ap_(hook_check_access|hook_log_transaction|register_auth_provider)",
    "ap_(remove_output_filter_byhandle|internal_redirect)",
    "ap_(pass_brigade|remove_input_filter|request_has_body)",
    "ap_(run_generate_log_id|run_http_scheme|runtime_dir_relative|set_content_length|set_content_type)",
    "ap_(setup_client_block|state_query|get_server_revision|bucket_error_create)",
    "ap_(get_conn_socket|show_mpm|send_interim_response)",
    "ap_get_scoreboard_(process|worker_from_indexes)",
    "ap_(exists_scoreboard_image|get_scoreboard_(global|process)|hook_pre_mpm)",
    "ap_(psignature|satisfies|some_auth_required)",
    "apr_socket_timeout_(get|set)",
    "apr_(brigade_insert_file|file_dup|os_file_put|os_sock_get|table_make)",
    "apr_(brigade_cleanup|brigade_create|brigade_destroy|bucket_eos_create)",
    "apr_(bucket_flush_create|bucket_heap_create|bucket_transient_create|os_file_get|palloc|pmemdup|pstrmemdup)",
    "apr_pool_(cleanup_null|cleanup_register|create_ex|destroy|pre_cleanup_register)",
    "apr_pool_(userdata_get|userdata_setn)",
    "ap_close_listeners",
    "apr_proc_other_child_(register|unregister)",
    "apr_(strerror|table_(addn|do|get|setn|unset|elts))",
    "mwrs_.*",
];
const TYPES: &[&str] = &[
    "ap_version_t",
    "apr_table_entry_t",
    "command_rec",
    "module",
    "server_rec",
    "worker_score",
    "request_rec",
    "auth[nz]_provider",
];
const VARS: &[&str] = &[
    "ap_server_conf",
    "ap_unixd_config",
    "GLOBAL_ONLY|NOT_IN_.*|ACCESS_CONF|RSRC_CONF|OR_AUTHCFG|OR_FILEINFO|OPT_EXECCGI",
    "APR_(HOOK_.*|OC_REASON_DEATH|SUCCESS|EOF|FOPEN_READ|FOPEN_SENDFILE_ENABLED)",
    "AP_(AUTH_INTERNAL_PER_CONF|FILTER_ERROR|FTYPE_PROTOCOL|MPMQ_.*|REG_EXTENDED|SQ_.*)",
    "AP_STATUS_SHORT",
    "AP_REQ_REJECT_PATH_INFO|AP_VERSION_.*|AUTHZ?_.*|REMOTE_HOST|REMOTE_NAME|SATISFY_ANY",
    "SERVER_(BUSY_READ|CLOSING)",
    "DECLINED|OK|DONE|HTTP_.*|M_GET|MODULE_MAGIC_.*|REQUEST_CHUNKED_DECHUNK|REQUEST_CHUNKED_ERROR",
];

fn main() {
    print_digest("PAGE_STYLE", "src/status/page.css");
    print_digest("PAGE_SCRIPT", "src/status/page.js");
    println!("cargo::rerun-if-changed=apache-headers");
    println!("cargo::rerun-if-env-changed=APXS");

    let apxs = Apxs::find();
    let arguments: Vec<String> = ["-I".to_owned() + &apxs.query("INCLUDEDIR")]
        .into_iter()
        .chain(apxs.query("EXTRA_CPPFLAGS").split_whitespace().map(str::to_owned))
        .chain(apxs.apr_includes())
        .collect();

    let mut bindings = bindgen::builder()
        .header("apache-headers/wrapper.h")
        .clang_args(&arguments)
        .allowlist_recursively(true)
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .generate_comments(false)
        .layout_tests(false)
        .prepend_enum_name(false);
    for pattern in FUNCTIONS {
        bindings = bindings.allowlist_function(pattern);
    }
    for pattern in TYPES {
        bindings = bindings.allowlist_type(pattern);
    }
    for pattern in VARS {
        bindings = bindings.allowlist_var(pattern);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindings
        .generate()
        .unwrap_or_else(|error| panic!("no bindings for httpd's headers ({arguments:?}): {error}"))
        .write_to_file(out.join("bindings.rs"))
        .expect("OUT_DIR is writable");

    let mut shim = cc::Build::new();
    shim.file("apache-headers/shim.c").warnings(true);
    for argument in &arguments {
        // What a compiler has to say about httpd's own headers is not ours to mend.
        shim.flag(argument.replacen("-I", "-isystem", 1));
    }
    shim.compile("mwrs_shim");

    // httpd unloads modules at each restart (mod_so.c), but its parent's list of other children
    // still calls us for supervisors of earlier generations: stay mapped. What httpd unloads is made
    // of src/ffi/loader.c, by `cargo xtask dist`.
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
}

struct Apxs(String);

impl Apxs {
    fn find() -> Self {
        let named = env::var("APXS").ok();
        let candidates = match &named {
            Some(named) => vec![named.as_str()],
            None => vec!["apxs", "apxs2"],
        };
        candidates
            .iter()
            .find(|apxs| Command::new(apxs).args(["-q", "INCLUDEDIR"]).output().is_ok())
            .map(|apxs| Self((*apxs).to_owned()))
            .unwrap_or_else(|| {
                panic!(
                    "none of {candidates:?} can be executed: install httpd's development files \
                     (Debian, Ubuntu: apache2-dev; Fedora: httpd-devel) or set APXS"
                )
            })
    }

    fn query(&self, variable: &str) -> String {
        capture(&self.0, &["-q", variable])
    }

    fn apr_includes(&self) -> Vec<String> {
        let flags = capture(&self.query("APR_CONFIG"), &["--includes", "--cppflags"]);
        flags.split_whitespace().map(str::to_owned).collect()
    }
}

fn capture(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Has the code know under which digest a Content-Security-Policy allows what is in a file.
fn print_digest(name: &str, file: &str) {
    println!("cargo:rerun-if-changed={file}");
    let content = std::fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let digest = STANDARD.encode(Sha256::digest(content));
    println!("cargo:rustc-env={name}=sha256-{digest}");
}
