//! One call with its arguments.

use slotyard::JobState;

use super::model::{Beat, Services};

/// How many nodes, requests and services there are to name.
pub(crate) const NODES: u8 = 6;
pub(crate) const REQUESTS: u8 = 24;
pub(crate) const SERVICES: u8 = 3;

/// So many bytes make a step.
pub(crate) const STEP_BYTES: usize = 8;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Register { node: u8, capacity: u32, offers: Services, ready: bool, replace: bool },
    Deregister(u8),
    Beat(u8, Beat),
    Drain(u8, bool),
    Capacity(u8, u32),
    Weight(u8, u16),
    Update(u8, Services),
    Unavailable(u8, u8, u64),
    Create(u8, Services),
    Move(u8, Move),
    Retry(u8),
    Tick(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Move {
    Dispatched,
    Running,
    Renew,
    End(JobState),
}

impl Step {
    /// The step that these bytes stand for; any do.
    pub(crate) fn of(bytes: [u8; STEP_BYTES]) -> Self {
        let [what, a, b, c, d, e, f, _] = bytes;
        let (node, services) = (a % NODES, b % (1 << SERVICES));
        match what {
            0..64 => Self::Create(a % REQUESTS, services),
            64..96 => Self::Register {
                node,
                capacity: u32::from(c % 4) + 1,
                offers: services,
                ready: d < 200,
                replace: e >= 128,
            },
            96..100 => Self::Deregister(node),
            100..132 => Self::Beat(
                node,
                Beat {
                    ready: [Some(true), Some(true), Some(false), None][c as usize % 4],
                    running: (d >= 200).then_some(u32::from(d % 4)),
                    usage: [None, Some(0.1), Some(0.8), Some(0.95)][e as usize % 4],
                },
            ),
            132..142 => Self::Drain(node, c < 128),
            142..152 => Self::Capacity(node, u32::from(c % 4) + 1),
            152..157 => Self::Weight(node, [100, 50, 0][c as usize % 3]),
            157..167 => Self::Update(node, services),
            167..172 => Self::Unavailable(node, b % SERVICES, (u64::from(c) << 8 | u64::from(d)) % 20_000 + 1),
            172..216 => Self::Move(
                a % REQUESTS,
                [
                    Move::End(JobState::Completed),
                    Move::End(JobState::Failed),
                    Move::End(JobState::Cancelled),
                    Move::Dispatched,
                    Move::Running,
                    Move::Renew,
                ][b as usize % 6],
            ),
            216..238 => Self::Retry(a % REQUESTS),
            238..=255 => Self::Tick((u64::from(e) << 8 | u64::from(f)) % 12_000 + 1),
        }
    }
}
