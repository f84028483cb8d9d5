//! What a server and the cores did during one measurement.

use std::time::{Duration, Instant};

use crate::child::{LOAD_CORE, PROXY_CORE};
use crate::cpu::{CoreTime, CpuTime};
use crate::failure::Failure;

/// An open measurement.
pub(crate) struct Window {
    server: u32,
    cpu: CpuTime,
    proxy_core: CoreTime,
    load_core: CoreTime,
    opened: Instant,
}

/// A closed one. Shares are of the window's time, 0 to 1.
pub(crate) struct Usage {
    /// CPU time of the server's process tree.
    pub(crate) cpu: Duration,
    /// How much the proxy's core worked.
    pub(crate) proxy_core: f64,
    /// How much the load's core worked.
    pub(crate) load_core: f64,
    /// How much of the proxy's core went to programs other than the server.
    pub(crate) foreign: f64,
    /// How much of the proxy's core the hypervisor gave away.
    pub(crate) stolen: f64,
}

impl Window {
    /// Opens it for the server with the process id `server`.
    pub(crate) fn open(server: u32) -> Result<Self, Failure> {
        Ok(Self {
            server,
            proxy_core: CoreTime::now(PROXY_CORE)?,
            load_core: CoreTime::now(LOAD_CORE)?,
            opened: Instant::now(),
            cpu: CpuTime::of_tree(server),
        })
    }

    /// Closes it.
    pub(crate) fn close(self) -> Result<Usage, Failure> {
        let cpu = CpuTime::of_tree(self.server).since(&self.cpu);
        let wall = self.opened.elapsed();
        let proxy = CoreTime::now(PROXY_CORE)?;
        let load = CoreTime::now(LOAD_CORE)?;
        let proxy_core = proxy.busy_since(&self.proxy_core);
        let own = cpu.as_secs_f64() / wall.as_secs_f64().max(1e-9);
        Ok(Usage {
            cpu,
            proxy_core,
            load_core: load.busy_since(&self.load_core),
            foreign: (proxy_core - own).max(0.0),
            stolen: proxy.stolen_since(&self.proxy_core),
        })
    }
}
