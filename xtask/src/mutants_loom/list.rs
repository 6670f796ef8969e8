//! The lists of mutants: `loom-tests/mutants/*.toml`, a file for each file of models, named as that one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What a file of the list has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mutant: Vec<Mutant>,
    #[serde(default)]
    unshown: Vec<Unshown>,
}

/// A change of the code that some models must notice.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutant {
    pub(super) name: String,
    /// Models, by their paths below `loom_tests`: each fails under it, run alone.
    pub(super) fails: Vec<String>,
    /// What goes wrong.
    why: String,
    /// That a model does not end counts as its failure.
    #[serde(default)]
    pub(super) timeout: bool,
    /// How many preemptions they are run with: fewer than they have by themselves, where they fail with those and sooner.
    pub(super) preemptions: Option<u32>,
    pub(super) edit: Vec<Edit>,
    /// The name of the file it is listed in.
    #[serde(skip)]
    pub(super) group: String,
}

/// A piece of text, and what takes its place.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// From the root.
    pub(super) file: String,
    /// Where to look for it: in all functions of this name; without, in the whole file.
    #[serde(rename = "fn")]
    pub(super) function: Option<String>,
    /// Must be there exactly once.
    pub(super) from: String,
    pub(super) to: String,
}

/// A model that is known not to be shown to fail by any mutant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unshown {
    pub(super) model: String,
    why: String,
}

/// All files of the list.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Their numbers, from 1, are what the schemata call them.
    pub(super) mutants: Vec<Mutant>,
    pub(super) unshown: Vec<Unshown>,
}

