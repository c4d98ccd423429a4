//! A library before libc that makes reads and writes short, and interrupts them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::scene::Job;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static unsigned long state;

static unsigned long next(void) {
    if (!state) {
        const char *text = getenv("AMIKIT_SHIM");
        state = text ? strtoul(text, 0, 10) * 2 + 1 : 1;
    }
    state = state * 6364136223846793005UL + 1442695040888963407UL;
    return state >> 33;
}

/* One call in ten is interrupted, and half of the others are short. */
static size_t cut(size_t count, int *stop) {
    unsigned long number = next();
    *stop = number % 10 == 0;
    if (count < 2 || number % 2) return count;
    return 1 + next() % (count > 8192 ? 8192 : count);
}

#define SHIM(name, params, args)                                   \
    ssize_t name params {                                          \
        static ssize_t (*real) params;                             \
        int stop;                                                  \
        if (!real) real = (ssize_t (*) params)dlsym(RTLD_NEXT, #name); \
        count = cut(count, &stop);                                 \
        if (stop) { errno = EINTR; return -1; }                    \
        return real args;                                          \
    }

SHIM(read, (int fd, void *buf, size_t count), (fd, buf, count))
SHIM(write, (int fd, const void *buf, size_t count), (fd, buf, count))
SHIM(pread64, (int fd, void *buf, size_t count, off64_t at), (fd, buf, count, at))
SHIM(pwrite64, (int fd, const void *buf, size_t count, off64_t at), (fd, buf, count, at))
"#;

/// The library, compiled.
pub(super) struct Shim {
    _folder: tempfile::TempDir,
    library: PathBuf,
}

impl Shim {
    /// Compiles it; `None`, with a reason, where that cannot be done.
    pub(super) fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
        fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        match compiler.output() {
            Ok(output) if output.status.success() => Some(Self { _folder: folder, library }),
            output => {
                println!("skipped: cc cannot be run: {output:?}");
                None
            }
        }
    }

    /// Returns a job that runs with it.
    pub(super) fn command(&self, job: &Job, seed: usize) -> Command {
        let mut command = job.command();
        command.env("LD_PRELOAD", &self.library).env("AMIKIT_SHIM", seed.to_string());
        command
    }
}
