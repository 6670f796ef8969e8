//! What tokens cost: prompt and token times by hardware, interpolated between measured prompt sizes.

use std::collections::BTreeMap;

use super::fleet::{CLASSES, HardwareClass, Machine};
use super::{InputError, Source, Tokens, table};

/// Service times of hardware classes, in the order of [`CLASSES`]; a table need not know all of them.
#[derive(Debug, Clone)]
pub(crate) struct Perf([Option<Curve>; CLASSES.len()]);

/// Measured times of one hardware class, sorted by prompt size; at least one point.
#[derive(Debug, Clone)]
pub(crate) struct Curve(Vec<Point>);

/// What a prompt of this many tokens takes, and each token generated after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) prompt_size: f64,
    pub(crate) prompt_ms: f64,
    pub(crate) token_ms: f64,
}

impl Perf {
    /// One curve a class, in the order of [`CLASSES`].
    pub(crate) fn new(curves: [Option<Curve>; CLASSES.len()]) -> Self {
        Self(curves)
    }

    /// Reads the splitwise-sim table: the rows of its first model at batch size 1, repetitions averaged.
    pub(crate) fn read(source: &Source) -> Result<Self, InputError> {
        let mut model = None;
        let mut sums: BTreeMap<(String, u32, u32), [f64; 3]> = BTreeMap::new();
        let columns =
            ["model", "hardware", "tensor_parallel", "batch_size", "prompt_size", "prompt_time", "token_time"];
        table::read(source, &columns, |row| {
            let name = model.get_or_insert_with(|| row.text(0).to_owned());
            let whole = |column| row.parse(column, "a whole number from 1", |n: &u32| *n > 0);
            let time =
                |column| row.parse(column, "a time in ms, more than 0 and at most 1e9", |t| *t > 0.0 && *t <= 1e9);
            let (parallel, batch, size) = (whole(2)?, whole(3)?, whole(4)?);
            let (prompt_ms, token_ms): (f64, f64) = (time(5)?, time(6)?);
            if row.text(0) == name && batch == 1 {
                let sum = sums.entry((row.text(1).to_owned(), parallel, size)).or_default();
                for (sum, value) in sum.iter_mut().zip([1.0, prompt_ms, token_ms]) {
                    *sum += value;
                }
            }
            Ok(())
        })?;
        Ok(Self(CLASSES.map(|class| {
            let points = sums.iter().filter(|((hardware, parallel, _), _)| class.is(hardware, *parallel));
            let points = points.map(|((.., size), [count, prompt, token])| Point {
                prompt_size: f64::from(*size),
                prompt_ms: prompt / count,
                token_ms: token / count,
            });
            Curve::new(points.collect())
        })))
    }

    /// Holds that the hardware of every machine is known.
    pub(crate) fn check(&self, source: &Source, machines: &[Machine]) -> Result<(), InputError> {
        match machines.iter().find(|machine| self.0[machine.class].is_none()) {
            Some(Machine { name, class, .. }) => {
                let HardwareClass { hardware, tensor_parallel } = CLASSES[*class];
                let rows = format!("rows at batch size 1 for {hardware} with tensor_parallel {tensor_parallel}");
                Err(source.error(1, 1, format!("expected {rows}, which node {name} stands for, found none")))
            }
            None => Ok(()),
        }
    }

    /// How long these tokens take on a class that is known, in ms.
    pub(crate) fn tokens_ms(&self, class: usize, tokens: Tokens) -> f64 {
        let point = self.0[class].as_ref().map(|curve| curve.at(f64::from(tokens.prompt)));
        point.map_or(0.0, |Point { prompt_ms, token_ms, .. }| prompt_ms + f64::from(tokens.generated) * token_ms)
    }

    /// How many times as long as the fastest class that is known a class takes for work that is not counted in tokens.
    pub(crate) fn slowness(&self, class: usize) -> f64 {
        let token_ms = |curve: &Curve| curve.0[0].token_ms;
        match (&self.0[class], self.0.iter().flatten().next()) {
            (Some(curve), Some(fastest)) => token_ms(curve) / token_ms(fastest),
            _ => 1.0,
        }
    }
}

