//! Puts mutants into a file so that one build has them all: where a mutant changes something in a function, that function's
//! body `{B}` becomes `{ if crate::sync::mutant(1) {B with the change} else {B} }`. Such a program of all mutants is called
//! mutant schemata (Untch, Offutt, Harrold: Mutation Analysis Using Mutant Schemata, ISSTA 1993).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::list::{Edit, Mutant};

/// A function that has a body.
#[derive(Debug)]
struct Function {
    name: String,
    /// Where the body is in the file, with its braces.
    body: Range<usize>,
    /// Where `const` is, if it is one.
    constness: Option<Range<usize>>,
    /// Whether it returns a type that each body makes anew.
    opaque: bool,
}

/// A change of a file, by one of the mutants.
struct Change<'a> {
    mutant: u32,
    at: Range<usize>,
    to: &'a str,
    /// The innermost function around it.
    function: usize,
}

/// Collects the changes of one file.
pub(super) struct Schemata<'a> {
    file: &'a str,
    text: &'a str,
    functions: Vec<Function>,
    changes: Vec<Change<'a>>,
    /// Of the mutants that change something here.
    names: BTreeMap<u32, &'a str>,
}

impl<'a> Schemata<'a> {
    /// # Errors
    /// When the file is not Rust.
    pub(super) fn of(file: &'a str, text: &'a str) -> Result<Self> {
        let parsed = syn::parse_file(text).with_context(|| format!("{file} cannot be read as Rust"))?;
        let mut functions = Functions(Vec::new());
        functions.visit_file(&parsed);
        Ok(Self { file, text, functions: functions.0, changes: Vec::new(), names: BTreeMap::new() })
    }

    /// # Errors
    /// When the text to be changed is not there once, is not in a function, or that function cannot have two bodies.
    pub(super) fn add(&mut self, number: u32, mutant: &'a Mutant, edit: &'a Edit) -> Result<()> {
        let (name, file) = (&mutant.name, self.file);
        let at = self.place_of(edit).with_context(|| format!("mutant `{name}`, {file}"))?;
        let around = |function: &&(usize, &Function)| {
            let body = &function.1.body;
            body.start < at.start && at.end < body.end
        };
        let functions: Vec<_> = self.functions.iter().enumerate().collect();
        let innermost = functions.iter().filter(around).min_by_key(|(_, function)| function.body.len());
        let Some(&(function, found)) = innermost else {
            bail!("mutant `{name}`, {file}: what it changes is not in the body of a function: `{}`", edit.from);
        };
        ensure!(
            !found.opaque,
            "mutant `{name}`, {file}: `{}` returns an `impl` type, and cannot have two bodies",
            found.name
        );
        let overlaps = |other: &&Change| other.mutant == number && other.at.start < at.end && at.start < other.at.end;
        ensure!(self.changes.iter().find(overlaps).is_none(), "mutant `{name}`, {file}: two of its edits overlap");
        self.changes.push(Change { mutant: number, at, to: &edit.to, function });
        self.names.insert(number, name);
        Ok(())
    }

    fn place_of(&self, edit: &Edit) -> Result<Range<usize>> {
        let within: Vec<_> = match &edit.function {
            None => vec![0..self.text.len()],
            Some(name) => {
                let named = self.functions.iter().filter(|function| function.name == *name);
                let bodies: Vec<_> = named.map(|function| function.body.clone()).collect();
                ensure!(!bodies.is_empty(), "there is no function `{name}` with a body");
                bodies
            }
        };
        let found = |range: Range<usize>| {
            let begin = range.start;
            self.text[range].match_indices(&edit.from).map(move |(at, _)| begin + at)
        };
        // A function may be inside of another one of its name.
        let places: BTreeSet<_> = within.into_iter().flat_map(found).collect();
        let place = match (places.first(), places.len()) {
            (Some(&place), 1) => place,
            (_, times) => bail!("this is there {times} times, and not once: `{}`", edit.from),
        };
        Ok(place..place + edit.from.len())
    }

    /// The file with all of it.
    pub(super) fn written(&self) -> String {
        let is_const = |change: &Change<'_>| self.functions[change.function].constness.is_some();
        self.with_bodies(0..self.text.len(), self.changes.iter().any(is_const))
    }

