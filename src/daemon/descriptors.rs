//! The process's limit of open files, against what the configuration lets in.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside connections: log, listeners, admin, files at reload.
const RESERVE: u64 = 64;

/// Raises the soft limit of open files to the hard one, as Go and nginx's `worker_rlimit_nofile`
/// do, and warns where `connections` (each with one towards its upstream) do not fit below it.
pub(super) fn raise(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "soft limit of open files not raised");
        }
    }
    let wanted = wanted(connections);
    if let Some(limit) = getrlimit(Resource::Nofile).current
        && limit < wanted
    {
        tracing::warn!(
            limit,
            wanted,
            connections,
            "limits.connections is more than the limit of open files lets in: raise LimitNOFILE \
             (ulimit -n) or lower limits.connections"
        );
    }
}

fn wanted(connections: usize) -> u64 {
    u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        raise(1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(wanted(100), 264);
        assert_eq!(wanted(usize::MAX), u64::MAX);
    }
}
