//! Which CPU each worker runs on, and which are left.

use blk_datapath::number_list::NumberList;

/// Why workers cannot be pinned as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// The CPU is switched off, or not there.
    #[error("--cpus: CPU {cpu} is not online; these are: {online}")]
    Offline {
        /// The CPU.
        cpu: usize,
        /// Those that are.
        online: NumberList,
    },
    /// Affinity or cgroup forbid it.
    #[error(
        "--cpus: this process may not run on CPU {cpu}; by its affinity and its cgroup it may on: {allowed}"
    )]
    NotAllowed {
        /// The CPU.
        cpu: usize,
        /// Those that are allowed.
        allowed: NumberList,
    },
}

/// What is known of the host's CPUs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpus {
    /// Those that this process may run on.
    pub(crate) allowed: Vec<usize>,
    /// Those that are switched on.
    pub(crate) online: Vec<usize>,
    /// Those of the NUMA node that the network card is attached to; none: no difference.
    pub(crate) near: Vec<usize>,
}

/// Where everybody runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The CPU of each worker.
    pub(crate) workers: Vec<Option<usize>>,
    /// CPUs that are allowed and have no worker, those near the card first.
    pub(crate) spare: Vec<usize>,
}

impl Cpus {
    /// A CPU for each of so many workers: those that were asked for, else those that are allowed and near the card, then
    /// the other allowed ones, in order. Where there are fewer CPUs than workers, they are shared in turn.
    ///
    /// # Errors
    /// [`CpuError`]: one that was asked for cannot be had.
    pub(crate) fn place(
        &self,
        asked: Option<&NumberList>,
        workers: usize,
    ) -> Result<Placement, CpuError> {
        let is_near = |cpu: &&usize| self.near.contains(cpu);
        let (near, far): (Vec<usize>, Vec<usize>) = self.allowed.iter().partition(is_near);
        let by_distance = [near, far].concat();
        let order = match asked {
            Some(list) => self.check(list)?,
            None => by_distance.clone(),
        };
        let workers: Vec<Option<usize>> = (0..workers)
            .map(|worker| order.get(worker % order.len().max(1)).copied())
            .collect();
        let has_worker = |cpu: &usize| workers.contains(&Some(*cpu));
        let spare = by_distance
            .into_iter()
            .filter(|cpu| !has_worker(cpu))
            .collect();
        Ok(Placement { workers, spare })
    }

    fn check(&self, asked: &NumberList) -> Result<Vec<usize>, CpuError> {
        let check = |&cpu: &u32| {
            let cpu = cpu as usize;
            if self.allowed.contains(&cpu) {
                Ok(cpu)
            } else if self.online.contains(&cpu) {
                let allowed = list(&self.allowed);
                Err(CpuError::NotAllowed { cpu, allowed })
            } else {
                let online = list(&self.online);
                Err(CpuError::Offline { cpu, online })
            }
        };
        asked.numbers().iter().map(check).collect()
    }
}

fn list(cpus: &[usize]) -> NumberList {
    cpus.iter().map(|&cpu| cpu as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Cpus {
        Cpus {
            allowed: vec![0, 1, 2, 3, 6],
            online: (0..8).collect(),
            near: vec![2, 3, 4],
        }
    }

    fn asked(text: &str) -> NumberList {
        text.parse().unwrap()
    }

    #[test]
    fn workers_are_near_the_card_as_far_as_that_goes() {
        let placement = host().place(None, 3).unwrap();
        assert_eq!(placement.workers, [Some(2), Some(3), Some(0)]);
        assert_eq!(placement.spare, [1, 6]);
    }

    #[test]
    fn workers_are_where_they_were_asked_to_be() {
        let placement = host().place(Some(&asked("6,0-1")), 2).unwrap();
        assert_eq!(placement.workers, [Some(6), Some(0)]);
        assert_eq!(placement.spare, [2, 3, 1]);
    }

    #[test]
    fn few_cpus_are_shared_in_turn() {
        let placement = host().place(Some(&asked("1,3")), 5).unwrap();
        assert_eq!(placement.workers, [1, 3, 1, 3, 1].map(Some));
        let placement = host().place(None, 6).unwrap();
        assert_eq!(placement.workers[5], placement.workers[0]);
        assert_eq!(placement.spare, [0; 0]);
    }

    #[test]
    fn cpus_that_cannot_be_had_are_told_apart() {
        let error = |text| host().place(Some(&asked(text)), 1).unwrap_err().to_string();
        let forbidden = error("0,4");
        assert!(
            forbidden.contains("not run on CPU 4") && forbidden.contains("0-3,6"),
            "{forbidden}"
        );
        let missing = error("9");
        assert!(
            missing.contains("CPU 9 is not online") && missing.contains("0-7"),
            "{missing}"
        );
    }

    #[test]
    fn without_any_cpu_the_scheduler_decides() {
        let placement = Cpus::default().place(None, 2).unwrap();
        assert_eq!(placement.workers, [None, None]);
    }
}
