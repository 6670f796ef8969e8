//! Capabilities and demands as text: for other instances to read back, for people, and to tell demands apart by in every
//! process alike.
//!
//! Services are words, `asr=en,zh nmt=en>zh,zh>en embed=*`: a name, then its languages, pairs, or `*` where it does not
//! depend on one; a language that matches its very tag only has a `!` after it. Labels are words, `zone=a`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Capabilities, Demand, ExclusionMode, Labels, Language, Languages, Service, Source};
use crate::escape::{escape, unescape};

/// What stands between the parts of a word.
const MARKS: [char; 5] = ['=', ',', '>', '*', '!'];

fn language(language: &Language) -> String {
    format!("{}{}", language.tag(), if language.is_exact() { "!" } else { "" })
}

fn read_language(text: &str) -> Option<Language> {
    match text.strip_suffix('!') {
        Some(tag) => Language::exact(tag),
        None => Language::new(text),
    }
    .ok()
}

fn listed<T>(items: &BTreeSet<T>, text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(",")
}

fn labels_text(labels: &Labels) -> String {
    let word = |(name, value): (&Arc<str>, &Arc<str>)| format!("{}={}", escape(name, &MARKS), escape(value, &MARKS));
    labels.iter().map(word).collect::<Vec<_>>().join(" ")
}

impl Capabilities {
    /// The services, each with its languages.
    pub(crate) fn services_text(&self) -> String {
        let word = |(service, languages): (&Service, &Languages)| {
            let languages = match languages {
                Languages::Any => "*".to_owned(),
                Languages::Set(set) => listed(set, language),
                Languages::Pairs(pairs) => listed(pairs, |(from, to)| format!("{}>{}", language(from), language(to))),
            };
            // Of no pair there is to be seen that it would be one.
            let pairs =
                if matches!(self.0.services[service], Languages::Pairs(_)) && languages.is_empty() { ">" } else { "" };
            format!("{}={languages}{pairs}", escape(service.name(), &MARKS))
        };
        self.0.services.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// The labels.
    pub(crate) fn labels_text(&self) -> String {
        labels_text(&self.0.labels)
    }

    /// What was written so. `None`: it was not, or by a later version.
    pub(crate) fn from_texts(services: &str, labels: &str) -> Option<Self> {
        let mut capabilities = Self::new();
        for word in services.split(' ').filter(|word| !word.is_empty()) {
            let (name, languages) = word.split_once('=')?;
            let languages = match languages {
                "*" => Languages::Any,
                ">" => Languages::Pairs(BTreeSet::new()),
                "" => Languages::Set(BTreeSet::new()),
                pairs if pairs.contains('>') => {
                    let pair = |pair: &str| {
                        let (from, to) = pair.split_once('>')?;
                        Some((read_language(from)?, read_language(to)?))
                    };
                    Languages::Pairs(pairs.split(',').map(pair).collect::<Option<_>>()?)
                }
                set => Languages::Set(set.split(',').map(read_language).collect::<Option<_>>()?),
            };
            capabilities.insert(Service::new(unescape(name)), languages);
        }
        for word in labels.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=')?;
            capabilities = capabilities.label(unescape(name), unescape(value));
        }
        capabilities.validate().is_ok().then_some(capabilities)
    }
}

impl Demand {
    /// All that two demands that ask for the same have in common. Nodes to keep off are not part of that.
    pub(crate) fn text(&self) -> String {
        let requirements = &*self.requirements;
        let services = listed(&requirements.services, |service| escape(service.name(), &MARKS).into_owned());
        let source = match &requirements.source {
            None => String::new(),
            Some(Source::Auto) => "*".to_owned(),
            Some(Source::Known(source)) => language(source),
        };
        let target = requirements.target.as_ref().map(language).unwrap_or_default();
        let labels = labels_text(&requirements.labels);
        let tenant = requirements.tenant.as_ref().map(|tenant| format!("={}", escape(tenant, &MARKS)));
        let key = self.routing_key.map(|key| format!("{key:x}")).unwrap_or_default();
        // One a line, so that none is taken for another.
        format!("{services}\n{source}\n{target}\n{labels}\n{}\n{key}", tenant.unwrap_or_default())
    }

    /// What [`from_text`](Self::from_text) makes the whole demand of.
    pub(crate) fn whole_text(&self) -> String {
        let mut text = self.text();
        text += if self.exclusions.mode == ExclusionMode::Hard { "\nhard" } else { "\nsoft" };
        for node in &self.exclusions.nodes {
            text.push(' ');
            text += &escape(node, &[]);
        }
        text
    }

