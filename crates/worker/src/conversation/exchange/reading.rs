//! What a request takes in: its body, answers from httpd, and word of the client.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::Exchange;
use crate::conversation::incoming::{Amount, InputError};
use crate::ffi;
use crate::forked::has_forked;

impl Exchange {
    /// Reads from the request body.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn read<'py>(
        &self,
        py: Python<'py>,
        amount: Amount,
    ) -> Result<Bound<'py, PyBytes>, InputError> {
        if self.is_over(py) {
            return Err(InputError::Over);
        }
        let start = self.meter.start();
        let data = loop {
            // Made of what is there in one copy, for which Python's lock is needed. Another thread of
            // the application may have been quicker.
            if let Ok(mut incoming) = self.incoming.try_lock()
                && let Some(len) = incoming.ready(amount)
            {
                break incoming.take(len, |parts| ffi::bytes_of(py, parts));
            }
            self.meter.detached(py, || {
                let mut incoming = self.incoming.lock().expect("nobody panics while reading");
                incoming.wait(amount, &self.send_queue)
            })?;
        };
        let data = data.ok_or(InputError::NoMemory)?;
        self.slot.touch();
        self.meter.input.add(start, data.as_bytes().len());
        Ok(data)
    }

    /// What httpd knows of the connection by this name, see
    /// [`ask_variable`](crate::conversation::incoming::Incoming::ask_variable).
    ///
    /// # Errors
    /// [`InputError`].
    pub fn variable(&self, py: Python<'_>, name: &[u8]) -> Result<Option<Vec<u8>>, InputError> {
        if self.is_over(py) {
            return Err(InputError::Over);
        }
        py.detach(|| {
            let mut incoming = self.incoming.lock().expect("nobody panics while reading");
            incoming.ask_variable(name, &self.send_queue)
        })
    }

    /// Whether the client has gone away, now.
    pub fn client_has_hung_up(&self) -> bool {
        self.look();
        self.client.has_hung_up()
    }

    /// Whether it is known already that nothing can reach the client.
    pub fn has_lost_client(&self) -> bool {
        self.client.is_lost()
    }

    /// Takes in what has come from httpd unasked, as far as nobody has to wait for that.
    pub(super) fn look(&self) {
        // Another thread that is reading hears of it itself.
        if !self.client.is_lost()
            && !has_forked()
            && let Ok(mut incoming) = self.incoming.try_lock()
        {
            incoming.look();
        }
    }
}