    /// This part of the file, with the bodies of the functions in it as they are to be. What the environment says is not
    /// known while constants are computed: so `no_const` functions are left, in case they call the one that asks for it.
    fn with_bodies(&self, part: Range<usize>, no_const: bool) -> String {
        let inside = |body: &Range<usize>, outer: &Range<usize>| outer.start <= body.start && body.end <= outer.end;
        let mut written = String::new();
        let mut at = part.start;
        for (number, function) in self.functions.iter().enumerate() {
            // Functions come in the order in which they begin: one that is inside of the one before was written with it.
            if function.body.start < at || !inside(&function.body, &part) {
                continue;
            }
            let mutants: BTreeSet<_> =
                self.changes.iter().filter(|change| change.function == number).map(|change| change.mutant).collect();
            let has_mutants = !mutants.is_empty();
            match &function.constness {
                Some(word) if no_const => {
                    written += &self.text[at..word.start];
                    written += &self.text[word.end..function.body.start];
                }
                _ => written += &self.text[at..function.body.start],
            }
            // What is between the braces may have functions, too.
            let inner = function.body.start + 1..function.body.end - 1;
            if has_mutants {
                written.push_str("{ ");
                for mutant in mutants {
                    let name = self.names[&mutant];
                    let body = self.changed(function.body.clone(), mutant);
                    written += &format!("/* {name} */ if crate::sync::mutant({mutant}) {body} else ");
                }
                written += &format!("{{{}}} }}", self.with_bodies(inner, no_const));
            } else {
                written += &format!("{{{}}}", self.with_bodies(inner, no_const));
            }
            at = function.body.end;
        }
        written + &self.text[at..part.end]
    }

    /// This part of the file, as the mutant has it.
    fn changed(&self, part: Range<usize>, mutant: u32) -> String {
        let inside =
            |change: &&Change| change.mutant == mutant && part.start <= change.at.start && change.at.end <= part.end;
        let mut changes: Vec<_> = self.changes.iter().filter(inside).collect();
        changes.sort_by_key(|change| change.at.start);
        let mut written = String::new();
        let mut at = part.start;
        for change in changes {
            written += &self.text[at..change.at.start];
            written += change.to;
            at = change.at.end;
        }
        written + &self.text[at..part.end]
    }
}

/// The functions of a file, in the order in which they begin.
struct Functions(Vec<Function>);