impl Curve {
    /// The points in the order of their sizes; `None` without any.
    pub(crate) fn new(points: Vec<Point>) -> Option<Self> {
        if points.is_empty() { None } else { Some(Self(points)) }
    }

    /// Between two sizes, linear; beyond the largest, as the last piece goes on; below the smallest, as there.
    fn at(&self, prompt_size: f64) -> Point {
        let above = self.0.partition_point(|point| point.prompt_size <= prompt_size);
        let (low, high) = match (above, self.0.len()) {
            (0, _) | (_, 1) => return self.0[0],
            (above, len) => (self.0[above.min(len - 1) - 1], self.0[above.min(len - 1)]),
        };
        let along = (prompt_size - low.prompt_size) / (high.prompt_size - low.prompt_size);
        let between = |from: f64, to: f64| (from + along * (to - from)).max(0.0);
        Point {
            prompt_size,
            prompt_ms: between(low.prompt_ms, high.prompt_ms),
            // Tokens cost about the same at any size, so what little slope was measured is not carried further.
            token_ms: if along > 1.0 { high.token_ms } else { between(low.token_ms, high.token_ms) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(prompt_size: f64, prompt_ms: f64, token_ms: f64) -> Point {
        Point { prompt_size, prompt_ms, token_ms }
    }

    #[test]
    fn times_are_interpolated() {
        let curve =
            Curve::new(vec![point(100.0, 10.0, 1.0), point(200.0, 30.0, 3.0), point(400.0, 90.0, 3.0)]).unwrap();
        let at = |size| (curve.at(size).prompt_ms, curve.at(size).token_ms);
        assert_eq!(at(0.0), (10.0, 1.0));
        assert_eq!(at(100.0), (10.0, 1.0));
        assert_eq!(at(150.0), (20.0, 2.0));
        assert_eq!(at(400.0), (90.0, 3.0));
        assert_eq!(at(800.0), (210.0, 3.0));
        assert!(Curve::new(Vec::new()).is_none());
    }

    const HEADER: &str = "model,hardware,prompt_size,batch_size,prompt_time,token_time,tensor_parallel\n";

    #[test]
    fn only_the_first_model_at_batch_size_1_counts() {
        let mut text = HEADER.to_owned();
        for class in CLASSES {
            let HardwareClass { hardware, tensor_parallel } = class;
            text += &format!("m,{hardware},100,1,10,1,{tensor_parallel}\nm,{hardware},100,1,20,3,{tensor_parallel}\n");
            text += &format!("m,{hardware},100,2,99,9,{tensor_parallel}\nn,{hardware},100,1,99,9,{tensor_parallel}\n");
        }
        let perf = Perf::read(&Source::named("p", &text)).unwrap();
        assert_eq!(perf.tokens_ms(0, Tokens { prompt: 100, generated: 10 }), 35.0);
        assert_eq!(perf.slowness(1), 1.0);
    }

    #[test]
    fn hardware_in_use_must_be_known() {
        let source = Source::named("p", &format!("{HEADER}m,a100-80gb,100,1,10,1,2\n"));
        let perf = Perf::read(&source).unwrap();
        let machine = |model| Machine::new("a", 1, model).unwrap();
        assert_eq!(perf.check(&source, &[machine("T4")]), Ok(()));
        let error = perf.check(&source, &[machine("G3")]).unwrap_err().to_string();
        assert!(
            error.starts_with("p:1:1: expected rows at batch size 1 for h100-80gb with tensor_parallel 8"),
            "{error}"
        );
    }

    #[test]
    fn errors_name_their_place() {
        let error = |rows: &str| Perf::read(&Source::named("p", &format!("{HEADER}{rows}"))).unwrap_err().to_string();
        assert!(error("m,h,100,1,NaN,1,8\n").starts_with("p:2:11: expected a time in ms"));
        assert!(error("m,h,100,1,1,-1,8\n").starts_with("p:2:13: expected a time in ms"));
        assert!(error("m,h,0,1,1,1,8\n").starts_with("p:2:5: expected a whole number from 1"));
    }
}