    /// What was written so. `None`: it was not, or by a later version.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut demand = Self::new();
        for name in lines.next()?.split(',').filter(|name| !name.is_empty()) {
            demand = demand.service(Service::new(unescape(name)));
        }
        demand = match lines.next()? {
            "" => demand,
            "*" => demand.source("auto"),
            source => demand.source_language(read_language(source)?),
        };
        demand = match lines.next()? {
            "" => demand,
            target => demand.target(read_language(target)?),
        };
        for word in lines.next()?.split(' ').filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=')?;
            demand = demand.label(unescape(name), unescape(value));
        }
        if let Some(tenant) = lines.next()?.strip_prefix('=') {
            demand = demand.tenant(unescape(tenant));
        }
        demand.routing_key = match lines.next()? {
            "" => None,
            key => Some(u64::from_str_radix(key, 16).ok()?),
        };
        let mut words = lines.next()?.split(' ');
        let mode = match words.next()? {
            "hard" => ExclusionMode::Hard,
            "soft" => ExclusionMode::Soft,
            _ => return None,
        };
        demand = demand.exclude(words.map(unescape), mode);
        (lines.next().is_none() && demand.validate().is_ok()).then_some(demand)
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_can_read_it() {
        let speech = Capabilities::new().asr(["zh", "en"]).nmt_pairs([("zh", "en"), ("en", "zh")]).service("embed");
        let speech = speech.tts([Language::exact("zh-cn").unwrap()]).label("zone", "a").label("model", "bge m3");
        assert_eq!(speech.services_text(), "asr=en,zh embed=* nmt=en>zh,zh>en tts=zh-CN!");
        assert_eq!(speech.labels_text(), "model=bge%20m3 zone=a");
    }

    fn capabilities() -> impl Strategy<Value = Capabilities> {
        let tag = || prop::sample::select(vec!["zh", "zh-CN", "en", "pt-BR", "x-elvish"]);
        let language = (tag(), any::<bool>())
            .prop_map(|(tag, exact)| if exact { Language::exact(tag) } else { Language::new(tag) }.unwrap());
        let languages = prop_oneof![
            Just(Languages::Any),
            prop::collection::btree_set(language.clone(), 0..4).prop_map(Languages::Set),
            prop::collection::btree_set((language.clone(), language), 0..4).prop_map(Languages::Pairs),
        ];
        let services = prop::collection::btree_map("[a-z=,>*! %\\n]{1,6}", languages, 0..4);
        let labels = prop::collection::btree_map("\\PC{1,5}", "\\PC{0,5}", 0..4);
        (services, labels).prop_map(|(services, labels)| {
            let mut made = Capabilities::new();
            services.into_iter().for_each(|(name, languages)| made.insert(Service::new(name), languages));
            labels.into_iter().fold(made, |made, (name, value)| made.label(name, value))
        })
    }

    proptest! {
        #[test]
        fn capabilities_come_back_from_their_text(written in capabilities()) {
            let (services, labels) = (written.services_text(), written.labels_text());
            prop_assert_eq!(Capabilities::from_texts(&services, &labels), Some(written));
        }

        #[test]
        fn what_nobody_of_ours_has_written_is_refused_or_read(services in "\\PC{0,30}", labels in "\\PC{0,30}") {
            if let Some(read) = Capabilities::from_texts(&services, &labels) {
                prop_assert!(read.validate().is_ok());
            }
            Demand::from_text(&format!("{services}\n\n\n{labels}\n\n\nhard"));
        }
    }

    #[test]
    fn demands_that_differ_have_texts_that_do() {
        let demands = [
            Demand::new(),
            Demand::new().service("a"),
            Demand::new().service("a").service("b"),
            Demand::new().service("a,b"),
            Demand::translate("zh", "en"),
            Demand::translate("auto", "en"),
            Demand::translate("en", "zh"),
            Demand::translate("zh-CN", "en"),
            Demand::new().target("en"),
            Demand::new().source("en"),
            Demand::new().source_language(Language::exact("en").unwrap()),
            Demand::new().label("a", "b"),
            Demand::new().label("a", "b").label("c", "d"),
            Demand::new().label("a", "b c=d"),
            Demand::new().tenant("a"),
            Demand::new().tenant(""),
            Demand::new().routing_key("a"),
        ];
        let texts: BTreeSet<_> = demands.iter().map(Demand::text).collect();
        assert_eq!(texts.len(), demands.len());
        for demand in demands.iter().chain([&Demand::new().exclude(["a b", "c\n"], ExclusionMode::Soft)]) {
            let read = Demand::from_text(&demand.whole_text()).expect("it was written so");
            assert_eq!((read.whole_text(), &read.requirements), (demand.whole_text(), &demand.requirements));
        }
        let apart = Demand::new().service("b").service("a").exclude(["n"], crate::ExclusionMode::Hard);
        assert_eq!(apart.text(), demands[2].text());
    }
}
