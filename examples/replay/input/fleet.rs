//! The list of workers, and what their GPUs stand for.

use std::collections::BTreeSet;

use slotyard::limits::MAX_CAPACITY;

use super::{InputError, Source, table};

/// Hardware of which the perf model knows the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HardwareClass {
    pub(crate) hardware: &'static str,
    pub(crate) tensor_parallel: u32,
}

impl HardwareClass {
    const fn new(hardware: &'static str, tensor_parallel: u32) -> Self {
        Self { hardware, tensor_parallel }
    }

    /// Whether the perf model's row is of this class.
    pub(crate) fn is(&self, hardware: &str, tensor_parallel: u32) -> bool {
        self.hardware == hardware && self.tensor_parallel == tensor_parallel
    }
}

/// The classes in use, from the fastest to the slowest.
pub(crate) const CLASSES: [HardwareClass; 6] = [
    HardwareClass::new("h100-80gb", 8),
    HardwareClass::new("h100-80gb", 4),
    HardwareClass::new("h100-80gb", 2),
    HardwareClass::new("a100-80gb", 8),
    HardwareClass::new("a100-80gb", 4),
    HardwareClass::new("a100-80gb", 2),
];

/// Which class a GPU model of a node list stands for. The perf model has two kinds of GPU, node lists have others, so
/// what is kept is their order, from fast to slow; absolute times are those of the class. (G2 and G3 are the names
/// under which the openb list hides two models; it has them in its largest machines.)
pub(crate) const GPU_CLASSES: [(&str, usize); 14] = [
    ("H100", 0),
    ("G3", 0),
    ("A100", 1),
    ("G2", 1),
    ("L40S", 2),
    ("A10", 2),
    ("V100M32", 3),
    ("V100", 3),
    ("V100M16", 4),
    ("L4", 4),
    ("G1", 4),
    ("T4", 5),
    ("P100", 5),
    ("P4", 5),
];

/// Slots of a node: one a GPU. An instance that spans several GPUs serves as many requests at once.
pub(crate) const SLOTS_PER_GPU: u32 = 1;
/// A node has no more slots than the scheduler can count.
const MAX_GPUS: u32 = MAX_CAPACITY / SLOTS_PER_GPU;
/// A longer name would not leave room for the number of a copy.
const MAX_NAME: usize = 200;

/// Stands before the number of a copy, and nowhere else.
const COPY_MARK: char = '~';

/// One worker of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) slots: u32,
    /// Index in [`CLASSES`].
    pub(crate) class: usize,
}

impl Machine {
    /// A machine with this many GPUs of a model; `None` when the model is not known.
    pub(crate) fn new(name: &str, gpus: u32, model: &str) -> Option<Self> {
        let (_, class) = GPU_CLASSES.iter().find(|(known, _)| *known == model)?;
        Some(Self { name: name.to_owned(), slots: gpus * SLOTS_PER_GPU, class: *class })
    }

    /// A copy of this machine, by a name that no other has.
    pub(crate) fn copy(&self, number: usize) -> Self {
        let name = match number {
            1 => self.name.clone(),
            _ => format!("{}{COPY_MARK}{number}", self.name),
        };
        Self { name, ..*self }
    }

    /// Reads a node list; machines without a GPU are left out.
    pub(crate) fn read(source: &Source) -> Result<Vec<Self>, InputError> {
        let mut machines = Vec::new();
        let mut names = BTreeSet::new();
        table::read(source, &["sn", "gpu", "model"], |row| {
            let name = row.text(0);
            if name.is_empty() || name.len() > MAX_NAME || name.contains(COPY_MARK) {
                return Err(row.expected(0, "a name of 1 to 200 bytes, without ~"));
            }
            if !names.insert(name.to_owned()) {
                return Err(row.expected(0, "a name that no row above has"));
            }
            let gpus = row.parse(1, &format!("a number of GPUs, 0 to {MAX_GPUS}"), |gpus| *gpus <= MAX_GPUS)?;
            if gpus > 0 {
                machines.push(Self::new(name, gpus, row.text(2)).ok_or_else(|| {
                    let known: Vec<&str> = GPU_CLASSES.iter().map(|(model, _)| *model).collect();
                    row.expected(2, &format!("a GPU model, one of {}", known.join(", ")))
                })?);
            }
            Ok(())
        })?;
        match machines.is_empty() {
            true => Err(source.error(1, 1, "expected at least one node with a GPU, found none")),
            false => Ok(machines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "sn,cpu_milli,memory_mib,gpu,model\n";

    fn read(rows: &str) -> Result<Vec<Machine>, String> {
        Machine::read(&Source::named("n", &format!("{HEADER}{rows}"))).map_err(|error| error.to_string())
    }

    #[test]
    fn machines_without_a_gpu_are_left_out() {
        let machines = read("a,1,1,0,\nb,1,1,8,G3\nc,1,1,2,T4\n").unwrap();
        assert_eq!(machines, [Machine::new("b", 8, "G3").unwrap(), Machine::new("c", 2, "T4").unwrap()]);
        assert!(machines[0].class < machines[1].class);
    }

    #[test]
    fn errors_name_their_place() {
        let error = |rows| read(rows).unwrap_err();
        assert!(error("").starts_with("n:1:1: expected at least one node with a GPU"));
        assert!(error("a,1,1,-1,\n").starts_with("n:2:7: expected a number of GPUs"));
        assert!(error("a,1,1,70000,T4\n").starts_with("n:2:7: expected a number of GPUs"));
        assert!(error("a,1,1,1,Q9\n").starts_with("n:2:9: expected a GPU model, one of H100"));
        assert!(error("a,1,1,0,\na,1,1,0,\n").starts_with("n:3:1: expected a name that no row above has"));
        assert!(error("a~2,1,1,0,\n").starts_with("n:2:1: expected a name of"));
        assert!(error(",1,1,0,\n").starts_with("n:2:1: expected a name of"));
    }
}
