//! Lets a test examine or end the program at every step that others can see.

use std::cell::RefCell;
use std::path::Path;

type Observer = Box<dyn FnMut(&Path)>;

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Calls `observer` just before and just after every step of this thread while `work` runs. What `observer` itself does
/// is not watched.
pub(crate) fn watched<T>(observer: impl FnMut(&Path) + 'static, work: impl FnOnce() -> T) -> T {
    OBSERVER.set(Some(Box::new(observer)));
    let result = work();
    OBSERVER.set(None);
    result
}

/// Calls the observer of this thread, if there is one.
pub(super) fn notify(path: &Path) {
    if let Some(mut observer) = OBSERVER.take() {
        observer(path);
        OBSERVER.set(Some(observer));
    }
}
