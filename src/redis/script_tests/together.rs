//! The script that does many calls of one kind.

use redis::{Commands, ConnectionLike, Value};

use super::*;
use crate::redis::together::joined;

impl Asked {
    /// These creates by one script: what each is answered, or its error.
    fn creates(&mut self, creates: &[Create<'_>]) -> Vec<Result<Creation, String>> {
        let each: Vec<_> = creates.iter().map(|create| create.arguments(&self.keys, self.standing)).collect();
        let (many, all) = (Create::MANY.unwrap(), joined(&each));
        let mut eval = redis::cmd("EVAL");
        eval.arg(many.source).arg(all.keys.len()).arg(&all.keys).arg(&all.arguments);
        // Not as `query` would have it, which takes one error for that of all.
        let answer = self.connection.req_packed_command(&eval.get_packed_command()).unwrap();
        let Value::Array(answers) = answer else { panic!("{answer:?}") };
        let read = |answer: Value| match answer {
            Value::ServerError(error) => Err(error.to_string()),
            answer => Ok(Create::read(Reply::new(answer).unwrap()).unwrap()),
        };
        answers.into_iter().map(read).collect()
    }
}

#[test]
fn many_creates_are_each_answered_as_if_asked_for_by_themselves() {
    let mut asked = Asked::new();
    let (n, m) = (node("n"), node("m"));
    asked.node(&n, 2);
    let _: () = asked.connection.rpush(asked.keys.request("broken"), "no binding").unwrap();
    let both = [m.clone(), n.clone()];
    let create = |request, fingerprint, candidates| Create {
        request,
        note: "",
        fingerprint: Fingerprint(fingerprint),
        job: job(request),
        instance: US,
        lease: LEASE,
        kept: KEPT.slots,
        candidates,
    };
    let creates = [
        create("a", 1, &both),
        create("a", 1, &both[1..]),
        create("broken", 1, &both),
        create("a", 2, &both[..1]),
        create("b", 1, &both[1..]),
        create("c", 1, &both),
    ];
    let answers = asked.creates(&creates);
    let [
        Ok(Creation::Created(a, 1)),
        Ok(Creation::Existing(again)),
        Err(error),
        Ok(Creation::Mismatch(_)),
        Ok(b),
        Ok(c),
    ] = &*answers
    else {
        panic!("{answers:?}")
    };
    assert_eq!(again.lease, *a);
    assert!(error.contains("WRONGTYPE"), "{error}");
    assert!(matches!(b, Creation::Created(lease, 0) if lease.slot != a.slot), "{b:?}");
    assert!(matches!(c, Creation::None(why) if matches!(**why, [Refused::Unknown, Refused::Full(_)])), "{c:?}");
    assert_eq!((asked.binding("a").lease, asked.free(&n)), (*a, 0));
}