impl List {
    /// Reads the files in this folder.
    pub(super) fn load(folder: &Path) -> Result<Self> {
        let unreadable = || format!("{} could not be read", folder.display());
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))?;
                files.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), text);
            }
        }
        let mut list = Self::default();
        for (group, text) in files {
            list.add(&group, &text).with_context(|| format!("the list of mutants `{group}.toml`"))?;
        }
        ensure!(!list.mutants.is_empty(), "there is no mutant in {}", folder.display());
        Ok(list)
    }

    fn add(&mut self, group: &str, text: &str) -> Result<()> {
        let File { mutant, unshown } = toml::from_str(text)?;
        for mut mutant in mutant {
            let name = &mutant.name;
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            ensure!(!name.is_empty() && name.chars().all(kebab), "`{name}` is not a name in kebab-case");
            ensure!(self.mutants.iter().all(|other| other.name != *name), "two mutants are named `{name}`");
            ensure!(!mutant.why.is_empty(), "`{name}` does not say why it is wrong");
            ensure!(!mutant.fails.is_empty(), "`{name}` names no model that fails");
            ensure!(!mutant.edit.is_empty(), "`{name}` changes nothing");
            for edit in &mutant.edit {
                ensure!(
                    !edit.from.trim().is_empty() && edit.from != edit.to,
                    "`{name}` has an edit that changes nothing"
                );
            }
            group.clone_into(&mut mutant.group);
            self.mutants.push(mutant);
        }
        for unshown in unshown {
            ensure!(!unshown.why.is_empty(), "it is not said why `{}` is not shown to fail", unshown.model);
            self.unshown.push(unshown);
        }
        Ok(())
    }

    /// The mutants of these names, or of the groups of these names, with their numbers; without names, all.
    pub(super) fn selected(&self, names: &[String]) -> Result<Vec<(u32, &Mutant)>> {
        for name in names {
            let known = self.mutants.iter().any(|mutant| mutant.name == *name || mutant.group == *name);
            ensure!(known, "no mutant, and no group of them, is named `{name}`");
        }
        let wanted =
            |mutant: &Mutant| names.is_empty() || names.contains(&mutant.name) || names.contains(&mutant.group);
        Ok((1..).zip(&self.mutants).filter(|(_, mutant)| wanted(mutant)).collect())
    }

    /// A line for each mutant.
    pub(super) fn shown(&self) -> String {
        let line = |mutant: &Mutant| {
            format!("{}: {} ({})\n    {}\n", mutant.group, mutant.name, mutant.fails.join(", "), mutant.why)
        };
        let unshown = |unshown: &Unshown| format!("not shown to fail: {}\n    {}\n", unshown.model, unshown.why);
        self.mutants.iter().map(line).chain(self.unshown.iter().map(unshown)).collect()
    }

    /// What is listed of models that there are none of.
    pub(super) fn unknown_in(&self, models: &[String]) -> Vec<String> {
        let named = self.mutants.iter().flat_map(|mutant| mutant.fails.iter().map(|model| (&mutant.name, model)));
        let unknown = named.filter(|(_, model)| !models.contains(model));
        let unknown = unknown.map(|(name, model)| format!("{name}: there is no model `{model}`"));
        let unshown = self.unshown.iter().filter(|unshown| !models.contains(&unshown.model));
        unknown.chain(unshown.map(|unshown| format!("unshown: there is no model `{}`", unshown.model))).collect()
    }

    /// Of which of these models nothing is listed, or what cannot both be.
    pub(super) fn unsaid_of(&self, models: &[String]) -> Vec<String> {
        let shown = |model: &str| self.mutants.iter().any(|mutant| mutant.fails.iter().any(|name| name == model));
        let excused = |model: &str| self.unshown.iter().any(|unshown| unshown.model == model);
        let wrong = |model: &String| match (shown(model), excused(model)) {
            (false, false) => Some(format!("no mutant shows that `{model}` can fail")),
            (true, true) => Some(format!("`{model}` is listed as unshown, and fails under a mutant")),
            _ => None,
        };
        models.iter().filter_map(wrong).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"
[[mutant]]
name = "one"
fails = ["a::first"]
why = "it is wrong"
[[mutant.edit]]
file = "src/a.rs"
fn = "f"
from = '''x'''
to = '''y'''
"#;

    fn listed(files: &[(&str, &str)]) -> Result<List> {
        let mut list = List::default();
        for (group, text) in files {
            list.add(group, text)?;
        }
        Ok(list)
    }

    #[test]
    fn mutants_are_selected_by_name_and_by_group() {
        let two = ONE.replace("one", "two").replace("a::first", "b::second");
        let three = ONE.replace("one", "three");
        let list = listed(&[("a", &format!("{ONE}{three}")), ("b", &two)]).unwrap();
        let names = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            list.selected(&wanted).map(|found| found.iter().map(|(number, one)| (*number, one.name.clone())).collect())
        };
        let all = [(1, "one"), (2, "three"), (3, "two")].map(|(number, name)| (number, name.to_owned()));
        let got = |wanted: &[&str]| -> Vec<_> { names(wanted).unwrap() };
        assert_eq!(got(&[]), all);
        assert_eq!(got(&["a"]), all[..2]);
        assert_eq!(got(&["two", "one"]), [all[0].clone(), all[2].clone()]);
        let unknown: Result<Vec<_>> = names(&["one", "nonsense"]);
        assert!(unknown.unwrap_err().to_string().contains("`nonsense`"));
    }

    #[test]
    fn what_a_list_must_not_have_is_refused() {
        for (from, to, says) in [
            ("\"one\"", "\"One\"", "kebab-case"),
            ("[\"a::first\"]", "[]", "no model"),
            ("it is wrong", "", "does not say why"),
            ("'''y'''", "'''x'''", "changes nothing"),
            ("fn = ", "function = ", "unknown field"),
            ("why = \"it is wrong\"", "", "missing field"),
        ] {
            let error = format!("{:#}", listed(&[("a", &ONE.replace(from, to))]).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
        let error = listed(&[("a", ONE), ("b", ONE)]).unwrap_err().to_string();
        assert_eq!(error, "two mutants are named `one`");
    }

    #[test]
    fn every_model_must_be_shown_or_excused_and_not_both() {
        let excuse = |model: &str| format!("[[unshown]]\nmodel = \"{model}\"\nwhy = \"hard\"\n");
        let wrong = |text: &str, models: &[&str]| {
            let models: Vec<_> = models.iter().map(|model| (*model).to_owned()).collect();
            let list = listed(&[("a", text)]).unwrap();
            (list.unknown_in(&models), list.unsaid_of(&models))
        };
        let none = Vec::<String>::new;
        let both = format!("{ONE}{}", excuse("a::other"));
        assert_eq!(wrong(&both, &["a::first", "a::other"]), (none(), none()));
        let unsaid = "no mutant shows that `a::other` can fail".to_owned();
        assert_eq!(wrong(ONE, &["a::first", "a::other"]), (none(), vec![unsaid]));
        let unknown = "one: there is no model `a::first`".to_owned();
        assert_eq!(wrong(ONE, &[]), (vec![unknown], none()));
        let unknown = "unshown: there is no model `a::other`".to_owned();
        assert_eq!(wrong(&both, &["a::first"]), (vec![unknown], none()));
        let needless = "`a::first` is listed as unshown, and fails under a mutant".to_owned();
        assert_eq!(wrong(&format!("{ONE}{}", excuse("a::first")), &["a::first"]), (none(), vec![needless]));
    }
}
