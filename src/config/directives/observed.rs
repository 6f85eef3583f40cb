//! Directives of httpd's own that this module reads as well: httpd calls each module that knows a name
//! (`ap_walk_config_sub` in config.c).

use super::{Directive, Setter};
use crate::config::{Arguments, Compatibility};
use crate::ffi::command::{Context, Form};

pub static DIRECTIVES: [Directive; 1] = [Directive {
    name: c"ErrorLogFormat",
    context: Context::Server,
    form: Form::Raw,
    default: "that of httpd",
    usage: c"the format of log lines, also of those that workers write outside of requests",
    compatibility: Compatibility::Same,
    set: Setter::Server(|config, _, arguments| {
        let mut arguments = Arguments::new(arguments);
        let format = arguments.word();
        // With two words it is about lines that are once per connection or request.
        if arguments.word().is_none() {
            config.error_log_format = format.filter(|format| !format.is_empty());
        }
        Ok(())
    }),
}];
