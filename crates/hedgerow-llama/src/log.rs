//! llama.cpp's log: forwards it to `tracing`, and extracts the reasons of failures.
//!
//! One of the files that may contain `unsafe`; everything it exports is safe. It exists because llama.cpp
//! returns only a null pointer for a failed load and gives the reason only in its log, which the binding's own
//! `send_logs_to_tracing` neither returns nor forwards at other levels.
#![expect(unsafe_code, reason = "llama.cpp calls back with a C string")]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};

use llama_cpp_sys_2::{
    GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_WARN, ggml_log_level, ggml_log_set,
    llama_log_set,
};

thread_local! {
    /// The first error logged on this thread since [`with_reason`] began: later ones only report that something
    /// failed.
    static REASON: RefCell<Option<String>> = const { RefCell::new(None) };

    /// The listeners for everything logged on this thread: see [`with_listener`].
    static LISTENERS: RefCell<Vec<Listener>> = const { RefCell::new(Vec::new()) };
}

type Listener = Box<dyn FnMut(&str)>;

/// Forwards the log of llama.cpp and ggml to `tracing` from now on: errors and warnings with their level, all else
/// as debug.
pub(crate) fn install() {
    // SAFETY: `receive` is a function of this program, so it outlives all calls by llama.cpp, and it ignores the
    // user data.
    unsafe {
        llama_log_set(Some(receive), std::ptr::null_mut());
        ggml_log_set(Some(receive), std::ptr::null_mut());
    }
}

/// Runs a call into llama.cpp; if it fails, returns the first error that llama.cpp logged.
pub(crate) fn with_reason<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    REASON.with_borrow_mut(Option::take);
    call().map_err(|_| {
        REASON.with_borrow_mut(Option::take).unwrap_or_else(|| "llama.cpp gave no reason".to_owned())
    })
}

/// Runs a call into llama.cpp whose progress or results are only in its log: each piece of text logged on this
/// thread, often a part of a line, also goes to `listener` and to the listeners of enclosing calls.
pub(crate) fn with_listener<T>(listener: impl FnMut(&str) + 'static, call: impl FnOnce() -> T) -> T {
    LISTENERS.with_borrow_mut(|listeners| listeners.push(Box::new(listener)));
    let result = call();
    LISTENERS.with_borrow_mut(|listeners| drop(listeners.pop()));
    result
}

extern "C" fn receive(level: ggml_log_level, text: *const c_char, _: *mut c_void) {
    // SAFETY: llama.cpp passes a string that ends with a zero byte and lives until this function returns.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim_end();
    // Taken out during the calls, because a listener may itself call llama.cpp.
    let mut listeners = LISTENERS.take();
    listeners.iter_mut().for_each(|listener| listener(text));
    LISTENERS.set(listeners);
    match level {
        GGML_LOG_LEVEL_ERROR => {
            REASON
                .with_borrow_mut(|reason| _ = reason.get_or_insert_with(|| without_origin(text).to_owned()));
            tracing::error!(target: "llama.cpp", "{text}");
        }
        GGML_LOG_LEVEL_WARN => tracing::warn!(target: "llama.cpp", "{text}"),
        // The continuation of a line: progress dots.
        GGML_LOG_LEVEL_CONT => {}
        _ => tracing::debug!(target: "llama.cpp", "{text}"),
    }
}

/// Shortens `llama_model_load: error loading model: it is broken` to `it is broken`.
fn without_origin(line: &str) -> &str {
    let is_function =
        |name: &str| name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:~".contains(letter));
    let text = match line.split_once(": ") {
        Some((origin, text)) if is_function(origin) => text,
        Some(_) | None => line,
    };
    text.strip_prefix("error loading model: ").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_does_not_name_functions_of_llama_cpp() {
        assert_eq!(without_origin("llama_model_load: error loading model: it is broken"), "it is broken");
        assert_eq!(without_origin("tensor 'a' is odd: 3"), "tensor 'a' is odd: 3");
    }

    #[test]
    fn the_first_error_is_the_reason() {
        let failed: Result<(), String> = with_reason(|| {
            receive(GGML_LOG_LEVEL_WARN, c"f: not this\n".as_ptr(), std::ptr::null_mut());
            receive(GGML_LOG_LEVEL_ERROR, c"f: this\n".as_ptr(), std::ptr::null_mut());
            receive(GGML_LOG_LEVEL_ERROR, c"f: nor this\n".as_ptr(), std::ptr::null_mut());
            Err(())
        });
        assert_eq!(failed, Err("this".to_owned()));
        assert_eq!(with_reason(|| Err::<(), ()>(())), Err("llama.cpp gave no reason".to_owned()));
    }

    #[test]
    fn a_listener_gets_the_log_of_its_call_only() {
        let (sender, received) = std::sync::mpsc::channel();
        with_listener(
            move |text| sender.send(text.to_owned()).unwrap(),
            || receive(GGML_LOG_LEVEL_CONT, c"converting .. ".as_ptr(), std::ptr::null_mut()),
        );
        receive(GGML_LOG_LEVEL_CONT, c"later".as_ptr(), std::ptr::null_mut());
        assert_eq!(received.iter().collect::<Vec<_>>(), ["converting .."]);
    }

    #[test]
    fn nested_listeners_both_get_the_log() {
        let say = |text: &std::ffi::CStr| receive(GGML_LOG_LEVEL_CONT, text.as_ptr(), std::ptr::null_mut());
        let (sender, outer) = std::sync::mpsc::channel();
        let (inner_sender, inner) = std::sync::mpsc::channel();
        with_listener(
            move |text| sender.send(text.to_owned()).unwrap(),
            || {
                with_listener(move |text| inner_sender.send(text.to_owned()).unwrap(), || say(c"one"));
                say(c"two");
            },
        );
        assert_eq!(inner.iter().collect::<Vec<_>>(), ["one"]);
        assert_eq!(outer.iter().collect::<Vec<_>>(), ["one", "two"]);
    }
}
