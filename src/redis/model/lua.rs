//! Runs the scripts that ship, as Redis runs them: Lua 5.1 without what a script may not have, and `redis.call`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{Function, Lua, LuaOptions, StdLib, Value as LuaValue, Variadic};

use super::commands::{self, formatted};
use super::data::{Answer, Data, Score};

/// What `redis.call` reaches: the data, and the time in µs, which stands while a script runs.
#[derive(Debug, Default)]
struct Machine {
    data: Data,
    now: u64,
}

/// An interpreter, with the scripts that it has compiled.
pub(super) struct Interpreter {
    lua: Lua,
    machine: Rc<RefCell<Machine>>,
    compiled: RefCell<HashMap<String, Function>>,
}

/// What a script is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) keys: &'a [String],
    pub(super) arguments: &'a [String],
    /// In µs.
    pub(super) now: u64,
}

impl Interpreter {
    pub(super) fn new() -> Self {
        let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::new()).expect("Lua starts");
        let machine = Rc::new(RefCell::new(Machine::default()));
        let of_calls = machine.clone();
        let call = lua.create_function(move |lua, words: Variadic<LuaValue>| {
            let command = words.iter().map(word).collect::<Result<Vec<_>, _>>().map_err(mlua::Error::runtime)?;
            let Machine { data, now } = &mut *of_calls.borrow_mut();
            let answer = commands::run(data, *now, &command).map_err(mlua::Error::runtime)?;
            to_lua(lua, &answer)
        });
        let redis = lua.create_table().expect("a table");
        redis.set("call", call.expect("a function")).expect("a field");
        lua.globals().set("redis", redis).expect("a global");
        for unknown in ["collectgarbage", "dofile", "loadfile", "print"] {
            lua.globals().set(unknown, LuaValue::Nil).expect("a global");
        }
        // A script that forgets a `local` is refused by the server, so it must fail here.
        let guard = "setmetatable(_G, {
            __index = function(_, name) error('nonexistent global variable ' .. tostring(name)) end,
            __newindex = function(_, name) error('attempt to modify a readonly table: ' .. tostring(name)) end,
        })";
        lua.load(guard).exec().expect("the globals are guarded");
        Self { lua, machine, compiled: RefCell::default() }
    }

    /// What a script answers, and the data after it. It does what it does as a whole: one that fails has a mistake, and what
    /// it has left is of no use.
    pub(super) fn run(&self, source: &str, given: Given<'_>, mut data: Data) -> Result<(Answer, Data), String> {
        data.forget_expired(given.now / 1000);
        *self.machine.borrow_mut() = Machine { data, now: given.now };
        let answer = self.call(source, given).map_err(|error| error.to_string())?;
        Ok((answer, std::mem::take(&mut self.machine.borrow_mut().data)))
    }

    fn call(&self, source: &str, given: Given<'_>) -> mlua::Result<Answer> {
        let globals = self.lua.globals();
        globals.raw_set("KEYS", self.lua.create_sequence_from(given.keys.iter().map(String::as_str))?)?;
        globals.raw_set("ARGV", self.lua.create_sequence_from(given.arguments.iter().map(String::as_str))?)?;
        let script = self.compile(source)?;
        from_lua(&script.call::<LuaValue>(())?)
    }

    fn compile(&self, source: &str) -> mlua::Result<Function> {
        if let Some(script) = self.compiled.borrow().get(source) {
            return Ok(script.clone());
        }
        let (head, body) = source.split_once('\n').expect("a script has a line that says what it is");
        assert!(head.starts_with("#!lua"), "{head}");
        let script = self.lua.load(body).into_function()?;
        self.compiled.borrow_mut().insert(source.to_owned(), script.clone());
        Ok(script)
    }
}

/// An argument of a command: texts, and numbers as Redis writes them.
fn word(value: &LuaValue) -> Result<String, String> {
    match value {
        LuaValue::String(text) => text.to_str().map(|text| text.to_owned()).map_err(|error| error.to_string()),
        LuaValue::Integer(number) => Ok(number.to_string()),
        LuaValue::Number(number) => formatted(Score(*number)),
        other => Err(format!("a command's arguments are texts and numbers: {other:?}")),
    }
}

fn to_lua(lua: &Lua, answer: &Answer) -> mlua::Result<LuaValue> {
    Ok(match answer {
        Answer::Nil => LuaValue::Boolean(false),
        Answer::Number(number) => LuaValue::Number(*number as f64),
        Answer::Text(text) => LuaValue::String(lua.create_string(text)?),
        Answer::Status(text) => LuaValue::Table(lua.create_table_from([("ok", text.as_str())])?),
        Answer::List(items) => {
            let items = items.iter().map(|item| to_lua(lua, item)).collect::<mlua::Result<Vec<_>>>()?;
            LuaValue::Table(lua.create_sequence_from(items)?)
        }
    })
}

/// Numbers lose what is behind the point, and a list ends where it has a hole.
fn from_lua(value: &LuaValue) -> mlua::Result<Answer> {
    Ok(match value {
        LuaValue::Nil | LuaValue::Boolean(false) => Answer::Nil,
        LuaValue::Boolean(true) => Answer::Number(1),
        LuaValue::Integer(number) => Answer::Number(*number),
        LuaValue::Number(number) => Answer::Number(*number as i64),
        LuaValue::String(text) => Answer::Text(text.to_str()?.to_owned()),
        LuaValue::Table(table) => {
            let mut items = Vec::new();
            for place in 1.. {
                match table.raw_get(place)? {
                    LuaValue::Nil => break,
                    item => items.push(from_lua(&item)?),
                }
            }
            Answer::List(items)
        }
        other => return Err(mlua::Error::runtime(format!("no script answers this: {other:?}"))),
    })
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    fn answer(body: &str) -> Result<Answer, String> {
        let given = Given { keys: &[], arguments: &["7".to_owned()], now: 5_000_002 };
        Interpreter::new().run(&format!("#!lua\n{body}"), given, Data::default()).map(|(answer, _)| answer)
    }

    #[test]
    fn values_become_what_they_do_on_a_server() {
        let list = |items| Ok(Answer::List(items));
        assert_eq!(
            answer("return {ARGV[1] + 0.9, '1', true, redis.call('TIME')}"),
            list(vec![
                Answer::Number(7),
                Answer::text("1"),
                Answer::Number(1),
                Answer::List(vec![Answer::text(5), Answer::text(2)]),
            ])
        );
        assert_eq!(answer("return {1, nil, 3}"), list(vec![Answer::Number(1)]));
        assert_eq!(answer("return redis.call('GET', 'x') == false"), Ok(Answer::Number(1)));
        assert_eq!(answer("redis.call('SET', 'x', 2^50) return redis.call('GET', 'x')"), Ok(Answer::text(1_u64 << 50)));
    }

    #[test]
    fn what_a_server_refuses_fails() {
        for body in ["x = 1", "return x", "return redis.call('SET', 'k')", "return redis.call('GET', nil)", "return os"]
        {
            assert!(answer(body).is_err(), "{body}");
        }
    }
}