impl Functions {
    fn note(&mut self, signature: &syn::Signature, body: &syn::Block) {
        self.0.push(Function {
            name: signature.ident.to_string(),
            body: body.span().byte_range(),
            constness: signature.constness.map(|word| word.span().byte_range()),
            opaque: is_opaque(&signature.output),
        });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.note(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn is_opaque(output: &syn::ReturnType) -> bool {
    struct Found(bool);
    impl<'ast> Visit<'ast> for Found {
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut found = Found(false);
    found.visit_return_type(output);
    found.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file with these mutants: their numbers, the function they look in, from, to. Each has one edit.
    fn written(text: &str, edits: &[(u32, Option<&str>, &str, &str)]) -> Result<String> {
        let mutants: Vec<_> =
            edits.iter().map(|(number, function, from, to)| (*number, mutant(function, from, to))).collect();
        let mut schemata = Schemata::of("src/a.rs", text)?;
        for (number, mutant) in &mutants {
            for edit in &mutant.edit {
                schemata.add(*number, mutant, edit)?;
            }
        }
        let written = schemata.written();
        syn::parse_file(&written).with_context(|| written.clone())?;
        Ok(written)
    }

    fn mutant(function: &Option<&str>, from: &str, to: &str) -> Mutant {
        let function = function.map_or(String::new(), |name| format!("fn = '{name}'\n"));
        let edit = format!("[[edit]]\nfile = 'src/a.rs'\n{function}from = '{from}'\nto = '{to}'\n");
        toml::from_str(&format!("name = 'm'\nfails = ['a::b']\nwhy = 'so'\n{edit}")).unwrap()
    }

    #[test]
    fn a_function_gets_a_second_body() {
        let text = "//! Text.\nfn f(x: u32) -> u32 {\n    x + 1 // more\n}\nfn g() {}\n";
        assert_eq!(
            written(text, &[(7, None, "x + 1", "x")]).unwrap(),
            "//! Text.\nfn f(x: u32) -> u32 { /* m */ if crate::sync::mutant(7) {\n    x // more\n} else \
             {\n    x + 1 // more\n} }\nfn g() {}\n"
        );
    }

    #[test]
    fn functions_of_implementations_and_traits_have_bodies() {
        for text in ["impl S { fn f(&self) { a() } }", "trait T { fn g(&self); fn f(&self) { a() } }"] {
            let begin = text.find("fn f").unwrap();
            let expected = "fn f(&self) { /* m */ if crate::sync::mutant(1) { b() } else { a() } } }";
            assert_eq!(written(text, &[(1, None, "a()", "b()")]).unwrap(), text[..begin].to_owned() + expected);
        }
    }

    #[test]
    fn two_mutants_of_one_function_are_bodies_of_their_own() {
        let written = written("fn f() { a(); b(); }", &[(1, None, "a()", "x()"), (2, None, "b()", "y()")]).unwrap();
        assert_eq!(
            written,
            "fn f() { /* m */ if crate::sync::mutant(1) { x(); b(); } else \
             /* m */ if crate::sync::mutant(2) { a(); y(); } else { a(); b(); } }"
        );
    }

    #[test]
    fn a_mutant_may_change_several_places() {
        let text = "fn f() { a(); b(); } fn g() { c(); }";
        let twice = [(1, None, "b()", "y()"), (1, None, "a()", "x()"), (1, None, "c()", "z()")];
        assert_eq!(
            written(text, &twice).unwrap(),
            "fn f() { /* m */ if crate::sync::mutant(1) { x(); y(); } else { a(); b(); } } \
             fn g() { /* m */ if crate::sync::mutant(1) { z(); } else { c(); } }"
        );
        let overlap = [(1, None, "a();", "x();"), (1, None, "(); b", "")];
        assert!(written(text, &overlap).unwrap_err().to_string().contains("overlap"));
    }

    #[test]
    fn the_innermost_function_is_taken() {
        let text = "fn f() { fn g() { a(); } b(); }";
        let inner = "fn g() { /* m */ if crate::sync::mutant(1) { x(); } else { a(); } }";
        assert_eq!(written(text, &[(1, None, "a()", "x()")]).unwrap(), format!("fn f() {{ {inner} b(); }}"));
        let both = written(text, &[(1, None, "a()", "x()"), (2, None, "b()", "y()")]).unwrap();
        let outer = "/* m */ if crate::sync::mutant(2) { fn g() { a(); } y(); }";
        assert_eq!(both, format!("fn f() {{ {outer} else {{ {inner} b(); }} }}"));
        // One mutant that changes both has its own body, with both changes.
        let one = written(text, &[(1, None, "a()", "x()"), (1, None, "b()", "y()")]).unwrap();
        let outer = "/* m */ if crate::sync::mutant(1) { fn g() { x(); } y(); }";
        assert_eq!(one, format!("fn f() {{ {outer} else {{ {inner} b(); }} }}"));
    }

    #[test]
    fn const_is_dropped_where_a_mutant_is() {
        let text = "pub(crate) const fn f() -> u32 { 1 } const fn g() -> u32 { f() } fn h() {} const N: u32 = 3;";
        assert_eq!(
            written(text, &[(1, None, "1", "0")]).unwrap(),
            "pub(crate)  fn f() -> u32 { /* m */ if crate::sync::mutant(1) { 0 } else { 1 } }  \
             fn g() -> u32 { f() } fn h() {} const N: u32 = 3;"
        );
        // It may be needed, where no mutant is in the way of it.
        assert!(written(text, &[(1, None, "h() {}", "h() { x() }")]).is_err());
        assert!(written(&text.replace("{}", "{ x() }"), &[(1, None, "x()", "")]).unwrap().contains("const fn f"));
    }

    #[test]
    fn what_is_not_there_once_is_refused() {
        let text = "fn f() { a(); } impl S { fn f() { b(); a(); } } const N: u32 = 4;";
        let error = |function, from| format!("{:#}", written(text, &[(1, function, from, "x")]).unwrap_err());
        assert_eq!(error(None, "c()"), "mutant `m`, src/a.rs: this is there 0 times, and not once: `c()`");
        assert_eq!(error(None, "a()"), "mutant `m`, src/a.rs: this is there 2 times, and not once: `a()`");
        // In all functions of that name.
        assert!(error(Some("f"), "a()").ends_with("this is there 2 times, and not once: `a()`"));
        assert!(written(text, &[(1, Some("f"), "b()", "x")]).is_ok());
        assert!(error(Some("g"), "a()").ends_with("there is no function `g` with a body"));
        assert!(error(None, "= 4").ends_with("what it changes is not in the body of a function: `= 4`"));
    }

    #[test]
    fn a_body_that_makes_its_own_type_cannot_be_there_twice() {
        let text = "fn f() -> Option<impl Fn()> { Some(|| a()) } fn g(x: impl Fn()) { x() }";
        let error = written(text, &[(1, None, "a()", "b()")]).unwrap_err().to_string();
        assert_eq!(error, "mutant `m`, src/a.rs: `f` returns an `impl` type, and cannot have two bodies");
        assert!(written(text, &[(1, Some("g"), "x()", "{ x(); x() }")]).is_ok());
    }
}
